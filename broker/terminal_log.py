"""Writing to a terminal or a pipe that somebody may have stopped reading, without ever waiting for them.

The supervisor runs this: a Ctrl-S in its terminal, or a pipe that nobody drains, must not stop supervision. What cannot
be written now is dropped, counted, and said once there is room again. The descriptor is shared with whoever started
the broker, so it is not made non-blocking; it is asked first.
"""

from __future__ import annotations

import logging
import os
import select
from typing import Final

_ATOMIC_BYTES: Final = 4096
"""A pipe that is writable takes this much without blocking (pipe(7), PIPE_BUF); a terminal's buffer is larger."""


def write_if_possible(fd: int, text: str) -> bool:
    """Write all of a short text, or nothing of it; what is longer than an atomic write is written piece by piece."""
    data = text.encode(errors="replace")
    while data:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        if not any(events & select.POLLOUT for _, events in poll.poll(0)):
            return False
        try:
            data = data[os.write(fd, data[:_ATOMIC_BYTES]) :]
        except OSError:
            return False
    return True


class TerminalLogHandler(logging.Handler):
    """A logging handler for descriptor `fd` that drops records rather than wait."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, after a word about those that were dropped before it."""
        line = self.format(record) + "\n"
        if self.dropped:
            line = f"({self.dropped} lines were dropped: nobody read them; `broker events` has them)\n{line}"
        if write_if_possible(self.fd, line):
            self.dropped = 0
        else:
            self.dropped += 1
