"""Reads from /proc what the dashboard's details pane says about one process. Runs in `broker top`; draws nothing."""

from __future__ import annotations

import os
from collections import Counter
from typing import Final

from monitor import procfs
from monitor.view import Details, Thread

DESCRIPTORS_LOOKED_AT: Final = 1000
"""A worker may hold thousands of sockets; the kind of each costs a system call, so the rest are only counted."""


def read_details(pid: int) -> Details | None:
    """What there is to know about a process beyond its row; None if it has vanished."""
    if procfs.process_stat(pid) is None:
        return None
    threads = sorted(procfs.thread_stats(pid).values(), key=lambda thread: (thread.pid != pid, thread.pid))
    return Details(
        pid=pid,
        command=" ".join(procfs.cmdline(pid) or ()),
        autogroup=_autogroup(pid),
        cgroup=_cgroup(pid),
        threads=tuple(Thread(thread.pid, thread.comm, thread.state, thread.nice) for thread in threads),
        descriptors=_descriptors(pid),
    )


def _autogroup(pid: int) -> str | None:
    group = procfs.autogroup(pid)
    if group is None:
        return None
    name = f"number {group.number}, its own nice {group.nice}"
    if not procfs.autogroup_enabled():
        return f"{name}; switched off on this machine, so nice values count everywhere"
    return f"{name}; the processes' nice values count inside it only"


def _cgroup(pid: int) -> str | None:
    """The group that the CPU is shared out by: of the `cpu` controller in version 1, the only one in version 2."""
    groups = procfs.cgroup(pid)
    return groups.get("cpu", groups.get("")) if groups else None


def _descriptors(pid: int) -> tuple[tuple[str, int], ...]:
    directory = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(directory)
    except OSError:
        return ()
    kinds = Counter(kind for number in numbers[:DESCRIPTORS_LOOKED_AT] if (kind := _kind(f"{directory}/{number}")))
    uncounted = len(numbers) - DESCRIPTORS_LOOKED_AT
    return (*kinds.most_common(), *([("other", uncounted)] if uncounted > 0 else []))


def _kind(link: str) -> str | None:
    """What a descriptor is, after proc(5) on `/proc/PID/fd`; None if it was closed meanwhile."""
    try:
        target = os.readlink(link)
    except OSError:
        return None
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    if target.startswith("/"):
        return "memfd" if target.startswith("/memfd:") else "device" if target.startswith("/dev/") else "file"
    return target.partition(":")[0]
