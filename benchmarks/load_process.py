"""A load process: all clients of its parts of the rooms, over one epoll, saying and receiving as fast as it can.

Started by `benchmarks.conductor`, which tells it on a Pipe what to do next, and is told when it is done:

    told                what it does                                        and then says
    (at birth)          connects its clients, has them enter their rooms    ("entered",)
    ("announce",)       its heralds begin the streams, see entrance         ("open",)   all its clients' have begun
    ("leave",) instead  ends
    ("talk",)           its senders say texts
    ("sample", n)       notes how long every n-th delivery took
    ("stop",)           says nothing more, waits until all that is back     ("said", {author: messages})
    ("end",)            its heralds say one text more                       ("said", {author: messages})
    ("settle", said)    waits for all that the authors said                 ("outcome", Outcome)
    ("leave",)          ends

It says ("failed", text) and ends if it cannot go on. What it saw is for others to judge and to print.

A delivery costs one turn of the loop in `_receive`, or a part of one: `recv()`, a count of line ends, a comparison.
Everything else happens once per message, per wake-up, or less often.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from typing import Any, Final

from benchmarks import texts
from benchmarks.audit import Author, Listener, RoomAudit, Talker
from benchmarks.client import Client
from benchmarks.counters import Counters
from benchmarks.entrance import Entrance
from benchmarks.errors import LoadError
from benchmarks.plan import Load, Names, Part, Room
from benchmarks.protocols import PROTOCOLS
from broker.linux import die_with_parent
from broker.urls import ListenerURL

_ENTER_SECONDS: Final = 20.0
_ENTERING_AT_ONCE: Final = 1000
"""Some servers take a second to let anybody in; what is measured is their time, not this many of them."""
_READ_BYTES: Final = 64 * 1024
_WRITABLE: Final = select.EPOLLOUT
_ENDED: Final = select.EPOLLRDHUP
_LOOK_SECONDS: Final = 0.02
_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Errand:
    """What one load process is to do: its number, and what all of them share."""

    process: int
    load: Load
    rooms: tuple[Room, ...]
    names: Names
    url: ListenerURL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load process saw. `deliveries` counts the lines of all its clients' streams; `digests` has those of the
    rooms' streams by number of the room; `latencies_ns` goes from just before the send to just after the receive.
    """

    deliveries: int
    faults: list[str]
    digests: dict[int, str]
    latencies_ns: array[int]


def live(errand: Errand, connection: Connection, counters: Counters, conductor_pid: int) -> None:
    """The whole life of a load process: the target of its `multiprocessing.Process`."""
    if not die_with_parent(conductor_pid):
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the conductor, who ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        LoadProcess(errand, connection, counters).run()
    except LoadError as error:
        connection.send(("failed", str(error)))


class LoadProcess:
    """The clients of one load process, and what they are doing."""

    def __init__(self, errand: Errand, connection: Connection, counters: Counters) -> None:
        self.errand = errand
        self.protocol = PROTOCOLS[errand.url.protocol]
        self.connection = connection
        self.counters = counters
        self._epoll = select.epoll()
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self._told: list[tuple[Any, ...]] = []
        self._audits: dict[int, RoomAudit] = {}
        self._all: list[Client] = []
        self._senders: list[Client] = []
        self._heralds: list[Client] = []
        self._clients: dict[int, Client] = {}  # by descriptor: those that are connected
        self._outside = 0  # connected, but not in their room
        self._not_open = 0  # clients whose stream has not begun
        self._deliveries = 0
        self._messages = 0
        self._lost_clients: list[Client] = []
        self._padding = texts.padding(errand.load.size_bytes)
        self._window = 0  # how many messages a sender keeps in flight; 0 while nobody talks
        self._refill: dict[Client, None] = {}  # senders that may have room in their windows
        self._turns: Iterator[Client] = iter(())  # whose turn it is, with a rate
        self._due_at: float | None = None  # when it is
        self._interval_seconds = 0.0
        self._sample_every = self._sample_in = _NEVER  # deliveries
        self._random = 1
        self._latencies_ns = array("q")
        for room in errand.rooms:
            for part in room.parts:
                if part.process == errand.process:
                    self._seat(room, part)

    def run(self) -> None:
        """From the first connection to the outcome."""
        patience_seconds = self.errand.load.patience_seconds
        self._enter()
        if self._wait_for("announce", "leave") == ("leave",):
            return
        self._open()
        self._wait_for("talk")
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing below makes cycles, and a collection amid the measurement would be measured
        self._begin_talking()
        self._wait_for("stop")
        self._stop_talking()
        self._pump(lambda: all(sender.back >= sender.said for sender in self._senders), patience_seconds)
        self._report_said()
        self._wait_for("end")
        for herald in self._heralds:
            self._say(herald, 1, time.monotonic_ns())
        self._report_said()
        said = self._wait_for("settle")[1]
        self._pump(lambda: self._is_settled(said), patience_seconds)
        self.connection.send(("outcome", self._outcome(said)))
        self._wait_for("leave")  # those who are not done yet would see this process's clients leave their rooms

    def _seat(self, room: Room, part: Part) -> None:
        """Make the clients of one part of a room."""
        names, protocol = self.errand.names, self.protocol
        room_name = names.room(room.number)
        authors = {}
        for number in room.authors:
            name = names.client(number)
            authors[number] = Author(number, name, protocol.said(name, room_name) + self._padding)
        audit = self._audits[room.number] = RoomAudit(
            room_name, protocol.line_end, authors, (room.number + 1) / len(self.errand.rooms)
        )
        head = protocol.saying(room_name) + self._padding
        listeners = {number: audit.add_listener(names.client(number)) for number in part.listeners}
        talkers = {number: audit.add_talker(number, names.client(number)) for number in part.authors}
        receivers: dict[int, Listener | Talker] = {**listeners, **talkers}
        clients: dict[int, Client] = {}
        for number in sorted(receivers):
            name, receiver = names.client(number), receivers[number]
            entrance = Entrance(protocol, name, room_name, [herald for herald in room.heralds if herald != number])
            clients[number] = Client(self._epoll, name, number, head, entrance, receiver)
        for number in part.authors:
            if number in room.heralds:
                self._heralds.append(clients[number])
            if number in room.senders:
                self._senders.append(clients[number])
                observer = room.observer(number)
                mark = texts.tag(number) + protocol.line_end
                clients[observer].observed.append((clients[number], listeners[observer], mark))
        self._all.extend(clients.values())

    # Coming in.

    def _enter(self) -> None:
        """Connect all clients, and wait until each one is in its room."""
        self._not_open = len(self._all)
        for client in self._all:
            self._connect(client)
            self._pump_entrance(lambda: self._outside < _ENTERING_AT_ONCE)
        self._pump_entrance(lambda: self._outside == 0)
        self.connection.send(("entered",))

    def _open(self) -> None:
        """Have the heralds begin, and wait until each client's stream has begun."""
        for herald in self._heralds:
            herald.send(self._lines(herald, range(texts.START, texts.START + 1), time.monotonic_ns()))
        self._pump_entrance(lambda: self._not_open == 0)
        self._deliveries = sum(client.entrance.rest.count(b"\n") for client in self._all)
        self.connection.send(("open",))

    def _connect(self, client: Client) -> None:
        client.take = partial(self._take_entrance, client)
        self._clients[client.connect(self.errand.url)] = client
        self._outside += 1
        client.send(self.protocol.opening(client.name, client.entrance.room))

    def _take_entrance(self, client: Client, data: bytes) -> None:
        """What a client gets while it comes in."""
        entrance = client.entrance
        was_outside = not entrance.entered
        answer = entrance.feed(data)
        if answer:
            client.send(answer)
        if was_outside and entrance.entered:
            self._outside -= 1
        if entrance.done:
            self._not_open -= 1
            client.take = client.receiver.take
            if entrance.rest:
                client.take(entrance.rest)

    def _pump_entrance(self, done: Callable[[], bool]) -> None:
        if not self._pump(done, _ENTER_SECONDS):
            late = next(client for client in self._clients.values() if not client.entrance.done)
            place = "its room" if not late.entrance.entered else "the beginning of the stream"
            raise LoadError(f"client {late.name} did not get to {place} within {_ENTER_SECONDS:g} s; {late.last_heard}")

    # Talking.

    def _begin_talking(self) -> None:
        load = self.errand.load
        if load.rate is None:
            self._window = load.window
            self._refill = dict.fromkeys(self._senders)
        elif self._senders:
            all_senders = sum(len(room.senders) for room in self.errand.rooms)
            self._interval_seconds = all_senders / len(self._senders) / load.rate
            self._turns = cycle(self._senders)
            # Not all load processes at the same moment.
            self._due_at = time.monotonic() + self._interval_seconds * (self.errand.process + 1) / load.processes

    def _stop_talking(self) -> None:
        self._window = 0
        self._due_at = None
        self._sample_every = self._sample_in = _NEVER

    def _talk(self) -> None:
        """Say what the windows, or the clock, allow now."""
        if self._refill:
            now_ns = time.monotonic_ns()
            for sender in self._refill:
                room = self._window - sender.said + sender.back
                if room > 0:
                    self._say(sender, room, now_ns)
            self._refill.clear()
        if self._due_at is not None:
            now = time.monotonic()
            while self._due_at <= now:
                # Stamped with the moment when it was due: if this process is late, that must be seen, not hidden.
                self._say(next(self._turns), 1, int(self._due_at * 1e9))
                self._due_at += self._interval_seconds

    def _say(self, client: Client, count: int, stamp_ns: int) -> None:
        """Say the client's next texts."""
        first = texts.START + 1 + client.said
        client.said += count
        self._messages += count
        client.send(self._lines(client, range(first, first + count), stamp_ns))

    def _lines(self, client: Client, numbers: range, stamp_ns: int) -> bytes:
        head, end, author = client.head, self.protocol.line_end, client.author
        return b"".join([head + texts.tail(stamp_ns, number, author) + end for number in numbers])

    # Receiving.

    def _pump(self, done: Callable[[], bool], patience_seconds: float | None = None) -> bool:
        """Serve the clients until it is done; False if nothing came for so many seconds."""
        limit = _NEVER if patience_seconds is None else patience_seconds
        progress = time.monotonic()
        while not done():
            self._talk()
            ready = self._wait(None if patience_seconds is None else _LOOK_SECONDS)
            self._receive(ready)
            self.counters.store(self.errand.process, self._deliveries, self._messages)
            if ready:
                progress = time.monotonic()
            elif time.monotonic() > progress + limit:
                return False
        return True

    def _wait(self, limit_seconds: float | None) -> list[tuple[int, int]]:
        """What is ready; [] at the limit, or when a text is due."""
        if self._due_at is not None:
            # epoll_wait(2) counts in milliseconds, which would make every text late; select(2) in microseconds.
            select.select([self._epoll], [], [], max(0.0, self._due_at - time.monotonic()))
            return self._epoll.poll(0)
        return self._epoll.poll(limit_seconds)

    def _receive(self, ready: list[tuple[int, int]]) -> None:
        """The hot loop."""
        clients = self._clients
        latest = b""
        lines = 0
        for fd, events in ready:
            client = clients.get(fd)
            if client is None:
                self._hear()
                continue
            if events & _WRITABLE:
                client.flush()
            try:
                data = client.receive(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._lose(client)
                continue
            if len(data) == _READ_BYTES or events & _ENDED:
                client.look_again()
            if data != latest:  # many clients get the same bytes, one after the other: count them once
                latest = data
                lines = data.count(b"\n")
            self._deliveries += lines
            client.take(data)
            for sender, listener, mark in client.observed:
                back = listener.count_latest(mark, len(data))
                if back:
                    sender.back += back
                    self._refill[sender] = None
            self._sample_in -= lines
            if self._sample_in <= 0:
                self._sample(data)

    def _sample(self, data: bytes) -> None:
        """Note how long one of the deliveries in `data`, no matter which, was on its way."""
        now_ns = time.monotonic_ns()
        self._random = self._random * 16807 % 2147483647  # Park and Miller's generator: any would do
        end = data.find(self.protocol.line_end, self._random % len(data))
        start = end - texts.TAIL_BYTES
        if start < 0:
            return  # its stamp came earlier: take one of the next
        with contextlib.suppress(ValueError):  # not a line of ours, which the audit will tell
            self._latencies_ns.append(now_ns - int(data[start : start + texts.STAMP_DIGITS], 16))
        self._sample_in += self._sample_every

    def _lose(self, client: Client) -> None:
        """The server ended a connection, which it should not."""
        if not client.entrance.done:
            raise LoadError(f"the server closed the connection of client {client.name}; {client.last_heard}")
        del self._clients[client.socket.fileno()]
        client.close()
        self._lost_clients.append(client)

    # The conductor.

    def _hear(self) -> None:
        """Something was told."""
        told = self.connection.recv()
        if told[0] == "sample":
            self._sample_every = self._sample_in = told[1]
        else:
            self._told.append(told)

    def _wait_for(self, *what: str) -> tuple[Any, ...]:
        """Serve the clients until this, or one of these, is told."""
        self._pump(lambda: bool(self._told))
        told = self._told.pop(0)
        if told[0] not in what:
            raise LoadError(f"a load process waited for {' or '.join(what)} and was told {told[0]!r}")
        return told

    def _report_said(self) -> None:
        clients = {client.author: client.said for client in (*self._senders, *self._heralds)}
        self.connection.send(("said", clients))

    def _is_settled(self, said: Mapping[int, int]) -> bool:
        return all(audit.is_complete(said) for audit in self._audits.values())

    def _outcome(self, said: Mapping[int, int]) -> Outcome:
        faults = []
        if self._lost_clients:
            count, first = len(self._lost_clients), self._lost_clients[0].name
            faults.append(f"the server closed {count} connections, first that of client {first}")
        for audit in self._audits.values():
            faults += audit.conclude(said)
        digests = {number: audit.digest() for number, audit in self._audits.items()}
        return Outcome(self._deliveries, faults, digests, self._latencies_ns)
