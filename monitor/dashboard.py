"""The picture of `broker top`: a pure function from a view and a size to something that rich can print.

From top to bottom: the header, the process table, the details of the selected process if asked for, the latest events,
one line for questions and outcomes, and the keys. What does not fit goes, the least important first, down to a few
cells. It knows no terminal, no /proc and no clock; `monitor.panes` draws what is below the table.

Colours are the terminal's own sixteen, and mean one thing each: red is dead or wrong, yellow wants a look, cyan is a
value that has just changed, green flows in and blue out. The rest is bold or dim, so that any background will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len
from rich.style import Style

from broker.durations import duration
from monitor import panes
from monitor.canvas import PLAIN, Canvas, Line, Piece, ellipsis, fitted, joined, length, safe, spread, wrapped
from monitor.help import help_page, help_room, last_help_offset
from monitor.panes import BOLD, DIM, ERROR, WARNING, clock
from monitor.rows import Departed
from monitor.rows import Line as RowLine
from monitor.snapshot import ProcessRow, Snapshot
from monitor.sparkline import sparkline
from monitor.table import COLUMNS, GAP, Column, columns_that_fit, human_count, pad
from monitor.view import View, lines

MARK: Final = Style(color="cyan", bold=True)
IN: Final = Style(color="green")
OUT: Final = Style(color="blue")
SELECTED: Final = Style(reverse=True)
HEADING: Final = Style(bold=True)
SORTED: Final = Style(bold=True, underline=True)

STALE_SECONDS: Final = 2.0
"""An answer that comes a little late is no news; from this age on, figures are called stale."""

SPARKLINE_CELLS: Final = 40
LEAST_DETAILS: Final = 6
"""Fewer lines of details than this are hard to read; what is above them gives way then."""

WIDEST_GAP: Final = 3
"""Blanks between two columns where there is room for all of them; `GAP` where there is not."""

NAME: Final = COLUMNS[0]
"""Always there, and always first: the tree hangs on it."""

LEAST_WIDTHS: Final = {"stat": 5, "nice": 3, "cpu_percent": 5, "wait_percent": 5, "rss_bytes": 4, "pss_bytes": 4}
"""Room for what these columns usually hold, lest the table wobble with every figure."""

_SEPARATOR: Final[Line] = [("   ", PLAIN)]


def draw(view: View, width: int, height: int, refresh_seconds: float = 1.0) -> Canvas:
    """The whole screen, exactly `height` lines of `width` cells."""
    head, foot = _head_and_foot(view, width, height)
    if view.help:
        head = []
        room = help_room(view, width, height)
        start = min(view.help_offset, last_help_offset(view, width, height))
        body = help_page(width, refresh_seconds)[start : start + room]
    else:
        room = max(height - len(head) - len(foot), 0)
        body = _body(view, width, room)[:room]
    blanks: list[Line] = [[]] * (room - len(body))
    return Canvas(width, [*head, *body, *blanks, *foot][:height])


def details_room(view: View, width: int, height: int) -> int:
    """How many lines of a screen of that size the details pane has, its rule included."""
    head, foot = _head_and_foot(view, width, height)
    return _share(view, width, max(height - len(head) - len(foot), 0)).details


def _head_and_foot(view: View, width: int, height: int) -> tuple[list[Line], list[Line]]:
    head = header(view, width) if height >= 10 else header(view, width)[: max(height - 4, 0)]
    return head, panes.footer(view, width, height)


def once(view: View, width: int | None = None) -> Canvas:
    """The header and the table alone, in as many lines as they take: to be printed instead of shown.

    Without a width it is as wide as the table with all its columns.
    """
    shown = lines(view)
    if width is None:
        width = sum(_widths(shown).values()) + GAP * len(COLUMNS) + 1
    return Canvas(width, [*header(view, width), *_table(view, width, len(shown) + 1, is_live=False)])


# --- Header ----------------------------------------------------------------------------------------------------------


def header(view: View, width: int) -> list[Line]:
    """Uptime, journal, listeners, sessions, rooms, rates, zombies; and what one must know to trust them."""
    snapshot = view.snapshot
    status = snapshot.status if snapshot is not None else {}
    state = safe(status.get("state", ""))
    title: Line = [("broker", BOLD)]
    if version := status.get("version"):
        title.append((f" {safe(version)}", PLAIN))
    if view.offline:
        title.append(("  not running", ERROR))
    elif snapshot is not None and (uptime := _uptime(snapshot)) is not None:
        title.append((f"  up {duration(uptime)}", PLAIN))
    if state not in ("", "running") and not view.offline:
        title.append((f"  {state}", WARNING))
    journal = _journal(status)
    if journal and not view.offline:
        title += [("  journal ", DIM), (journal, PLAIN if journal == "ok" else WARNING)]
    at = snapshot.at if snapshot is not None and view.paused else view.now
    corner: Line = [(clock(at), DIM), (" ", PLAIN)]
    if view.paused:
        corner = [(" PAUSED ", Style(reverse=True, bold=True)), ("  ", PLAIN), *corner]
    heads = [spread([(" ", PLAIN), *title], corner, width), _figures(view, width)]
    listeners = "  ".join(safe(url) for url in status.get("listeners") or ())
    if listeners and not view.offline:
        heads.append([(" listening on ", DIM), (listeners, PLAIN)])
    notices = [_notice(view)]
    if journal == "suspended" and not view.offline:
        notices.append(
            (f"journal {safe(status['journal'])}; if the router dies now, everybody is disconnected", WARNING)
        )
    for text, style in notices:
        if text:
            heads += [[(" ", PLAIN), *line] for line in wrapped(text, width - 2, style)]
    return [*heads, []]


def _journal(status: Mapping[str, Any]) -> str:
    """The router's journal in a word: ok, suspended or off; empty while nothing is known."""
    return safe(status.get("journal") or "").partition(":")[0]


def _uptime(snapshot: Snapshot) -> float | None:
    """From /proc, so that it goes on while the supervisor does not."""
    return snapshot.rows[0].uptime_seconds if snapshot.rows else None


def is_stale(view: View) -> bool:
    """Whether the supervisor has not answered for so long that its figures are not to be trusted."""
    if view.snapshot is None or view.offline:
        return False
    age_seconds = view.snapshot.status_age_seconds
    return age_seconds is None or age_seconds > STALE_SECONDS


def _notice(view: View) -> tuple[str, Style]:
    """What one must know before trusting the figures; empty if there is nothing."""
    if view.offline:
        return f"{safe(view.offline)} (gone since {clock(view.offline_since)}; this display waits for it)", ERROR
    if view.snapshot is None or not is_stale(view):
        return "", PLAIN
    stat = view.snapshot.rows[0].stat if view.snapshot.rows else ""
    state = "is stopped" if stat.startswith("T") else "does not answer"
    age_seconds = view.snapshot.status_age_seconds
    age = "unknown" if age_seconds is None else f"{duration(age_seconds)} old"
    return f"supervisor {state}, STAT {stat}: sessions, rooms, messages, restarts and events are {age}", WARNING


def _figures(view: View, width: int) -> Line:
    """Counts on the left, traffic on the right with as much of its past as there is room for."""
    snapshot = view.snapshot
    status = snapshot.status if snapshot is not None and not view.offline else {}
    style = DIM if is_stale(view) else BOLD
    zombies = snapshot.zombies if snapshot is not None else 0
    counts = joined(
        [
            [("sessions ", DIM), (_count(status.get("sessions")), style)],
            [("rooms ", DIM), (_count(status.get("rooms")), style)],
            [("zombies ", DIM), (str(zombies), ERROR if zombies else BOLD)],
        ],
        _SEPARATOR,
    )
    rate_in, rate_out = view.rates[-1] if view.rates else (None, None)
    if view.offline:
        rate_in = rate_out = None
    texts = [_rate(rate_in), _rate(rate_out)]
    used = length(counts) + 2 + len("in ") + len("out ") + sum(map(cell_len, texts)) + 3 * len(_SEPARATOR[0][0]) + 2
    cells = min((width - used) // 2, SPARKLINE_CELLS)
    traffic: list[Line] = []
    for name, text, colour, index in (("in", texts[0], IN, 0), ("out", texts[1], OUT, 1)):
        piece: Line = [(f"{name} ", DIM), (text, style)]
        if cells >= 5 and len(view.rates) > 1:
            piece += [(" ", PLAIN), (sparkline([rates[index] for rates in view.rates], cells), colour)]
        traffic.append(piece)
    return spread([(" ", PLAIN), *counts], [*joined(traffic, _SEPARATOR), (" ", PLAIN)], width)


def _count(value: object) -> str:
    return safe("-" if value is None else value)


def _rate(value: float | None) -> str:
    """As wide as any, so that what stands beside it stays in its place."""
    return f"{'-' if value is None else human_count(value) + '/s':<6}"


# --- Body -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shares:
    """How many lines the parts of the body get, from top to bottom; `note` and `blank` are one or none."""

    table: int
    note: int
    blank: int
    details: int
    events: int


def _share(view: View, width: int, room: int) -> _Shares:
    """Share out `room` lines: first to the heading and a few processes, then to the details, the events last."""
    wanted = len(lines(view)) + 1
    details = 0
    if view.show_details:
        spare = room - min(wanted, 5)
        if spare < LEAST_DETAILS:  # then one process, the selected one, must do
            spare = room - 2
        details = max(min(len(panes.details(view, width)) + 1, spare), 0)
    events_least = 5 if room - details >= 12 else 0
    table = max(min(wanted, room - details - events_least), min(room, 1))
    left = room - table - details
    blank = 1 if left > 4 else 0
    # That something is hidden stands on the rule of the events, else on that of the details, else on one of its own.
    note = 1 if wanted > table >= 3 and left < 2 and not details else 0
    return _Shares(table - note, note, blank, details, left - blank)


def _body(view: View, width: int, room: int) -> list[Line]:
    """The table, the details and the events, sharing the room."""
    shares = _share(view, width, room)
    shown = lines(view)
    window = _window(view, len(shown), shares.table - 1)
    notes, style = _hidden([line for index, line in enumerate(shown) if index not in window])
    return [
        *_table(view, width, shares.table),
        *([panes.rule("table", width, *notes, style=style)] * shares.note),
        *([[]] * shares.blank),
        *panes.details_pane(view, width, shares.details, *(notes if shares.events < 2 else ())),
        *panes.events(view, width, shares.events, *notes, style=style),
    ]


def _hidden(hidden: list[RowLine]) -> tuple[list[str], Style]:
    """What to say of the lines for which there is no room, the longest first: how many, and which want a look."""
    if not hidden:
        return [], DIM
    gone = sum(line.departed is not None for line in hidden)
    stats = [line.row.stat[:1] for line in hidden if line.departed is None]
    zombies, stopped = stats.count("Z"), stats.count("T") + stats.count("t")
    kinds = ((zombies, "zombie" if zombies == 1 else "zombies"), (gone, "gone"), (stopped, "stopped"))
    said = [f"{count} {kind}" for count, kind in kinds if count]
    notes = [f"{len(hidden)} more in the table{': ' if said else ''}{', '.join(said)}"]
    notes += [f"{len(hidden)} more: {', '.join(said[:count])}" for count in range(len(said), 0, -1)]
    return [*notes, f"{len(hidden)} more"], ERROR if zombies else WARNING if said else DIM


def _table(view: View, width: int, room: int, *, is_live: bool = True) -> list[Line]:
    """The heading and the lines around the selected one."""
    if room < 1:
        return []
    shown = lines(view)
    layout = _layout(view, shown, width - 2)
    heading: Line = [(" ", PLAIN)]
    for column in layout.columns:
        text = pad(column.heading, layout.widths[column.key], column.justify)
        heading += [(text, SORTED if column.key == view.sort else HEADING), layout.gap]
    table = [heading]
    for index in _window(view, len(shown), room - 1):
        line = shown[index]
        pieces = _row(view, line, layout) if line.departed is None else _departed(line, line.departed, layout)
        is_selected = is_live and line.identity == view.selected
        table.append(_highlighted(pieces, width) if is_selected else pieces)
    return table


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns that are shown, the width of each by its key, and what stands between two of them."""

    columns: list[Column]
    widths: dict[str, int]
    gap: Piece


def _layout(view: View, shown: tuple[RowLine, ...], available: int) -> _Layout:
    """The most important columns that fit, the one that sorts among them."""
    widths = _widths(shown)
    widths["name"] = min(widths["name"], max(available // 2, 12))
    columns = columns_that_fit(available, widths)
    if view.sort is not None and all(column.key != view.sort for column in columns):
        columns = columns_that_fit(available - widths[view.sort] - GAP, widths)
        columns = [column for column in COLUMNS if column in columns or column.key == view.sort]
    spare = available - sum(widths[column.key] for column in columns)
    gap = min(max(spare // len(columns), GAP), WIDEST_GAP) if len(columns) == len(COLUMNS) else GAP
    return _Layout(columns, widths, (" " * gap, PLAIN))


def _widths(shown: tuple[RowLine, ...]) -> dict[str, int]:
    widths: dict[str, int] = {}
    for column in COLUMNS:
        if column.key == "name":
            texts = [line.prefix + _name(line.row) for line in shown]
        else:
            texts = [column.cell(line.row) for line in shown if not line.departed or column.key == "pid"]
        widths[column.key] = max(len(column.heading), LEAST_WIDTHS.get(column.key, 0), *map(cell_len, texts), 0)
    return widths


def _window(view: View, count: int, room: int) -> range:
    """Which lines are shown: all, or as many as there is room for, the selected one amid them."""
    start = min(max(view.selected_index - room // 2, 0), max(count - room, 0))
    return range(start, min(start + max(room, 0), count))


def _row(view: View, line: RowLine, layout: _Layout) -> Line:
    stale = is_stale(view)
    pieces: Line = [(" ", PLAIN), *_name_cell(line, layout, _style(view, line, NAME, stale=stale)), layout.gap]
    for column in layout.columns:
        if column is not NAME:
            text = pad(column.cell(line.row), layout.widths[column.key], column.justify)
            pieces += [(text, _style(view, line, column, stale=stale)), layout.gap]
    return pieces


def _style(view: View, line: RowLine, column: Column, *, stale: bool) -> Style:
    row, key = line.row, column.key
    if row.stat.startswith("Z") or (key == "zombies" and row.zombies):
        return ERROR
    if column is NAME and (row.state in ("hung", "waiting") or row.pid is None):
        return WARNING
    if (line.identity, "state" if column is NAME else key) in view.marks:
        return MARK
    if key == "stat" and row.stat[:1] in ("T", "t"):
        return WARNING
    return DIM if column.supervised and stale else PLAIN


def _departed(line: RowLine, gone: Departed, layout: _Layout) -> Line:
    """A process that is gone: who it was, and what ended it in place of its figures."""
    pid = pad(str(gone.row.pid), layout.widths["pid"], "right")
    cause = (gone.cause or "gone", Style(color="red", dim=True))
    return [(" ", DIM), *_name_cell(line, layout, DIM), layout.gap, (pid, DIM), layout.gap, cause]


def _name(row: ProcessRow) -> str:
    state = "" if row.state == "ready" else f" ({safe(row.state)})"
    return safe(row.name) + state


def _name_cell(line: RowLine, layout: _Layout, style: Style) -> Line:
    """The branches of the tree, which recede, and the name."""
    prefix = ellipsis(line.prefix, min(cell_len(line.prefix), layout.widths["name"]))
    return [(prefix, DIM), (ellipsis(_name(line.row), layout.widths["name"] - cell_len(prefix)), style)]


def _highlighted(line: Line, width: int) -> Line:
    """The line as the selected one. A dim colour would make a loud background."""
    pieces = fitted(line, width)
    return [(text, (style.without_color if style.dim else style) + SELECTED) for text, style in pieces]
