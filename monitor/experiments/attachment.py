"""The running broker, borrowed: its target may be reniced and pinned, and all of it is put back afterwards.

Runs in the process of `broker experiment --attach`. What was there before is told to a guardian process
(`monitor.experiments.guardian`) before anything is changed. It puts it back when it is told to, and also when this
process ends in any way without having told it: there is one way back, and it is taken every time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.errors import UsageError
from monitor import procfs
from monitor.experiments.helpers import Helper
from monitor.experiments.placement import CPUs, ExperimentError, pin
from monitor.experiments.subject import Subject, look
from monitor.priority import NICE_MIN
from monitor.renice import lowest_after


class Attachment:
    """Made, it has pinned everything of the broker but the target away from the measured CPU."""

    def __init__(self, state_dir: Path, target: str, cpus: CPUs, levels: Sequence[int]) -> None:
        """Raises NotRunningError if no broker runs there, UsageError if the target is not among its processes, and
        ExperimentError if its processes may not be pinned."""
        self._broker = look(state_dir)
        self.targets = self._broker.chosen(target)
        if not self.targets:
            raise UsageError(f"--target {target}: the broker has {', '.join(sorted(self._broker.pids))}")
        self._original = {pid: _highest_nice(pid) for pid in self.targets}
        self.lowest_nice = max(lowest_after(pid, self._original[pid]) or NICE_MIN for pid in self.targets)
        self._is_restored = False
        self._guardian = Helper("monitor.experiments.guardian")
        try:
            self._guardian.tell("remember", self._broker.pids["supervisor"], remembered(self._broker.pids.values()))
            self._guardian.expect("remembered")
            for pid in self._broker.pids.values():
                pin(pid, {cpus.measured} if pid in self.targets else cpus.others)
        except BaseException:
            self.restore()
            raise

    def subject(self) -> Subject:
        """The broker as it is now; ExperimentError if the target is not what it was."""
        now = look(self._broker.state_dir)
        if not set(self.targets) <= set(now.pids.values()):
            raise ExperimentError("the target has ended; a process that replaces it is not measured")
        return now

    def why_not(self, level: int) -> str | None:
        """Why this level cannot be tried: what was raised must be lowered again."""
        for pid, original in self._original.items():
            lowest = lowest_after(pid, max(level, original))
            if lowest is None or lowest > original:
                return f"nice {original} could not be put back after {level} without CAP_SYS_NICE; use --fresh"
        return None

    def restore(self) -> None:
        """Have the guardian put everything back; ExperimentError, with what is left to do, if it could not."""
        if self._is_restored:
            return
        self._is_restored = True
        guardian = self._guardian
        try:
            guardian.tell("restore")
            failures = guardian.expect("restored")
        finally:
            guardian.kill()
        if failures:
            raise ExperimentError(f"not everything could be put back: {'; '.join(failures)}")


def remembered(pids: Any) -> list[list[Any]]:
    """PID, start, thread id, nice value and CPUs of every thread of these processes."""
    found = []
    for pid in pids:
        process = procfs.process_stat(pid)
        for tid, thread in procfs.thread_stats(pid).items():
            if process is not None:
                found.append([pid, process.start_ticks, tid, thread.nice, sorted(os.sched_getaffinity(tid))])
    return found


def _highest_nice(pid: int) -> int:
    return max((thread.nice for thread in procfs.thread_stats(pid).values()), default=0)
