"""The few Linux calls that Python has no name for, and arithmetic over what the kernel allows."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_CAP_SYS_NICE: Final = 23
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> bool:
    """Have the kernel SIGKILL this process when its parent ends (PR_SET_PDEATHSIG, prctl(2)).

    SIGKILL, because a stopped process would not heed anything milder. False if the parent is gone already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent_pid


def lowest_nice_allowed() -> int:
    """The lowest nice value that this process may give itself: -20 with CAP_SYS_NICE, else 20 - RLIMIT_NICE (or its
    own value, if that is lower); setpriority(2), capabilities(7).
    """
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:") and int(line.split()[1], 16) >> _CAP_SYS_NICE & 1:
                return -20
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    own = os.getpriority(os.PRIO_PROCESS, 0)
    return min(own, 20 - (40 if limit == resource.RLIM_INFINITY else limit))


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open descriptors to the hard one; returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def make_room_for_descriptors(fd: int, count: int) -> None:
    """Have the kernel make this process's table of descriptors large enough for so many, or for as many as the soft
    limit allows; to be called before there is a second thread. `fd` is any descriptor that is open.

    Otherwise the table grows by doubling, and where threads share it each growth waits until no CPU can be reading the
    old one (expand_fdtable() in fs/file.c: synchronize_rcu), 5 to 25 ms in which the process does nothing else. It has
    8 bytes for each descriptor, all of them the kernel's.
    """
    most = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.close(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, most - 1))


def peer_credentials(connection: socket.socket) -> tuple[int, int]:
    """PID and user id of whoever connected to a local socket (SO_PEERCRED, unix(7))."""
    pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
