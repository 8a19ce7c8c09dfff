"""Custody: the supervisor's duplicate of every client's socket, by session and by worker.

As long as the custodian holds a duplicate, a killed worker does not close its clients' connections, and its
replacement, which is forked from the custodian, is born with them; the other side of that is that nobody's `close()`
ends a connection, only `shutdown()` does. Descriptors are plain numbers here, so that no finalizer of a forked child
can close what it inherited. Not one byte is read or written.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

UNDECIDED: Final = -1
"""In place of a worker: nobody has chosen one yet."""


class Held(NamedTuple):
    """One client's socket, and what its worker has to know about it; `slot` is its place in the ledger.

    `peer` is printable and names the connection, `address` is what limits count by, `local` says AF_UNIX.
    """

    session: int
    slot: int
    fd: int
    listener: int
    peer: str
    address: str
    local: bool


class Descriptors:
    """All that is ever done to a client's descriptor here."""

    def duplicate(self, fd: int) -> int:
        """Another one for the same socket; OSError if there can be no more."""
        return os.dup(fd)

    def close(self, fd: int) -> None:
        """Let go of it; the connection goes on as long as somebody else has it."""
        os.close(fd)

    def shut_down(self, fd: int) -> None:
        """End the connection, whoever else has it."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


class Custody:
    """All client sockets. Sessions are numbered from 1 and a number is never used again; slots are."""

    def __init__(self, slots: int, descriptors: Descriptors) -> None:
        self._descriptors = descriptors
        self._held: dict[int, Held] = {}
        self._worker_of: dict[int, int] = {}
        self._sessions_of: dict[int, dict[int, None]] = {}
        self._last_session = 0
        self._free_slots = list(range(slots - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._held)

    @property
    def full(self) -> bool:
        """True when there is no slot left."""
        return not self._free_slots

    def take(self, fd: int, listener: int, peer: str, address: str, local: bool) -> Held:
        """Keep a socket that nobody has yet, under a new session number; IndexError if it is full."""
        slot = self._free_slots.pop()
        self._last_session += 1
        held = Held(self._last_session, slot, fd, listener, peer, address, local)
        self._held[held.session] = held
        self._put(held.session, UNDECIDED)
        return held

    def assign(self, session: int, worker: int) -> int:
        """From here on it is that worker's; returns whose it was."""
        before = self._worker_of[session]
        del self._sessions_of[before][session]
        self._put(session, worker)
        return before

    def get(self, session: int) -> Held | None:
        """What is held for the session; None if nothing is."""
        return self._held.get(session)

    def worker_of(self, session: int) -> int | None:
        """Whose it is; None if it is not here."""
        return self._worker_of.get(session)

    def release(self, sessions: Iterable[int], *, shut_down: bool = False) -> list[tuple[int, str]]:
        """Let go of sockets; returns (worker, address) of each. `shut_down` ends the connections as well."""
        released = []
        for session in sessions:
            held = self._held.pop(session, None)
            if held is None:
                continue
            worker = self._worker_of.pop(session)
            del self._sessions_of[worker][session]
            self._free_slots.append(held.slot)
            released.append((worker, held.address))
            if shut_down:
                self._descriptors.shut_down(held.fd)
            self._descriptors.close(held.fd)
        return released

    def held_of(self, worker: int) -> list[Held]:
        """All that one worker has, oldest first."""
        return [self._held[session] for session in self._sessions_of.get(worker, ())]

    def elsewhere(self, worker: int) -> frozenset[int]:
        """All sessions but those of one worker."""
        return frozenset(self._held.keys() - self._sessions_of.get(worker, {}).keys())

    @property
    def last_session(self) -> int:
        """The latest number that was given."""
        return self._last_session

    def count_of(self, worker: int) -> int:
        """How many sessions one worker has."""
        return len(self._sessions_of.get(worker, ()))

    def workers(self) -> list[int]:
        """Those that have sessions."""
        return [worker for worker, sessions in self._sessions_of.items() if sessions and worker != UNDECIDED]

    def census(self) -> tuple[dict[int, int], dict[str, int]]:
        """Connections by worker and by address, without those on which nothing has been decided."""
        workers = {worker: len(sessions) for worker, sessions in self._sessions_of.items() if worker != UNDECIDED}
        undecided = self._sessions_of.get(UNDECIDED, {})
        addresses = Counter(held.address for session, held in self._held.items() if session not in undecided)
        return workers, dict(addresses)

    def release_all(self) -> None:
        """End every connection."""
        self.release(list(self._held), shut_down=True)

    def _put(self, session: int, worker: int) -> None:
        self._worker_of[session] = worker
        self._sessions_of.setdefault(worker, {})[session] = None
