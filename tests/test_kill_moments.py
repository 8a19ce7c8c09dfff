"""Kills at every fault point, while people chat, come, go and are moved: each client's bytes are exact.

Every point is armed in a broker of its own kind (killed once, ten in a row, or stopped) and held until its turn: then
the hold is taken away, people do what leads to the point, and the act that it leaves in the state directory shows that
the process has died or stopped exactly there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import chain, cycle, product
from pathlib import Path

import pytest

from broker import faults
from broker.errors import BrokerError
from tests.exact_room import ExactRoom
from tests.running import DEADLINE_SECONDS, Broker, is_gone, running_broker, state_of

OPTIONS = ("--restart-intensity", "1000", "--rate-lines-per-second", "0", "--max-behind-bytes", "1000000000")
WATCHDOG = ("--heartbeat-seconds", "0.1", "--hang-seconds", "0.5")


class Stage:
    """A broker with every point armed and held, and a room of clients."""

    def __init__(self, folder: Path, broker: Broker, state: Path) -> None:
        self.broker = broker
        self.state = state
        self.room = ExactRoom(broker, local_socket=folder / "chat.sock")
        self.intact = True

    def acts(self, point: str) -> list[int]:
        """PIDs of those that have acted at a point."""
        pids = []
        for path in sorted(self.state.glob(f"{point}.[0-9]*")):
            text = path.read_text()
            if text.endswith("\n"):
                pids.append(int(text))
        return pids

    def release(self, *points: str) -> None:
        """From here on these act."""
        for point in points:
            for old in self.state.glob(f"{point}.[0-9]*"):
                old.unlink()
            (self.state / f"{point}.hold").unlink(missing_ok=True)

    def hold(self, *points: str) -> None:
        """And from here on they do not."""
        for point in points:
            (self.state / f"{point}.hold").touch()

    def tell(self) -> None:
        """What one wants to know after a failure."""
        for person in [*self.room.people.values(), *self.room.visitors.values(), self.room.denizen]:
            print(f"{person!r} {bytes(person.received[-200:]).decode(errors='replace')!r}")
        with contextlib.suppress(BrokerError):
            for name, process in self.broker.processes().items():
                print(name, process)
            for event in self.broker.ask("events")["events"][-60:]:
                print(event["at"], event["kind"], event["text"])

    def settle(self) -> None:
        """Everybody is alive, and has everything, and nothing stands in the way of the next kill."""
        self.room.until(self._all_ready, "every process is ready")
        self.room.until(lambda: self.broker.ask("status")["journal"] == "ok", "the journal is complete")
        self.room.settle()

    def _all_ready(self) -> bool:
        processes = self.broker.processes()
        workers = {name for name in processes if name.startswith("worker-")}
        return workers == {"worker-0", "worker-1"} and all(p["state"] == "ready" for p in processes.values())


@contextlib.contextmanager
def stage(folder: Path, suffix: str, *options: str) -> Iterator[Stage]:
    """`suffix` is how often and how each point acts."""
    folder.mkdir(exist_ok=True)
    state = folder / "faults"
    state.mkdir()
    for point in faults.POINTS:
        (state / f"{point}.hold").touch()
    environment = {"BROKER_FAULTS": ",".join(p + suffix for p in faults.POINTS), "BROKER_FAULTS_STATE": str(state)}
    listen = ("--listen", f"chat+unix:{folder}/chat.sock")
    with running_broker(folder / "state", *OPTIONS, *listen, *options, environment=environment) as broker:
        made = Stage(folder, broker, state)
        try:
            yield made
        finally:
            made.room.close()


class Stages:
    """One stage of each kind for many tests; a new one after a test that failed on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[contextlib.ExitStack, Stage]] = {}
        self._made = 0

    @contextlib.contextmanager
    def on(self, suffix: str, *options: str) -> Iterator[Stage]:
        """The stage on which every point acts like that."""
        kind = " ".join((suffix, *options))
        if kind not in self._open:
            stack = contextlib.ExitStack()
            self._made += 1
            self._open[kind] = stack, stack.enter_context(stage(self._folder / str(self._made), suffix, *options))
        try:
            yield self._open[kind][1]
        except BaseException:
            stack, failed = self._open.pop(kind)
            failed.tell()
            stack.close()
            raise

    def close(self) -> None:
        """The end."""
        for stack, _ in self._open.values():
            stack.close()


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """The stages of this module."""
    made = Stages(tmp_path_factory.mktemp("moments"))
    yield made
    made.close()


# What leads to a point.


def talk(stage: Stage) -> None:
    """Everybody speaks."""
    stage.room.talk()


def visit(stage: Stage) -> None:
    """Somebody comes and goes, while others speak."""
    if len(stage.room.visitors) < 30:
        stage.room.visit()
    stage.room.talk(1)


def flood(stage: Stage) -> None:
    """So much is said that the router takes a snapshot."""
    stage.room.talk(40, 2000)


def worker_dies(stage: Stage) -> None:
    """A worker is killed while everybody speaks."""
    stage.room.talk(1)
    kill(stage, "worker-0")
    stage.room.talk(1)


def router_dies(stage: Stage) -> None:
    """So is the router."""
    stage.room.talk(1)
    kill(stage, "router")
    stage.room.talk(1)


def move(stage: Stage) -> None:
    """A worker more, which gets some of the sessions and has to give them back."""
    workers = stage.broker.ask("status")["workers"]
    stage.broker.ask("scale", workers=5 - workers)
    for _ in range(10):
        stage.room.talk(1)
        stage.room.pump(0.02)


def kill(stage: Stage, name: str) -> None:
    """`kill -9`, once."""
    pid = stage.broker.pids().get(name)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if name.startswith("worker"):
            stage.room.worker_deaths += 1


Stimulus = Callable[[Stage], None]

LEADS_TO: dict[str, Stimulus] = {
    **dict.fromkeys((p for p in faults.POINTS if p.startswith("acceptor.")), visit),
    **dict.fromkeys((p for p in faults.POINTS if p.startswith("worker.")), talk),
    **dict.fromkeys((p for p in faults.POINTS if p.startswith("router.")), talk),
    **dict.fromkeys((p for p in faults.POINTS if p.startswith("journal.")), flood),
    **dict.fromkeys(
        ("worker.greeting", "worker.welcomed", "worker.replaying", "worker.resuming", "worker.resumed-one",
         "worker.taken-over", "router.linked", "router.welcoming", "router.welcomed",
         "router.resent"), worker_dies,
    ),
    **dict.fromkeys(
        ("router.replaying", "router.replayed", "journal.recovering", "journal.recovered"),
        router_dies,
    ),
    **dict.fromkeys(
        ("worker.attaching", "worker.attached", "worker.closing", "worker.shut-down", "worker.closed",
         "worker.close-told"), visit,
    ),
    **dict.fromkeys(
        ("worker.detaching", "worker.given-away", "worker.detached", "worker.receiving", "worker.received"), move
    ),
    "journal.half-appended": talk,
}  # fmt: skip
"""What people do, or what is killed, for a point to be passed."""

BEFORE = {"worker.catching-up": "worker.consuming", "worker.frames-resent": "router.heard"}
"""A kill at that other point leads to this one: while people talk, that is all it takes."""

ELSEWHERE = {
    "journal.giving-up": "only when a disk fails; tests/test_journal_trouble.py",
    "acceptor.refused": "only when there are too many: a test of its own below",
    "acceptor.turning-away": "the same",
    "acceptor.turned-away": "the same",
}

POINTS = [point for point in faults.POINTS if point not in ELSEWHERE]


def play(stage: Stage, points: list[str], times: int = 1) -> None:
    """Have the points act, so many times each, and everything be exact in spite of it."""
    leading = [BEFORE[point] for point in points if point in BEFORE]
    released = [*points, *leading]
    stimulus = LEADS_TO[points[0]]
    # Whoever dies amid its act leaves none: what kills by itself is not to be done again while others still act.
    # Who dies before it is ready is replaced after a second at most.
    patience_seconds = 2.5 if stimulus in (worker_dies, router_dies, move) else 0.2
    victims: dict[str, list[int]] = {point: [] for point in released}

    def acted() -> int:
        return sum(len(stage.acts(point)) for point in released)

    def done() -> bool:
        return all(len(stage.acts(point)) >= times for point in points)

    stage.release(*released)
    end = time.monotonic() + DEADLINE_SECONDS * (1 + times / 5)
    while not done() and time.monotonic() < end:
        # Once or little more a time: whoever dies of what leads there again and again gets nowhere.
        for point in leading:
            if times > 1 and stage.acts(point) and len(victims[point]) < 3 * times:
                victims[point] += stage.acts(point)
                stage.release(point)
        stimulus(stage)
        before, since = acted(), time.monotonic()
        while not done() and time.monotonic() < since + patience_seconds:
            stage.room.pump(0.01)
            stage.hold(*(point for point in leading if stage.acts(point)))
            if acted() > before:
                before, since = acted(), time.monotonic()
    stage.hold(*released)
    for point in released:
        victims[point] += stage.acts(point)
    assert {point: len(victims[point]) for point in points} == dict.fromkeys(points, times)
    stage.room.until(lambda: all(map(is_gone, chain.from_iterable(victims.values()))), "whoever has acted is gone")
    stage.room.worker_deaths += sum(len(victims[point]) for point in released if point.startswith("worker."))
    if stage.broker.ask("status")["workers"] != 2:
        stage.broker.ask("scale", workers=2)
    stage.settle()


@pytest.mark.parametrize("point", POINTS)
def test_killed_once(stages: Stages, point: str) -> None:
    with stages.on(":1x1") as stage:
        play(stage, [point])


@pytest.mark.parametrize("point", ["worker.half-sent", "worker.resuming", "router.welcomed", "acceptor.taken"])
def test_killed_ten_times_in_a_row(stages: Stages, point: str) -> None:
    with stages.on(":1x10") as stage:
        play(stage, [point], 10)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_killed_ten_times_in_a_row_everywhere(stages: Stages, point: str) -> None:
    with stages.on(":1x10") as stage:
        play(stage, [point], 10)


@pytest.mark.parametrize("point", ["worker.half-sent", "router.journaled", "acceptor.decided"])
def test_stopped_for_longer_than_the_watchdog_allows(stages: Stages, point: str) -> None:
    with stages.on(":1x1:STOP", *WATCHDOG) as stage:
        play(stage, [point])


@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in POINTS if not point.startswith("journal.snapshot-")])
def test_stopped_everywhere_for_longer_than_the_watchdog_allows(stages: Stages, point: str) -> None:
    with stages.on(":1x1:STOP", *WATCHDOG) as stage:
        play(stage, [point])


# A worker and the router in the same instant: each is stopped where it is to die, then both are killed.

OF_WORKER = [p for p in POINTS if p.startswith("worker.") and LEADS_TO[p] in (talk, visit, move) and p not in BEFORE]
OF_ROUTER = ["router.heard", "router.journaled", "router.applied", "router.batch-sent", "router.answered"]


def stop_at(stage: Stage, point: str, stimulus: Stimulus) -> int:
    """Whoever comes to that point stands still there; returns its PID."""
    stage.release(point)
    end = time.monotonic() + DEADLINE_SECONDS
    while not stage.acts(point):
        assert time.monotonic() < end, f"nobody has come to {point}"
        stimulus(stage)
        for _ in range(20):
            if not stage.acts(point):
                stage.room.pump(0.01)
    (pid,) = stage.acts(point)
    stage.room.until(lambda: state_of(pid) == "T", f"{pid} stands still")
    stage.hold(point)
    return pid


def kill_together(stage: Stage, worker_point: str, router_point: str) -> None:
    """Both at once, and everything is exact in spite of it."""
    pids = [stop_at(stage, worker_point, LEADS_TO[worker_point]), stop_at(stage, router_point, talk)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    stage.room.worker_deaths += 1
    stage.room.until(lambda: all(map(is_gone, pids)), "both are gone")
    stage.room.talk(1)
    if stage.broker.ask("status")["workers"] != 2:
        stage.broker.ask("scale", workers=2)
    stage.settle()


@pytest.mark.parametrize(("worker_point", "router_point"), list(zip(OF_WORKER, cycle(OF_ROUTER), strict=False)))
def test_worker_and_router_killed_in_the_same_instant(stages: Stages, worker_point: str, router_point: str) -> None:
    with stages.on(":1x1:STOP") as stage:
        kill_together(stage, worker_point, router_point)


@pytest.mark.slow
@pytest.mark.parametrize(("worker_point", "router_point"), list(product(OF_WORKER, OF_ROUTER)))
def test_worker_and_router_killed_everywhere(stages: Stages, worker_point: str, router_point: str) -> None:
    with stages.on(":1x1:STOP") as stage:
        kill_together(stage, worker_point, router_point)


# The moments of somebody who is turned away.

FULL = "* 聊天室满了 (最多 9 个连接)，请稍后再来。\n"


@pytest.mark.parametrize("point", ["acceptor.refused", "acceptor.turning-away", "acceptor.turned-away"])
def test_who_is_turned_away_is_gone_and_nobody_else_notices(stages: Stages, point: str) -> None:
    with stages.on(":1x1", "--max-connections", "9") as stage:  # there are eight
        stage.release(point)
        stage.room.talk(1)
        last = stage.room.arrive("last")
        stage.room.until(lambda: last.received.endswith(b"\n"), "the last one who finds a place is in")
        first = stage.broker.client()
        stage.room.talk(1)
        assert first.rest() in (FULL, "")  # an acceptor that is killed may not have said it
        stage.room.until(lambda: stage.acts(point), "it has acted")
        stage.hold(point)
        stage.broker.wait_ready("acceptor-0", stage.acts(point)[0])
        assert stage.broker.client().rest() == FULL, "the next one has counted right"
        last.send("/quit\n")
        stage.settle()
        stage.room.until(lambda: stage.broker.ask("status")["sessions"] == 8, "there is a place again")
        stage.room.arrive("last").send("/quit\n")
        stage.settle()
