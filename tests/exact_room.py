"""A room full of clients that know, byte for byte, what each of them must receive, whatever is killed meanwhile.

One client, the *witness*, says nothing: what it receives is the order of the room. Held against what everybody has said
it shows that nothing was lost, doubled or cut; and everybody else must have received the very same bytes, without their
own lines, from their entrance to their leaving. A *round* begins and ends with everything received and compared. On a
local socket one run of bytes may be missing for each worker that died, no more (docs/survival.md, "Limits").
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.running import DEADLINE_SECONDS, PROMPT, Broker

WITNESS = "witness"
DENIZEN = "denizen"
GOODBYE = "* 再见！\n"


class Person:
    """One client. `said` is what it has said in the lobby in this round, `received` what it got in it."""

    def __init__(self, name: str, sock: socket.socket, local: bool) -> None:
        sock.setblocking(False)
        self.name = name
        self.socket = sock
        self.local = local
        self.said: list[str] = []
        self.received = bytearray()
        self.unsent = bytearray()
        self.half_closes = False
        self.closed = False

    def __repr__(self) -> str:
        lines = self.received.count(b"\n")
        what = f"said {len(self.said)}, {len(self.unsent)} bytes unsent, {lines} lines received"
        return f"<{self.name}: {what}{', closed' if self.closed else ''}>"

    def send(self, text: str) -> None:
        """Have these bytes sent as the kernel takes them."""
        self.unsent += text.encode()

    def step(self, events: int) -> None:
        """Do what can be done without waiting."""
        if events & select.POLLOUT and self.unsent:
            with contextlib.suppress(BlockingIOError, ConnectionError):  # the end is seen when it is read
                del self.unsent[: self.socket.send(self.unsent)]
            if not self.unsent and self.half_closes:
                self.socket.shutdown(socket.SHUT_WR)
        if events & ~select.POLLOUT:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            self.closed = not data
            self.received += data


class ExactRoom:
    """The clients of a broker: a witness, talkers over TCP and local sockets, and in each round some who come and go.

    `local_socket` is where local ones connect, if there are to be any.
    """

    def __init__(self, broker: Broker, talkers: int = 4, local_socket: Path | None = None, locals_: int = 2) -> None:
        self.broker = broker
        self.port = broker.port
        self.local_socket = local_socket
        self.people: dict[str, Person] = {}
        self.visitors: dict[str, Person] = {}
        self.worker_deaths = 0
        self._round = 0
        self._line = 0
        for name in (WITNESS, DENIZEN, *(f"talker{number}" for number in range(talkers))):
            self._enter(self._connect(name))
        for number in range(locals_ if local_socket else 0):
            self._enter(self._connect(f"local{number}", local=True))
        denizen = self.people.pop(DENIZEN)
        denizen.send("/join den\n")
        self.denizen = denizen
        self.until(lambda: denizen.received.endswith(b"\n"), "the denizen is in the den")
        denizen.received.clear()
        for person in self.people.values():
            self.until(lambda: person.received.endswith("退出了聊天室\n".encode()), "everybody has seen it go")  # noqa: B023
            person.received.clear()

    @property
    def witness(self) -> Person:
        """Who tells the order of the room."""
        return self.people[WITNESS]

    @property
    def talkers(self) -> list[Person]:
        """Those who speak, and stay."""
        return [person for person in self.people.values() if person.name != WITNESS]

    # What people do.

    def talk(self, lines: int = 3, length: int = 40) -> None:
        """Everybody says so many lines, and some more is received meanwhile."""
        for _ in range(lines):
            for person in self.talkers:
                self.say(person, length)
            self.pump(0.0)

    def say(self, person: Person, length: int = 40) -> None:
        """One line that there has never been."""
        self._line += 1
        line = f"{self._line} ".ljust(length + self._line % 50, "·")
        person.said.append(line)
        person.send(line + "\n")

    def visit(self) -> None:
        """Two come: one goes on to the den and says goodbye, the other one just ends its input."""
        number = len(self.visitors)
        guest, caller = self.arrive(f"guest{number}"), self.arrive(f"caller{number}")
        for visitor in (guest, caller):
            for _ in range(2):
                self.say(visitor)
        guest.send("/join den\nhere I am\n/quit\n")
        caller.half_closes = True

    def arrive(self, name: str) -> Person:
        """Somebody enters the lobby, and has to leave it within this round."""
        visitor = self.visitors[name] = self._connect(name)
        visitor.send(f"{name}\n")
        return visitor

    def pump(self, seconds: float) -> None:
        """Send and receive, waiting at most so long for something to do."""
        poll = select.poll()
        by_fd = {}
        for person in [*self.people.values(), *self.visitors.values(), self.denizen]:
            if not person.closed:
                by_fd[person.socket.fileno()] = person
                poll.register(person.socket, select.POLLIN | (select.POLLOUT if person.unsent else 0))
        for fd, events in poll.poll(seconds * 1000):
            by_fd[fd].step(events)
        for person in [*self.people.values(), self.denizen]:
            last = bytes(person.received[-300:]).decode(errors="replace")
            assert not person.closed, f"{person.name} is disconnected: {last!r}"

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Send and receive until the condition holds."""
        end = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < end, f"not within {DEADLINE_SECONDS:g} s: {what}"
            self.pump(0.02)

    # What must have happened.

    def settle(self) -> None:
        """Wait for all that this round has led to, compare it, and begin the next one."""
        self._round += 1
        if self.visitors:
            self.until(lambda: all(visitor.closed for visitor in self.visitors.values()), "the visitors are gone")
        marker = f"round {self._round} is over"
        last = self.talkers[0]
        self.until(lambda: not any(person.unsent for person in self.talkers), "everything is sent")
        told = sum(len(person.said) for person in [*self.talkers, *self.visitors.values()])
        told += 2 * len(self.visitors)
        self.until(lambda: self.witness.received.count(b"\n") >= told, f"the witness has got {told} lines")
        last.said.append(marker)
        last.send(marker + "\n")
        end = f"{last.name}说: {marker}\n".encode()
        for person in self.people.values():
            if person is not last:
                self.until(lambda: person.received.endswith(end), f"{person.name} has got the end")  # noqa: B023
        order = self.witness.received.decode().splitlines()
        self._compare_order(order)
        for person in self.talkers:
            expected = "".join(line + "\n" for line in order if not line.startswith(f"{person.name}说: ")).encode()
            if person is last:
                self.until(lambda: len(person.received) >= len(expected), f"{person.name} has got everything")  # noqa: B023
            self._compare(person, expected)
        self._compare_den()
        for visitor in self.visitors.values():
            self._compare_visitor(visitor, order)
        for person in [*self.people.values(), self.denizen]:
            person.said.clear()
            person.received.clear()
        self.visitors.clear()
        self.worker_deaths = 0

    def close(self) -> None:
        """Everybody goes."""
        for person in [*self.people.values(), *self.visitors.values(), self.denizen]:
            person.socket.close()

    # Within.

    def _connect(self, name: str, local: bool = False) -> Person:
        if local:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self.local_socket))
        else:
            sock = socket.create_connection(("127.0.0.1", self.port))
        return Person(name, sock, local)

    def _enter(self, person: Person) -> None:
        person.send(person.name + "\n")
        self.people[person.name] = person
        if person.name == WITNESS:
            self.denizen = person  # until there is one
        self.until(lambda: person.received.count(b"\n") == 2, f"{person.name} is welcome")
        assert person.received.decode().startswith(f"{PROMPT}* 欢迎你，{person.name}！")
        for other in self.people.values():
            expected = f"{person.name} 进入了聊天室\n".encode()
            if other is not person:
                self.until(lambda: other.received.endswith(expected), f"{other.name} sees {person.name}")  # noqa: B023
            other.received.clear()

    def _compare_order(self, order: list[str]) -> None:
        """What the witness has got is what everybody has said, each in their order, and who has come and gone."""
        told: dict[str, list[str]] = {}
        for line in order:
            name, said, text = line.partition("说: ")
            if said:
                told.setdefault(name, []).append(text)
            else:
                name, _, what = line.partition(" ")
                told.setdefault(name, []).append(what)
        expected = {person.name: person.said for person in self.talkers if person.said}
        for visitor in self.visitors.values():
            expected[visitor.name] = ["进入了聊天室", *visitor.said, "退出了聊天室"]
        assert told == expected, "\n".join(
            f"{name}: {told.get(name)} for {expected.get(name)}"
            for name in {**told, **expected}
            if told.get(name) != expected.get(name)
        )

    def _compare(self, person: Person, expected: bytes) -> None:
        got = bytes(person.received)
        if not person.local:
            assert got == expected, f"{person.name}: {_difference(got, expected)}"
            return
        missing = len(expected) - len(got)
        assert missing >= 0, f"{person.name} got {-missing} bytes too many"
        if missing:
            before = _common(got, expected)
            after = _common(got[::-1], expected[::-1])
            assert self.worker_deaths, f"{person.name}: {_difference(got, expected)}"
            if self.worker_deaths == 1:
                assert before + after >= len(got), f"{person.name} lacks more than one run of bytes"

    def _compare_visitor(self, visitor: Person, order: list[str]) -> None:
        entered, left = order.index(f"{visitor.name} 进入了聊天室"), order.index(f"{visitor.name} 退出了聊天室")
        others = [*self.people]
        for name in self.visitors:
            if f"{name} 进入了聊天室" in order[:entered] and f"{name} 退出了聊天室" not in order[:entered]:
                others.append(name)
        lines = bytes(visitor.received).decode().splitlines()
        assert lines[0].startswith(f"{PROMPT}* 欢迎你，{visitor.name}！")
        start, _, names = lines[1].partition("：")
        assert start == "* 你在聊天室 lobby。在场的还有", lines[1]
        if "和另外" not in names:  # twenty are named
            assert sorted(names.split(", ")) == sorted(others)
        expected = [line for line in order[entered + 1 : left] if not line.startswith(f"{visitor.name}说: ")]
        if visitor.name.startswith("guest"):
            expected += self._told_in_den(visitor.name, lines[2 + len(expected) :])
        if not visitor.half_closes:
            expected.append(GOODBYE.strip())
        assert lines[2:] == expected, visitor.name
        assert visitor.received.endswith(b"\n")

    def _told_in_den(self, name: str, got: list[str]) -> list[str]:
        """What a guest must have been told there."""
        order = self.denizen.received.decode().splitlines()
        entered, left = order.index(f"{name} 进入了聊天室"), order.index(f"{name} 退出了聊天室")
        there = [DENIZEN]
        for other in self.visitors:
            if f"{other} 进入了聊天室" in order[:entered] and f"{other} 退出了聊天室" not in order[:entered]:
                there.append(other)
        names = got[0].partition("：")[2].split(", ") if got else []
        assert sorted(names) == sorted(there)
        lines = [line for line in order[entered + 1 : left] if not line.startswith(f"{name}说: ")]
        return [f"* 你在聊天室 den。在场的还有：{', '.join(names)}", *lines]

    def _compare_den(self) -> None:
        guests = [name for name in self.visitors if name.startswith("guest")]
        self.until(lambda: self.denizen.received.count(b"\n") >= 3 * len(guests), "the den has seen them")
        order = self.denizen.received.decode().splitlines()
        for guest in guests:
            told = [line.removeprefix(guest) for line in order if line.startswith((f"{guest}说", f"{guest} "))]
            assert told == [" 进入了聊天室", "说: here I am", " 退出了聊天室"], guest
        assert len(order) == 3 * len(guests)


def _common(one: bytes, other: bytes) -> int:
    """How long a beginning they have in common."""
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))


def _difference(got: bytes, expected: bytes) -> str:
    at = _common(got, expected)
    return (
        f"differs at {at} of {len(expected)} (got {len(got)}): {got[at : at + 200]!r} for {expected[at : at + 200]!r}"
    )
