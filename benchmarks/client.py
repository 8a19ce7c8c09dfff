"""One client of a load process: its socket, without ever blocking, and what it has said. Runs in a load process.

It knows neither the protocol nor what its bytes mean; `take` is where they go.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Final

from benchmarks.audit import Listener, Talker
from benchmarks.entrance import Entrance
from benchmarks.errors import LoadError
from broker.text import clean, decode
from broker.urls import ListenerURL

CONNECT_SECONDS: Final = 20.0
_INPUT: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
"""Edges are cheaper than levels. A read of less than one asked for has got all there was, epoll(7), but for the end."""


class Client:
    """`said` and `back` count its own messages. `observed` has the senders whose messages are back when this client
    gets them, with itself as the listener to ask, and the bytes that end one of their lines.
    """

    __slots__ = (
        "_epoll", "_unsent", "author", "back", "entrance", "head", "name", "observed", "receive", "receiver", "said",
        "socket", "take",
    )  # fmt: skip

    def __init__(
        self, epoll: select.epoll, name: str, author: int, head: bytes, entrance: Entrance, receiver: Listener | Talker
    ) -> None:
        self.name = name
        self.author = author
        self.head = head  # of every line that it says
        self.entrance = entrance
        self.receiver = receiver
        self.observed: list[tuple[Client, Listener, bytes]] = []
        self.said = 0
        self.back = 0
        self.socket: socket.socket
        self.receive: Callable[[int], bytes]
        self.take: Callable[[bytes], None] = receiver.take
        self._epoll = epoll
        self._unsent = b""

    def connect(self, url: ListenerURL) -> int:
        """Connect, have the epoll watch for input, and return the descriptor; LoadError if that cannot be."""
        try:
            if url.path is not None:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.settimeout(CONNECT_SECONDS)
                self.socket.connect(url.path)
            else:
                self.socket = socket.create_connection((url.host, url.port), CONNECT_SECONDS)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setblocking(False)
        except OSError as error:
            raise LoadError(f"client {self.name} cannot connect to {url}: {error.strerror or error}") from None
        self.receive = self.socket.recv
        self._epoll.register(self.socket, _INPUT)
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the kernel takes it: the owner of the epoll calls `flush` then."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # that the connection is over is found, and told, where it is read
        if sent < len(data):
            self._unsent = data[sent:]
            self._epoll.modify(self.socket, _INPUT | select.EPOLLOUT)

    def flush(self) -> None:
        """Send what is left."""
        data, self._unsent = self._unsent, b""
        self._epoll.modify(self.socket, _INPUT)
        self.send(data)

    def look_again(self) -> None:
        """There may be more to read than was asked for: have the epoll tell."""
        self._epoll.modify(self.socket, _INPUT)

    def close(self) -> None:
        """Close the connection."""
        self._epoll.unregister(self.socket)
        self.socket.close()

    @property
    def last_heard(self) -> str:
        """In words, the last line that the server sent it while it came in."""
        line = clean(decode(self.entrance.last_line))
        return f"the last that the server said to it was {line!r}" if line else "the server has said nothing to it"
