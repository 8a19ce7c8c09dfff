"""The acceptor process: accepts connections, enforces the limits on their number, chooses a worker for each.

Hands every accepted socket to the supervisor, who keeps a duplicate and passes it on. Never reads from a client; what
it may write is one line to somebody it turns away. It counts connections by what it accepted and what the supervisor
says was released, so a replacement starts from the supervisor's census.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any, Final

from broker.errors import LocalProtocolError
from broker.linux import peer_credentials
from broker.listeners import Listener
from broker.loop import READ
from broker.messages import ACCEPTED, CENSUS, MOVED, RELEASED, WORKERS
from broker.phrases import ADDRESS_FULL, SERVER_FULL, Phrase
from workers.harness import Birth, ChildProcess

_ACCEPTS_PER_WAKE_UP: Final = 64
_PAUSE_SECONDS: Final = 0.2
_OUTBOX_BYTES_TO_WAIT_AT: Final = 64 * 1024
_NOT_THIS_ONE: Final = {errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.EHOSTDOWN,
                        errno.ENOPROTOOPT, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH}  # fmt: skip
"""Errors of a connection that died while it waited (accept(2), "Error handling"): take the next one."""


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
        self._accepting = False
        self._paused = False
        self._sockets = [
            (index, listener, socket.socket(fileno=listener.fd)) for index, listener in enumerate(birth.listeners)
        ]

    def counters(self) -> dict[str, int]:
        return {"sessions": self.total, "messages_in": self._accepted, "messages_out": self._refused}

    def on_message(self, message: tuple[Any, ...]) -> None:
        if message[0] == RELEASED:
            for worker, address in message[1]:
                self._release(worker, address)
        elif message[0] == WORKERS:
            self.available = message[1]
        elif message[0] == MOVED:
            _, source, destination = message
            self._count_worker(source, -1)
            self._count_worker(destination, +1)
        elif message[0] == CENSUS:
            _, self.workers, self.addresses = message
            self.total = sum(self.addresses.values())
        else:
            raise LocalProtocolError(f"an acceptor does not know the message {message[0]!r}")

    def after_wake_up(self) -> None:
        # Without a worker, or while the supervisor is behind, clients wait in the kernel's backlog.
        behind = self.control.outbox_bytes >= _OUTBOX_BYTES_TO_WAIT_AT
        self._set_accepting(bool(self.available) and not behind and not self._paused)

    def _set_accepting(self, accepting: bool) -> None:
        if accepting == self._accepting:
            return
        self._accepting = accepting
        for index, listener, sock in self._sockets:
            if accepting:
                self.loop.register(sock.fileno(), READ, self._acceptor_of(index, listener, sock))
            else:
                self.loop.unregister(sock.fileno())

    def _acceptor_of(self, index: int, listener: Listener, sock: socket.socket) -> Any:
        def accept(_events: int) -> None:
            for _ in range(_ACCEPTS_PER_WAKE_UP):
                if not self.available:  # the news has come in this very wake-up
                    return
                try:
                    connection, peer = sock.accept()
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno in _NOT_THIS_ONE:
                        continue
                    self.log("warning", f"cannot accept on {listener.url}: {error.strerror}; trying again shortly")
                    self._pause()
                    return
                self._admit(index, connection, peer)

        return accept

    def _admit(self, index: int, connection: socket.socket, peer: Any) -> None:
        address, name = _describe(connection, peer)
        settings = self.settings
        if self.total >= settings.max_connections:
            self._refuse(connection, SERVER_FULL, settings.max_connections)
            return
        if self.addresses.get(address, 0) >= settings.max_connections_per_address:
            self._refuse(connection, ADDRESS_FULL, settings.max_connections_per_address)
            return
        if connection.family != socket.AF_UNIX:
            # Batching is done by the worker; Nagle's algorithm would only add its delay.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        worker = min(self.available, key=lambda index: self.workers.get(index, 0))
        self._count_worker(worker, +1)
        self.addresses[address] = self.addresses.get(address, 0) + 1
        self.total += 1
        self._accepted += 1
        self.tell_supervisor((ACCEPTED, worker, index, name, address), [connection.detach()])

    def _refuse(self, connection: socket.socket, reason: Phrase, limit: int) -> None:
        self._refused += 1
        with contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.send(reason.fill(self.settings.lang, limit=limit).encode() + b"\n")
        connection.close()

    def _release(self, worker: int, address: str) -> None:
        self._count_worker(worker, -1)
        left = self.addresses.get(address, 0) - 1
        if left > 0:
            self.addresses[address] = left
        else:
            self.addresses.pop(address, None)
        self.total -= 1

    def _pause(self) -> None:
        """Out of descriptors or memory: a listener that stays readable must not make this loop spin."""
        self._paused = True

        def go_on() -> None:
            self._paused = False

        self.loop.call_later(_PAUSE_SECONDS, go_on)

    def _count_worker(self, worker: int, change: int) -> None:
        self.workers[worker] = self.workers.get(worker, 0) + change


def _describe(connection: socket.socket, peer: Any) -> tuple[str, str]:
    """What limits count by, and a printable name of the connection."""
    if connection.family == socket.AF_UNIX:
        pid, uid = peer_credentials(connection)
        return f"uid {uid}", f"uid {uid} pid {pid}"
    host, port = peer[0], peer[1]
    host = host.removeprefix("::ffff:") if "." in host else host
    return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
