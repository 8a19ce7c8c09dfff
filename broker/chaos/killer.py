"""Carries out the plan: finds the broker's children, makes sure of each, and signals it by a pidfd.

Runs in the process of `broker chaos`. Children are found through the control socket and verified by /proc: the parent
is the supervisor, it is not a zombie, and it began when the supervisor says. The pidfd is taken before that check, so
that a PID that is given to somebody else afterwards cannot be hit (pidfd_send_signal(2)). The supervisor is never a
target.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from broker.chaos.pauses import Kill
from broker.chaos.plan import Budget, Strike, choose
from broker.control_client import ControlClient
from broker.errors import NotRunningError, UsageError
from monitor import procfs

SUPERVISOR: Final = "supervisor"
_START_TOLERANCE_SECONDS: Final = 2.0
"""Between the supervisor's wall clock at the fork and the kernel's own note, in whole ticks, of when it was."""


@dataclass(frozen=True, slots=True)
class Target:
    """One child as the control socket told of it."""

    name: str
    role: str
    pid: int
    started_at: float
    is_ready: bool

    def counts_as_death(self, signal_name: str) -> bool:
        """Whether the broker takes it for the process's own failure."""
        return signal_name == "SIGSTOP" or not self.is_ready


class Killer:
    """`client` is a connection to the broker's control socket; `roles` whom to kill, () for every child."""

    def __init__(self, client: ControlClient, roles: Sequence[str], budget: Budget) -> None:
        self._client = client
        self._budget = budget
        self._stopped: dict[str, int] = {}  # PIDs of those that were stopped and not yet replaced
        status, targets = self._look()
        self.supervisor_pid: int = status["pid"]
        known = sorted({target.role for target in targets})
        for role in roles:
            if role not in known:
                raise UsageError(f"--roles {role}: the broker has children of the roles {', '.join(known)}")
        self.roles = tuple(dict.fromkeys(roles)) or tuple(known)
        self.children = [target.name for target in targets if target.role in self.roles]
        self.skipped = 0
        """Kills of the plan that were left out: no such child was alive, or one more would make the broker give up."""

    def strike(self, strike: Strike) -> list[Kill]:
        """Kill what the plan says, all in one instant; returns whom."""
        status, targets = self._look()
        if status["pid"] != self.supervisor_pid:
            raise NotRunningError("the broker was restarted; it is another one now")
        chosen: list[tuple[Target, str]] = []
        now = time.monotonic()
        for victim in strike.victims:
            candidates = {
                target.name: target
                for target in targets
                if target.role in self.roles
                and self._stopped.get(target.name) != target.pid
                and all(target is not other for other, _ in chosen)
                and self._budget.allows(target.name, now, target.counts_as_death(victim.signal))
            }
            name = choose(victim, {name: target.role for name, target in candidates.items()})
            if name is None:
                self.skipped += 1
            else:
                chosen.append((candidates[name], victim.signal))
        return self._carry_out(chosen)

    def _carry_out(self, chosen: list[tuple[Target, str]]) -> list[Kill]:
        with contextlib.ExitStack() as stack:
            sure: list[tuple[Target, str, int]] = []
            for target, signal_name in chosen:
                fd = stack.enter_context(_pidfd(target.pid))
                if fd >= 0 and self._is_child(target):
                    sure.append((target, signal_name, fd))
                else:
                    self.skipped += 1
            at = time.monotonic()
            done = []
            for target, signal_name, fd in sure:
                try:
                    signal.pidfd_send_signal(fd, signal.Signals[signal_name])
                except ProcessLookupError:
                    self.skipped += 1
                    continue
                self._budget.spend(target.name, at, target.counts_as_death(signal_name))
                if signal_name == "SIGSTOP":
                    self._stopped[target.name] = target.pid
                done.append(Kill(at, target.role, target.name, signal_name))
            return done

    def _is_child(self, target: Target) -> bool:
        """Whether the PID is, now, that child of the supervisor's, and alive."""
        process = procfs.process_stat(target.pid)
        if process is None or process.state in "ZX" or process.ppid != self.supervisor_pid:
            return False
        began_at = time.time() - procfs.age_seconds(process)
        return target.pid != self.supervisor_pid and abs(began_at - target.started_at) < _START_TOLERANCE_SECONDS

    def _look(self) -> tuple[dict[str, Any], list[Target]]:
        result = self._client.request("processes")
        targets = [
            Target(process["name"], process["role"], process["pid"], process["started_at"], process["state"] == "ready")
            for process in result["processes"]
            if process["role"] != SUPERVISOR
            and process["pid"] is not None
            and process["state"] in ("starting", "ready", "hung")
        ]
        return result["status"], targets


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    """A pidfd; -1 if there is no such process."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield -1
        return
    try:
        yield fd
    finally:
        os.close(fd)
