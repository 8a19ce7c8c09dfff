"""What is the matter with a child that does not beat: judged from two looks at /proc. Pure.

A missed heartbeat alone says nothing: a stopped, a starved and a looping process all miss it, and only some of them are
ill. The looks are STAT and the kernel's own accounting (`/proc/PID/task/*/schedstat`: time on a CPU, time waiting for
one), one taken when the beat became overdue and one when the patience ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """Why there is no beat; `replace` says whether the cure is a new process."""

    STOPPED = ("stopped", True)
    WAITING_FOR_IO = ("waiting for I/O", False)
    STARVED = ("starved of CPU", False)
    LOOPING = ("looping", True)
    STUCK = ("stuck", True)

    def __init__(self, text: str, replace: bool) -> None:
        self.text = text
        self.replace = replace


@dataclass(frozen=True, slots=True)
class Look:
    """A process at one moment: state letter, and nanoseconds on a CPU and runnable-but-waiting, all threads."""

    at: float
    state: str
    on_cpu_ns: int
    waiting_ns: int


STARVED_SHARE = 0.5
BUSY_SHARE = 0.05


def judge(earlier: Look, later: Look, patience_seconds: float) -> Verdict:
    """The verdict over the time between two looks at one process that has not beaten in between.

    Stopped (T or t) and uninterruptible (D) are what the letter says. Else: it has had all its patience in CPU time and
    did not come round to its beat: looping, however busy the machine; it waited for a CPU most of the time: starved; it
    ran nevertheless: looping; it did neither: stuck.
    """
    if later.state in "Tt":
        return Verdict.STOPPED
    if later.state == "D":
        return Verdict.WAITING_FOR_IO
    if later.on_cpu_ns - earlier.on_cpu_ns >= patience_seconds * 1e9:
        return Verdict.LOOPING
    elapsed_ns = max((later.at - earlier.at) * 1e9, 1.0)
    if (later.waiting_ns - earlier.waiting_ns) / elapsed_ns >= STARVED_SHARE:
        return Verdict.STARVED
    if (later.on_cpu_ns - earlier.on_cpu_ns) / elapsed_ns >= BUSY_SHARE:
        return Verdict.LOOPING
    return Verdict.STUCK


def until_beat(now: float, period_seconds: float) -> float:
    """How long to wait for the next heartbeat: all beat at the same moments, so that a machine with nothing else to do
    can sleep between them.
    """
    left = period_seconds - now % period_seconds
    return left if left >= period_seconds / 2 else left + period_seconds
