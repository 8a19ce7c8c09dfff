"""Errands: slow work that the supervisor or the router want done, in a short-lived process of its own.

Runs in the supervisor, which never waits: the answer comes through its loop. The process closes all that it inherited,
dies with its parent, and is killed when it takes too long.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from broker.linux import die_with_parent
from broker.loop import READ, Loop

_READ_BYTES = 65536


class Errand:
    """One process that does `work`; `done` gets what that returned, as JSON would have it, or None if it failed."""

    def __init__(
        self, loop: Loop, work: Callable[[], Any], done: Callable[[Any], None], timeout_seconds: float = 20.0
    ) -> None:
        """Begin it; OSError if there can be no process."""
        self._loop = loop
        self._done = done
        self._answer = b""
        parent = os.getpid()
        self._reader, writer = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self._reader)
            os.close(writer)
            raise
        if self.pid == 0:
            _run(work, writer, parent)
        os.close(writer)
        self._pidfd = os.pidfd_open(self.pid)
        loop.register(self._reader, READ, self._on_answer)
        self._timer = loop.call_later(timeout_seconds, self._kill)

    def _on_answer(self, _events: int) -> None:
        data = os.read(self._reader, _READ_BYTES)
        if data:
            self._answer += data
            return
        self._loop.unregister(self._reader)
        os.close(self._reader)
        self._timer.cancel()
        self._kill()  # it has said all that it had to say
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        try:
            answer = json.loads(self._answer)
        except ValueError:
            answer = None
        self._done(answer)

    def _kill(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def _run(work: Callable[[], Any], writer: int, parent: int) -> None:
    """The whole life of the process; never returns."""
    try:
        if die_with_parent(parent):
            os.closerange(3, writer)
            os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            with os.fdopen(writer, "wb") as answer:
                answer.write(json.dumps(work()).encode())
    finally:
        os._exit(0)
