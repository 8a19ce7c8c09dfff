"""Custody: the supervisor's duplicate of every client's socket, by session and by worker.

As long as the custodian holds a duplicate, a killed worker does not close its clients' connections; the other side of
that is that nobody's `close()` ends a connection, only `shutdown()` does. Descriptors are plain numbers here, so that
no finalizer of a forked child can close what it inherited. Not one byte is read or written.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Held(NamedTuple):
    """One client's socket, and what its worker has to know about it."""

    fd: int
    listener: int
    peer: str
    address: str


class Custody:
    """All client sockets. Sessions are numbered from 1 and a number is never used again."""

    def __init__(self) -> None:
        self._held: dict[int, Held] = {}
        self._worker_of: dict[int, int] = {}
        self._sessions_of: dict[int, dict[int, None]] = {}
        self._last_session = 0

    def __len__(self) -> int:
        return len(self._held)

    def take(self, held: Held, worker: int) -> int:
        """Keep a socket that is going to a worker; returns its new session number."""
        self._last_session += 1
        session = self._last_session
        self._held[session] = held
        self._assign(session, worker)
        return session

    def release(self, sessions: Iterable[int], *, shut_down: bool = False) -> list[tuple[int, str]]:
        """Let go of sockets; returns (worker, address) of each. `shut_down` ends the connections as well."""
        released = []
        for session in sessions:
            held = self._held.pop(session, None)
            if held is None:
                continue
            worker = self._worker_of.pop(session)
            del self._sessions_of[worker][session]
            released.append((worker, held.address))
            if shut_down:
                _shut_down(held.fd)
            os.close(held.fd)
        return released

    def sessions_of(self, worker: int) -> list[int]:
        """The sessions of one worker, oldest first."""
        return list(self._sessions_of.get(worker, ()))

    def count_of(self, worker: int) -> int:
        """How many sessions one worker has."""
        return len(self._sessions_of.get(worker, ()))

    def census(self) -> tuple[dict[int, int], dict[str, int]]:
        """Connections by worker and by address."""
        workers = {worker: len(sessions) for worker, sessions in self._sessions_of.items()}
        return workers, dict(Counter(held.address for held in self._held.values()))

    def release_all(self) -> None:
        """End every connection."""
        self.release(list(self._held), shut_down=True)

    def _assign(self, session: int, worker: int) -> None:
        self._worker_of[session] = worker
        self._sessions_of.setdefault(worker, {})[session] = None


def _shut_down(fd: int) -> None:
    with contextlib.suppress(OSError):
        duplicate = socket.socket(fileno=os.dup(fd))
        with duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
