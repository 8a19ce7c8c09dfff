"""One client's socket, without ever blocking. Runs in a load process; knows neither the protocol nor who is right."""

from __future__ import annotations

import select
import socket
from typing import Final

from broker.chaos.script import Person
from broker.errors import BrokerError
from broker.urls import ListenerURL

CONNECT_SECONDS: Final = 20.0
READ_BYTES: Final = 64 * 1024
_SLOW_BUFFER_BYTES: Final = 4096
_EVENTS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
"""Edges are cheaper than levels. A read of less than one asked for has got all there was, epoll(7)."""


def address_family(url: ListenerURL) -> socket.AddressFamily:
    """Of the sockets that connect to it."""
    if url.path is not None:
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in (url.host or "") else socket.AF_INET


class LoadError(BrokerError):
    """The load could not be put on the broker; says what stood in the way."""


class Client:
    """One person's connection, of which there may be several one after the other. `heard_ns` is when it last heard
    anything, `worst_ns` how late it heard anything at the most.
    """

    __slots__ = ("_epoll", "_is_connected", "_shut", "_unsent", "heard_ns", "person", "slow", "socket", "worst_ns")

    def __init__(self, epoll: select.epoll, person: Person, slow: bool) -> None:
        self.person = person
        self.slow = slow
        self.socket: socket.socket
        self.heard_ns = 0
        self.worst_ns = 0
        self._epoll = epoll
        self._is_connected = False
        self._unsent = bytearray()
        self._shut = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._is_connected

    def connect(self, url: ListenerURL) -> int:
        """Connect, have the epoll watch for input, and return the descriptor; LoadError if that cannot be."""
        self.socket = socket.socket(address_family(url))
        try:
            self.socket.settimeout(CONNECT_SECONDS)
            if self.slow:  # before connecting, since the window is agreed on then (tcp(7))
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
            self.socket.connect(url.path if url.path is not None else (url.host, url.port))
            if url.path is None:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setblocking(False)
        except OSError as error:
            self.socket.close()
            raise LoadError(f"cannot connect to {url}: {error.strerror or error}") from None
        self._unsent = bytearray()
        self._shut = False
        self._is_connected = True
        if not self.slow:
            self._epoll.register(self.socket, _EVENTS)
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the kernel takes it: whoever waits on the epoll calls `flush` then."""
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
            self._unsent += data[sent:]
            if not self.slow:
                self._epoll.modify(self.socket, _EVENTS | select.EPOLLOUT)
        elif self._shut:
            self._shut_down()

    def shut(self) -> None:
        """Send nothing after what was sent."""
        self._shut = True
        if not self._unsent:
            self._shut_down()

    def flush(self) -> None:
        """Send what is left."""
        if not self._unsent:
            return
        try:
            del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        if not self._unsent:
            if not self.slow:
                self._epoll.modify(self.socket, _EVENTS)
            if self._shut:
                self._shut_down()

    def close(self) -> None:
        """Close the connection."""
        self._is_connected = False
        if not self.slow:
            self._epoll.unregister(self.socket)
        self.socket.close()

    def _shut_down(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is over already
