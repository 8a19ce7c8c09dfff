"""What the dashboard shows below its table: details of a process, events, questions and outcomes, keys. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.cells import cell_len
from rich.style import Style

from monitor.canvas import PLAIN, Line, ellipsis, joined, length, safe, wrapped
from monitor.legend import explain
from monitor.priority import describe
from monitor.table import COLUMNS
from monitor.view import Details, View, selected_line

BOLD: Final = Style(bold=True)
DIM: Final = Style(dim=True)
ERROR: Final = Style(color="red", bold=True)
WARNING: Final = Style(color="yellow", bold=True)

MESSAGE_LINES: Final = 3
LABEL_CELLS: Final = 13

EVENT_STYLES: Final[dict[str, Style]] = {
    "debug": DIM,
    "warning": Style(color="yellow"),
    "error": Style(color="red"),
}

KEYS: Final = (
    ("↑↓", "select"),
    ("q", "quit"),
    ("?", "help"),
    ("+-", "nice"),
    ("s", "stop"),
    ("K", "kill"),
    ("d", "details"),
    ("t", "flat"),
    ("<>", "sort"),
    ("/", "filter"),
    ("p", "pause"),
    ("n", "set nice"),
)
"""The key line, the most important first: as many as fit are shown."""

KEY_ORDER: Final = ("↑↓", "+-", "n", "s", "K", "d", "t", "<>", "/", "p", "?", "q")


def rule(title: str, width: int, *notes: str, style: Style = DIM) -> Line:
    """A thin line with a title on its left, and on its right the first of the notes that there is room for."""
    blanks = width - cell_len(title) - 3
    note = next((note for note in notes if cell_len(note) + 4 <= blanks), None)
    left: Line = [("─ ", DIM), (title, BOLD), (" ", DIM)]
    if note is None:
        return [*left, ("─" * max(blanks, 0), DIM)]
    return [*left, ("─" * (blanks - cell_len(note) - 3), DIM), (f" {note} ", style), ("─", DIM)]


def clock(at: object) -> str:
    """The local time of day at so many seconds since the epoch, `??:??:??` if that is no time."""
    try:
        return f"{datetime.fromtimestamp(at):%H:%M:%S}"  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError, OverflowError, OSError):
        return "??:??:??"


# --- Details ---------------------------------------------------------------------------------------------------------


def details(view: View, width: int) -> list[Line]:
    """The selected process in full: what was read about it."""
    line = selected_line(view)
    if line is None:
        return [[(" no process is selected", DIM)]]
    found = view.details
    if line.departed or line.row.pid is None or found is None:
        why = line.departed.cause or "gone" if line.departed is not None else "it has no process now"
        return [[(f" {why}", DIM)]]
    return [
        *labelled("STAT", [f"{letter}  {words}" for letter, words in explain(line.row.stat)] or ["unknown"], width),
        *labelled("command", [safe(found.command) or "(none: a zombie or a kernel thread)"], width),
        *_threads(found, width),
        *labelled("autogroup", [found.autogroup or "unknown: this kernel has none"], width),
        *labelled("cgroup", [safe(found.cgroup or "unknown")], width),
        *_descriptors(found, width),
    ]


def details_pane(view: View, width: int, room: int, *notes: str) -> list[Line]:
    """As many of the details as there is room for, from where they are scrolled to, below a rule that says so.

    The rule has the notes too, the first that there is room for.
    """
    if room < 1:
        return []
    rows = details(view, width)
    start = min(view.details_offset, last_details_offset(view, width, room))
    above, below = start, max(len(rows) - start - (room - 1), 0)
    scrolled = f"{below} more, PgDn" if below else f"{above} more, PgUp" if above else ""
    if scrolled:
        notes = (*(f"{scrolled} · {note}" for note in notes), scrolled)
    # The title gives way to the shortest of the notes: without that, what is cut would look whole.
    least = min(map(cell_len, notes), default=-4)
    title = _title(view)
    title = ellipsis(title, min(cell_len(title), max(width - least - 7, 0)))
    return [rule(title, width, *notes), *rows[start : start + room - 1]]


def last_details_offset(view: View, width: int, room: int) -> int:
    """How far the details can be scrolled in a pane of `room` lines, its rule included."""
    return max(len(details(view, width)) - max(room - 1, 0), 0)


def _title(view: View) -> str:
    line = selected_line(view)
    return "details" if line is None else describe(line.row)


def labelled(name: str, texts: Sequence[str], width: int, style: Style = DIM) -> list[Line]:
    """A label and what it is about, in as many lines as that takes."""
    rows: list[Line] = []
    for text in texts:
        rows += wrapped(text, width - 1, PLAIN, indent=LABEL_CELLS)
    first = rows[0][0][0][LABEL_CELLS:] if rows else ""
    return [[(f" {name:<{LABEL_CELLS - 1}}", style), (first, PLAIN)], *rows[1:]]


def _threads(found: Details, width: int) -> list[Line]:
    texts = [f"{thread.tid} {thread.state} nice {thread.nice}  {safe(thread.name)}" for thread in found.threads]
    count = len(found.threads)
    return labelled("threads" if count != 1 else "thread", _in_columns(texts, width - LABEL_CELLS - 1), width)


def _descriptors(found: Details, width: int) -> list[Line]:
    if not found.descriptors:
        return labelled("descriptors", ["not ours to read"], width)
    total = sum(count for _, count in found.descriptors)
    kinds = ", ".join(f"{count} {safe(kind)}{'' if count == 1 else 's'}" for kind, count in found.descriptors)
    return labelled("descriptors", [f"{total}: {kinds}"], width)


def _in_columns(texts: Sequence[str], width: int) -> list[str]:
    """Several texts a line where they fit side by side."""
    if not texts:
        return ["unknown"]
    cells = max(map(cell_len, texts)) + 3
    per_line = max((width + 3) // cells, 1)
    padded = [text + " " * (cells - cell_len(text)) for text in texts]
    return ["".join(padded[i : i + per_line]).rstrip() for i in range(0, len(texts), per_line)]


# --- Events ----------------------------------------------------------------------------------------------------------


def events(view: View, width: int, room: int, *notes: str, style: Style = DIM) -> list[Line]:
    """The latest events, the newest at the bottom; nothing if there is no room for one."""
    if room < 2:
        return []
    found = view.snapshot.events if view.snapshot is not None else ()
    rows: list[Line] = []
    for event in found[-(room - 1) :]:
        level_style = EVENT_STYLES.get(str(event.get("level")), PLAIN)
        rows.append([(f" {clock(event.get('at'))}  ", DIM), (safe(event.get("text", "")), level_style)])
    return [rule("events", width, *notes, style=style), *rows]


# --- Footer ----------------------------------------------------------------------------------------------------------


def footer(view: View, width: int, height: int) -> list[Line]:
    """The line for questions and outcomes, and the key line; the former takes the latter's place on a low screen."""
    said = _said(view, width)
    if height < 4:
        return said[:1] if said else []
    if height < 14:
        return said[: min(MESSAGE_LINES, height // 3)] or [key_line(view, width)]
    return [*(said[:MESSAGE_LINES] or [_standing_note(view)]), key_line(view, width)]


def _said(view: View, width: int) -> list[Line]:
    if view.prompt is not None:
        style = WARNING if view.prompt.kind == "confirm" else BOLD
        rows = wrapped(safe(view.prompt.question) + " " + safe(view.prompt.text), width - 3, style)
        return [*([(" ", PLAIN), *row] for row in rows[:-1]), [(" ", PLAIN), *rows[-1], ("▏", style)]]
    if view.message is not None:
        style = ERROR if view.message.is_error else BOLD
        return [[(" ", PLAIN), *row] for row in wrapped(view.message.text, width - 2, style)]
    return []


def _standing_note(view: View) -> Line:
    """What is easily forgotten: that not everything is shown, or in which order."""
    notes: list[Line] = []
    if view.sort is not None:
        heading = next(column.heading for column in COLUMNS if column.key == view.sort)
        notes.append([("sorted by ", DIM), (heading, BOLD)])
    if view.filter:
        notes.append([("filter ", DIM), (safe(view.filter), BOLD), (" (Esc shows all)", DIM)])
    return [(" ", PLAIN), *joined(notes, [("   ", PLAIN)])] if notes else []


def key_line(view: View, width: int) -> Line:
    """The keys that fit, with what they would do now."""
    words = dict(KEYS)
    line = selected_line(view)
    if line is not None and line.row.stat.startswith("T"):
        words["s"] = "continue"
    if not view.tree:
        words["t"] = "tree"
    if view.paused:
        words["p"] = "go on"
    pieces: dict[str, Line] = {key: [(key, BOLD), (f" {word}", DIM)] for key, word in words.items()}
    chosen: list[str] = []
    used = 1
    for key, _ in KEYS:
        used += length(pieces[key]) + 2
        if used > width + 1:
            break
        chosen.append(key)
    return [(" ", PLAIN), *joined((pieces[key] for key in KEY_ORDER if key in chosen), [("  ", PLAIN)])]
