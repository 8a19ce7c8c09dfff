"""A real terminal for tests: a command runs in a pty, below a shell, and what it draws is read as a person would."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect
import psutil
import pyte

from tests.running import is_gone, wait_until

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 20.0

# `set -m` gives the command a process group of its own, as an interactive shell does; else Ctrl-Z would do nothing.
_SHELL = 'set -m; echo "before=$(stty -g)"; {command}; echo "status=$?"; echo "after=$(stty -g)"; {then}'


def broker_command(*arguments: str) -> list[str]:
    """The command line of `broker …`."""
    return [sys.executable, "-m", "broker", *arguments]


class Terminal:
    """A terminal in which a shell runs one command, tells the terminal's settings before and after, and ends.

    `screen` is what is to be seen, `raw` every byte that was written. Pressing a key and waiting for what it does is
    all that tests need; whatever does not happen in time is an AssertionError with the screen in it.
    """

    def __init__(
        self,
        command: Sequence[str],
        columns: int = 100,
        lines: int = 30,
        redirect: str = "",
        then: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        script = _SHELL.format(command=f"{shlex.join(command)} {redirect}", then=then)
        variables = {"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})}
        self.shell: pexpect.spawn[bytes] = pexpect.spawn(
            "/bin/sh", ["-c", script], dimensions=(lines, columns), cwd=str(ROOT), env=variables, timeout=None
        )
        self.shell.delaybeforesend = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            processes = [psutil.Process(self.shell.pid), *psutil.Process(self.shell.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            processes = []
        for process in processes:
            process.kill()
        if not self.shell.closed:
            self.shell.close(force=True)
        for process in processes[:1]:  # ours to be reaped; the others are left to PID 1, which may take its time
            process.wait(DEADLINE_SECONDS)
        wait_until(lambda: all(is_gone(process.pid) for process in processes), "all processes are gone")

    @property
    def process(self) -> psutil.Process:
        """The command's process, once the shell has started it."""
        self.wait_for(lambda: self._children(), "the command is started")
        found: psutil.Process = self._children()[0]
        return found

    def _children(self) -> list[Any]:
        found = psutil.Process(self.shell.pid).children()
        return [process for process in found if process.name() != "stty"]

    def press(self, *keys: str) -> None:
        """Type."""
        for key in keys:
            self.shell.send(key)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size; the kernel tells the command with SIGWINCH."""
        self.screen.resize(lines, columns)
        self.shell.setwinsize(lines, columns)

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        self.shell.ptyproc.fileobj.close()  # type: ignore[attr-defined]  # the stubs do not know it
        self.shell.closed = True

    def wait_for(self, condition: str | Callable[[], Any], what: str = "") -> None:
        """Read until a text is on the screen, or a condition holds."""
        holds = (lambda: condition in self.text()) if isinstance(condition, str) else condition
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"not in time: {what or condition}\n{self.text()}"
            assert self._read() or holds(), f"the command ended before: {what or condition}\n{self.text()}"

    def wait_until_gone(self, text: str) -> None:
        """Read until a text is not on the screen any more."""
        self.wait_for(lambda: text not in self.text(), f"{text!r} disappears")

    def wait_for_end(self) -> str:
        """Read until the shell has ended; everything that came since the alternate screen was left."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._read():
            assert time.monotonic() < deadline, f"it does not end\n{self.text()}"
        return self.raw.rpartition(b"\x1b[?1049l")[2].decode()

    def _read(self) -> bool:
        """Take what has been written, waiting a moment for it; False once the terminal is closed."""
        try:
            data = self.shell.read_nonblocking(65536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True

    def lines(self) -> list[str]:
        """The lines of the screen, without blanks at their ends."""
        return [line.rstrip() for line in self.screen.display]

    def text(self) -> str:
        """The screen."""
        return "\n".join(self.lines())

    def line_with(self, text: str) -> str:
        """The first line with that text."""
        return next(line for line in self.lines() if text in line)

    def colours_of(self, text: str) -> set[str]:
        """The colours in the first line with that text, of what is neither blank nor a branch of the tree."""
        number = next(number for number, line in enumerate(self.screen.display) if text in line)
        return {cell.fg for cell in self.screen.buffer[number].values() if cell.data.strip(" │├└─")}

    def assert_restored(self, status: int) -> str:
        """The command has ended with `status` and has left the terminal as it found it; what it printed at the end."""
        rest = self.wait_for_end()
        raw = self.raw.decode()
        assert f"status={status}\r\n" in rest, rest
        before, after = re.findall(r"(?:before|after)=(\S+)", raw)
        assert before == after, "the terminal's settings differ"
        assert raw.count("\x1b[?1049h") == raw.count("\x1b[?1049l") >= 1, "the alternate screen was not left"
        assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l"), "the cursor is hidden"
        return rest
