"""The acceptor process: sees who wants to connect, enforces the limits on their number, chooses a worker for each.

It decides, and the supervisor carries out: the very `accept()` is the supervisor's, because a connection that only this
process had would be gone with it. So whoever has been accepted is in custody from the first moment, and a replacement
gets those on whom nothing has been decided. Never reads from a client; what it may write is one line to somebody it
turns away. It counts connections by what it assigned and what the supervisor says was released.
"""

from __future__ import annotations

import contextlib
import math
import socket
from typing import Any, Final

from broker import faults
from broker.errors import LocalProtocolError
from broker.loop import READ, Timer
from broker.messages import ASSIGN, CENSUS, MOVED, REFUSE, REFUSED, RELEASED, TAKE, TAKEN, WORKERS
from broker.phrases import ADDRESS_FULL, SERVER_FULL
from broker.protocols import PROTOCOLS
from workers.harness import Birth, ChildProcess

_CONNECTIONS_AT_ONCE: Final = 64
_CONNECTIONS_AT_ONCE_BESIDE_TALK: Final = 4
_CONNECTIONS_PER_SECOND_BESIDE_TALK: Final = 1500.0
"""While people talk, a crowd that comes waits in the kernel's queue for so long that it does not take the CPUs from
them: otherwise a line took twice as long in a storm of connections (docs/performance.md). Where nobody talks nobody is
held up, and whoever is turned away does not count: they would keep the others out.
"""
_TROUBLE_PAUSE_SECONDS: Final = 0.2


class AcceptorProcess(ChildProcess):
    """`acceptor-N`."""

    inherits_listeners = True

    def __init__(self, birth: Birth) -> None:
        super().__init__(birth)
        self.available: list[int] = []  # workers that take connections
        self.workers: dict[int, int] = {}  # connections by worker
        self.addresses: dict[str, int] = {}  # connections by address
        self.total = 0
        self._accepted = 0
        self._refused = 0
        self._reasons: dict[int, bytes] = {}  # what to say to whom
        self._watched: set[int] = set()  # listeners, by index
        self._asked: set[int] = set()  # those whose connections are being taken
        self._closed_until = -math.inf  # in monotonic seconds
        self._reopening: Timer | None = None  # while there is one, nobody is taken
        self._at_once = _CONNECTIONS_AT_ONCE

    def counters(self) -> dict[str, int]:
        return {"sessions": self.total, "messages_in": self._accepted, "messages_out": self._refused}

    def on_message(self, message: tuple[Any, ...]) -> None:
        if message[0] == TAKEN:
            _, listener, connections, trouble, talking = message
            let_in = self._on_taken(listener, connections, trouble)
            self._at_once = _CONNECTIONS_AT_ONCE_BESIDE_TALK if talking else _CONNECTIONS_AT_ONCE
            if talking and let_in:
                self._pause(let_in / _CONNECTIONS_PER_SECOND_BESIDE_TALK)
        elif message[0] == RELEASED:
            for worker, address in message[1]:
                self._release(worker, address)
        elif message[0] == WORKERS:
            self.available = message[1]
        elif message[0] == MOVED:
            _, source, destination = message
            self._count_worker(source, -1)
            self._count_worker(destination, +1)
        elif message[0] == REFUSED:
            self._turn_away(message[1], self.control.take_descriptor())
        elif message[0] == CENSUS:
            _, self.workers, self.addresses = message
            self.total = sum(self.addresses.values())
        else:
            raise LocalProtocolError(f"an acceptor does not know the message {message[0]!r}")

    def after_wake_up(self) -> None:
        # Without a worker clients wait in the kernel's backlog.
        is_open = bool(self.available) and self._reopening is None
        for index, listener in enumerate(self.birth.listeners):
            self._watch(index, listener.fd, is_open and index not in self._asked)

    def _watch(self, index: int, fd: int, wanted: bool) -> None:
        if wanted == (index in self._watched):
            return
        if wanted:
            self._watched.add(index)
            self.loop.register(fd, READ, lambda _events: self._ask(index))
        else:
            self._watched.discard(index)
            self.loop.unregister(fd)

    def _ask(self, listener: int) -> None:
        """Somebody waits there: have the supervisor take them, and look no further until it has."""
        self._asked.add(listener)
        if faults.ENABLED:
            faults.point("acceptor.asking")
        self.tell_supervisor((TAKE, listener, self._at_once))
        if faults.ENABLED:
            faults.point("acceptor.asked")

    def _on_taken(self, listener: int, connections: list[tuple[int, str]], trouble: str | None) -> int:
        """Decide about these; returns how many are let in."""
        self._asked.discard(listener)
        assigned = []
        if faults.ENABLED and connections:
            faults.point("acceptor.taken")
        for session, address in connections:
            reason = self._reason_against(address, listener)
            # Also those who are to be refused are counted until they are released.
            self.addresses[address] = self.addresses.get(address, 0) + 1
            self.total += 1
            if reason is not None:
                self._refused += 1
                self._reasons[session] = reason
                self.tell_supervisor((REFUSE, session))
                if faults.ENABLED:
                    faults.point("acceptor.refused")
                continue
            self._accepted += 1
            worker = min(self.available, key=lambda index: self.workers.get(index, 0)) if self.available else 0
            self._count_worker(worker, +1)
            assigned.append((session, worker))
        if assigned:
            if faults.ENABLED:
                faults.point("acceptor.decided")
            self.tell_supervisor((ASSIGN, assigned))
            if faults.ENABLED:
                faults.point("acceptor.assigned")
        if trouble is not None:
            self.log(
                "warning", f"cannot accept on {self.birth.listeners[listener].url}: {trouble}; trying again shortly"
            )
            # A listener that stays readable must not make this loop spin.
            self._pause(_TROUBLE_PAUSE_SECONDS)
        return len(assigned)

    def _reason_against(self, address: str, listener: int) -> bytes | None:
        settings = self.settings
        if self.total >= settings.max_connections:
            text = SERVER_FULL.fill(settings.lang, limit=settings.max_connections)
        elif settings.is_exempt(address):
            return None
        elif self.addresses.get(address, 0) >= settings.max_connections_per_address:
            text = ADDRESS_FULL.fill(settings.lang, limit=settings.max_connections_per_address)
        else:
            return None
        return PROTOCOLS[self.birth.listeners[listener].url.protocol].turned_away(text)

    def _turn_away(self, session: int, fd: int) -> None:
        with socket.socket(fileno=fd) as connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            if faults.ENABLED:
                faults.point("acceptor.turning-away")
            connection.send(self._reasons.pop(session, b""))
            connection.shutdown(socket.SHUT_WR)
            if faults.ENABLED:
                faults.point("acceptor.turned-away")

    def _release(self, worker: int, address: str) -> None:
        self._count_worker(worker, -1)
        left = self.addresses.get(address, 0) - 1
        if left > 0:
            self.addresses[address] = left
        else:
            self.addresses.pop(address, None)
        self.total -= 1

    def _pause(self, seconds: float) -> None:
        """Take nobody for so long, after as long as an earlier pause lasts: there may be several listeners."""
        now = self.platform.monotonic()
        self._closed_until = max(self._closed_until, now) + seconds
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = self.loop.call_later(self._closed_until - now, self._reopen)

    def _reopen(self) -> None:
        self._reopening = None  # the end of this turn looks at the listeners

    def _count_worker(self, worker: int, change: int) -> None:
        if worker >= 0:  # it was never assigned
            self.workers[worker] = self.workers.get(worker, 0) + change
