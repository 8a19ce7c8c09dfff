"""What the user of `broker top` looks at, and what each new snapshot makes of it.

Pure: a `View` is a value; `observe` turns a view and a snapshot into the next view, as `monitor.bindings.press` does
with a key. Time comes in as an argument (seconds since the epoch). It knows neither terminals nor /proc, nor how a view
is drawn (`monitor.dashboard`). Runs in the process of `broker top`.

A process is known by its PID, and by its name only while it has none (a child that waits for the end of its
back-off): so the selection stays with a process wherever sorting puts it, and never slips unasked to the successor of
a process that died, until the dead one has left the screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from monitor.rows import Departed, Identity, Line, arrange, identity
from monitor.snapshot import ProcessRow, Snapshot
from monitor.table import printable

MARK_SECONDS: Final = 3.0
"""How long a changed value is marked."""

DEPARTED_SECONDS: Final = 6.0
"""How long a process that is gone stays, grey, with what ended it."""

MESSAGE_SECONDS: Final = 8.0
RATES_KEPT: Final = 240

_LAST_EVENTS: Final = frozenset(("died", "exited", "gave-up", "stopping", "stopped"))

MARKED_FIELDS: Final = ("ppid", "stat", "nice", "zombies", "threads", "sessions", "restarts", "state")
"""Values whose change is news. Those that are measured anew with each look would keep the screen flashing."""


Rates: TypeAlias = tuple[float | None, float | None]
"""The broker's messages per second in and out; None while they are unknown."""


@dataclass(frozen=True, slots=True)
class Renice:
    """Set the nice value of every thread of `row`'s process to `nice`, or move it by so much."""

    row: ProcessRow
    nice: int
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to `row`'s process, if it still is that process."""

    row: ProcessRow
    name: Literal["SIGSTOP", "SIGCONT", "SIGKILL"]


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave the dashboard."""


@dataclass(frozen=True, slots=True)
class Redraw:
    """Draw everything anew: something else wrote on the terminal."""


Action: TypeAlias = Renice | Signal | Quit | Redraw


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question in the message line. `confirm` waits for y, and then `action` is done; the others for a text."""

    kind: Literal["nice", "filter", "confirm"]
    question: str
    text: str = ""
    row: ProcessRow | None = None
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """The outcome of an action or a refusal, shown until `until`."""

    text: str
    is_error: bool
    until: float


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread of the process in the details pane; nice values are threads' own (see `broker renice`)."""

    tid: int
    name: str
    state: str
    nice: int


@dataclass(frozen=True, slots=True)
class Details:
    """What the details pane says about a process beyond its row; None and empty where it cannot be read."""

    pid: int
    command: str
    autogroup: str | None
    cgroup: str | None
    threads: tuple[Thread, ...]
    descriptors: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the picture depends on, but its size.

    `rates` are those of each look, oldest first. `marks` says until when a value is marked, by
    process and field. `offline` says why there is no broker to look at; then `offline_since` is when it was lost.
    """

    now: float = 0.0
    snapshot: Snapshot | None = None
    offline: str = ""
    offline_since: float | None = None
    selected: Identity | None = None
    selected_name: str = ""
    selected_index: int = 0
    tree: bool = True
    sort: str | None = None
    filter: str = ""
    paused: bool = False
    help: bool = False
    help_offset: int = 0
    show_details: bool = False
    details_offset: int = 0
    details: Details | None = None
    prompt: Prompt | None = None
    message: Message | None = None
    marks: Mapping[tuple[Identity, str], float] = field(default_factory=dict)
    departed: tuple[Departed, ...] = ()
    rates: tuple[Rates, ...] = ()


def lines(view: View) -> tuple[Line, ...]:
    """The rows of the table in the order in which they stand there."""
    rows = view.snapshot.rows if view.snapshot is not None else ()
    return arrange(rows, view.departed, tree=view.tree, sort=view.sort, pattern=view.filter)


def selected_line(view: View) -> Line | None:
    """The line of the selected process; None if nothing is there to select."""
    return next((line for line in lines(view) if line.identity == view.selected), None)


# --- New snapshots ---------------------------------------------------------------------------------------------------


def observe(view: View, snapshot: Snapshot) -> View:
    """The view after a look that found `snapshot`."""
    before = view.snapshot.rows if view.snapshot is not None else ()
    now = snapshot.at
    marks = {key: until for key, until in view.marks.items() if until > now} | _changes(before, snapshot.rows, now)
    rates = view.rates if _is_stale(snapshot) else (*view.rates, _total_rates(snapshot))[-RATES_KEPT:]
    view = replace(
        view,
        now=now,
        snapshot=snapshot,
        offline="",
        offline_since=None,
        marks=marks,
        departed=_departures(view.departed, before, snapshot.rows, snapshot.events, now),
        rates=rates,
    )
    return settle(_expire(view))


def lose(view: View, reason: str, last_events: tuple[dict[str, Any], ...], now: float) -> View:
    """The view after a look that found no broker; `reason` is one line, `last_events` are those not heard of before."""
    before = view.snapshot.rows if view.snapshot is not None else ()
    events = (*(view.snapshot.events if view.snapshot is not None else ()), *last_events)
    gone = view.snapshot
    if gone is not None:
        gone = replace(gone, rows=(), zombies=0, at=now, events=events)
    view = replace(
        view,
        now=now,
        snapshot=gone,
        offline=reason,
        offline_since=now if view.offline_since is None else view.offline_since,
        marks={},
        departed=_departures(view.departed, before, (), events, now),
    )
    return settle(_expire(view))


def elapse(view: View, now: float) -> View:
    """The view at `now` if nothing else has happened. While it is paused, only messages grow old."""
    return settle(_expire(replace(view, now=now))) if not view.paused else _expire_message(replace(view, now=now))


def say(view: View, text: str, *, is_error: bool = False) -> View:
    """The view with the outcome of an action in its message line."""
    text = "\n".join(map(printable, text.split("\n")))
    return replace(view, message=Message(text, is_error, view.now + MESSAGE_SECONDS))


def _is_stale(snapshot: Snapshot) -> bool:
    return snapshot.status_age_seconds != 0


def _total_rates(snapshot: Snapshot) -> Rates:
    """The supervisor's row has the sum of its workers', or None while a part would be taken for the whole."""
    row = next((row for row in snapshot.rows if row.role == "supervisor"), None)
    return (row.in_per_second, row.out_per_second) if row is not None else (None, None)


def _changes(
    before: tuple[ProcessRow, ...], after: tuple[ProcessRow, ...], now: float
) -> dict[tuple[Identity, str], float]:
    """Marks for what differs; a successor is compared with the process of its name, and its PID is news."""
    by_identity = {identity(row): row for row in before}
    by_name = {row.name: row for row in before}
    changed: dict[tuple[Identity, str], float] = {}
    for row in after if before else ():
        old = by_identity.get(identity(row))
        if old is not None:
            fields = [name for name in MARKED_FIELDS if _differs(name, getattr(old, name), getattr(row, name))]
        else:
            predecessor = by_name.get(row.name)
            fields = ["pid"]
            if predecessor is not None:
                fields += [name for name in ("nice", "restarts") if getattr(predecessor, name) != getattr(row, name)]
        changed.update({(identity(row), name): now + MARK_SECONDS for name in fields})
    return changed


def _differs(name: str, old: Any, new: Any) -> bool:
    if name == "stat" and old[:1] in "RSD" and new[:1] in "RSD":
        return bool(old[1:] != new[1:])  # running, sleeping, waiting for a disk: the daily life of every process
    return bool(old != new)


def _departures(
    departed: tuple[Departed, ...],
    before: tuple[ProcessRow, ...],
    after: tuple[ProcessRow, ...],
    events: tuple[dict[str, Any], ...],
    now: float,
) -> tuple[Departed, ...]:
    alive = {row.pid for row in after}
    kept = [old for old in departed if old.until > now and old.row.pid not in alive]
    previous: Identity | None = None
    for row in before:
        if row.pid is not None and row.pid not in alive:
            kept.append(Departed(row, previous, now + DEPARTED_SECONDS))
        previous = identity(row)
    # Once known, a cause is kept: a broker that starts anew does not know the events of the one before.
    return tuple(replace(old, cause=old.cause or cause_of_death(old.row.pid, events)) for old in kept)


def cause_of_death(pid: int | None, events: Sequence[Mapping[str, Any]]) -> str | None:
    """What the events say about the end of a process; None if they say nothing."""
    for event in reversed(events):
        if event.get("pid") != pid or event.get("kind") not in _LAST_EVENTS:
            continue
        if event.get("signal"):
            return f"killed by {printable(str(event['signal']))}"
        if event.get("exit_status") is not None:
            return f"exited with status {printable(str(event['exit_status']))}"
        return printable(str(event.get("text")))
    return None


def _expire(view: View) -> View:
    view = replace(
        view,
        marks={key: until for key, until in view.marks.items() if until > view.now},
        departed=tuple(old for old in view.departed if old.until > view.now),
    )
    return _expire_message(view)


def _expire_message(view: View) -> View:
    return replace(view, message=None) if view.message is not None and view.message.until <= view.now else view


def settle(view: View) -> View:
    """Keep the selection on its process; when that has left, on its successor or what stands in its place."""
    shown = lines(view)
    if not shown:
        return replace(view, selected=None, details=None)  # its name and place are kept, should it come back
    found = next((index for index, line in enumerate(shown) if line.identity == view.selected), None)
    if found is None:
        heirs = (i for i, line in enumerate(shown) if line.row.name == view.selected_name and not line.departed)
        found = next(heirs, None)
    if found is None:
        found = min(view.selected_index, len(shown) - 1)
    return select(view, shown, found)


def select(view: View, shown: tuple[Line, ...], index: int) -> View:
    """The view with the line at `index` of `shown` selected."""
    chosen = shown[index]
    details = view.details if view.details is not None and view.details.pid == chosen.identity else None
    return replace(
        view,
        selected=chosen.identity,
        selected_name=chosen.row.name,
        selected_index=index,
        details=details,
        details_offset=view.details_offset if chosen.identity == view.selected else 0,
    )
