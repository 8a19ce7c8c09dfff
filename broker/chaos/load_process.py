"""A load process: all clients of some rooms over one epoll, doing what the script says, by an open-loop schedule.

Started by `broker.chaos.conductor`, which tells it on a Pipe what to do next, and is told:

    told         what it does                                      and says
    (at birth)   connects its clients and has them enter           ("entered",)
    ("talk",)    its people talk, by the schedule                  ("news", News) now and then, until the outcome
    ("mark",)    begins to look for each client's longest pause    ("pauses", array of ns), those since the last mark
    ("stop",)    its people fall silent; it waits for all that is  ("outcome", Ledger)
                 due, then calls the roll
    ("leave",)   ends

It says ("failed", text) and ends if it cannot go on. A delivery to somebody who listens costs one `recv()`, a count of
line ends and a comparison; everything else happens once per message, per wake-up, or less often.
"""

from __future__ import annotations

import gc
import heapq
import os
import select
import signal
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, Final

from broker.chaos.client import READ_BYTES, Client, LoadError
from broker.chaos.company import Company, Errand
from broker.chaos.ledger import Ledger
from broker.chaos.script import oldest_stamp
from broker.linux import die_with_parent
from broker.text import clean, decode

_ENTER_SECONDS: Final = 30.0
_ENTERING_AT_ONCE: Final = 32
_NEWS_SECONDS: Final = 0.25
_SWEEP_SECONDS: Final = 0.1
_LATE_NS: Final = 5_000_000
"""Less is no pause."""
_INPUTS_PER_TURN: Final = 32
_LOOK_SECONDS: Final = 0.05
_SLOW_SECONDS: Final = (0.5, 3.0)
_AWAY_SECONDS: Final = (0.05, 1.0)
_VISIT_SHARE: Final = 0.3
_HANGUP: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@dataclass(frozen=True, slots=True)
class News:
    """How far it is. `late` has the silences in which somebody should have heard something, as when they began and
    ended, in monotonic seconds; `behind` is how far the schedule itself was behind, in seconds, at the most since the
    last news.
    """

    ledger: Ledger
    late: list[tuple[float, float]]
    behind: float


def live(errand: Errand, connection: Connection, conductor_pid: int) -> None:
    """The whole life of a load process: the target of its `multiprocessing.Process`."""
    if not die_with_parent(conductor_pid):
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the conductor, who ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        LoadProcess(errand, connection).run()
    except LoadError as error:
        connection.send(("failed", str(error)))


class LoadProcess:
    """The clients of one load process, and what they are doing."""

    def __init__(self, errand: Errand, connection: Connection) -> None:
        self.errand = errand
        self.connection = connection
        self._epoll = select.epoll()
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self.company = Company(errand, partial(Client, self._epoll))
        self._lots = self.company.lots
        self._told: list[str] = []
        self._clients: dict[int, Client] = {}  # by descriptor: those that are connected
        self._waiting = self.company.waiting
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = count()
        self._due_at: float | None = None  # the next input's time
        self._interval = 0.0
        self._look_at = 0.0  # when it is time to see again whether all is settled
        self._late: dict[int, int] = {}  # silences that were too long, by their beginning, in ns
        self._behind = 0.0

    def run(self) -> None:
        """From the first connection to the outcome."""
        self._repeat(_SWEEP_SECONDS, lambda: self.company.sweep(time.monotonic()))
        self._enter()
        self._pump(lambda: "talk" in self._told)
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing below makes cycles worth a pause that would be measured as the broker's
        self._begin_talking()
        self._pump(lambda: "stop" in self._told)
        self._due_at = None
        self._settle()
        self.connection.send(("outcome", self.company.ledger))
        self._pump(lambda: "leave" in self._told)

    # Coming in.

    def _enter(self) -> None:
        """Connect all clients, first those who found the rooms, and wait until each is in its room."""
        company = self.company
        founders: dict[int, Client] = {}
        others: list[tuple[int, Client]] = []
        for number, client in zip(company.room_numbers, company.people, strict=True):
            if founders.setdefault(number, client) is not client:
                others.append((number, client))
        for seats, founds in ((list(founders.items()), True), (others, False)):
            outside: dict[Client, None] = {}
            for number, client in seats:
                outside[client] = None
                self._connect(client)
                client.send(client.person.enter(company.rooms[number], founds))
                self._pump_entrance(outside, _ENTERING_AT_ONCE)
            self._pump_entrance(outside, 1)
        self.connection.send(("entered",))

    def _pump_entrance(self, outside: dict[Client, None], fewer_than: int) -> None:
        def done() -> bool:
            for client in [client for client in outside if client.person.follower.room is not None]:
                del outside[client]
            return len(outside) < fewer_than

        if not self._pump(done, _ENTER_SECONDS):
            late = next(iter(outside)).person
            heard = late.follower.last_heard
            said = (
                f"the last that the broker said to it was {clean(decode(heard))!r}"
                if heard
                else "nothing was said to it"
            )
            raise LoadError(f"client {late.name} did not get into its room within {_ENTER_SECONDS:g} s; {said}")

    def _connect(self, client: Client) -> None:
        url = self.errand.unix_url if client.person.unix else self.errand.url
        assert url is not None
        self._clients[client.connect(url)] = client
        if client.slow:
            self._read_slowly(client)

    # Talking.

    def _begin_talking(self) -> None:
        share = len(self.company.rooms) / self.errand.load.rooms
        self._interval = 1 / (self.errand.load.rate * share)
        self._due_at = time.monotonic()
        self._repeat(_NEWS_SECONDS, self._send_news)

    def _talk(self) -> None:
        """Have people do what is due; not all at once if much is, or nobody would listen meanwhile."""
        for _ in range(_INPUTS_PER_TURN):
            now = time.monotonic()
            if self._due_at is None or self._due_at > now:
                return
            self._behind = max(self._behind, now - self._due_at)
            # Stamped with the moment when it was due: if this process is late, that must be seen, not hidden.
            client = self._lots.choice(self.company.talkers)
            if not client.person.follower.disconnected:
                self.company.act(client, int(self._due_at * 1e9))
            self._due_at += self._interval

    def _come_back(self, client: Client) -> None:
        """Connect again; perhaps as `printf … | nc` does, with all that is to be said at once, and the end."""
        if self._due_at is None:
            return
        person = client.person
        person.begin_again(person.name)
        try:
            self._connect(client)
        except LoadError as error:
            person.follower.disconnected = True
            person.owner.counts.disconnected += 1
            self.company.ledger.fault(f"{person.name}: {error}")
            return
        data = person.enter(self._lots.choice(self.company.room_list))
        if self._lots.random() < _VISIT_SHARE:
            stamp_ns = time.monotonic_ns()
            data += b"".join(person.say(self.company.texts.text(stamp_ns)) for _ in range(self._lots.randint(1, 5)))
            person.end()
            client.send(data[:-1])  # the end of the stream ends the last line
            client.shut()
        else:
            client.send(data)

    # Receiving.

    def _pump(self, done: Callable[[], bool], patience_seconds: float | None = None) -> bool:
        """Serve the clients until it is done; False if nothing came for so many seconds."""
        progress, heard = time.monotonic(), self._heard()
        while not done():
            self._talk()
            self._run_timers()
            self._receive(self._wait())
            if patience_seconds is not None:
                now = time.monotonic()
                if self._heard() != heard:
                    progress, heard = now, self._heard()
                elif now > progress + patience_seconds:
                    return False
        return True

    def _heard(self) -> int:
        ledger = self.company.ledger
        return ledger.tcp.delivered + ledger.tcp.applied + ledger.unix.delivered + ledger.unix.applied

    def _wait(self) -> list[tuple[int, int]]:
        """What is ready; [] when something else is due."""
        now = time.monotonic()
        until = now + _SWEEP_SECONDS
        if self._timers:
            until = min(until, self._timers[0][0])
        if self._due_at is not None:
            until = min(until, self._due_at)
        # epoll_wait(2) counts in milliseconds, which would make every text late; select(2) in microseconds.
        select.select([self._epoll], [], [], max(0.0, until - now))
        return self._epoll.poll(0)

    def _receive(self, ready: list[tuple[int, int]]) -> None:
        """The hot loop."""
        clients = self._clients
        latest = b""
        line_ends = 0
        now_ns = time.monotonic_ns()
        due_ns = now_ns
        for fd, events in ready:
            client = clients.get(fd)
            if client is None:
                self._hear()
                continue
            if events & select.EPOLLOUT:
                client.flush()
            while True:
                try:
                    data = client.socket.recv(READ_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self._end(client)
                    break
                if data != latest:  # many clients get the same bytes, one after the other: look at them once
                    latest = data
                    line_ends = data.count(b"\n")
                    due_ns = oldest_stamp(data, now_ns, _LATE_NS)
                if now_ns - due_ns > client.worst_ns:
                    client.worst_ns = now_ns - due_ns
                if now_ns - due_ns > _LATE_NS:
                    self._hear_late(client, due_ns, now_ns)
                client.heard_ns = now_ns
                follower = client.person.follower
                follower.take(data, line_ends)
                if follower.waits:
                    self._waiting[client] = None
                if follower.owed:
                    self.company.say_what_is_owed(client)
                if len(data) < READ_BYTES and not events & _HANGUP:
                    break

    def _hear_late(self, client: Client, due_ns: int, now_ns: int) -> None:
        """Somebody should have heard this before. It was silent for them since then, or since they last heard anything:
        what only queues behind a pause is late, but no pause of its own."""
        silent_since_ns = max(due_ns, client.heard_ns)
        if now_ns - silent_since_ns > _LATE_NS:
            self._late[silent_since_ns] = now_ns

    def _read_slowly(self, client: Client) -> None:
        """Read all there is, and come back later."""
        if not client.is_connected:
            return
        client.flush()
        delay = self._lots.uniform(*_SLOW_SECONDS) if self._due_at is not None else _SWEEP_SECONDS / 4
        try:
            data = client.socket.recv(READ_BYTES)
            while data:
                client.person.follower.take(data, data.count(b"\n"))
                data = client.socket.recv(READ_BYTES)
            self._end(client)
            return
        except BlockingIOError:
            pass
        except OSError:
            self._end(client)
            return
        if client.person.follower.waits:
            self._waiting[client] = None
        self.company.say_what_is_owed(client)
        self._call_later(delay, lambda: self._read_slowly(client))

    def _end(self, client: Client) -> None:
        """The broker has ended a connection."""
        follower = client.person.follower
        if follower.room is None and "talk" not in self._told:
            heard = clean(decode(follower.last_heard))
            raise LoadError(
                f"the broker closed the connection of client {client.person.name}; the last it said was {heard!r}"
            )
        del self._clients[client.socket.fileno()]
        client.close()
        follower.end()
        if not follower.finished:
            self._waiting[client] = None
        if not follower.disconnected:
            self._call_later(self._lots.uniform(*_AWAY_SECONDS), lambda: self._come_back_when_finished(client))

    def _come_back_when_finished(self, client: Client) -> None:
        if client.person.follower.finished:
            self._come_back(client)
        elif self._due_at is not None:
            self._call_later(_SWEEP_SECONDS, lambda: self._come_back_when_finished(client))

    # Now and then.

    def _call_later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._timer_numbers), what))

    def _repeat(self, seconds: float, what: Callable[[], None]) -> None:
        def again() -> None:
            what()
            self._repeat(seconds, what)

        self._call_later(seconds, again)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _send_news(self) -> None:
        late = [(due / 1e9, heard / 1e9) for due, heard in self._late.items()]
        self.connection.send(("news", News(self.company.ledger, late, self._behind)))
        self._late.clear()
        self._behind = 0.0

    # The end.

    def _settle(self) -> None:
        """Wait for all that is due; then call the roll."""
        company, patience = self.company, self.errand.load.patience_seconds
        company.come_home(self._connected())
        if self._pump(lambda: self._is_settled(unix=False), patience):
            company.say_a_last_word(time.monotonic_ns())
            if self._pump(lambda: self._is_settled(unix=True), patience):
                company.call_names(self._connected())
                if self._pump(lambda: self._is_settled(unix=True), patience):
                    company.call_rooms(self._connected())
                    self._pump(lambda: self._is_settled(unix=True), patience)
        company.conclude()

    def _is_settled(self, unix: bool) -> bool:
        """As the company says, which looks at everybody: so not at every wake-up."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_SECONDS
        return self.company.is_settled(unix)

    def _connected(self) -> list[Client]:
        return [client for client in self._clients.values() if not client.person.follower.ended]

    # The conductor.

    def _hear(self) -> None:
        """Something was told."""
        told: tuple[Any, ...] = self.connection.recv()
        if told[0] == "mark":
            self.connection.send(
                ("pauses", array("q", [client.worst_ns for client in self._clients.values() if not client.slow]))
            )
            for client in self._clients.values():
                client.worst_ns = 0
        else:
            self._told.append(told[0])
