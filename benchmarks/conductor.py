"""Conducts the load processes through one measurement: has them enter, begin, talk and stop together, and sums up.

Runs in the process of the command. It reads the shared counters and everybody's CPU time at both ends of the measured
time, and touches no client. Whatever happens, its load processes are gone when `measure` returns or raises.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from benchmarks import cpu
from benchmarks.counters import Counters
from benchmarks.errors import LoadError
from benchmarks.load_process import Errand, Outcome, live
from benchmarks.plan import Load, Names, Room, plan
from benchmarks.probe import prepare
from benchmarks.report import Measurement, Rest, Verdict, latency_of
from broker.errors import UsageError
from broker.urls import ListenerURL
from monitor import procfs

_SAMPLES: Final = 40_000
"""About so many latencies are noted in one measurement."""
_ENTER_SECONDS: Final = 300.0
_ANSWER_SECONDS: Final = 60.0
_END_SECONDS: Final = 2.0
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect; the process that is the server, with all its descendants, and its name, if they are known."""

    url: ListenerURL
    pid: int | None = None
    name: str | None = None


def measure(load: Load, server: Server) -> Measurement:
    """Put the load on the server; UsageError if it makes no sense, LoadError if it cannot be done."""
    rooms = plan(load)
    counters = Counters(load.processes)
    prepare(server.url)  # before the load processes are forked, so that they know it too
    answer_seconds = _ANSWER_SECONDS + load.patience_seconds
    with _load_processes(load, rooms, server.url, counters) as processes:
        processes.collect("entered", _ENTER_SECONDS)
        processes.tell("announce")
        processes.collect("open", _ANSWER_SECONDS)
        processes.tell("talk")
        processes.pause(load.warm_up_seconds)

        before = _Moment(counters, processes.pids, server)
        processes.tell("sample", _sample_every(load, before.deliveries))
        processes.pause(load.seconds)
        after = _Moment(counters, processes.pids, server)

        processes.tell("stop")
        processes.collect("said", answer_seconds)
        processes.tell("end")
        said = _united(processes.collect("said", _ANSWER_SECONDS))
        processes.tell("settle", said)
        outcomes: list[Outcome] = processes.collect("outcome", answer_seconds)
        processes.tell("leave")
    latencies_ns = array("q")
    for outcome in outcomes:
        latencies_ns.extend(outcome.latencies_ns)
    return Measurement(
        load=load,
        url=str(server.url),
        seconds=after.at - before.at,
        deliveries=after.deliveries - before.deliveries,
        messages=after.messages - before.messages,
        latency=latency_of(latencies_ns),
        server=None if before.server is None or after.server is None else cpu.used(before.server, after.server),
        generator=cpu.used(before.generator, after.generator),
        verdict=judge(rooms, said, outcomes),
    )


def measure_rest(load: Load, server: Server) -> Rest:
    """Have all clients of the load enter, and then do nothing for its `seconds`; errors as for `measure`."""
    if server.pid is None:
        raise UsageError("what a server needs at rest can only be measured if its PID is known")
    rooms = plan(load)
    counters = Counters(load.processes)
    with _load_processes(load, rooms, server.url, counters) as processes:
        before = _Moment(counters, processes.pids, server)
        processes.collect("entered", _ENTER_SECONDS)
        after = _Moment(counters, processes.pids, server)
        processes.pause(load.warm_up_seconds)
        pids = cpu.tree(server.pid)
        slices_before, began = cpu.slices(pids), time.monotonic()
        processes.pause(load.seconds)
        slices, seconds = cpu.slices(pids) - slices_before, time.monotonic() - began
        rested = _Moment(counters, processes.pids, server)
        pss_bytes = sum(procfs.pss_bytes(pid) or 0 for pid in pids)
        processes.tell("leave")
    assert before.server is not None and after.server is not None and rested.server is not None
    return Rest(
        load=load,
        url=str(server.url),
        enter_seconds=after.at - before.at,
        enter_server=cpu.used(before.server, after.server),
        enter_generator=cpu.used(before.generator, after.generator),
        pss_bytes=pss_bytes,
        wake_ups_per_second=slices / seconds,
        cores=sum(process.seconds for process in cpu.used(after.server, rested.server)) / (rested.at - after.at),
    )


@contextmanager
def crowd(load: Load, server: Server) -> Iterator[None]:
    """Have all clients of the load in their rooms meanwhile, where they say nothing; errors as for `measure`."""
    with _load_processes(load, plan(load), server.url, Counters(load.processes)) as processes:
        processes.collect("entered", _ENTER_SECONDS)
        yield
        processes.tell("leave")


def judge(rooms: Sequence[Room], said: Mapping[int, int], outcomes: Sequence[Outcome]) -> Verdict:
    """Sum up: all that the load processes found, whether their streams are the same, and whether the totals match."""
    expected = sum(sum(said[author] for author in room.authors) * (len(room.clients) - 1) for room in rooms)
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    for room in rooms:
        digests = {outcome.digests[room.number] for outcome in outcomes if room.number in outcome.digests}
        if len(digests) > 1:
            faults.append(f"room {room.number}: not the same lines in the same order in all load processes")
    return Verdict(sum(said.values()), expected, sum(outcome.deliveries for outcome in outcomes), faults)


class _Moment:
    """How far everybody is now."""

    def __init__(self, counters: Counters, load_pids: Sequence[int], server: Server) -> None:
        names = {pid: f"load-{number}" for number, pid in enumerate(load_pids)}
        self.generator = cpu.look({**names, os.getpid(): "conductor"})
        self.server = None
        if server.pid is not None:
            self.server = cpu.look({**dict.fromkeys(cpu.tree(server.pid)), server.pid: server.name})
        self.at = time.monotonic()
        self.deliveries, self.messages = counters.total()


class _Processes:
    """The load processes, and the Pipe to each."""

    def __init__(self) -> None:
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []

    @property
    def pids(self) -> list[int]:
        """In the order of their numbers."""
        return [process.pid for process in self._processes if process.pid is not None]

    def start(self, errand: Errand, counters: Counters) -> None:
        """Start one more. `fork`, so that it has the memory of the counters."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=live, args=(errand, theirs, counters, os.getpid()))
        process.start()
        theirs.close()
        self._processes.append(process)
        self._connections.append(ours)

    def tell(self, what: str, *details: Any) -> None:
        """Tell all of them."""
        for connection in self._connections:
            connection.send((what, *details))

    def collect(self, what: str, patience_seconds: float) -> list[Any]:
        """What each of them says with this, None if nothing; LoadError if one fails, ends or says nothing for long."""
        deadline = time.monotonic() + patience_seconds
        answers: dict[Connection, Any] = {}
        while len(answers) < len(self._connections):
            ready = wait(
                [connection for connection in self._connections if connection not in answers],
                max(0.0, deadline - time.monotonic()),
            )
            if not ready:
                raise LoadError(f"a load process did not say {what!r} within {patience_seconds:g} s")
            for connection in ready:
                assert isinstance(connection, Connection)
                answer = self._receive(connection)
                if answer[0] != what:
                    raise LoadError(f"a load process said {answer[0]!r} instead of {what!r}")
                answers[connection] = answer[1] if len(answer) > 1 else None
        return [answers[connection] for connection in self._connections]

    def pause(self, seconds: float) -> None:
        """Let them work for so long; LoadError at once if one fails or ends."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for connection in wait(self._connections, left):
                assert isinstance(connection, Connection)
                answer = self._receive(connection)
                raise LoadError(f"a load process said {answer[0]!r} while it should talk")

    def end(self) -> None:
        """Have them gone."""
        for connection in self._connections:
            connection.close()
        deadline = time.monotonic() + _END_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _receive(self, connection: Connection) -> tuple[Any, ...]:
        try:
            answer: tuple[Any, ...] = connection.recv()
        except (EOFError, ConnectionResetError):
            raise LoadError("a load process has ended before its time") from None
        if answer[0] == "failed":
            raise LoadError(answer[1])
        return answer


@contextmanager
def _load_processes(load: Load, rooms: tuple[Room, ...], url: ListenerURL, counters: Counters) -> Iterator[_Processes]:
    processes = _Processes()
    names = Names(_run_name(os.getpid()))
    try:
        for number in range(load.processes):
            processes.start(Errand(number, load, rooms, names, url), counters)
        yield processes
    finally:
        processes.end()


def _run_name(pid: int) -> str:
    """Three letters or digits of a PID, rarely those of another run's."""
    return "".join(_DIGITS[pid // 36**place % 36] for place in (2, 1, 0))


def _united(parts: Sequence[Mapping[int, int]]) -> dict[int, int]:
    return {author: count for part in parts for author, count in part.items()}


def _sample_every(load: Load, deliveries_in_warm_up: int) -> int:
    """How many deliveries make one sample, to get about _SAMPLES: as many as the warm-up lets expect."""
    if not load.warm_up_seconds:
        return 64
    return max(1, int(deliveries_in_warm_up / load.warm_up_seconds * load.seconds / _SAMPLES))
