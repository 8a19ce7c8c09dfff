"""What coming and going costs a server of IRC: registering, JOIN, PART, NICK and QUIT, in CPU time of its processes.

Runs in the process of the command. People in rooms of one size do one thing at a time, one of each room at once; each
member has to hear of it, then the server comes to rest, and its CPU time is read. So what is counted is all that the
server does because of it, whoever of its processes does it and however late. Everybody here is one of these
people: what other clients the server has is for the caller.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.cpu import settled_seconds
from benchmarks.errors import LoadError
from benchmarks.plan import Names
from broker.urls import ListenerURL

_ANSWER_SECONDS: Final = 20.0
_READ_BYTES: Final = 64 * 1024
_NAMES: Final = Names("one")
_OTHER_NAMES: Final = Names("two")
"""Everybody has two names, to change between."""
_END: Final = b""
"""What is heard when the server has closed the connection."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What somebody says to do it; what he hears when it is done, and what the others in the room do."""

    command: Callable[[Person], str]
    heard: bytes
    told: bytes


class Person:
    """One client: a member of a room, or about to be one."""

    def __init__(self, number: int, room: int) -> None:
        self.name = _NAMES.client(number)
        self.other_name = _OTHER_NAMES.client(number)
        self.room = _NAMES.room(room)
        self.socket: socket.socket  # from the first `connect` on
        self.heard = b""
        self.ended = True

    def connect(self, url: ListenerURL) -> None:
        """Connect, anew if need be."""
        self.socket = socket.create_connection((url.host, url.port), _ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = b""
        self.ended = False

    def change_name(self) -> str:
        """The command for it."""
        self.name, self.other_name = self.other_name, self.name
        return f"NICK {self.name}"

    def receive(self) -> None:
        """Take what has come."""
        data = self.socket.recv(_READ_BYTES)
        self.heard += data
        self.ended = not data

    def has_heard(self, what: bytes) -> bool:
        """Whether that has come since the last operation began."""
        return self.ended if what == _END else what in self.heard


OPERATIONS: Final = {
    "part": Operation(lambda person: f"PART #{person.room}", b" PART ", b" PART "),
    "join": Operation(lambda person: f"JOIN #{person.room}", b" 366 ", b" JOIN "),
    "nick": Operation(Person.change_name, b" NICK ", b" NICK "),
    "quit": Operation(lambda _: "QUIT", _END, b" QUIT "),
}
"""Each leaves the room one smaller, or as it was; `join` mends that."""
REGISTER: Final = "register"
_REGISTERED: Final = b" 422 "
"""ERR_NOMOTD ends the welcome: a fresh broker has no message of the day."""


class Company:
    """Some rooms of people on a server, `pids` of which are its processes; `costs` has what they cost it so far.

    Costs are in CPU seconds, one figure for each time that one of every room did something.
    """

    def __init__(self, url: ListenerURL, pids: Sequence[int], rooms: int, members: int) -> None:
        self._url = url
        self._pids = pids
        self._rooms = [[Person(room * members + place, room) for place in range(members)] for room in range(rooms)]
        self.costs: dict[str, list[float]] = {what: [] for what in (REGISTER, *OPERATIONS)}

    def enter(self) -> None:
        """Have everybody come in, one of each room at a time."""
        for people in zip(*self._rooms, strict=True):
            self._register(people)
            self._do("join", people, there=people)
        for costs in self.costs.values():
            costs.clear()  # rooms were smaller

    def act(self) -> None:
        """Let each in turn leave, come back, change the name, quit, and come in anew."""
        for people in zip(*self._rooms, strict=True):
            for what in ("part", "join", "nick", "quit"):
                self._do(what, people)
            self._register(people)
            self._do("join", people)

    def leave(self) -> None:
        """Be gone."""
        for person in self._everybody():
            if not person.ended:
                person.socket.close()

    def per_operation(self) -> dict[str, float]:
        """The mean cost of each operation, in CPU seconds."""
        return {what: sum(costs) / len(costs) / len(self._rooms) for what, costs in self.costs.items()}

    def _everybody(self) -> Iterable[Person]:
        return (person for people in self._rooms for person in people)

    def _register(self, people: Iterable[Person]) -> None:
        before = settled_seconds(self._pids)
        people = list(people)
        for person in people:
            person.connect(self._url)
            person.socket.sendall(f"NICK {person.name}\r\nUSER load 0 * :load\r\n".encode())
        self._wait(dict.fromkeys(people, _REGISTERED))
        self._note(REGISTER, before)

    def _do(self, what: str, people: Sequence[Person], there: Iterable[Person] | None = None) -> None:
        """Have these people do it, and wait until all that are `there`, everybody if None, have heard of it."""
        operation = OPERATIONS[what]
        awaited = dict.fromkeys(self._everybody() if there is None else there, operation.told)
        awaited.update(dict.fromkeys(people, operation.heard))
        before = settled_seconds(self._pids)
        for person in awaited:
            person.heard = b""
        for person in people:
            person.socket.sendall(f"{operation.command(person)}\r\n".encode())
        self._wait(awaited)
        self._note(what, before)

    def _note(self, what: str, before: float) -> None:
        self.costs[what].append(settled_seconds(self._pids) - before)

    def _wait(self, awaited: dict[Person, bytes]) -> None:
        """Until each has heard what it is to hear; LoadError if one does not."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        waiting = {person.socket.fileno(): (person, what) for person, what in awaited.items()}
        with select.epoll() as epoll:
            for fd in waiting:
                epoll.register(fd, select.EPOLLIN)
            while waiting:
                for fd, _ in epoll.poll(max(0.0, deadline - time.monotonic())):
                    person, what = waiting[fd]
                    person.receive()
                    if person.has_heard(what):
                        epoll.unregister(fd)
                        del waiting[fd]
                        if person.ended:
                            person.socket.close()
                    elif person.ended:
                        raise LoadError(f"the server closed the connection of {person.name}, who awaited {what!r}")
                if waiting and time.monotonic() > deadline:
                    person, what = next(iter(waiting.values()))
                    raise LoadError(f"{person.name} did not hear {what!r} within {_ANSWER_SECONDS:g} s")
