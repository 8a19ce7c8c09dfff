"""The help page of `broker top`: its keys, its figures, the letters of STAT. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor.canvas import Line
from monitor.legend import FLAGS, STATES
from monitor.panes import BOLD, footer, labelled, rule
from monitor.view import View

KEYS: Final = (
    ("↑ ↓  j k", "select a process; PgUp PgDn, Home End (or g G) go further"),
    ("+  -", "one nicer, or less nice: the nicer, the less CPU if others want it"),
    ("n", "set its nice value, -20 (greedy) to 19 (humble), on all its threads"),
    ("s", "stop it (SIGSTOP), or let a stopped one go on (SIGCONT)"),
    ("K", "kill it (SIGKILL) after asking; the supervisor replaces its own"),
    ("d  Enter", "details: threads, scheduling groups, descriptors, STAT in words; PgUp PgDn scroll them"),
    ("t", "tree or flat list"),
    ("<  >", "sort by the next column to the left or right; first: order of start"),
    ("/", "show only matching names, roles, PIDs, STATs; Esc shows all again"),
    ("p", "pause: nothing moves until p is pressed again"),
    ("Ctrl-L", "draw the screen anew"),
    ("q  Ctrl-C", "quit"),
)

FIGURES: Final = (
    ("ZOMBIES", "dead children that the process has not reaped"),
    ("CPU%", "time on a CPU, of one core"),
    ("WAIT%", "time ready to run but waiting for a CPU: what nice is about"),
    ("IN/s OUT/s", "lines from and to clients, counted at each heartbeat"),
)


def help_room(view: View, width: int, height: int) -> int:
    """How many lines of the page a screen of that size shows: all that the footer leaves."""
    return max(height - len(footer(view, width, height)), 0)


def last_help_offset(view: View, width: int, height: int) -> int:
    """How far the page can be scrolled on a screen of that size: its last line is the last one shown then."""
    return max(len(help_page(width)) - help_room(view, width, height), 0)


def help_page(width: int, refresh_seconds: float = 1.0) -> list[Line]:
    """All of the page; who draws it shows as much as there is room for."""
    letters = (*STATES.items(), *FLAGS.items())
    rows = [rule("keys", width, "↑↓ scroll, any other key closes this", "↑↓ scroll"), *_list(KEYS, width), []]
    rows += [rule("figures", width, f"every {refresh_seconds:g} s"), *_list(FIGURES, width), []]
    return [*rows, rule("STAT", width), *_list(letters, width)]


def _list(entries: Iterable[tuple[str, str]], width: int) -> list[Line]:
    return [line for name, text in entries for line in labelled(name, [text], width, BOLD)]
