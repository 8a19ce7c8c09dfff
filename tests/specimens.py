"""Processes made to order: in a wanted state, with a wanted flag; each is gone at the end of its `with` block."""

from __future__ import annotations

import ctypes
import os
import pty
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from monitor import procfs
from tests.running import is_gone, wait_until

_PR_SET_NO_NEW_PRIVS = 38

READY = "import os, signal, sys, threading\nos.write(1, b'%d\\n' % os.getpid())\n"
"""What a specimen does once it is what it is to be; `pause` for those that then only exist."""
PAUSE = f"{READY}while True: signal.pause()\n"

BUSY = f"{READY}while True: pass\n"
SLEEPING = PAUSE
NICE = f"import os\nos.nice(5)\n{PAUSE}"
RAISED = f"import os\nos.setpriority(os.PRIO_PROCESS, 0, -5)\n{PAUSE}"
LEADER = f"import os\nos.setsid()\n{PAUSE}"
THREADED = f"import threading\nfor _ in range(2): threading.Thread(target=threading.Event().wait).start()\n{PAUSE}"
LOCKED = (
    "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nmemory = ctypes.create_string_buffer(4096)\n"
    f"assert libc.mlock(memory, 4096) == 0, ctypes.get_errno()\n{PAUSE}"
)
ODDLY_NAMED = f"open('/proc/self/comm', 'w').write('a) S (b c\\n')\n{PAUSE}"
PARENT_OF_ZOMBIES = (
    "import os\nfor _ in range(2):\n    if os.fork() == 0: os._exit(0)\n"
    f"for _ in range(2): os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n{PAUSE}"
)
"""Two dead children. WNOWAIT leaves a zombie what it is (and may tell of one of them twice)."""
MAKER_OF_THREADS = (
    "import threading, time\n"
    "def start(): threading.Thread(target=time.sleep, args=(0.02,)).start()\n"
    "for _ in range(5): start()\n"
    "os = __import__('os'); os.write(1, b'%d\\n' % os.getpid())\n"
    "while True: start(); time.sleep(0.002)\n"
)
"""Always has young threads."""
EVERYTHING = (
    "import ctypes, os, threading\nos.nice(3)\nmemory = ctypes.create_string_buffer(4096)\n"
    "assert ctypes.CDLL(None).mlock(memory, 4096) == 0\nthreading.Thread(target=threading.Event().wait).start()\n"
    f"{PAUSE}"
)
BLOCKED = (
    "import ctypes, os, platform, signal\nlibc = ctypes.CDLL(None)\n"
    "clone = {'x86_64': 56, 'aarch64': 220, 'riscv64': 220}[platform.machine()]\n"
    "CLONE_VFORK = 0x4000\nparent = os.getpid()\n"
    "if libc.syscall(clone, CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0) == 0:\n"
    "    libc.prctl(1, signal.SIGKILL)\n"  # PR_SET_PDEATHSIG
    "    os.write(1, b'%d\\n' % parent)\n"
    "    while True: signal.pause()\n"
)
"""In state D until its child ends: CLONE_VFORK makes the parent wait uninterruptibly (vfork(2)). Without CLONE_VM the
child has memory of its own, so that this is as safe as fork."""


@contextmanager
def specimen(code: str) -> Iterator[int]:
    """Run Python code in a process of its own; yields its PID when the code has written it."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert int(process.stdout.readline()) == process.pid
        yield process.pid
    finally:
        _end(process.pid)
        process.wait()
        process.stdout.close()


@contextmanager
def specimen_on_terminal(code: str) -> Iterator[int]:
    """The same in the foreground of a pseudo-terminal of its own, as the leader of its session."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execv(sys.executable, [sys.executable, "-c", code])
        finally:
            os._exit(127)
    try:
        assert int(os.read(terminal, 100)) == pid
        yield pid
    finally:
        _end(pid)
        os.waitpid(pid, 0)
        os.close(terminal)


@contextmanager
def zombie() -> Iterator[int]:
    """A child of this process that is dead and not reaped."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        yield pid
    finally:
        os.waitpid(pid, 0)


def vanished_pid() -> int:
    """The PID of a process that was there a moment ago."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def unprivileged(trial: Callable[[], None]) -> None:
    """Run `trial` in a forked process without any capability; AssertionError with its traceback if it fails.

    Root keeps its user id, so that it can still read Python's own files, but loses its powers (capabilities(7)), and
    no_new_privs keeps them from coming back with an exec (prctl(2)).
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            version_3, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
            libc = ctypes.CDLL(None)
            assert libc.capset(version_3, nothing) == 0
            assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            trial()
        except BaseException:
            os.write(write_end, traceback.format_exc().encode()[-60000:])
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as failure:
        complaint = failure.read()
    os.waitpid(pid, 0)
    assert not complaint, complaint


def _end(pid: int) -> None:
    """KILL a process and all below it."""
    below = procfs.descendants(pid, procfs.children_by_parent(procfs.scan().values()))
    for process in (pid, *below):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, below)), "the specimen's children are gone")
