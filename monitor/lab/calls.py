"""Calls to the kernel that only a lab needs and Python has no name for. Runs in the lab's processes."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_CLONE_VFORK: Final = 0x4000
_CLONE_NUMBERS: Final = {"x86_64": 56, "aarch64": 220, "riscv64": 220}
"""The system call's number on each machine, after the kernel's syscall tables."""
_libc = ctypes.CDLL(None, use_errno=True)


def set_subreaper(is_one: bool) -> None:
    """Adopt the orphans among this process's descendants, or not; PR_SET_CHILD_SUBREAPER(2const)."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(is_one), 0, 0, 0)


def lock_a_page() -> ctypes.Array[ctypes.c_char]:
    """Memory that is locked in RAM as long as it is held; OSError beyond RLIMIT_MEMLOCK, mlock(2)."""
    memory = ctypes.create_string_buffer(4096)
    if _libc.mlock(memory, ctypes.c_size_t(len(memory))) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return memory


def unlock(memory: ctypes.Array[ctypes.c_char]) -> None:
    """Take back what lock_a_page() did; freed memory would stay locked, munlock(2)."""
    _libc.munlock(memory, ctypes.c_size_t(len(memory)))


def can_wait_uninterruptibly() -> bool:
    """Whether the call of `fork_and_wait_uninterruptibly` is known for this machine."""
    return platform.machine() in _CLONE_NUMBERS


def fork_and_wait_uninterruptibly() -> None:
    """Fork; return in the child at once, and in the parent, which is in state D meanwhile, when the child has ended.

    CLONE_VFORK without CLONE_VM, clone(2): the child has memory of its own, which makes it as safe as fork.
    """
    clone = _CLONE_NUMBERS[platform.machine()]
    _libc.syscall(ctypes.c_long(clone), ctypes.c_long(_CLONE_VFORK | signal.SIGCHLD), *[ctypes.c_long(0)] * 4)
