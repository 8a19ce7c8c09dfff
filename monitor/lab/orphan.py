"""`broker lab orphan`: a parent that ends before its child, and who adopts that. Runs in the process of the command."""

from __future__ import annotations

import os
import signal
from functools import partial

from broker.linux import die_with_parent
from monitor import procfs
from monitor.lab import calls
from monitor.lab.show import Show
from monitor.lab.stage import Stage, entitle
from monitor.lab.words import Words

_ABOUT = Words(
    "A process forks a child and ends before it. The child is an orphan then, and the kernel gives it another parent.",
    "一个进程 fork 出子进程，自己先结束。子进程就成了孤儿，内核会给它另找一个父进程。",
)
_PLAIN = Words(
    "1. Nobody of its ancestors has asked for orphans, but perhaps the one who runs this session (a user's systemd, or "
    "the first process of a container):",
    "1. 祖先当中没有谁声明过要收养孤儿，除非是管理这个会话的进程（用户的 systemd，或者容器里的第一个进程）：",
)
_SUBREAPER = Words(
    "2. The lab asks for orphans first, prctl(PR_SET_CHILD_SUBREAPER):",
    "2. 这次实验进程先声明自己是 subreaper，prctl(PR_SET_CHILD_SUBREAPER)：",
)
_ADOPTED = Words(
    "PPID of {name} (PID {pid}) was {before}; its parent has ended, and now it is {after}, {adopter}.",
    "{name}（PID {pid}）的 PPID 原来是 {before}；父进程结束以后变成了 {after}，即 {adopter}。",
)
_AFTERWORD = Words(
    "Whoever adopts an orphan has to reap it: PID 1 does, and the lab will reap its own. The broker's children are "
    "never "
    "orphans, since the kernel kills them with their parent (PR_SET_PDEATHSIG).",
    "谁收养了孤儿，谁就要负责回收它：PID 1 会这么做，实验进程也会回收它收养的这个。broker 的子进程不会变成孤儿："
    "supervisor 一死，内核就把它们一起杀掉（PR_SET_PDEATHSIG）。",
)


def run(stage: Stage, show: Show) -> None:
    """Make one orphan for each case, show before and after, hold them."""
    show.say(_ABOUT)
    orphans = []
    for name, words, is_subreaper in (("lab-orphan", _PLAIN, False), ("lab-adopted", _SUBREAPER, True)):
        show.say(words, "bold")
        calls.set_subreaper(is_subreaper)
        orphans.append(_orphan(stage, show, name))
    show.say(_AFTERWORD)
    show.watch(stage)
    stage.hold()


def _orphan(stage: Stage, show: Show, name: str) -> int:
    reader, writer = os.pipe()
    ending_reader, ending_writer = os.pipe()
    parent = stage.act("lab-parent", partial(_parent, stage, name, writer, (ending_reader, ending_writer)))
    os.close(writer)
    os.close(ending_reader)
    with open(reader, "rb") as answer:
        pid = int(answer.readline())
    stage.know(pid, name)
    command = f"ps -o pid,ppid,stat,args -p {parent},{pid}"
    show.check(command)
    before = show.process(pid).ppid
    os.close(ending_writer)  # which tells the parent to end
    os.waitpid(parent, 0)
    stage.forget(parent)
    stage.wait_for(lambda: show.process(pid).ppid != before, f"PID {pid} has another parent")
    after = show.process(pid).ppid
    process = procfs.process_stat(after)
    comm = process.comm if process else "?"
    adopter = Words("this lab", "本实验进程") if after == os.getpid() else Words(comm, comm)
    show.check(command)
    told = {"name": name, "pid": pid, "before": before, "after": after}
    show.say(Words(_ADOPTED.en.format(**told, adopter=adopter.en), _ADOPTED.zh.format(**told, adopter=adopter.zh)))
    return pid


def _parent(stage: Stage, name: str, writer: int, ending: tuple[int, int]) -> None:
    """Fork the child that is to be an orphan, and end when told to, or when the lab has ended."""
    lab = os.getppid()
    os.close(ending[1])  # or there would be no end to read, as long as this process has it open itself
    pid = os.fork()
    if pid == 0:
        os.close(ending[0])
        entitle(name)
        signal.alarm(stage.bound_seconds)
        os.write(writer, b"%d\n" % os.getpid())
        os.close(writer)
        stage.outlast_parent()
        os._exit(0)
    os.close(writer)
    if die_with_parent(lab):
        os.read(ending[0], 1)
