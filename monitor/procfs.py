"""Reads /proc: pure parsers of its files, and readers that answer None for a process that is not there any more.

Runs in whoever looks: `broker ps`, `top` and `renice`, and the supervisor's watchdog, so it imports the standard
library only. It knows the kernel's files (proc(5), Documentation/filesystems/proc.rst) and nothing of the broker.
Processes end while one reads about them: a vanished process, or a file that its owner keeps to himself, is a result
and never an exception.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

_READ_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of `/proc/PID/stat` or `/proc/PID/task/TID/stat`; the numbers are the fields' in proc(5).

    `pid` (1) is a thread's id when the line is a thread's; `comm` (2) at most 15 bytes, anything but NUL; `state` (3)
    one letter; `terminal_pgrp` (8, tpgid) is -1 without a terminal; `cpu_ticks` is utime + stime (14, 15), in
    1/TICKS_PER_SECOND s, of all threads, ended ones too; `start_ticks` (22) since boot, which with the PID tells two
    processes apart; `processor` (39) is the CPU that it was on last; `policy` (41) is one of sched(7)'s SCHED_
    constants.
    """

    pid: int
    comm: str
    state: str
    ppid: int
    pgrp: int
    session: int
    terminal_pgrp: int
    cpu_ticks: int
    nice: int
    threads: int
    start_ticks: int
    rss_bytes: int
    policy: int
    processor: int


@dataclass(frozen=True, slots=True)
class SchedStat:
    """`/proc/PID/task/TID/schedstat`: nanoseconds on a CPU, nanoseconds runnable but waiting for one, and time slices.

    Documentation/scheduler/sched-stats.rst. A thread's figures vanish with the thread.
    """

    on_cpu_ns: int
    waiting_ns: int
    slices: int


@dataclass(frozen=True, slots=True)
class Memory:
    """`/proc/PID/smaps_rollup` in bytes; Documentation/filesystems/proc.rst.

    `rss_bytes` counts every page in RAM, `pss_bytes` each shared one divided by the number of its users, `uss_bytes`
    only those that nobody else has, `shared_bytes` those that somebody else has too.
    """

    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Autogroup:
    """`/proc/PID/autogroup`: the number of the scheduling group of a session, and the nice value of that group."""

    number: int
    nice: int


def parse_stat(data: bytes) -> ProcessStat:
    """The line of a `stat` file. The name in parentheses may itself hold spaces, parentheses and newlines."""
    head, _, tail = data.rpartition(b")")
    pid, _, comm = head.partition(b" (")
    fields = tail.split()  # fields[0] is field 3
    return ProcessStat(
        pid=int(pid),
        comm=comm.decode("utf-8", "replace"),
        state=fields[0].decode("ascii", "replace"),
        ppid=int(fields[1]),
        pgrp=int(fields[2]),
        session=int(fields[3]),
        terminal_pgrp=int(fields[5]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        nice=int(fields[16]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
        policy=int(fields[38]),
        processor=int(fields[36]),
    )


def parse_status(data: bytes) -> dict[str, str]:
    """A `status` file as field name (`VmLck`, `CapEff`, `Uid`, …) to its text."""
    pairs = (line.partition(":\t") for line in data.decode("utf-8", "replace").split("\n"))
    return {name: value.strip() for name, separator, value in pairs if separator}


def parse_locked_bytes(status: bytes) -> int:
    """`VmLck` of a `status` file in bytes: memory held by mlock(2). A zombie or a kernel thread has none: 0."""
    start = status.find(b"\nVmLck:")
    return int(status[start + 7 :].split(None, 1)[0]) * 1024 if start >= 0 else 0


def parse_schedstat(data: bytes) -> SchedStat:
    """A `schedstat` file."""
    on_cpu_ns, waiting_ns, slices = data.split()[:3]
    return SchedStat(int(on_cpu_ns), int(waiting_ns), int(slices))


def parse_pss_bytes(smaps_rollup: bytes) -> int | None:
    """`Pss` of a `smaps_rollup` file in bytes: memory, each shared page divided by the number of its users."""
    for line in smaps_rollup.split(b"\n"):
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def parse_memory(smaps_rollup: bytes) -> Memory | None:
    """A `smaps_rollup` file; None for an empty one, which a zombie has."""
    lines = (line.split() for line in smaps_rollup.split(b"\n"))
    found = {words[0]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == b"kB"}
    if b"Pss:" not in found:
        return None
    return Memory(
        rss_bytes=found[b"Rss:"],
        pss_bytes=found[b"Pss:"],
        uss_bytes=found[b"Private_Clean:"] + found[b"Private_Dirty:"],
        shared_bytes=found[b"Shared_Clean:"] + found[b"Shared_Dirty:"],
    )


def parse_autogroup(data: bytes) -> Autogroup | None:
    """An `autogroup` file, `/autogroup-6 nice 0`; sched(7), "The autogroup feature"."""
    words = data.split()
    if len(words) != 3 or not words[0].startswith(b"/autogroup-"):
        return None
    return Autogroup(int(words[0].removeprefix(b"/autogroup-")), int(words[2]))


def parse_cgroup(data: bytes) -> dict[str, str]:
    """A `cgroup` file as controller to path, cgroups(7): version 1 controllers by name, version 2 under `""`."""
    paths: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def parse_cmdline(data: bytes) -> list[str]:
    """A `cmdline` file as arguments. A process that set its title has it as the only one; a zombie has none."""
    text = data.rstrip(b"\0").decode("utf-8", "replace")
    return text.split("\0") if text else []


def parse_nice_limit(limits: bytes) -> int:
    """The soft RLIMIT_NICE of a `limits` file (0 to 40: the lowest nice value allowed is 20 less it)."""
    for line in limits.split(b"\n"):
        if line.startswith(b"Max nice priority"):
            soft = line.split()[3]
            return 40 if soft == b"unlimited" else int(soft)
    return 0


def parse_idle_ticks(stat: bytes) -> dict[int, int]:
    """`/proc/stat`: each CPU's idle and iowait time in 1/TICKS_PER_SECOND s since boot."""
    lines = (line.split() for line in stat.split(b"\n") if line.startswith(b"cpu"))
    return {int(words[0][3:]): int(words[4]) + int(words[5]) for words in lines if words[0] != b"cpu"}


def read(path: str) -> bytes | None:
    """A whole file; None if it is not there (any more), or not for us to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = chunk = os.read(fd, _READ_BYTES)
        while chunk:
            chunk = os.read(fd, _READ_BYTES)
            data += chunk
    except OSError:  # ESRCH: it ended between the open and the read
        return None
    finally:
        os.close(fd)
    return data


def _numbers_in(directory: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdigit()]
    except OSError:
        return []


def process_stat(pid: int) -> ProcessStat | None:
    """What `/proc/PID/stat` says."""
    data = read(f"/proc/{pid}/stat")
    return parse_stat(data) if data else None


def status(pid: int) -> dict[str, str] | None:
    """What `/proc/PID/status` says."""
    data = read(f"/proc/{pid}/status")
    return parse_status(data) if data else None


def locked_bytes(pid: int) -> int:
    """Memory that the process locked with mlock(2); 0 if it has vanished."""
    return parse_locked_bytes(read(f"/proc/{pid}/status") or b"")


def thread_ids(pid: int) -> list[int]:
    """The threads of a process, `/proc/PID/task`, the leader's id being the PID; empty if it has vanished."""
    return _numbers_in(f"/proc/{pid}/task")


def thread_stats(pid: int) -> dict[int, ProcessStat]:
    """Each thread by id; nice values and states are threads' own. Empty if the process has vanished."""
    files = ((tid, read(f"/proc/{pid}/task/{tid}/stat")) for tid in thread_ids(pid))
    return {tid: parse_stat(data) for tid, data in files if data}


def schedstats(pid: int) -> dict[int, SchedStat]:
    """Each thread by id; empty if the process has vanished, or on a kernel that does not count."""
    files = ((tid, read(f"/proc/{pid}/task/{tid}/schedstat")) for tid in thread_ids(pid))
    return {tid: parse_schedstat(data) for tid, data in files if data}


def total_schedstat(pid: int) -> SchedStat | None:
    """The sum over the threads that there are now; it falls when a thread ends."""
    threads = schedstats(pid).values()
    if not threads:
        return None
    return SchedStat(
        sum(thread.on_cpu_ns for thread in threads),
        sum(thread.waiting_ns for thread in threads),
        sum(thread.slices for thread in threads),
    )


def pss_bytes(pid: int) -> int | None:
    """Proportional set size. The kernel walks the page tables for it: milliseconds for a big process."""
    return parse_pss_bytes(read(f"/proc/{pid}/smaps_rollup") or b"")


def memory(pid: int) -> Memory | None:
    """What memory the process has and shares; as costly as pss_bytes()."""
    return parse_memory(read(f"/proc/{pid}/smaps_rollup") or b"")


def autogroup(pid: int) -> Autogroup | None:
    """The scheduling group of the process's session; None also where the kernel has no autogroups."""
    return parse_autogroup(read(f"/proc/{pid}/autogroup") or b"")


def autogroup_enabled() -> bool:
    """Whether nice values count inside a session only, `/proc/sys/kernel/sched_autogroup_enabled`; sched(7)."""
    return (read("/proc/sys/kernel/sched_autogroup_enabled") or b"").strip() == b"1"


def cgroup(pid: int) -> dict[str, str] | None:
    """The process's cgroups, controller to path."""
    data = read(f"/proc/{pid}/cgroup")
    return parse_cgroup(data) if data else None


def idle_ticks() -> dict[int, int]:
    """How long each CPU has been idle, in 1/TICKS_PER_SECOND s."""
    return parse_idle_ticks(read("/proc/stat") or b"")


def cmdline(pid: int) -> list[str] | None:
    """The arguments, or the title as the only one; empty for a zombie and a kernel thread."""
    data = read(f"/proc/{pid}/cmdline")
    return None if data is None else parse_cmdline(data)


def nice_limit(pid: int) -> int | None:
    """The soft RLIMIT_NICE of a process, 0 to 40."""
    data = read(f"/proc/{pid}/limits")
    return parse_nice_limit(data) if data else None


def age_seconds(process: ProcessStat) -> float:
    """How long the process has existed, to one tick, counting time that the machine slept (as start_ticks does)."""
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks / TICKS_PER_SECOND, 0.0)


def scan() -> dict[int, ProcessStat]:
    """Every process that can be seen, in one pass over /proc; zombies too, which have a state but no command line."""
    files = ((pid, read(f"/proc/{pid}/stat")) for pid in _numbers_in("/proc"))
    return {pid: parse_stat(data) for pid, data in files if data}


def children_by_parent(processes: Iterable[ProcessStat]) -> dict[int, list[int]]:
    """PIDs of the children of each parent, oldest first."""
    children: dict[int, list[int]] = {}
    for process in sorted(processes, key=lambda process: (process.start_ticks, process.pid)):
        children.setdefault(process.ppid, []).append(process.pid)
    return children


def zombies_by_parent(processes: Iterable[ProcessStat]) -> dict[int, list[int]]:
    """PIDs of the dead children that each parent has not reaped yet."""
    return children_by_parent(process for process in processes if process.state == "Z")


def descendants(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    """Every process below `pid`, parents before their children; `children` is as children_by_parent() gives it."""
    found = list(children.get(pid, ()))
    for process in found:  # grows while it is walked
        found.extend(children.get(process, ()))
    return found
