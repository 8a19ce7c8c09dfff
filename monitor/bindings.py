"""What each key of `broker top` does: a pure function from a view and a key to the next view and perhaps an action.

Actions are values; `monitor.actions` carries them out. Whatever ends or stops the whole broker, or kills anything, is
asked for first. It knows neither terminals (`monitor.keys` names the keys) nor processes beyond their rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from monitor.dashboard import details_room
from monitor.help import last_help_offset
from monitor.panes import last_details_offset
from monitor.priority import describe
from monitor.snapshot import ProcessRow
from monitor.table import COLUMNS
from monitor.view import (
    Action,
    Prompt,
    Quit,
    Redraw,
    Renice,
    Signal,
    View,
    lines,
    say,
    select,
    selected_line,
    settle,
)

PAGE_ROWS: Final = 10
PROMPT_CHARACTERS: Final = 40

SORT_KEYS: Final[tuple[str | None, ...]] = (None, *(column.key for column in COLUMNS))
"""None is the order in which the supervisor starts its children."""

_MOVES: Final[dict[str, int]] = {
    "up": -1,
    "k": -1,
    "down": 1,
    "j": 1,
    "page-up": -PAGE_ROWS,
    "page-down": PAGE_ROWS,
    "home": -(10**9),
    "g": -(10**9),
    "end": 10**9,
    "G": 10**9,
}

_ON_PROCESS: Final = frozenset("+=-nsK")


def press(view: View, key: str, width: int = 80, height: int = 24) -> tuple[View, Action | None]:
    """The view after a key of `monitor.keys`, and what is to be done. Keys without a meaning change nothing.

    `width` and `height` are the screen's: they say how far the help page and the details can be
    scrolled.
    """
    if view.prompt is not None:
        return _answer(replace(view, message=None), view.prompt, key)
    if view.help:
        return _read_help(view, key, width, height), None
    view = replace(view, message=None)
    if key in ("page-up", "page-down") and view.show_details:
        return _read_details(view, key, width, height), None
    if key in _MOVES:
        return _move(view, key), None
    if key in _ON_PROCESS:
        return _on_process(view, key)
    match key:
        case "q":
            return view, Quit()
        case "redraw":
            return view, Redraw()
        case "t":
            return settle(replace(view, tree=not view.tree)), None
        case "<" | ",":
            return _sort(view, -1), None
        case ">" | ".":
            return _sort(view, 1), None
        case "/":
            return replace(view, prompt=Prompt("filter", "filter: ", view.filter)), None
        case "p":
            return replace(view, paused=not view.paused), None
        case "d" | "enter":
            return replace(view, show_details=not view.show_details, details_offset=0), None
        case "?" | "h":
            return replace(view, help=True, help_offset=0), None
        case "escape":
            return _leave_innermost(view), None
    return view, None


def _move(view: View, key: str) -> View:
    shown = lines(view)
    if not shown:
        return view
    return select(view, shown, min(max(view.selected_index + _MOVES[key], 0), len(shown) - 1))


def _read_help(view: View, key: str, width: int, height: int) -> View:
    if key not in _MOVES:
        return replace(view, help=False)
    # From where the page stands: a resize may have shortened it since the last key.
    last = last_help_offset(view, width, height)
    offset = min(view.help_offset, last) + _MOVES[key]
    return replace(view, help_offset=min(max(offset, 0), last))


def _read_details(view: View, key: str, width: int, height: int) -> View:
    room = details_room(view, width, height)
    last = last_details_offset(view, width, room)
    page = max(room - 2, 1)  # the rule is none of it, and one line is seen again
    offset = min(view.details_offset, last) + (page if key == "page-down" else -page)
    return replace(view, details_offset=min(max(offset, 0), last))


def _sort(view: View, step: int) -> View:
    position = SORT_KEYS.index(view.sort) if view.sort in SORT_KEYS else 0
    return settle(replace(view, sort=SORT_KEYS[(position + step) % len(SORT_KEYS)]))


def _leave_innermost(view: View) -> View:
    if view.show_details:
        return replace(view, show_details=False)
    return settle(replace(view, filter=""))


def _on_process(view: View, key: str) -> tuple[View, Action | None]:
    line = selected_line(view)
    if line is None:
        return say(view, "no process to select", is_error=True), None
    row = line.row
    if line.departed:
        return say(view, f"{describe(row)} is gone", is_error=True), None
    if row.pid is None:
        return say(view, f"{row.name} has no process now: its restart waits for the back-off", is_error=True), None
    if row.stat.startswith("Z"):
        text = f"{describe(row)} is a zombie: dead already, it only waits for its parent, PID {row.ppid}, to reap it"
        return say(view, text, is_error=True), None
    match key:
        case "+" | "=":
            return view, Renice(row, 1, relative=True)
        case "-":
            return view, Renice(row, -1, relative=True)
        case "n":
            question = f"nice of {describe(row)}, now {row.nice}, to (-20 … 19): "
            return replace(view, prompt=Prompt("nice", question, row=row)), None
        case "s":
            return _stop_or_continue(view, row)
        case _:
            return replace(view, prompt=_kill_question(row)), None


def _stop_or_continue(view: View, row: ProcessRow) -> tuple[View, Action | None]:
    if row.stat.startswith("T"):
        return view, Signal(row, "SIGCONT")
    if row.role != "supervisor":
        return view, Signal(row, "SIGSTOP")
    question = f"stop {describe(row)}? Nobody is let in, and nothing is repaired, until it goes on [y/N] "
    return replace(view, prompt=Prompt("confirm", question, row=row, action=Signal(row, "SIGSTOP"))), None


def _kill_question(row: ProcessRow) -> Prompt:
    effect = {
        "supervisor": " This ends the broker.",
        "other": "",
    }.get(row.role, " The supervisor replaces it.")
    return Prompt("confirm", f"kill {describe(row)}?{effect} [y/N] ", row=row, action=Signal(row, "SIGKILL"))


def _answer(view: View, prompt: Prompt, key: str) -> tuple[View, Action | None]:
    """A key while a question stands in the message line."""
    if prompt.kind == "confirm":
        view = replace(view, prompt=None)
        return (view, prompt.action) if key in ("y", "Y") else (say(view, "nothing done"), None)
    if key == "escape":
        view = replace(view, prompt=None)
        return (settle(replace(view, filter="")) if prompt.kind == "filter" else view), None
    if key == "enter":
        view = replace(view, prompt=None)
        return _number_given(view, prompt) if prompt.kind == "nice" else (view, None)
    text = _edit(prompt, key)
    view = replace(view, prompt=replace(prompt, text=text))
    return (settle(replace(view, filter=text)) if prompt.kind == "filter" else view), None


def _edit(prompt: Prompt, key: str) -> str:
    if key == "backspace":
        return prompt.text[:-1]
    if key == "erase":
        return ""
    if len(key) != 1 or (prompt.kind == "nice" and key not in "+-0123456789"):
        return prompt.text
    return (prompt.text + key)[:PROMPT_CHARACTERS]


def _number_given(view: View, prompt: Prompt) -> tuple[View, Action | None]:
    assert prompt.row is not None
    if not prompt.text:
        return view, None
    try:
        nice = int(prompt.text)
    except ValueError:
        return say(view, f"{prompt.text} is not a number", is_error=True), None
    if not -20 <= nice <= 19:
        return say(view, f"{nice} is out of range: nice values go from -20 to 19", is_error=True), None
    return view, Renice(prompt.row, nice)
