"""`broker lab hog`: a process that wants a CPU for itself, to renice by hand. Runs in the process of the command."""

from __future__ import annotations

import os
import time
from functools import partial

from monitor import procfs
from monitor.lab.show import Show
from monitor.lab.stage import LabError, Stage
from monitor.lab.words import Words
from monitor.stat import stat_of

_ABOUT = Words(
    "PID {pid} counts and never stops, on CPU {cpu}, with nice {nice}. Each line tells what part of that CPU it "
    "got, and "
    "for what part of the time it was ready and had to wait. Start a second one in another terminal, and renice "
    "either: "
    "`broker renice 5 {pid}`, or `renice -n 5 -p {pid}`.",
    "PID {pid} 在 CPU {cpu} 上不停地空转，nice 是 {nice}。下面每一行是它分到这个 CPU 的百分之几，又有百分之几的时间"
    "就绪了却在等。在另一个终端再开一个，然后调整其中一个的优先级：`broker renice 5 {pid}` 或 `renice -n 5 -p {pid}`。",
)


def run(stage: Stage, show: Show, nice: int, cpu: int) -> None:
    """Let it run, and tell once a second how it fares."""
    pid = stage.act("lab-hog", partial(_run, nice, cpu))
    stage.wait_for(lambda: _is_placed(pid, nice, cpu), f"PID {pid} runs with nice {nice} on CPU {cpu}")
    show.say(_ABOUT.format(pid=pid, cpu=cpu, nice=nice))
    show.check(f"ps -o pid,ni,psr,stat,pcpu,args -p {pid}")
    show.watch(stage)
    ends = time.monotonic() + stage.seconds
    while (left := ends - time.monotonic()) > 0:
        began, before = time.monotonic(), procfs.total_schedstat(pid)
        if not stage.hold(min(left, 1.0)):
            return
        seconds, after = time.monotonic() - began, procfs.total_schedstat(pid)
        process = procfs.process_stat(pid)
        if before is None or after is None or process is None or process.state == "Z":
            raise LabError(f"PID {pid} was ended by somebody else")
        on_cpu = (after.on_cpu_ns - before.on_cpu_ns) / seconds / 1e7
        waiting = (after.waiting_ns - before.waiting_ns) / seconds / 1e7
        show.line(
            f"  nice {process.nice:3}  STAT {stat_of(pid) or '-':4} CPU {on_cpu:5.1f} %  waiting {waiting:5.1f} %"
        )


def _run(nice: int, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    while True:
        pass


def _is_placed(pid: int, nice: int, cpu: int) -> bool:
    process = procfs.process_stat(pid)
    if process is None or process.state == "Z":
        raise LabError(f"nice {nice} on CPU {cpu} is not permitted here")
    return process.nice == nice and process.state == "R" and os.sched_getaffinity(pid) == {cpu}
