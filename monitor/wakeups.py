"""Signals as something to wait for: while entered, each one that was named only makes a descriptor readable.

Runs in the main thread of `broker top`, for the sake of `select`; what was there before is put back on leaving. A
signal handler that raises can do so anywhere, between a terminal's entering and the note that it was entered too.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any


class Wakeups:
    """A descriptor `fd` that is readable when one of `signals` has come, and `take`, which says which."""

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self.signals = tuple(signals)
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self.fd = self._receiver.fileno()
        self._handlers: dict[signal.Signals, Any] = {}
        self._fd_before = -1

    def __enter__(self) -> Wakeups:
        self._fd_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _note) for number in self.signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._receiver.close()
        self._sender.close()

    def take(self) -> list[signal.Signals]:
        """Which of the signals came since the last time, in order."""
        try:
            numbers = self._receiver.recv(4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in self.signals]

    def stop_here(self, number: signal.Signals) -> None:
        """Let a stop signal stop this process after all; returns when it is continued."""
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    """Nothing: the interpreter has written the number into the wake-up descriptor."""
