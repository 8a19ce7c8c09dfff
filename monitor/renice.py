"""Changes priorities: gathers what the decisions of `monitor.priority` need, sets every thread, and sees to the rest.

Runs in `broker renice` and the dashboard, with the permissions of whoever called it; the supervisor is only told what
to remember. Everything is checked before anything is changed, and what could not be done is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker.control_client import ControlClient
from broker.errors import ControlError, NotRunningError
from broker.messages import CHILD_ROLES
from monitor import procfs
from monitor.priority import (
    Caller,
    Contender,
    NotPermittedError,
    Scope,
    Standing,
    describe,
    is_zombie,
    lowest_allowed,
    lowest_for_heirs,
    new_nice,
    refusal,
    why_no_effect,
)
from monitor.process_tree import OTHER
from monitor.procfs import ProcessStat
from monitor.snapshot import ProcessRow

MAX_PASSES: Final = 20
OBSERVED_SECONDS: Final = 0.25
BUSY_TICKS: Final = 2
"""Whoever ran for this long while it was observed wants a CPU: 20 ms, as ticks usually are."""
REMEMBER_TIMEOUT_SECONDS: Final = 2.0
_CAP_SYS_NICE: Final = 23
_CGROUP_ROOT: Final = "/sys/fs/cgroup"
"""Where version 2 is mounted, by convention (systemd, container engines); version 1 needs no look inside."""


@dataclass(frozen=True, slots=True)
class Change:
    """One process and its new nice value; `start_ticks` tells it from a later one with its PID.

    None: it does not live now. A child that waits for its restart, or is a zombie that will have one, can still be
    remembered to have the value then.
    """

    row: ProcessRow
    new: int
    start_ticks: int | None

    @property
    def old(self) -> int:
        """Its nice value before."""
        return self.row.nice or 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change: the threads' nice values before; `failure` says what is not as it was asked for."""

    change: Change
    old: tuple[int, ...] = ()
    threads: int = 0
    failure: str | None = None

    def __str__(self) -> str:
        """`worker-0 (PID 4711, 3 threads): 0 → 10`."""
        row = self.change.row
        before = ", ".join(map(str, self.old)) or str(self.change.old)
        if self.failure is not None:
            return f"{describe(row)}: {self.failure}"
        if not self.threads:
            return f"{row.name} (no process now): {before} → {self.change.new} from its next start"
        who = describe(row) if self.threads == 1 else f"{describe(row)[:-1]}, {self.threads} threads)"
        return f"{who}: {before} → {self.change.new}"


def plan(rows: Iterable[ProcessRow], priority: int, relative: bool = False) -> list[Change]:
    """What to change so that `rows` have this priority; nothing is changed yet.

    Raises UsageError for a value out of range, and NotPermittedError if any of it is not permitted to this process.
    """
    changes = [Change(row, new_nice(row, priority, relative), _start_ticks(row)) for row in rows]
    caller = _caller("self", os.geteuid())
    refused = []
    for change in changes:
        standing = _standing(change)
        reason = standing and refusal(caller, standing, change.new)
        if reason:
            refused.append(f"{describe(change.row)}: {reason}")
    if refused:
        rest = "" if len(refused) == 1 else f"\n{len(refused) - 1} more of the {len(changes)} processes likewise"
        raise NotPermittedError(f"{refused[0]}{rest}; nothing was changed")
    return changes


def _start_ticks(row: ProcessRow) -> int | None:
    if row.pid is None or is_zombie(row):
        return None
    process = procfs.process_stat(row.pid)
    return process.start_ticks if process and process.ppid == row.ppid else None  # else the PID is somebody else's now


def _caller(process: str | int, euid: int) -> Caller:
    status = procfs.parse_status(procfs.read(f"/proc/{process}/status") or b"")
    effective, permitted = (int(status.get(name, "0"), 16) for name in ("CapEff", "CapPrm"))
    return Caller(euid, bool(effective >> _CAP_SYS_NICE & 1), permitted)


def _standing(change: Change) -> Standing | None:
    """None for a process that is not there (any more), about which carry_out() will tell."""
    if change.start_ticks is None or change.row.pid is None:
        return None
    status = procfs.status(change.row.pid)
    nice_limit = procfs.nice_limit(change.row.pid)
    nices = [thread.nice for thread in procfs.thread_stats(change.row.pid).values()]
    if status is None or nice_limit is None or not nices:
        return None
    ruid, euid = map(int, status["Uid"].split()[:2])
    return Standing(ruid, euid, nice_limit, max(nices), int(status["CapPrm"], 16))


def lowest_after(pid: int, nice: int) -> int | None:
    """The lowest nice value that this process may give to another one that has `nice` by then; None: none at all."""
    status = procfs.status(pid)
    nice_limit = procfs.nice_limit(pid)
    if status is None or nice_limit is None:
        return None
    ruid, euid = map(int, status["Uid"].split()[:2])
    standing = Standing(ruid, euid, nice_limit, nice, int(status["CapPrm"], 16))
    return lowest_allowed(_caller("self", os.geteuid()), standing)


def renice(changes: Iterable[Change], state_dir: Path, is_answering: bool) -> tuple[list[Outcome], str | None]:
    """Carry the changes out and have the supervisor remember them; also what to say if it cannot.

    A supervisor that is not `is_answering` is not even asked: the request would wait for it, and be heeded when it is
    continued, long after somebody was told that it would not.
    """
    outcomes = [carry_out(change) for change in changes]
    complaint = None
    if is_answering:
        complaint = remember(state_dir, outcomes)
    elif any(has_heirs(outcome.change.row) for outcome in outcomes):
        complaint = "the supervisor does not answer and cannot remember this: a restarted process gets its old value"
    if complaint:
        forgotten = "no process now, and nobody to remember it"
        outcomes = [
            outcome if outcome.failure or outcome.threads else replace(outcome, failure=forgotten)
            for outcome in outcomes
        ]
    return outcomes, complaint


def carry_out(change: Change) -> Outcome:
    """Set every thread, again and again until a pass finds nothing to set: a thread may be started by one not yet set.

    Never raises: what goes wrong is in the outcome's `failure`.
    """
    pid = change.row.pid
    if pid is None or change.start_ticks is None:
        is_gone = change.row.role == OTHER or (pid is not None and not is_zombie(change.row))
        return Outcome(change, failure="it is gone; nothing was changed" if is_gone else None)
    old: dict[int, int] = {}
    for _ in range(MAX_PASSES):
        process = procfs.process_stat(pid)
        threads = procfs.thread_stats(pid)
        if not threads or process is None or process.start_ticks != change.start_ticks:
            return Outcome(change, failure="it ended meanwhile" if old else "it is gone; nothing was changed")
        if process.state in "ZX" and process.threads <= 1:  # whose priority can be set, says the kernel: to no avail
            return Outcome(change, failure="it is dead and only waits to be reaped")
        for tid, thread in threads.items():
            old.setdefault(tid, thread.nice)
        wrong = [tid for tid, thread in threads.items() if thread.nice != change.new]
        if not wrong:
            before = tuple(sorted(dict.fromkeys(old.values())))
            return Outcome(change, before, len(threads))
        for tid in wrong:
            try:
                os.setpriority(os.PRIO_PROCESS, tid, change.new)
            except ProcessLookupError:
                continue  # that thread has ended
            except OSError as error:
                return Outcome(change, failure=f"{error.strerror}; {_extent(pid, change.new)}")
    return Outcome(change, failure=f"it makes threads faster than they can be set; {_extent(pid, change.new)}")


def _extent(pid: int, new: int) -> str:
    nices = [thread.nice for thread in procfs.thread_stats(pid).values()]
    return f"{nices.count(new)} of its {len(nices)} threads have {new} now"


def remember(state_dir: Path, outcomes: Iterable[Outcome]) -> str | None:
    """Tell the supervisor, so that further incarnations get the new values; what to say if it cannot be told.

    Of its own priority it is told too, for the log. What it knows already it is not told again.
    """
    outcomes = [outcome for outcome in outcomes if outcome.failure is None and outcome.change.row.role != OTHER]
    if not outcomes:
        return None
    try:
        with ControlClient(state_dir, REMEMBER_TIMEOUT_SECONDS) as client:
            known = {entry["name"]: entry["nice"] for entry in client.request("processes")["processes"]}
            changes = [
                {"name": outcome.change.row.name, "old": old, "new": outcome.change.new}
                for outcome in outcomes
                for old in _values_left(outcome, known.get(outcome.change.row.name))
            ]
            if changes:
                client.request("nice", changes=changes)
    except ControlError as error:
        is_heeded = any(has_heirs(outcome.change.row) for outcome in outcomes)
        return f"{'a restarted process may get its old value' if is_heeded else 'not in the log'}: {error}"
    except NotRunningError:
        return "the broker has ended meanwhile"
    return None


def _values_left(outcome: Outcome, remembered: int | None) -> list[int]:
    """The nice values that gave way to the new one: those of the threads, else the one that was remembered."""
    left = [old for old in outcome.old if old != outcome.change.new]
    if not left and remembered not in (None, outcome.change.new):
        return [remembered]
    return left


def has_heirs(row: ProcessRow) -> bool:
    """Whether the supervisor will start another process of this name when this one ends."""
    return row.role in CHILD_ROLES


def effect_notes(changes: Sequence[Change]) -> list[str]:
    """Why some of the changes have no effect now. Watches for OBSERVED_SECONDS."""
    found: dict[str, list[str]] = {}
    for change, reason in _without_effect(changes):
        found.setdefault(reason, []).append(change.row.name)
    return [f"{_enumerate(names)}: {reason}" for reason, names in found.items()]


def heirs_notes(changes: Sequence[Change], rows: Sequence[ProcessRow]) -> list[str]:
    """What the supervisor cannot give to the processes that it starts from now on, after these changes.

    A value below its own that it may not set, although it remembers it; and, if its own was changed, those of the
    children that have less. At once, without watching anything.
    """
    supervisor = next((row for row in rows if row.role == "supervisor"), None)
    process = None if supervisor is None or supervisor.pid is None else procfs.process_stat(supervisor.pid)
    if process is None:
        return []
    lowest = lowest_for_heirs(_caller(process.pid, euid=0), procfs.nice_limit(process.pid) or 0, process.nice)
    texts = []
    too_low = [change.row.name for change in changes if has_heirs(change.row) and change.new < lowest]
    if too_low:
        texts.append(f"{_enumerate(too_low)}: successors get {lowest} at least: the supervisor may not lower nice")
    changed = {change.row.name for change in changes}
    others = [row for row in rows if has_heirs(row) and row.name not in changed and (row.nice or 0) < lowest]
    if others and "supervisor" in changed:
        texts.append(f"children that the supervisor starts from now on get {lowest} at least: it may not lower nice")
    return texts


def _enumerate(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"


def _without_effect(changes: Sequence[Change]) -> list[tuple[Change, str]]:
    shifts = {change.row.pid: change.new - change.old for change in changes if change.start_ticks is not None}
    if not any(shifts.values()):
        return []
    began, idle_before, before = time.monotonic(), procfs.idle_ticks(), procfs.scan()
    time.sleep(OBSERVED_SECONDS)
    idle_after, after = procfs.idle_ticks(), procfs.scan()
    ticks = (time.monotonic() - began) * procfs.TICKS_PER_SECOND
    contenders = _contenders(before, after, shifts)
    found = []
    for change in changes:
        target = contenders.get(change.row.pid or 0)
        if target is None:
            continue
        idle = [idle_after[cpu] - idle_before[cpu] for cpu in target.cpus if cpu in idle_after and cpu in idle_before]
        idle_share = min(sum(idle) / ticks / len(idle), 1.0) if idle else 0.0
        others = (contender for contender in contenders.values() if contender.pid != target.pid)
        reason = why_no_effect(target, others, idle_share)
        if reason is not None:
            found.append((change, reason))
    return found


def _contenders(
    before: Mapping[int, ProcessStat], after: Mapping[int, ProcessStat], shifts: Mapping[int | None, int]
) -> dict[int, Contender]:
    """Everything that could run, but for zombies, this process, and what has no CPUs any more because it has ended."""
    scope_of = scope_reader()
    contenders = {}
    for pid, process in after.items():
        if process.state in "ZX" or pid == os.getpid():
            continue
        try:
            cpus = frozenset(os.sched_getaffinity(pid))
        except OSError:
            continue
        earlier = before.get(pid)
        busy = process.cpu_ticks - (earlier.cpu_ticks if earlier else 0) >= BUSY_TICKS
        contenders[pid] = Contender(pid, scope_of(pid), cpus, process.policy, busy, shifts.get(pid, 0))
    return contenders


def scope_reader() -> Callable[[int], Scope]:
    """Tells of a process (by its PID) within what its nice value is weighed; what it has read it remembers."""
    autogroups = procfs.autogroup_enabled()
    weighted: dict[str, str | None] = {}  # by the path in /proc/PID/cgroup

    def scope_of(pid: int) -> Scope:
        groups = procfs.cgroup(pid) or {}
        if "cpu" in groups:  # version 1
            cgroup = None if groups["cpu"] == "/" else groups["cpu"]
        else:
            path = groups.get("", "/")
            if path not in weighted:
                weighted[path] = _weighted_cgroup(path)
            cgroup = weighted[path]
        # Autogroups divide the root cgroup only (task_wants_autogroup() in kernel/sched/autogroup.c).
        autogroup = procfs.autogroup(pid) if autogroups and cgroup is None else None
        return Scope(cgroup, autogroup.number if autogroup else None)

    return scope_of


def _weighted_cgroup(path: str) -> str | None:
    """The nearest cgroup at or above `path` that has a share of the CPU of its own; None if that is the root.

    The root of the hierarchy has no `cpu.weight` (Documentation/admin-guide/cgroup-v2.rst), while the root of a
    container's view of it may well have one.
    """
    while True:
        if os.path.exists(f"{_CGROUP_ROOT}{path}/cpu.weight"):
            return path
        if path in ("/", ""):
            return None
        path = os.path.dirname(path)
