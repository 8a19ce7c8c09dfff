"""Starts the load processes, and hears from them. Runs in the process of the command; touches no client.

Whatever happens, its load processes are gone when the context is left.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from array import array
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final

from broker.chaos.cast import LARGEST_LOAD, Load, Names, cast, run_name
from broker.chaos.client import LoadError
from broker.chaos.company import Errand
from broker.chaos.ledger import Ledger, total
from broker.chaos.load_process import News, live
from broker.chaos.scout import dialect_of
from broker.urls import ListenerURL

_ENTER_SECONDS: Final = 600.0
_END_SECONDS: Final = 2.0


class Conductor:
    """All load processes of one run; a context."""

    def __init__(self, load: Load, url: ListenerURL, unix_url: ListenerURL | None, seed: int) -> None:
        load.check()
        self.load = load
        self.ledgers: dict[Connection, Ledger] = {}
        self.late: list[tuple[float, float]] = []
        """As `late` in News, since the last call of take_late."""
        self.behind = 0.0
        """How far the schedule was ever behind, in seconds."""
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        self._answers: dict[Connection, list[tuple[Any, ...]]] = {}
        names = Names(run_name(os.getpid()))
        dialect = dialect_of(url, names.person(LARGEST_LOAD))
        rooms = cast(load, dialect.variants)
        # `fork`: nothing of this process has to be importable, or picklable.
        context = multiprocessing.get_context("fork")
        for number in range(load.processes):
            own = {room: roles for room, roles in enumerate(rooms) if room % load.processes == number}
            errand = Errand(number, load, own, names, url, unix_url, seed, dialect)
            ours, theirs = context.Pipe()
            process = context.Process(target=live, args=(errand, theirs, os.getpid()))
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)
            self._answers[ours] = []

    def __enter__(self) -> Conductor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()
        deadline = time.monotonic() + _END_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()) if kind is None else 0.0)
            if process.is_alive():
                process.kill()
                process.join()

    @property
    def ledger(self) -> Ledger:
        """The sum of the latest."""
        return total(self.ledgers.values())

    def wait_until_entered(self) -> None:
        """Return when everybody is in their rooms; LoadError if somebody cannot get there."""
        self._collect("entered", _ENTER_SECONDS)

    def tell(self, what: str) -> None:
        """Tell all load processes."""
        for connection in self._connections:
            connection.send((what,))

    def listen(self, seconds: float) -> None:
        """Hear for so long how they are; LoadError if one has failed or ended."""
        deadline = time.monotonic() + seconds
        while True:
            ready = wait(self._connections, max(0.0, deadline - time.monotonic()))
            for connection in ready:
                assert isinstance(connection, Connection)
                self._hear(connection)
            if time.monotonic() >= deadline:
                return

    def take_late(self) -> list[tuple[float, float]]:
        """As `late` in News, and forget them."""
        late, self.late = self.late, []
        return late

    def pauses(self) -> list[float]:
        """Each client's longest pause since this was last asked, in seconds."""
        self.tell("mark")
        found: list[float] = []
        for answer in self._collect("pauses", _ENTER_SECONDS):
            assert isinstance(answer, array)
            found += [pause / 1e9 for pause in answer]
        return found

    def has_outcome(self) -> bool:
        """Whether all have said theirs, after they were told to stop; `ledger` is the last then."""
        return all(any(answer[0] == "outcome" for answer in self._answers[each]) for each in self._connections)

    def _collect(self, what: str, patience_seconds: float) -> list[Any]:
        deadline = time.monotonic() + patience_seconds
        found = []
        for connection in self._connections:
            while not any(answer[0] == what for answer in self._answers[connection]):
                if time.monotonic() > deadline:
                    raise LoadError(f"a load process did not say {what!r} within {patience_seconds:g} s")
                if connection.poll(0.1):
                    self._hear(connection)
            answer = next(answer for answer in self._answers[connection] if answer[0] == what)
            self._answers[connection].remove(answer)
            found.append(answer[1] if len(answer) > 1 else None)
        return found

    def _hear(self, connection: Connection) -> None:
        try:
            told: tuple[Any, ...] = connection.recv()
        except (EOFError, ConnectionResetError):
            raise LoadError("a load process has ended before its time") from None
        if told[0] == "failed":
            raise LoadError(told[1])
        if told[0] == "news":
            news: News = told[1]
            self.ledgers[connection] = news.ledger
            self.late += news.late
            self.behind = max(self.behind, news.behind)
            return
        if told[0] == "outcome":
            self.ledgers[connection] = told[1]
        self._answers[connection].append(told)
