"""How many workers there are: more and fewer of them while people chat; the part of the supervisor that sees to it.

Whoever is too many is *retired*: it gets no new sessions, its own go to the others, and then it stops. Whoever is new
gets a share of the sessions. Knows nothing of how children are started, stopped and replaced.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Final, Protocol

from broker.child import Child
from broker.child_state import State
from broker.custodian import Custodian, Staff
from broker.event_log import EventLog
from broker.loop import Loop
from broker.messages import MOVE

_MOVE_AGAIN_SECONDS: Final = 0.5
"""Sessions that could not be moved yet, from a worker that is to stop, are asked for again that often."""


class Employer(Staff, Protocol):
    """What the workforce wants of the supervisor."""

    children: dict[str, Child]

    def hire(self, index: int, retiring: bool) -> None:
        """Start one more worker; `retiring`: only until it has given away the sessions that it finds."""

    def tell_to_stop(self, child: Child) -> None:
        """Have it end for good."""


class Workforce:
    """The workers of one broker: `wanted` of them, and those that still have sessions."""

    def __init__(self, employer: Employer, loop: Loop, events: EventLog, custodian: Custodian, wanted: int) -> None:
        self.wanted = wanted
        self.closing = False
        """Set when the broker stops: nobody is hired, retired or moved any more."""
        self._employer = employer
        self._loop = loop
        self._events = events
        self._custodian = custodian
        self._custody = custodian.custody
        self._uneven = False  # there are new workers, who have no sessions yet

    def scale(self, workers: int) -> int:
        """Have that many workers from now on; returns how many were wanted before."""
        before, self.wanted = self.wanted, workers
        self._events.record("info", "scaled", f"workers: {before} → {workers}", "supervisor", os.getpid())
        self.reconcile()
        return before

    def reconcile(self) -> None:
        """Have the workers that are wanted, and those that still have sessions; the others go."""
        if self.closing:
            return
        for index in {*range(self.wanted), *self._custody.workers()}:
            child = self._employer.children.get(f"worker-{index}")
            if child is None:
                self._uneven = True
                self._employer.hire(index, retiring=index >= self.wanted)
            elif index < self.wanted:
                child.retiring = False
        for child in self._employer.of_role("worker"):
            if child.spec.index >= self.wanted and not child.told_to_stop:
                child.retiring = True
                self._retire(child)
        self._custodian.workers_changed()

    def worker_ready(self) -> None:
        """A worker has become ready."""
        self._custodian.workers_changed()
        if self._uneven and all(worker.state is State.READY for worker in self._employer.of_role("worker")):
            self._uneven = False
            self._level()

    def released(self, workers: set[int]) -> None:
        """These workers have fewer sessions than before."""
        for worker in workers:
            child = self._employer.children.get(f"worker-{worker}")
            if child is not None and child.retiring and not self._custody.count_of(worker):
                self._retire(child)
        if any(f"worker-{worker}" not in self._employer.children for worker in self._custody.workers()):
            self.reconcile()  # a move was under way to one that has stopped meanwhile

    def _retire(self, child: Child) -> None:
        """It gets no new sessions, and its own go to the others; then it stops."""
        if not child.retiring or child.told_to_stop or self._employer.children.get(child.name) is not child:
            return
        if not self._custody.count_of(child.spec.index):
            self._employer.tell_to_stop(child)
            return
        self._move(child.spec.index, self._custody.count_of(child.spec.index), self._custodian.available_workers())
        self._loop.call_later(_MOVE_AGAIN_SECONDS, partial(self._retire, child))

    def _level(self) -> None:
        """Give new workers their share of the sessions."""
        workers = self._custodian.available_workers()
        counts = {worker: self._custody.count_of(worker) for worker in workers}
        share = sum(counts.values()) // len(workers)
        for source in workers:
            for target in workers:
                part = min(counts[source] - share, share - counts[target])
                if part > 0:
                    counts[source] -= part
                    counts[target] += part
                    self._move(source, part, [target])

    def _move(self, source: int, sessions: int, targets: list[int]) -> None:
        """Have the router move sessions from one worker to others, who get equal parts."""
        if not targets:
            return
        each, more = divmod(sessions, len(targets))
        parts = {target: each + (place < more) for place, target in enumerate(targets)}
        for router in self._employer.of_role("router"):
            self._employer.tell(router, (MOVE, source, {target: part for target, part in parts.items() if part}))
