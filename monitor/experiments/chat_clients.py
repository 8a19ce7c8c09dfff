"""Clients of the chat for load processes: connected and entered many at a time, then written to without blocking.

Runs in the load processes. It knows the few lines of docs/chat-protocol.md that it takes to enter a room, and not what
is said there.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from broker.text import clean, decode
from broker.urls import parse_listener_url
from monitor.experiments.conductor_line import Conductor
from monitor.experiments.placement import ExperimentError

ENTER_SECONDS: Final = 60.0
_AT_ONCE: Final = 64
_CONNECT_SECONDS: Final = 20.0
_READ_BYTES: Final = 1 << 16


class ChatClient:
    """One connection. What the kernel does not take at once is kept and sent by `flush`."""

    def __init__(self, url: str, name: str) -> None:
        """Connect; ExperimentError if that cannot be."""
        self.name = name
        where = parse_listener_url(url)
        try:
            if where.path is not None:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.settimeout(_CONNECT_SECONDS)
                self.socket.connect(where.path)
            else:
                self.socket = socket.create_connection((where.host, where.port), _CONNECT_SECONDS)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise ExperimentError(f"a client of the load cannot connect to {url}: {error.strerror or error}") from None
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.received = b""
        self.unsent = b""

    @property
    def port(self) -> int:
        """Its own TCP port; 0 for a local socket."""
        return int(self.socket.getsockname()[1]) if self.socket.family != socket.AF_UNIX else 0

    def send(self, data: bytes) -> None:
        """Send, as far as the kernel takes it."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what is left."""
        if not self.unsent:
            return
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            raise self._lost() from None

    def receive(self) -> bytes:
        """What has come, nothing if nothing has; ExperimentError if the connection is over."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            raise self._lost()
        return data

    def _lost(self) -> ExperimentError:
        said = clean(decode(self.received[-200:])).strip()
        return ExperimentError(f"the broker closed the connection of a client of the load: {said or 'without a word'}")


def enter(clients: Sequence[ChatClient], rooms: Sequence[str]) -> None:
    """Give each client its name and its room, in this order; ExperimentError if one does not get in."""
    waiting = deque(zip(clients, rooms, strict=True))
    entering: dict[int, tuple[ChatClient, bytes]] = {}
    poll = select.poll()
    deadline = time.monotonic() + ENTER_SECONDS
    while waiting or entering:
        while waiting and len(entering) < _AT_ONCE:
            client, room = waiting.popleft()
            client.send(f"/lang en\n{client.name}\n/join {room}\n".encode())
            entering[client.fd] = client, room.encode()
            poll.register(client.fd, select.POLLIN)
        for fd, _ in poll.poll(1000):
            client, room_bytes = entering[fd]
            client.received += client.receive()
            lines, end, rest = client.received.rpartition(b"\n")
            # The wording is not fixed; but nobody else speaks of this room before one is in it.
            if any(line.startswith(b"* ") and room_bytes in line for line in lines.split(b"\n")):
                del entering[fd]
                poll.unregister(fd)
                client.received = rest if end else client.received
        if time.monotonic() > deadline:
            raise ExperimentError(f"{len(entering) + len(waiting)} clients did not get in within {ENTER_SECONDS:g} s")


def chosen(clients: Sequence[ChatClient], count: int, conductor: Conductor) -> list[ChatClient]:
    """Let the conductor choose so many among the connected ones, by their ports; the others are closed."""
    conductor.say("connected", [client.port for client in clients])
    wanted = conductor.hear()[1][:count]
    for index in set(range(len(clients))).difference(wanted):
        clients[index].socket.close()
    return [clients[index] for index in wanted]
