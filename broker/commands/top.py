"""Live dashboard of the broker's processes: how they are, what happened to them, and keys to act on them.

`?` in the dashboard explains its keys and figures. It needs no healthy supervisor: STAT, priorities, memory and CPU
come from /proc. Whatever it does to a process it does with your own permissions. Without a terminal it prints one
table; `broker ps --json` is the same for programs.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from broker.commands.arguments import add_state_dir
from broker.commands.ps import look
from monitor import stand_ins, top
from monitor.dashboard import once
from monitor.picture import save
from monitor.view import View, observe

SHORTEST_REFRESH_SECONDS = 0.1
LONGEST_REFRESH_SECONDS = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `broker top`."""
    parser.add_argument(
        "--refresh", metavar="SECONDS", type=_refresh_seconds, default=1.0,
        help="time between two looks (default: %(default)g)",
    )  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--once", action="store_true", help="print one table and end, as it does when piped")
    form.add_argument("--svg", metavar="FILE", type=Path, help="save one picture of the dashboard and end")
    add_state_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show, print or save; NotRunningError if no broker runs."""
    if arguments.svg is not None:
        save(observe(View(), look(arguments.state_dir)), arguments.svg)
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=stand_ins.ERRORS)  # a terminal without UTF-8 gets an ASCII tree
    console = Console(highlight=False, markup=False, emoji=False)
    if not arguments.once and console.is_terminal and not console.is_dumb_terminal:
        with _keyboard_fd() as fd:
            if fd is not None:
                return top.run(arguments.state_dir, arguments.refresh, fd)
    view = observe(View(), look(arguments.state_dir))
    if console.is_terminal:
        console.print(once(view, console.width), end="")
    else:
        print("\n".join(once(view).text()))
    return 0


@contextmanager
def _keyboard_fd() -> Iterator[int | None]:
    """The terminal that keys come from: standard input, or if that is something else, the controlling terminal."""
    if sys.stdin is not None and sys.stdin.isatty():
        yield sys.stdin.fileno()
        return
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _refresh_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST_REFRESH_SECONDS <= seconds <= LONGEST_REFRESH_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from {SHORTEST_REFRESH_SECONDS:g} to {LONGEST_REFRESH_SECONDS:g}"
        )
    return seconds
