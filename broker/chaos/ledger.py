"""The conservation ledger: what was sent, what was due to whom, what came, and whether that is the same. Pure.

Counted by the load processes, summed up by the command. It knows no protocol, no process and no clock.

A *delivery* is one line due to one client. `expected` grows when it becomes known that a line is due, `delivered` when
it came at its place, so that what is on its way is the difference, and a run is exact only if it ends at 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from broker.text import clean, decode

_EXAMPLES_KEPT: Final = 12
_SHOWN_BYTES: Final = 120


@dataclass(slots=True)
class Counts:
    """Of some clients, since the beginning.

    `sent` counts inputs (lines, and ends of input), `applied` those of them whose effect was seen. `lost` deliveries
    did not come, `doubled` ones came again, `reordered` ones came after one that should be behind them. `torn` are
    lines that are none of those: cut, damaged, or said by nobody. `disconnected` clients were cut off. `names_lost` are
    names that were refused although free, or gone although taken. `gaps` are places at which a client of a local socket
    missed something, `most_gaps` those of the client with the most.
    """

    clients: int = 0
    sent: int = 0
    applied: int = 0
    expected: int = 0
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    torn: int = 0
    disconnected: int = 0
    names_lost: int = 0
    gaps: int = 0
    most_gaps: int = 0

    def add(self, other: Counts) -> None:
        """Add those of other clients."""
        most = max(self.most_gaps, other.most_gaps)
        for name in _FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.most_gaps = most


FAULTS: Final = ("lost", "doubled", "reordered", "torn", "disconnected", "names_lost")
"""The counts that are 0 in a run without a fault."""

_FIELDS: Final = tuple(each.name for each in fields(Counts))


@dataclass(slots=True)
class Ledger:
    """`tcp` and `unix` clients apart, since not the same is promised to them; `examples` are faults in words."""

    tcp: Counts = field(default_factory=Counts)
    unix: Counts = field(default_factory=Counts)
    examples: list[str] = field(default_factory=list)

    def fault(self, text: str, line: bytes = b"") -> None:
        """Keep the first few faults as examples; `line` is what it is about."""
        if len(self.examples) < _EXAMPLES_KEPT:
            shown = clean(decode(line[:_SHOWN_BYTES])) + ("…" if len(line) > _SHOWN_BYTES else "")
            self.examples.append(f"{text}: {shown!r}" if line else text)


def total(ledgers: Iterable[Ledger]) -> Ledger:
    """The sum of what several load processes counted."""
    result = Ledger()
    for ledger in ledgers:
        result.tcp.add(ledger.tcp)
        result.unix.add(ledger.unix)
        for text in ledger.examples:
            result.fault(text)
    return result


def troubles(ledger: Ledger) -> list[str]:
    """What went wrong for good, a phrase each; [] if nothing. That clients of local sockets miss something is not."""
    found = []
    for name, counts in (("", ledger.tcp), ("unix: ", ledger.unix)):
        for kind in FAULTS:
            number = getattr(counts, kind)
            if number and not (counts is ledger.unix and kind == "lost"):
                found.append(f"{name}{number:,} {kind.replace('_', ' ')}")
    return found


def faults(ledger: Ledger, kills: int) -> list[str]:
    """What is not as promised after so many kills, now that nothing more will come; [] if all is exact."""
    found = troubles(ledger)
    for name, counts in (("", ledger.tcp), ("unix: ", ledger.unix)):
        if counts.applied != counts.sent:
            found.append(f"{name}{counts.sent - counts.applied:,} of {counts.sent:,} inputs not applied")
        if counts.expected != counts.delivered + counts.lost:
            found.append(f"{name}{counts.delivered:,} deliveries of {counts.expected:,} expected")
    if ledger.unix.most_gaps > kills:
        found.append(f"unix: a client has {ledger.unix.most_gaps} gaps after {kills} kills")
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest of the sorted values that `share` of them do not exceed; ValueError of none."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]
