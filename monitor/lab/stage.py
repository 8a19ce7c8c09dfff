"""Where a lab's processes live: made by fork, known by pidfd, seen by the monitor, and surely gone at the end.

Runs in the process of `broker lab`. Four nets, each for what falls through the one before: the `with` block ends all
its processes, also after Ctrl-C, TERM and HUP; the kernel kills them with the lab (PR_SET_PDEATHSIG), even stopped
ones; those that outlive their parents on purpose hold an end of a pipe, the lifeline, and end when the lab has; and an
alarm rings for each that is still there when its lab should long have ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import setproctitle

from broker.errors import BrokerError
from broker.linux import die_with_parent
from monitor import procfs
from monitor.lab.registry import Registration, forget_the_dead
from monitor.stat import stat_of

GRACE_SECONDS: Final = 10
"""So much longer than the lab itself may a process of it live that its lab cannot end."""
_READY_SECONDS: Final = 20.0
_GONE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.01
_ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class LabError(BrokerError):
    """A scene cannot be shown here; says why."""


class Stage:
    """A scene's processes, within a `with` block; `seconds` is how long it is held."""

    def __init__(self, name: str, state_dir: Path, seconds: float) -> None:
        self.seconds = seconds
        self._state_dir = state_dir
        self._registration = Registration(state_dir, f"lab-{name}")
        self._pidfds: dict[int, int] = {}
        self._handlers: dict[int, Any] = {}
        self._lifeline = self._lab_end = -1

    def __enter__(self) -> Stage:
        self._lifeline, self._lab_end = os.pipe()
        for number in _ENDING_SIGNALS:
            self._handlers[number] = signal.signal(number, signal.default_int_handler)
        forget_the_dead(self._state_dir)
        self._registration.write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient second Ctrl-C must not leave half of them.
        handlers: dict[int, Any] = {
            number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_ENDING_SIGNALS)
        }
        try:
            self.end()
        finally:
            self._registration.remove()
            os.close(self._lifeline)
            os.close(self._lab_end)
            handlers.update(self._handlers)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    # Making processes.

    def act(self, name: str, body: Callable[[], None], *, in_background: bool = True, keeps_parent: bool = True) -> int:
        """Fork a process that is called `name` and runs `body`; its PID.

        `in_background`: in a process group of its own, so that it has no `+`. `keeps_parent`: it dies with its parent.
        """
        sys.stdout.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(self._lab_end)  # only the lab has it, so that its end is seen at the other one
            _live(name, body, parent if keeps_parent else None, in_background, self.bound_seconds)
        self.know(pid, name)
        return pid

    def outlast_parent(self) -> None:
        """What an orphan does: sleep until the lab has ended, however that came about."""
        os.read(self._lifeline, 1)

    @property
    def bound_seconds(self) -> int:
        """After so long the alarm rings."""
        return int(self.seconds) + GRACE_SECONDS

    def know(self, pid: int, name: str) -> None:
        """Be responsible for a process, made here or by one of ours."""
        with contextlib.suppress(ProcessLookupError):
            self._pidfds[pid] = os.pidfd_open(pid)
        self._registration.add(pid, name)

    # Waiting.

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until it holds; LabError if it does not come to that."""
        deadline = time.monotonic() + _READY_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"not within {_READY_SECONDS:g} s: {what}")
            time.sleep(_LOOK_SECONDS)

    def wait_stat(self, pid: int, stat: str) -> None:
        """Wait until a process has this STAT; LabError if it does not come to that."""
        try:
            self.wait_for(lambda: stat_of(pid) == stat, f"STAT {stat}")
        except LabError:
            raise LabError(f"PID {pid} was to have STAT {stat}, and has {stat_of(pid) or 'ended'}") from None

    def hold(self, seconds: float | None = None) -> bool:
        """Leave everything as it is until the time is over; False if Enter or Ctrl-C came first."""
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        sys.stdout.flush()
        watched = [sys.stdin] if sys.stdin is not None and sys.stdin.isatty() else []
        try:
            while (left := deadline - time.monotonic()) > 0:
                if select.select(watched, [], [], left)[0]:
                    sys.stdin.readline()
                    return False
        except KeyboardInterrupt:
            return False
        return True

    # Ending.

    def end(self) -> None:
        """KILL every process of the scene and everything below, and reap what is ours to reap."""
        children = procfs.children_by_parent(procfs.scan().values())
        for pid, pidfd in self._pidfds.items():
            if _is_running(pidfd):
                for below in procfs.descendants(pid, children):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(below, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pid, pidfd in self._pidfds.items():
            select.select([pidfd], [], [], _GONE_SECONDS)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            os.close(pidfd)
        self._pidfds.clear()

    def forget(self, pid: int) -> None:
        """A child that has been reaped is nobody any more."""
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None:
            os.close(pidfd)


def _is_running(pidfd: int) -> bool:
    """A pidfd is readable when its process has ended; pidfd_open(2)."""
    return not select.select([pidfd], [], [], 0)[0]


def _live(
    name: str, body: Callable[[], None], parent: int | None, in_background: bool, bound_seconds: int
) -> None:  # fmt: skip
    """The life of a process of a scene; ends it."""
    try:
        if parent is not None and not die_with_parent(parent):
            os._exit(1)
        for number in (signal.SIGINT, *_ENDING_SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(bound_seconds)
        if in_background:
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        entitle(name)
        body()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{name}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(1)


def entitle(name: str) -> None:
    """Be called so by `ps`, and in the table; a zombie keeps the first 15 bytes of it."""
    setproctitle.setproctitle(f"broker: {name}")
    setproctitle.setthreadtitle(name)


def sleep_for_ever() -> None:
    """Until a signal ends it."""
    while True:
        signal.pause()
