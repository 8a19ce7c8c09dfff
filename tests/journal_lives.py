"""Routers made to order for tests of the journal: forks that append, snapshot, fail and are killed at a chosen call."""

from __future__ import annotations

import errno
import marshal
import mmap
import multiprocessing
import os
import resource
import select
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.journal import Journal, Recovered

RUN = b"0123456789abcdef"
CALLS = (
    *("open", "write", "close", "rename", "unlink", "truncate", "ftruncate", "fdatasync", "fsync", "mkdir", "rmdir"),
    *("listdir", "stat", "fstat", "fork", "wait4", "pidfd_open", "dup"),
)
"""What the journal asks the kernel for, by the names in `os`."""


def payload(number: int) -> bytes:
    """The record that is appended as this one, from 0."""
    return b"%d:" % number + b"x" * (number * 7 % 50)


def payloads(count: int) -> list[bytes]:
    """The first so many."""
    return [payload(number) for number in range(count)]


def state_of(recovered: Recovered) -> list[bytes]:
    """All payloads that a router knows which was given this: its state is their list, a snapshot of it marshalled."""
    state: list[bytes] = [] if recovered.snapshot is None else marshal.loads(recovered.snapshot)
    return state + list(recovered.records)


class Router:
    """A router whose state is the list of all payloads that it was given."""

    def __init__(self, directory: Path, *, durability: Any = "process", run: bytes = RUN, **options: int) -> None:
        self.journal = Journal(directory, durability, run, **options)
        self.recovered = self.journal.recover()
        self.state = state_of(self.recovered)
        self.now = 0.0

    def append(self) -> None:
        """Journal the next payload, then apply it."""
        self.journal.append(payload(len(self.state)))
        self.state.append(payload(len(self.state)))

    def serialise(self) -> Iterator[bytes]:
        """A snapshot, in two pieces."""
        data = marshal.dumps(self.state)
        yield data[: len(data) // 2]
        yield data[len(data) // 2 :]

    def begin_snapshot(self) -> int | None:
        """Begin one now."""
        return self.journal.begin_snapshot(self.serialise, self.now)

    def retry(self) -> int | None:
        """What the loop does about once a second."""
        self.now += 1000
        return self.journal.retry(self.now, self.serialise)

    def finish(self, pidfd: int | None) -> str | None:
        """Wait for a snapshot's process, as the loop does."""
        assert pidfd is not None
        wait_readable(pidfd)
        self.now += 1
        return self.journal.snapshot_finished(self.now)


def wait_readable(fd: int) -> None:
    """Until it is; AssertionError if it does not become so."""
    ready, _, _ = select.select([fd], [], [], 60)
    assert ready, "nothing within 60 s"


class Notes:
    """What a router that is going to be killed has done, in memory that it shares with the test."""

    _LAYOUT = struct.Struct("<QQ")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._LAYOUT.size)

    def write(self, applied: int, suspended: bool) -> None:
        """After each step: how many payloads have been applied, and whether the guarantee is off."""
        self._LAYOUT.pack_into(self._memory, 0, applied, suspended)

    def read(self) -> tuple[int, bool]:
        """The last note."""
        applied, suspended = self._LAYOUT.unpack_from(self._memory, 0)
        return applied, bool(suspended)


def live(life: Callable[[], None]) -> int:
    """Run it in a child, and return how that ended, as `subprocess` has it: 0, or minus the signal that killed it."""
    process = multiprocessing.get_context("fork").Process(target=life)
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    assert code not in (None, 1), "the life failed, see its traceback"
    return code


def killed_at(number: int, moment: str) -> None:
    """Have this process SIGKILL itself at its `number`-th call: `before` it, `after` it, or within (`half` a write).

    In the fork of a test only: it changes `os`. Its own forks count on from where they begin.
    """
    count = 0

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count
            count += 1
            mine = count == number
            if mine and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine and moment == "half":
                if name == "write":
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **keywords)
            if mine and moment == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in CALLS:
        setattr(os, name, wrap(name, getattr(os, name)))


@contextmanager
def full_disk(room_bytes: int = 0) -> Iterator[None]:
    """No file may grow beyond a size here (RLIMIT_FSIZE, setrlimit(2)): writes are short, then fail with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def failing(code: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A system call that fails with this error number; `real` is told of its absence by nobody."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        raise OSError(code, os.strerror(code))

    assert code in errno.errorcode
    call.__name__ = getattr(real, "__name__", "call")
    return call


def names(directory: Path) -> list[str]:
    """The files there."""
    return sorted(path.name for path in directory.iterdir())


def recovered(directory: Path, run: bytes = RUN) -> Recovered:
    """What the next router is given, which then ends."""
    journal = Journal(directory, "process", run)
    found = journal.recover()
    journal.close()
    return found


def next_state(directory: Path) -> list[bytes]:
    """What the next router knows, which then ends."""
    return state_of(recovered(directory))


def raises(error: BaseException) -> Callable[[], bytes]:
    """A state that cannot be serialised."""

    def serialise() -> bytes:
        raise error

    return serialise
