"""The event loop of every process: epoll, timers, and one hook at the end of each wake-up. Nothing more.

After Redis's `ae.c`: one table of handlers by descriptor, a heap of timers, and stale events are rechecked, so that a
handler may close any descriptor, even one whose event is still in the list at hand. Single-threaded; a handler that
blocks, blocks its process.
"""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

Handler = Callable[[int], None]
READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Multiplexer(Protocol):
    """What waits for many descriptors at once. `select.epoll` is one; masks, seconds and blocking below 0 are its."""

    def register(self, fd: int, events: int, /) -> None: ...
    def modify(self, fd: int, events: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout_seconds: float, /) -> list[tuple[int, int]]: ...


class Timer:
    """A call at a moment; `cancel()` forgets it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never call it; harmless when it has been called already."""
        self.callback = None


class Loop:
    """Calls `handler(events)` for each ready descriptor, timers when they are due, `after_wake_up` once at the end.

    It waits with epoll; experiments give it another `multiplexer`, to see what that is worth.
    """

    def __init__(self, multiplexer: Multiplexer | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._epoll: Multiplexer = select.epoll() if multiplexer is None else multiplexer
        self._monotonic = monotonic
        self._handlers: dict[int, Handler] = {}
        self._fresh: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._sequence = count()
        self._running = False
        self.after_wake_up: Callable[[], None] = lambda: None

    def register(self, fd: int, events: int, handler: Handler) -> None:
        """Watch a descriptor; `events` is an epoll mask."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler
        self._fresh.add(fd)

    def modify(self, fd: int, events: int) -> None:
        """Watch it for something else."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Stop watching it: before it is closed. Events of it that are already in hand are dropped."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once, after that many seconds."""
        timer = Timer(self._monotonic() + delay_seconds, callback)
        heapq.heappush(self._timers, (timer.when, next(self._sequence), timer))
        return timer

    def stop(self) -> None:
        """Leave `run` at the end of this wake-up."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            self.wake_up()

    def wake_up(self) -> None:
        """One turn: wait until something is ready or due, and see to it."""
        try:
            ready = self._epoll.poll(self._timeout())
        except InterruptedError:
            ready = []
        # A descriptor registered from now on may have the number of one that was closed: its event is not in `ready`.
        self._fresh.clear()
        for fd, events in ready:
            handler = self._handlers.get(fd)
            if handler is not None and fd not in self._fresh:
                handler(events)
        if self._timers:
            self._run_timers()
        self.after_wake_up()

    def _timeout(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self._monotonic()) if self._timers else -1

    def _run_timers(self) -> None:
        now = self._monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
