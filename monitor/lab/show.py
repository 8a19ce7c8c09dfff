"""How a lab talks: in English, Chinese or both, with tables, and with the lines of `ps` to check it by.

Runs in the process of `broker lab`; knows nothing of what it shows.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.state_dir import running_pid
from monitor import procfs
from monitor.lab.stage import LabError, Stage
from monitor.lab.words import CHECK, GONE, NO_BROKER, WATCH, Language, Words
from monitor.procfs import ProcessStat
from monitor.table import printable

_PLAIN_WIDTH = 160
"""Columns of what goes into a pipe or a file."""


class Show:
    """Prints on the standard output."""

    def __init__(self, name: str, language: Language, state_dir: Path) -> None:
        self.name = name
        self.language = language
        self.state_dir = state_dir
        console = Console(highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            console = Console(highlight=False, markup=False, emoji=False, width=_PLAIN_WIDTH)
        self._console = console

    def say(self, words: Words, style: str = "") -> None:
        """A paragraph."""
        for line in words.lines(self.language):
            self._console.print(Text(printable(line), style=style))

    def line(self, text: str) -> None:
        """A line that needs no translation: figures, a command, what a process said."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str | Words]]) -> None:
        """Rows under headings; words fill what is left of the width."""
        made = Table(box=None, pad_edge=False, padding=(0, 1))
        for heading in headings:
            made.add_column(heading, overflow="fold", no_wrap=bool(heading))
        for row in rows:
            made.add_row(*(self._cell(cell) for cell in row))
        self._console.print(made)

    def _cell(self, cell: str | Words) -> Text:
        lines = [cell] if isinstance(cell, str) else cell.lines(self.language)
        return Text("\n".join(map(printable, lines)))

    def check(self, command: str) -> None:
        """A command to check by, and what it prints now."""
        self.say(CHECK, "bold")
        self.line(f"$ {command}")
        sys.stdout.flush()
        try:
            done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return  # there is no ps: the line is still right
        for line in done.stdout.splitlines():
            self.line(line)

    def watch(self, stage: Stage) -> None:
        """Where else it is to be seen, and for how long."""
        if running_pid(self.state_dir) is None:
            self.say(NO_BROKER.format(state_dir=self.state_dir, seconds=stage.seconds))
        else:
            self.say(WATCH.format(name=f"lab-{self.name}", seconds=stage.seconds))
        sys.stdout.flush()

    def gone(self) -> None:
        """The end."""
        self.say(GONE)

    @staticmethod
    def process(pid: int) -> ProcessStat:
        """What the kernel says of a process; LabError if it has ended meanwhile."""
        process = procfs.process_stat(pid)
        if process is None:
            raise LabError(f"PID {pid} ended before its time")
        return process
