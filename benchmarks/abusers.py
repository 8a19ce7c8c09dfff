"""Those who misbehave while the latencies of others are measured: each in a process of its own, as long as it takes.

An abuser tells the process that started it when it has begun, and that it cannot go on; `Counters` has how much it has
done. It speaks the protocol of the URL, in rooms of its own: what the others get is theirs alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from benchmarks.conductor import Server, crowd
from benchmarks.counters import Counters
from benchmarks.errors import LoadError
from benchmarks.plan import Load, Names
from benchmarks.protocols import PROTOCOLS, ChatProtocol
from broker.linux import die_with_parent
from broker.urls import ListenerURL

_BEGIN_SECONDS: Final = 30.0
_READ_BYTES: Final = 256 * 1024
_NAMES: Final = Names("abu")
_TEXT: Final = b"x" * 400
_FLOOD_LINES: Final = 256
"""That are given to the kernel at once."""
_BUSY_MEMBERS: Final = 10
_BUSY_SPEAKERS: Final = 2
_BUSY_LINES_PER_SECOND: Final = 3000.0
"""Of all speakers together: a client that does not read is too far behind after five seconds of that."""
_BUSY_TURN_SECONDS: Final = 0.002
_DEAF_SECONDS: Final = 7.0
"""So long does one who does not read stay, then comes another."""
_DEAF_RECEIVE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Doings:
    """What an abuser is told to do, where, and where it says how much it did."""

    url: ListenerURL
    counters: Counters
    begun: Callable[[], None]
    storm: int
    """Connections in one."""

    @property
    def protocol(self) -> ChatProtocol:
        """That of the URL."""
        return PROTOCOLS[self.url.protocol]


class Guest:
    """A client that is in a room once it is made; its socket blocks until then, and never after."""

    def __init__(self, doings: Doings, number: int, receive_bytes: int | None = None) -> None:
        protocol = doings.protocol
        name, room = _NAMES.client(number), _NAMES.room(0)
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(_BEGIN_SECONDS)
        self.socket.connect((doings.url.host, doings.url.port))
        self.socket.sendall(protocol.opening(name, room))
        self._enter(protocol, name, room)
        self.socket.setblocking(False)
        self.saying = protocol.saying(room) + _TEXT + protocol.line_end
        self._unsent = memoryview(b"")

    def _enter(self, protocol: ChatProtocol, name: str, room: str) -> None:
        rest = b""
        while True:
            data = self.socket.recv(_READ_BYTES)
            if not data:
                raise LoadError(f"the server closed the connection of {name}, who was to disturb others")
            *lines, rest = (rest + data).split(protocol.line_end)
            for line in lines:
                answer = protocol.answer(line, name, room)
                if answer:
                    self.socket.sendall(answer)
                if protocol.has_entered(line, name, room):
                    return

    def say(self, lines: int) -> int:
        """Say so many lines, if all of what was said before has gone; how many bytes the kernel has taken of it."""
        data = self._unsent or memoryview(self.saying * lines)
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]
        return sent

    def hear(self) -> None:
        """Read what is there."""
        with contextlib.suppress(BlockingIOError):
            if not self.socket.recv(_READ_BYTES):
                raise LoadError("the server closed the connection of somebody who only disturbs others")


def burn(doings: Doings) -> None:
    """Use a CPU, and leave the server alone: what any program on its machine does to it."""
    doings.begun()
    turns = 0
    while True:
        turns += 1
        doings.counters.store(0, 0, turns)


def flood(doings: Doings) -> None:
    """Say as much as the server takes, in a room with four others, who read."""
    speaker, *others = (Guest(doings, number) for number in range(5))
    doings.begun()
    said = 0
    with select.epoll() as epoll:
        guests = {guest.socket.fileno(): guest for guest in (speaker, *others)}
        for fd in guests:
            epoll.register(fd, select.EPOLLIN)
        epoll.modify(speaker.socket, select.EPOLLIN | select.EPOLLOUT)
        while True:
            for fd, events in epoll.poll():
                if events & select.EPOLLOUT:
                    said += guests[fd].say(_FLOOD_LINES)
                if events & ~select.EPOLLOUT:
                    guests[fd].hear()
            doings.counters.store(0, 0, said // len(speaker.saying))


def talk(doings: Doings) -> None:
    """Keep a room busy in which everybody reads."""
    _keep_busy(doings, deaf=False)


def ignore(doings: Doings) -> None:
    """Keep a room busy in which one client never reads; when the server must have closed it, another comes instead."""
    _keep_busy(doings, deaf=True)


def _keep_busy(doings: Doings, deaf: bool) -> None:
    members = [Guest(doings, number) for number in range(_BUSY_MEMBERS)]
    number = len(members)
    ignorant = Guest(doings, number, _DEAF_RECEIVE_BYTES) if deaf else None
    doings.begun()
    began = came = time.monotonic()
    said = 0
    with select.epoll() as epoll:
        guests = {guest.socket.fileno(): guest for guest in members}
        for fd in guests:
            epoll.register(fd, select.EPOLLIN)
        while True:
            for fd, _ in epoll.poll(_BUSY_TURN_SECONDS):
                guests[fd].hear()
            now = time.monotonic()
            due = int((now - began) * _BUSY_LINES_PER_SECOND) - said
            each = due // _BUSY_SPEAKERS
            if each:
                for speaker in members[:_BUSY_SPEAKERS]:
                    said += each
                    speaker.say(each)
                doings.counters.store(0, 0, said)
            if ignorant is not None and now - came > _DEAF_SECONDS:
                came = now
                number += 1
                ignorant.socket.close()
                ignorant = Guest(doings, number, _DEAF_RECEIVE_BYTES)


def storm(doings: Doings) -> None:
    """Have thousands connect, register and join as fast as they can, then leave, and others come, again and again."""
    doings.begun()
    load = Load(doings.storm, doings.storm // 10, senders=1)
    context = multiprocessing.get_context("fork")
    came = 0
    while True:
        # In a new process each, as names are made of its PID: those who left may still have theirs.
        process = context.Process(target=_one_storm, args=(load, doings.url, os.getpid()))
        process.start()
        process.join()
        if process.exitcode:
            raise LoadError(f"a storm of {doings.storm} connections came to nothing")
        came += doings.storm
        doings.counters.store(0, 0, came)


def _one_storm(load: Load, url: ListenerURL, parent_pid: int) -> None:
    if die_with_parent(parent_pid):
        with crowd(load, Server(url)):
            pass


@contextlib.contextmanager
def abuser(what: Callable[[Doings], None], url: ListenerURL, storm: int) -> Iterator[Counters]:
    """Somebody who does this meanwhile, and is surely gone afterwards; LoadError if it could not do it to the end.

    The counters have how much was done, as messages.
    """
    context = multiprocessing.get_context("fork")
    counters = Counters(1)
    ours, theirs = context.Pipe()
    process = context.Process(target=_live, args=(what, url, counters, storm, theirs, os.getpid()))
    process.start()
    theirs.close()
    try:
        if not ours.poll(_BEGIN_SECONDS):
            raise LoadError(f"whoever was to {what.__name__} did not begin within {_BEGIN_SECONDS:g} s")
        _hear(ours)
        yield counters
        if ours.poll():
            _hear(ours)
    finally:
        process.kill()  # whatever it has started dies with it
        process.join()
        ours.close()


def _hear(connection: Connection) -> None:
    try:
        trouble = connection.recv()
    except EOFError:
        raise LoadError("whoever was to disturb others has ended before its time") from None
    if trouble is not None:
        raise LoadError(trouble)


def _live(
    what: Callable[[Doings], None], url: ListenerURL, counters: Counters, storm: int, connection: Connection,
    parent_pid: int,
) -> None:  # fmt: skip
    if not die_with_parent(parent_pid):
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, and ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        what(Doings(url, counters, lambda: connection.send(None), storm))
    except (LoadError, OSError) as error:
        connection.send(f"whoever was to {what.__name__} others could not: {error}")
