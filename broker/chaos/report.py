"""What a run has come to so far, as a line, as a page and as JSON. Pure; `broker.commands.chaos` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from broker.chaos.ledger import FAULTS, Counts, Ledger, faults, troubles
from broker.chaos.pauses import Pauses, Summary


@dataclass(frozen=True, slots=True)
class Report:
    """`is_final` when all that was due has come, or will not; `ended` says why the run ended early, or is empty."""

    seed: int
    seconds: float
    ledger: Ledger
    pauses: Pauses
    skipped: int
    behind: float
    is_final: bool = False
    ended: str = ""

    @property
    def is_troubled(self) -> bool:
        """Whether something is wrong already, whatever may still come."""
        return bool(self.ended or troubles(self.ledger))

    @property
    def faults(self) -> list[str]:
        """What was not exact; [] if all was."""
        found = faults(self.ledger, len(self.pauses.kills))
        return [self.ended, *found] if self.ended else found

    @property
    def verdict(self) -> str:
        """`exact`, or what was not."""
        return "exact" if not self.faults else "not exact: " + ", ".join(self.faults)


COLUMNS = ("sent", "applied", "expected", "delivered", *FAULTS)
"""Of `broker.chaos.ledger.Counts`, in the order in which they are shown."""


def as_line(report: Report) -> str:
    """How it goes, in a line."""
    ledger, kills = report.ledger, report.pauses.kills
    worst = report.pauses.summary()
    parts = [
        f"{report.seconds:6.1f} s",
        f"{len(kills)} kills",
        f"delivered {ledger.tcp.delivered + ledger.unix.delivered:,} of {ledger.tcp.expected + ledger.unix.expected:,}",
    ]
    for column in FAULTS:
        number = getattr(ledger.tcp, column) + getattr(ledger.unix, column)
        parts.append(f"{column.replace('_', ' ')} {number:,}")
    if worst is not None:
        parts.append(f"worst pause {worst.worst * 1000:.0f} ms")
    return " · ".join(parts)


def rows(ledger: Ledger) -> list[tuple[str, Counts]]:
    """Who is counted, by name; those on local sockets only if there are any."""
    shown = [("TCP", ledger.tcp)]
    if ledger.unix.clients:
        shown.append(("unix", ledger.unix))
    return shown


def pause_rows(pauses: Pauses) -> list[tuple[str, str, Summary]]:
    """Role, signal and pauses, of all that occurred; of all together last, if there is more than one."""
    found = []
    kinds: list[tuple[str | None, str | None]] = [*pauses.kinds()]
    if len(kinds) > 1:
        kinds.append((None, None))
    for role, signal in kinds:
        summary = pauses.summary(role, signal)
        assert summary is not None
        found.append((role or "all", signal or "", summary))
    return found


def kills_in_words(pauses: Pauses) -> str:
    """How many kills of whom."""
    return ", ".join(f"{role} {count:,} {signal}" for role, signal, count in pauses.counts())


def as_text(report: Report) -> str:
    """The final page."""
    shown = rows(report.ledger)
    lines = [f"{'':14}" + "".join(f"{name:>13}" for name, _ in shown)]
    for column in ("clients", *COLUMNS):
        figures = "".join(f"{getattr(counts, column):13,}" for _, counts in shown)
        lines.append(f"{column.replace('_', ' '):14}{figures}")
    if report.ledger.unix.clients:
        unix = report.ledger.unix
        lines.append(f"unix clients missed something at {unix.gaps:,} places, one client at {unix.most_gaps} at most")
    if report.pauses.kills:
        lines.append(f"kills: {kills_in_words(report.pauses)}")
        lines.append(f"{'killed':12}{'by':10}{'kills':>7}{'pause, ms: p50':>16}{'p99':>9}{'worst':>9}")
        for role, signal, pause in pause_rows(report.pauses):
            lines.append(
                f"{role:12}{signal:10}{pause.kills:7,}{pause.median * 1000:16.0f}{pause.p99 * 1000:9.0f}"
                f"{pause.worst * 1000:9.0f}"
            )
    if report.skipped:
        lines.append(f"{report.skipped:,} kills of the plan were left out: no such child, or the broker would give up")
    if report.behind > 0.02:
        lines.append(f"the load itself was up to {report.behind * 1000:.0f} ms late, which is in the pauses")
    lines += [f"  {example}" for example in report.ledger.examples]
    lines.append(f"seed {report.seed} · {report.seconds:.1f} s · verdict: {report.verdict}")
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """The same with all figures; units are in the keys."""
    return {
        "seed": report.seed,
        "seconds": report.seconds,
        "verdict": "exact" if not report.faults else "not exact",
        "faults": report.faults,
        "examples": report.ledger.examples,
        "ledger": {name.lower(): asdict(counts) for name, counts in rows(report.ledger)},
        "kills": [
            {"at_seconds": kill.at, "role": kill.role, "name": kill.name, "signal": kill.signal, "pause_seconds": pause}
            for kill, pause in zip(report.pauses.kills, report.pauses.seconds, strict=True)
        ],
        "pauses": [
            {"role": role, "signal": signal, "kills": pause.kills, "p50_seconds": pause.median,
             "p99_seconds": pause.p99, "worst_seconds": pause.worst}
            for role, signal, pause in pause_rows(report.pauses)
        ] if report.pauses.kills else [],
        "skipped_kills": report.skipped,
        "load_late_seconds": report.behind,
    }  # fmt: skip
