"""`broker lab fork`: one variable in two processes, and whose memory it is. Runs in the process of the command."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from monitor import procfs
from monitor.lab.show import Show
from monitor.lab.stage import LabError, Stage
from monitor.lab.words import Words

BLOCK_BYTES: Final = 64 << 20
_MIB: Final = 1 << 20

_ABOUT = Words(
    "This process (PID {pid}) sets a = 1, fills {mib} MiB of memory, and forks. The child has all of it, a too, and "
    "yet "
    "nothing was copied: both use the same pages until one of them writes to one (copy on write).",
    "本进程（PID {pid}）先令 a = 1，写满 {mib} MiB 内存，然后 fork。子进程什么都有，包括 a，却什么也没有复制："
    "两个进程共用同样的内存页，直到其中一个去写它（写时复制）。",
)
_VALUES = Words(
    "The child says a = 10000. In the child it is {child} at address {child_address:#x}, in the parent still "
    "{parent} at "
    "{parent_address:#x}: a variable of the same name in two memories. (An address is a place in its own process's "
    "memory: the same number may be two places.)",
    "子进程执行 a = 10000。在子进程里它是 {child}，地址 {child_address:#x}；在父进程里仍是 {parent}，地址 "
    "{parent_address:#x}：同名的变量在两份内存里。（地址只在自己的进程里有意义，数字相同也可能是两个地方。）",
)
_TABLE = Words(
    "PSS counts a page that two processes share as a half for each, USS only what a process has for itself. After the "
    "fork the block is counted half and half; when the child has written to a half of it, that half is its own, and "
    "the "
    "parent has the other copy for itself.",
    "PSS 把两个进程共用的一页各算一半，USS 只算自己独占的。fork 之后这块内存两边各算一半；子进程写过其中一半以后，"
    "那一半就是它自己的了，原来的那份归父进程独占。",
)
_TITLE = {
    "before": Words("before the fork", "fork 之前"),
    "after": Words("after the fork", "fork 之后"),
    "written": Words("the child has written to a half", "子进程写过一半之后"),
}


def run(stage: Stage, show: Show) -> None:
    """Fork, let the child change things, look at both."""
    a = 1
    # Of its own mapping, and not of the allocator's: so it is all there, and nothing else is.
    block = mmap.mmap(-1, BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _write(block, BLOCK_BYTES)
    show.say(_ABOUT.format(pid=os.getpid(), mib=BLOCK_BYTES // _MIB))
    rows: list[list[str | Words]] = [[_TITLE["before"], *_memory(os.getpid()), "-", "-"]]
    child_reads, parent_writes = os.pipe()
    parent_reads, child_writes = os.pipe()
    pid = stage.act("lab-child", partial(_child, a, block, child_reads, child_writes))
    os.close(child_reads)
    os.close(child_writes)
    with open(parent_reads, "rb") as answers, open(parent_writes, "wb", buffering=0) as orders:
        _answer(answers.readline)  # it is there
        rows.append([_TITLE["after"], *_memory(os.getpid()), *_memory(pid)])
        orders.write(b"change\n")
        child_a, child_address = map(int, _answer(answers.readline).split())
        rows.append([_TITLE["written"], *_memory(os.getpid()), *_memory(pid)])
        show.say(
            _VALUES.format(child=child_a, child_address=child_address, parent=a, parent_address=id(a)),
        )
        show.say(_TABLE)
        show.table(["", "PSS parent", "USS parent", "PSS child", "USS child"], rows)
        show.check(f"ps -o pid,ppid,rss,args -p {os.getpid()},{pid}")
        show.line(f"$ grep -E '^(Rss|Pss|Private_Dirty):' /proc/{pid}/smaps_rollup")
        for line in (procfs.read(f"/proc/{pid}/smaps_rollup") or b"").decode().splitlines():
            if line.startswith(("Rss:", "Pss:", "Private_Dirty:")):
                show.line(line)
        show.watch(stage)
        stage.hold()


def _answer(readline: Callable[[], bytes]) -> bytes:
    line = readline()
    if not line:
        raise LabError("the child ended before its time")
    return line


def _memory(pid: int) -> list[str]:
    """PSS and USS in MiB, as the kernel has them now."""
    memory = procfs.memory(pid)
    if memory is None:
        return ["?", "?"]
    return [f"{memory.pss_bytes / _MIB:6.1f} MiB", f"{memory.uss_bytes / _MIB:6.1f} MiB"]


def _write(block: mmap.mmap, length: int) -> None:
    """Write to every page of the beginning."""
    for place in range(0, length, mmap.PAGESIZE):
        block[place] = 1


def _child(a: int, block: mmap.mmap, reads: int, writes: int) -> None:
    os.write(writes, b"here\n")
    with open(reads, "rb") as orders:
        orders.readline()
        a = 10000
        _write(block, BLOCK_BYTES // 2)
        os.write(writes, f"{a} {id(a)}\n".encode())
        orders.readline()  # until the parent has looked
