"""`broker lab zombie`: children that are dead and not reaped, and then reaped. Runs in the process of the command."""

from __future__ import annotations

import os
from functools import partial

from monitor.lab.show import Show
from monitor.lab.stage import Stage
from monitor.lab.words import Words

_MANY = 10
_BEFORE = Words(
    "{count} children of this process (PID {pid}) have ended, and it has not asked about them: they are zombies. A "
    "zombie "
    "has no memory and no command line any more, only its PID and the way it ended. KILL does nothing to it.",
    "本进程（PID {pid}）的 {count} 个子进程已经结束，而它还没有去问它们是怎么结束的：它们就是僵尸进程。"
    "僵尸不再占内存，也没有命令行，只剩 PID 和退出状态；对它用 KILL 没有用。",
)
_AFTER = Words(
    "Now the parent asks with waitid, which is called reaping, and learns of each how it ended:",
    "现在父进程用 waitid 去问，这叫回收；它由此知道每个子进程是怎么结束的：",
)
_NONE = Words("No zombie is left; their PIDs are free again.", "一个僵尸也没有了，它们的 PID 可以再分配。")


def run(stage: Stage, show: Show, count: int) -> None:
    """Make them, hold them, reap them."""
    pids = [stage.act("lab-zombie", partial(os._exit, number % 256)) for number in range(count)]
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # ended; WNOWAIT leaves it what it is
    show.say(_BEFORE.format(count=count, pid=os.getpid()))
    shown = pids[:_MANY]
    show.check(f"ps -o pid,ppid,stat,args -p {','.join(map(str, (os.getpid(), *shown)))}")
    show.watch(stage)
    stage.hold()
    show.say(_AFTER)
    for pid in pids:
        told = os.waitid(os.P_PID, pid, os.WEXITED)
        stage.forget(pid)
        if pid in shown and told is not None:
            show.line(f"  waitid: PID {told.si_pid} exited with status {told.si_status}")
    if count > _MANY:
        show.line(f"  … {count - _MANY}")
    show.check(f"ps -o pid,stat,args --ppid {os.getpid()}")
    show.say(_NONE)
