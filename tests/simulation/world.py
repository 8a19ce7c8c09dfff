"""The world of a simulation: the processes, the part of the supervisor that matters to them, the clients, and chance.

One seed decides everything: who runs when, how much of what is ready anybody sees, how bytes are cut, and who is killed
at which step of which call. `World.run` goes through a schedule and then lets everything come to rest without further
kills; `tests.simulation.verdict` says whether all is as it would have been without any.
"""

from __future__ import annotations

import errno
import marshal
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar

from broker.channel import Channel, DescriptorChannel
from broker.child_state import State
from broker.custodian import Custodian
from broker.custody import Descriptors
from broker.framing import FrameReader, decode, encode
from broker.loop import Loop
from broker.messages import ASSIGN, KICK, KICKED, LINK, MOVE, REPORT_LOG, SHUTDOWN, STAFF, STOP
from broker.settings import Settings, resolve
from broker.urls import parse_listener_url
from tests.simulation.clients import ENDINGS, MAX_LINE_BYTES, Client, script_of
from tests.simulation.disk import Disk, SimulatedJournal
from tests.simulation.kernel import (
    ClientSocket,
    Connection,
    Endpoint,
    Epoll,
    Fate,
    Killed,
    LedgerOfLife,
    Life,
    PipeSocket,
    pipe,
    position_of_tcp,
)
from workers.harness import Birth, ChildProcess
from workers.platform import Platform
from workers.router import RouterProcess
from workers.worker import WorkerProcess

UNBOUNDED = 1 << 60
LISTENERS = tuple(
    SimpleNamespace(url=parse_listener_url(url), fd=-1) for url in ("chat://127.0.0.1:8888", "chat+unix:/chat.sock")
)


class SimulatedLoop(Loop):
    """A loop that is turned from outside."""

    stopped = False

    def stop(self) -> None:
        super().stop()
        self.stopped = True

    def due(self) -> bool:
        """Whether a turn would have anything to do."""
        assert isinstance(self._epoll, Epoll)
        return bool(self._epoll.ready()) or self._timeout() == 0.0


class SupervisorFiles(Descriptors):
    """Custody's duplicates are descriptors of the supervisor, which does not die, but may run out of them.

    Only when a socket is not given to its first worker: whoever has none yet is turned away then.
    """

    def __init__(self, life: Life, runs_out: Callable[[], bool]) -> None:
        self.life = life
        self.runs_out = runs_out
        self.given: set[int] = set()

    def duplicate(self, fd: int) -> int:
        if fd in self.given and self.runs_out():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.given.add(fd)
        return self.life.open(self.life.files[fd])

    def close(self, fd: int) -> None:
        self.given.discard(fd)
        self.life.close(fd)

    def shut_down(self, fd: int) -> None:
        self.life.files[fd].shut_down = True


class SimulatedChild:
    """A child spec and its incarnation, as the supervisor has them."""

    def __init__(self, role: str, index: int) -> None:
        self.spec = SimpleNamespace(role=role, index=index)
        self.name = role if role == "router" else f"{role}-{index}"
        self.state = State.WAITING
        self.retiring = self.told_to_stop = False
        self.incarnation = 0
        self.channel = SimpleNamespace(outbox_bytes=0)
        self.life = Life(self.name, Random(), Fate())
        self.process: ChildProcess | None = None
        self.control = Endpoint(0)
        self.frames = FrameReader()

    @property
    def alive(self) -> bool:
        """As far as the supervisor knows."""
        return self.state is State.READY

    @property
    def runs(self) -> bool:
        return self.alive and not self.life.dead

    def runnable(self) -> bool:
        loop = self.process.loop if self.process is not None else None
        return self.runs and isinstance(loop, SimulatedLoop) and loop.due()


class World:
    """Everything, for one seed.

    `kill_rate` is the part of all turns at which somebody is marked for death, `strikes` are steps, counted over all
    processes, at which whoever makes one dies. `behind_bytes` is how far a client may be behind, of whom some read
    nothing at all then; `lines_per_second` is how fast they may speak, 0 for any speed; `goodbye` ends the chat.
    """

    chance: ClassVar[type[Random]] = Random
    listeners: ClassVar[tuple[Any, ...]] = LISTENERS
    places: ClassVar[int] = 64

    def __init__(
        self,
        seed: int,
        *,
        kill_rate: float = 0.02,
        strikes: Iterable[int] = (),
        behind_bytes: int | None = None,
        lines_per_second: float = 0.0,
        goodbye: bool = False,
    ) -> None:
        self.seed = seed
        self.random = random = self.chance(seed)
        self.now = 1000.0
        self.kill_rate = kill_rate
        self.fate = Fate(strikes)
        self.behind_bytes = behind_bytes
        self.goodbye = goodbye
        self.kills = 0
        self.turns = 0
        self.log: list[str] = []
        self.disk = Disk()
        self.snapshot_every = random.choice([4, 15, 60, 100_000])
        self.pipe_bytes = random.choice([50, 200, 1000, 20_000])
        self.control_bytes = random.choice([30, 200, 20_000])
        self.settings = self._settings(lines_per_second)
        self.supervisor = Life("supervisor", Random(seed), Fate())
        self.later: list[Callable[[], None]] = []  # what the custodian wants to do after some time
        self.custodian = Custodian(
            self, [], self.places, SimpleNamespace(record=self._record), lambda workers: None,
            SupervisorFiles(self.supervisor, lambda: self.disturbing and random.random() < 0.3),
            lambda _seconds, callback: self.later.append(callback),
        )  # type: ignore[arg-type]  # fmt: skip
        self.children: dict[str, SimulatedChild] = {}
        self.clients: list[Client] = []
        self.unborn = random.randint(2, 8)
        self.disturbing = True
        for role, index in [("router", 0), *(("worker", n) for n in range(random.randint(1, 3)))]:
            self._add(role, index)

    def _settings(self, lines_per_second: float) -> Settings:
        settings = resolve({}, {"HOME": "/"}).settings
        return replace(
            settings,
            max_behind_bytes=self.behind_bytes or settings.max_behind_bytes,
            max_line_bytes=MAX_LINE_BYTES,
            heartbeat_seconds=0.05,
            rate_lines_per_second=lines_per_second,
            rate_burst_lines=2,
            address_rate_lines_per_second=0.0,
        )

    def _record(self, level: str, kind: str, text: str, *_: Any) -> None:
        self.log.append(f"{level} {kind} {text}")

    # What the custodian wants of the supervisor.

    def of_role(self, role: str) -> Iterator[SimulatedChild]:
        return (child for child in list(self.children.values()) if child.spec.role == role)

    def tell(self, child: SimulatedChild, message: tuple[Any, ...], descriptors: list[int] | None = None) -> None:
        files = [self.supervisor.files[fd] for fd in descriptors or ()]
        self._tell(child, message, files)
        for fd in descriptors or ():
            self.supervisor.close(fd)

    def _tell(self, child: SimulatedChild, message: tuple[Any, ...], files: list[Any]) -> None:
        for file in files:
            file.hold()
        if child.alive and not child.control.peer.closed:
            child.control.peer.put(encode(message), files)
        for file in files:
            file.let_go()

    # Children begin and end.

    def _spawn(self, child: SimulatedChild) -> None:
        child.life = life = Life(child.name, self.chance(self.random.random()), self.fate, self._on_death)
        child.control, theirs = pipe(UNBOUNDED)
        child.control.capacity = self.control_bytes
        child.control.hold()
        child.frames = FrameReader()
        child.told_to_stop = False
        held = tuple(self.custodian.custody.held_of(child.spec.index)) if child.spec.role == "worker" else ()
        for one in held:
            life.open(self.supervisor.files[one.fd], one.fd)
        birth = Birth(
            name=child.name, index=child.spec.index, nice=0, settings=self.settings, listeners=self.listeners,
            supervisor_pid=1, control_fd=life.open(theirs), stack_fd=-1, run=b"r" * 16, clock_offset=0.0,
            ledger=LedgerOfLife(life, self.custodian.ledger), held=held,
            elsewhere=self.custodian.custody.elsewhere(child.spec.index),
            last_session=self.custodian.custody.last_session,
            reports=SimpleNamespace(put_nowait=partial(self._on_report, child)), platform=self._platform(life),
        )  # type: ignore[arg-type]  # fmt: skip
        child.state = State.READY
        child.incarnation += 1
        if self.disturbing and self.random.random() < self.kill_rate * 5:
            life.dies_at = self.random.randint(1, 20)
        self._run(child, lambda: self._be_born(child, birth))
        if child.spec.role == "router":
            self._tell_staff()
            for worker in self.of_role("worker"):
                self._join(child, worker)
        else:
            for router in self.of_role("router"):
                self._join(router, child)
            self.custodian.workers_changed()

    def _be_born(self, child: SimulatedChild, birth: Birth) -> None:
        child.process = None
        child.process = (RouterProcess if child.spec.role == "router" else WorkerProcess)(birth)
        child.process.begin()

    def _platform(self, life: Life) -> Platform:
        open_pipe = partial(PipeSocket, life)
        return Platform(
            loop=lambda: SimulatedLoop(Epoll(life), lambda: self.now),
            control_pipe=partial(DescriptorChannel, open_socket=open_pipe),
            pipe=partial(Channel, open_socket=open_pipe),
            client=partial(ClientSocket, life),
            position_of_tcp=position_of_tcp,
            journal=lambda *_: SimulatedJournal(life, self.disk, self.snapshot_every),
            monotonic=lambda: self.now,
            random_bytes=life.random.randbytes,
        )  # type: ignore[arg-type]

    def _tell_staff(self) -> None:
        self._tell(self.children["router"], (STAFF, [child.spec.index for child in self.of_role("worker")]), [])

    def _join(self, router: SimulatedChild, worker: SimulatedChild) -> None:
        if router.alive and worker.alive:
            one, other = pipe(self.pipe_bytes)
            link = (LINK, worker.spec.index, worker.incarnation)
            self._tell(router, link, [one])
            self._tell(worker, link, [other])

    def _run(self, child: SimulatedChild, part: Any) -> None:
        try:
            part()
        except Killed:
            assert child.life.dead

    def _wake(self, child: SimulatedChild) -> None:
        process = child.process
        assert process is not None and isinstance(process.loop, SimulatedLoop)
        process.loop.wake_up()
        if process.loop.stopped:
            process.finish()
            self.kills -= 1  # it is none
            child.life.kill()

    def _on_death(self, life: Life) -> None:
        self.kills += 1
        for client in self.clients:
            if client.connection.local:
                self._note_gap(client)

    def _note_gap(self, client: Client) -> None:
        """What of a send under way has not come to the kernel is lost on a local socket: that is what is promised."""
        held = self.custodian.custody.get(client.session)
        if held is None:
            return
        word = self.custodian.ledger.sent[held.slot]
        client.connection.note_loss(word & (1 << 40) - 1, word >> 40)

    def _bury(self, child: SimulatedChild) -> None:
        self._hear(child)
        child.control.let_go()
        child.state = State.WAITING
        if child.told_to_stop:
            del self.children[child.name]
            self._tell_staff()
        if child.spec.role == "worker":
            self.custodian.workers_changed()

    def _on_report(self, child: SimulatedChild, report: dict[str, Any]) -> None:
        if report["kind"] == REPORT_LOG:
            self._record(report["level"], child.name, report["text"])

    def _hear(self, child: SimulatedChild) -> None:
        """Everything that the child has said."""
        while child.control.queue:
            data, files = child.control.take(self.random.choice([5, 100, 10_000]))
            assert not files
            for body in child.frames.feed(data):
                message = decode(body)
                if self.custodian.handles(message[0]):
                    self.custodian.apply(child, message)  # type: ignore[arg-type]
                elif message[0] != KICKED:
                    raise AssertionError(f"{child.name} says {message!r}")

    # What may happen next.

    def turn(self) -> bool:
        """Let one thing happen; False if nothing can but time passing."""
        self.turns += 1
        random = self.random
        if self.disturbing:
            chance = random.random()
            if chance < self.kill_rate:
                self._mark_for_death()
            elif chance < self.kill_rate + 0.02:
                self._order_something()
        possible = [partial(self._run, child, partial(self._wake, child))
                    for child in self.children.values() if child.runnable()]  # fmt: skip
        self._bring_back()
        for child in self._retiring():
            if random.random() < 0.05 or not self.custodian.custody.count_of(child.spec.index):
                possible.append(partial(self._retire, child))
        for child in self.children.values():
            if child.alive and child.life.dead:
                possible.append(partial(self._bury, child))
            elif child.state is State.WAITING:
                possible.append(partial(self._spawn, child))
            elif child.control.queue:
                possible.append(partial(self._hear, child))
        for client in self.clients:
            if client.can_act and (not self.disturbing or random.random() < 0.3):
                possible.append(partial(client.act, random))
            if (
                client.connection.outgoing
                and not (self.disturbing and client.deaf)
                and (not self.disturbing or random.random() < 0.5)
            ):
                possible.append(partial(client.connection.client_reads, client.patience))
        if self.later:
            possible.append(lambda: self.later.pop(0)())
        if self.unborn and self.custodian.available_workers() and (random.random() < 0.1 or not self.disturbing):
            possible.append(self._connect)
        possible += self._snapshots()
        if not possible:
            return False
        random.choice(possible)()
        return True

    def _snapshots(self) -> list[Any]:
        process = self.children["router"].process
        journal = process.journal if isinstance(process, RouterProcess) else None
        snapshot = journal.snapshot if isinstance(journal, SimulatedJournal) else None
        if snapshot is None or snapshot.done or (self.disturbing and self.random.random() < 0.9):
            return []
        return [partial(setattr, snapshot, "done", True)]

    def _mark_for_death(self) -> None:
        """One of them, or several, now or at one of their next calls."""
        victims = [child for child in self.children.values() if child.runs and self.random.random() < 0.5]
        for child in victims:
            if self.random.random() < 0.2:
                child.life.kill()
            else:
                child.life.dies_at = child.life.steps + self.random.choice([1, 2, 3, 5, 8, 13, 21, 40])

    def _order_something(self) -> None:
        workers = list(self.of_role("worker"))
        router, source = self.children["router"], self.random.choice(workers)
        chance = self.random.random()
        if chance < 0.05:
            self._tell(router, (KICK, self.turns, f"n{self.random.randrange(8)}", "enough"), [])
        elif chance < 0.15:
            self._scale(workers)
        elif chance < 0.6:
            targets = {child.spec.index: self.random.randint(1, 3) for child in workers if child is not source}
            if targets:
                self._tell(router, (MOVE, source.spec.index, targets), [])
        elif chance < 0.8:
            self._tell(self.random.choice([router, *workers]), (STOP,), [])
        else:
            self.now += self.random.choice([0.02, 0.1])

    def _scale(self, workers: list[SimulatedChild]) -> None:
        """One worker more, or one fewer."""
        staying = [child for child in workers if not child.retiring]
        missing = [index for index in range(4) if f"worker-{index}" not in self.children]
        if missing and (len(staying) == 1 or self.random.random() < 0.5):
            self._add("worker", missing[0])
        elif len(staying) > 1:
            self.random.choice(staying).retiring = True
            self.custodian.workers_changed()

    def _retire(self, child: SimulatedChild) -> None:
        """Have its sessions moved to others, and stop it once it has none."""
        count = self.custodian.custody.count_of(child.spec.index)
        if not count:
            child.told_to_stop = True
            self._tell(child, (STOP,), [])
        elif targets := self.custodian.available_workers():
            each = {target: count // len(targets) + 1 for target in targets}
            self._tell(self.children["router"], (MOVE, child.spec.index, each), [])

    def _retiring(self) -> list[SimulatedChild]:
        return [child for child in self.of_role("worker") if child.alive and child.retiring and not child.told_to_stop]

    def _bring_back(self) -> None:
        """A session may have been on its way to one that has stopped meanwhile."""
        for index in self.custodian.custody.workers():
            if f"worker-{index}" not in self.children:
                self._add("worker", index).retiring = True

    def _add(self, role: str, index: int) -> SimulatedChild:
        child = SimulatedChild(role, index)
        self.children[child.name] = child
        self._tell_staff()
        self._spawn(child)
        return child

    def _connect(self) -> None:
        random = self.random
        number = len(self.clients)
        self.unborn -= 1
        local = random.random() < 0.3
        connection = Connection(
            f"client {number}", local, random.choice([600, 2000, 100_000]), random.choice([40, 300, 100_000]), random
        )
        ending = random.choices(list(ENDINGS), list(ENDINGS.values()))[0]
        script = script_of(number, random.randint(0, 12), random)
        if ending == "quits":
            script += b"/quit\n"
        elif ending == "finishes amid a line":
            script += b"and so"
        patience = random.choice([1, 30, 1000, 1000])
        deaf = self.behind_bytes is not None and random.random() < 0.3
        client = Client(number, connection, script, ending, patience, deaf=deaf)
        self.clients.append(client)
        held = self.custodian.custody.take(self.supervisor.open(connection), int(local), f"c{number}", "::1", local)
        self.custodian.ledger.clear(held.slot)
        client.session = held.session
        worker = random.choice(self.custodian.available_workers())
        self.custodian.apply(None, (ASSIGN, [(held.session, worker)]))  # type: ignore[arg-type]

    # A whole schedule.

    def run(self, turns: int) -> None:
        """So many turns with everything that can go wrong, and then until nothing is left to be done."""
        for turn in range(turns):
            if self.goodbye and turn == turns // 2:
                self._tell(self.children["router"], (SHUTDOWN,), [])
            if not self.turn():
                self.now += 0.01
        self.rest()

    def rest(self) -> None:
        """No more kills; let everything be done that is still to be done."""
        self.disturbing = False
        for child in self.children.values():
            if not child.life.dead:
                child.life.dies_at = None
        quiet = 0
        for _ in range(100_000):
            if self.turn():
                continue
            self.now += 1.0
            quiet = 0 if self._retiring() else quiet + 1
            if quiet > 8:  # beats, and what they let be acknowledged
                return
        raise AssertionError("the simulation does not come to rest")

    def records(self) -> list[tuple[float, list[tuple[Any, ...]]]]:
        """All that the routers have ever journaled, in order."""
        return [marshal.loads(record) for record in self.disk.history]
