"""One child spec and its present incarnation, as the supervisor sees it: what it was given, what it says, how it ended.

Spawns with the `fork` context (by name: with any other the PPID would not be the supervisor's), gives each incarnation
a fresh Pipe, a fresh report Queue and a place for its stack, and learns of its death from a pidfd.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.queues
import os
import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from typing import Any, Final, TypeAlias

from broker.channel import DescriptorChannel, pipe_pair
from broker.child_state import Event, State, next_state
from broker.code import Code
from broker.messages import Role
from broker.restart import RestartHistory
from broker.watchdog import Look, Verdict

CONTEXT: Final = multiprocessing.get_context("fork")
_REPORTS_KEPT: Final = 64
_CONTROL_OUTBOX_LIMIT_BYTES: Final = 4 * 1024 * 1024
_STACK_BYTES: Final = 16 * 1024

Reports: TypeAlias = "multiprocessing.queues.Queue[dict[str, Any]]"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What a child is, over all its incarnations."""

    name: str
    role: Role
    index: int


@dataclass(frozen=True, slots=True)
class Death:
    """How an incarnation ended: with an exit status, or by a signal."""

    exit_status: int | None
    signal: str | None

    def __str__(self) -> str:
        return f"was killed by {self.signal}" if self.signal else f"exited with status {self.exit_status}"


class Child:
    """A child spec, its state, and its present incarnation (the fields below `incarnation`, while it has one)."""

    def __init__(self, spec: ChildSpec, nice: int, code: Code) -> None:
        self.spec = spec
        self.code = code  # of its next incarnation
        self.name = spec.name
        self.nice = nice
        self.state = State.WAITING
        self.restarts = 0
        self.history = RestartHistory()
        self.incarnation = 0
        self.process: ForkProcess | None = None
        self.pid: int | None = None
        self.pidfd = -1
        self.channel: DescriptorChannel | None = None
        self.reports: Reports | None = None
        self.stack_fd = -1
        self.started_at = 0.0  # wall clock
        self.spawned = 0.0  # monotonic, as the others
        self.ready_since: float | None = None
        self.last_beat: float | None = None
        self.counters: dict[str, Any] = {}
        self.look: Look | None = None
        self.verdict: Verdict | None = None
        self.condemned_for: str | None = None
        self.last_words: str | None = None
        self.hopeless = False  # by its own account its replacement would fare no better
        self.told_to_stop = False
        self.being_replaced = False  # its end is wanted, and so is its next incarnation
        self.retiring = False  # a worker that is to stop once its sessions are elsewhere

    def happen(self, event: Event) -> None:
        """Follow the table of `broker.child_state`."""
        self.state = next_state(self.state, event)

    @property
    def alive(self) -> bool:
        """True while there is an incarnation that has not been reaped."""
        return self.process is not None

    def spawn(self, make_birth: Callable[[Child, int, int, Reports], Any]) -> None:
        """Fork a new incarnation; OSError if the kernel refuses. `make_birth` gets the child's descriptors."""
        with contextlib.ExitStack() as undo:
            own_fd, child_fd = pipe_pair(CONTEXT)
            undo.callback(os.close, own_fd)
            with contextlib.ExitStack() as always:
                always.callback(os.close, child_fd)
                stack_fd = os.memfd_create(f"stack of {self.name}")
                undo.callback(os.close, stack_fd)
                reports: Reports = CONTEXT.Queue(_REPORTS_KEPT)
                birth = make_birth(self, child_fd, stack_fd, reports)
                process = CONTEXT.Process(target=self.code.run, args=(self.spec.role, birth), name=self.name)
                process.start()
            undo.pop_all()
        getattr(reports, "_writer").close()  # noqa: B009 - or its EOF would never come
        assert process.pid is not None
        self.happen(Event.SPAWNED)
        self.incarnation += 1
        self.process, self.pid, self.pidfd = process, process.pid, os.pidfd_open(process.pid)
        self.channel = DescriptorChannel(own_fd, _CONTROL_OUTBOX_LIMIT_BYTES)
        self.reports, self.stack_fd = reports, stack_fd
        self.started_at, self.spawned = time.time(), time.monotonic()
        self.ready_since = self.last_beat = self.look = self.verdict = self.condemned_for = self.last_words = None
        self.hopeless = False
        self.counters = {}

    def report_fd(self) -> int:
        """The readable end of the report Queue, for the loop."""
        fd: int = getattr(self.reports, "_reader").fileno()  # noqa: B009 - the only way to select on a Queue
        return fd

    def read_reports(self) -> tuple[list[dict[str, Any]], bool]:
        """All reports that are there, and whether the Queue is at its end (its only writer is gone).

        Cannot block: the only writer's items are single atomic writes, and nobody else reads.
        """
        assert self.reports is not None
        reports = []
        try:
            while True:
                reports.append(self.reports.get_nowait())
        except queue.Empty:
            return reports, False
        except (EOFError, OSError):
            return reports, True

    def kill(self, signal_number: int) -> None:
        """Signal this incarnation, and surely no other process; one that has just died needs none."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal_number)

    def stack(self) -> str | None:
        """What `faulthandler` wrote down when it was asked to; None if nothing."""
        data = os.pread(self.stack_fd, _STACK_BYTES, 0)
        return data.decode(errors="replace") or None

    def bury(self) -> Death:
        """Reap a dead incarnation, close all that was its, and say how it ended.

        The reaping is left to the Process object: multiprocessing reaps by itself whatever has ended while it starts
        another process, and keeps the cause.
        """
        process, channel, reports = self.process, self.channel, self.reports
        assert process is not None and channel is not None and reports is not None
        process.join()
        code = process.exitcode
        assert code is not None
        process.close()
        channel.close()
        getattr(reports, "_reader").close()  # noqa: B009
        os.close(self.pidfd)
        os.close(self.stack_fd)
        self.process = self.pid = self.channel = self.reports = None
        self.pidfd = self.stack_fd = -1
        self.happen(Event.DIED)
        return Death(None, _signal_name(-code)) if code < 0 else Death(code, None)


def _signal_name(number: int) -> str:
    """As in signal(7); real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
