"""poll(2) and select(2) behind the interface that the broker's loop has for epoll(7), to be measured against it.

Runs in the server of `broker experiment io`. Both are told everything they are to watch anew with each call: that is
their nature, and what is measured.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
from collections.abc import Callable
from typing import Final

from broker.loop import READ, WRITE, Multiplexer


class PollMultiplexer:
    """poll(2): a list of all descriptors goes into the kernel, and comes back, with every call."""

    def __init__(self) -> None:
        self._poll = select.poll()
        # The masks of poll and epoll are the same numbers on Linux.
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout_seconds: float, /) -> list[tuple[int, int]]:
        """Wait; milliseconds rounded up, as epoll does."""
        return self._poll.poll(-1 if timeout_seconds < 0 else math.ceil(timeout_seconds * 1000))


class SelectMultiplexer:
    """select(2): a bit for each descriptor below FD_SETSIZE, 1,024; ValueError from `poll` for any other."""

    def __init__(self) -> None:
        self._readers: set[int] = set()
        self._writers: set[int] = set()

    def register(self, fd: int, events: int, /) -> None:
        """Watch a descriptor."""
        if events & READ:
            self._readers.add(fd)
        if events & WRITE:
            self._writers.add(fd)

    def modify(self, fd: int, events: int, /) -> None:
        """Watch it for something else."""
        self.unregister(fd)
        self.register(fd, events)

    def unregister(self, fd: int, /) -> None:
        """Stop watching it."""
        self._readers.discard(fd)
        self._writers.discard(fd)

    def poll(self, timeout_seconds: float, /) -> list[tuple[int, int]]:
        """Wait."""
        timeout = None if timeout_seconds < 0 else timeout_seconds
        readable, writable, _ = select.select(self._readers, self._writers, [], timeout)
        events = dict.fromkeys(readable, READ)
        for fd in writable:
            events[fd] = events.get(fd, 0) | WRITE
        return list(events.items())


MULTIPLEXERS: Final[dict[str, Callable[[], Multiplexer]]] = {
    "select": SelectMultiplexer,
    "poll": PollMultiplexer,
    "epoll": select.epoll,
}


def why_not(name: str, highest_fd: int) -> str | None:
    """What the multiplexer says to a descriptor of that number; None if it takes it. It is tried, not looked up."""
    reader, writer = os.pipe()
    try:
        fd = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, highest_fd)
        try:
            multiplexer = MULTIPLEXERS[name]()
            multiplexer.register(fd, READ)
            multiplexer.poll(0)
        finally:
            os.close(fd)
    except OSError as error:  # EINVAL: beyond RLIMIT_NOFILE
        return f"descriptor {highest_fd} cannot be had: {error.strerror}"
    except ValueError as error:
        return str(error)
    finally:
        os.close(reader)
        os.close(writer)
    return None
