"""A rival for CPU time: a process that does nothing but run, until its parent ends it or ends itself.

`python -m monitor.experiments.rival PARENT CPU NICE` is one; `Rivals` starts them, in the command's process.
In a session of its own it is in another autogroup than the parties, sched(7).
"""

from __future__ import annotations

import os
from types import TracebackType

from monitor.experiments.conductor_line import Conductor, run
from monitor.experiments.helpers import Helper


class Rivals:
    """So many of them, running within a `with` block."""

    def __init__(self, count: int, cpu: int, nice: int = 0, separate_sessions: bool = False) -> None:
        self._arguments = [str(cpu), str(nice)]
        self._separate_sessions = separate_sessions
        self._count = count
        self._helpers: list[Helper] = []

    def __enter__(self) -> Rivals:
        try:
            for _ in range(self._count):
                self._helpers.append(
                    Helper("monitor.experiments.rival", self._arguments, new_session=self._separate_sessions)
                )
            for helper in self._helpers:
                helper.expect("running")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pids(self) -> list[int]:
        """Theirs."""
        return [helper.pid for helper in self._helpers]

    def _end(self) -> None:
        for helper in self._helpers:
            helper.kill()


def live(conductor: Conductor, arguments: list[str]) -> None:
    """Run until killed."""
    cpu, nice = arguments
    os.sched_setaffinity(0, {int(cpu)})
    os.setpriority(os.PRIO_PROCESS, 0, int(nice))
    conductor.say("running")
    while True:
        pass


if __name__ == "__main__":
    run("rival", live)
