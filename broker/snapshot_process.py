"""The process that writes a snapshot: a fork of the router, with its memory as it was at that moment.

The router goes on at once; the kernel copies the pages that it changes meanwhile. The process touches nothing but its
one file: no Pipe, no Queue, no log, no lock, since another thread of the router may have held any of them at the fork.
It ends by `_exit`, whatever happens, and with the router, whose child it is: the supervisor does not know it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import setproctitle

from broker import faults
from broker.journal_format import FileHeader, encode_snapshot
from broker.linux import die_with_parent

Serialise = Callable[[], bytes | Iterable[bytes]]

_BUFFER_BYTES: Final = 256 * 1024
_NOT_AN_ERRNO: Final = 200
"""Exit status of one that failed otherwise than by a system call; the kernel's error numbers end at 133."""
_LAST_WORDS_BYTES: Final = 300


class SnapshotProcess:
    """One running process; `pidfd` is readable when it has ended."""

    def __init__(self, fd: int, header: FileHeader, serialise: Serialise, durable: bool) -> None:
        """Fork it: it writes `serialise()` to `fd`, which stays the caller's. OSError if there can be none."""
        parent = os.getpid()
        self._fd = os.dup(fd)  # to read its last words
        self.killed = False
        try:
            started = time.thread_time()
            self._pid = os.fork()
            if self._pid == 0:
                _live(fd, header, serialise, durable, parent)
            self._forking_seconds = time.thread_time() - started
        except OSError:
            os.close(self._fd)
            raise
        try:
            self.pidfd = os.pidfd_open(self._pid)
        except OSError:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._fd)
            raise

    def kill(self) -> None:
        """Have it end soon; it is still to be reaped."""
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> tuple[str | None, float]:
        """Wait for its end: why it failed, None if it did not; and the CPU seconds that it took.

        Of those the caller has spent some itself: on forking, and, by a rule of thumb, as many again on copying pages
        that it has written to since.
        """
        _, status, usage = os.wait4(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        trouble: str | None = None
        if code < 0:
            trouble = f"its process was killed by signal {-code} ({signal.strsignal(-code)})"
        elif code == _NOT_AN_ERRNO:
            trouble = os.pread(self._fd, _LAST_WORDS_BYTES, 0).decode(errors="replace") or "it could not be made"
        elif code > 0:
            trouble = os.strerror(code)
        os.close(self.pidfd)
        os.close(self._fd)
        return trouble, usage.ru_utime + usage.ru_stime + 2 * self._forking_seconds


def _live(fd: int, header: FileHeader, serialise: Serialise, durable: bool, parent: int) -> NoReturn:
    """The whole life of the process."""
    status = _NOT_AN_ERRNO
    try:
        gc.disable()  # a collection would write to every object's header, and so copy every page
        if die_with_parent(parent):
            _close_all_but(fd)
            setproctitle.setproctitle("broker: router snapshot")
            setproctitle.setthreadtitle("router-snapshot")  # 15 bytes, all that there is room for
            _write(fd, header, serialise, durable)
            status = 0
    except OSError as error:
        status = error.errno if error.errno and error.errno < _NOT_AN_ERRNO else _NOT_AN_ERRNO
    except BaseException:
        with contextlib.suppress(BaseException):
            last_line = traceback.format_exc().strip().splitlines()[-1]
            os.ftruncate(fd, 0)
            os.write(fd, last_line.encode()[:_LAST_WORDS_BYTES])
    finally:
        os._exit(status)


def _write(fd: int, header: FileHeader, serialise: Serialise, durable: bool) -> None:
    body = serialise()
    pieces = [body] if isinstance(body, bytes) else body
    with open(fd, "wb", buffering=_BUFFER_BYTES, closefd=False) as output:
        for number, piece in enumerate(encode_snapshot(header, pieces)):
            output.write(piece)
            if faults.ENABLED and number == 1:
                output.flush()
                faults.point("journal.snapshot-half-written")
    if durable:
        os.fsync(fd)
    if faults.ENABLED:
        faults.point("journal.snapshot-written")


def _close_all_but(fd: int) -> None:
    """Close what the router had open but the standard streams: an end of a Pipe that lives on here hides an EOF."""
    for low, high in ((3, fd), (fd + 1, os.sysconf("SC_OPEN_MAX"))):
        if low < high:
            os.closerange(low, high)
