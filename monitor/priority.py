"""Decisions about priorities: who is meant, which value, who may set it, and whether it can have any effect. Pure.

The arithmetic is the kernel's: `set_one_prio()` and `can_nice()` in kernel/sys.c and kernel/sched/syscalls.c for the
permission, sched(7) for what nice counts against. `monitor.renice` gathers the facts and does the deeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from broker.errors import BrokerError, UsageError
from monitor.process_tree import OTHER
from monitor.snapshot import ProcessRow
from monitor.table import printable

NICE_MIN: Final = -20
NICE_MAX: Final = 19
_NAMES_LISTED: Final = 16
_LONGEST_SHOWN: Final = 40


class NotPermittedError(BrokerError):
    """The caller may not give a process this priority; says what is allowed now."""


def is_zombie(row: ProcessRow) -> bool:
    """Dead but for its entry in the table. (`Zl` is a process whose first thread has ended and others live on.)"""
    return row.stat.startswith("Z") and (row.threads or 0) <= 1


def describe(row: ProcessRow) -> str:
    """`worker-0 (PID 4711)`."""
    return printable(row.name) if row.pid is None else f"{printable(row.name)} (PID {row.pid})"


def choose(rows: Sequence[ProcessRow], targets: Sequence[str]) -> list[ProcessRow]:
    """The processes that the targets mean, each once, in the order of `rows`.

    A target is `all`, a PID, a name or a role in singular or plural. A zombie that was named is a UsageError, as is
    a target that means nothing; a zombie in a group is left out, unless it is a child whose next incarnation is to
    have the value (as is a child that waits for its restart).
    """
    meant: set[int] = set()
    unknown = []
    for target in targets:
        single, indices = _matches(rows, target)
        if not indices:
            unknown.append(target)
        for index in indices:
            row = rows[index]
            if not is_zombie(row) or (not single and row.role != OTHER):
                meant.add(index)
            elif single:
                raise UsageError(
                    f"{describe(row)} is a zombie: it is dead and only waits to be reaped, so it has no priority"
                )
    if unknown:
        raise UsageError(_unknown(rows, unknown))
    if not meant:
        raise UsageError(f"nothing but zombies there: {', '.join(targets)}")
    return [row for index, row in enumerate(rows) if index in meant]


def _matches(rows: Sequence[ProcessRow], target: str) -> tuple[bool, list[int]]:
    """Whether the target means one process, and the indices of what it means."""
    if target == "all":
        return False, list(range(len(rows)))
    if target.isdecimal():
        return True, [index for index, row in enumerate(rows) if str(row.pid) == target]
    named = [index for index, row in enumerate(rows) if row.name == target]
    # Something below a worker may have the worker's title; the name is the worker's.
    if named:
        return True, [index for index in named if rows[index].role != OTHER] or named
    return False, [index for index, row in enumerate(rows) if target in (row.role, f"{row.role}s")]


def _unknown(rows: Sequence[ProcessRow], unknown: Sequence[str]) -> str:
    names = list(dict.fromkeys(row.name for row in rows if row.role != OTHER))
    roles = {row.role: sum(other.role == row.role for other in rows) for row in rows if row.role not in (OTHER, *names)}
    if len(names) > _NAMES_LISTED:
        names = [*names[: _NAMES_LISTED - 1], "…", names[-1]]
    words = []
    for target in unknown:
        shown = target if len(target) <= _LONGEST_SHOWN else f"{target[:_LONGEST_SHOWN]}…"
        words.append(f"PID {shown} is not a process of the broker" if target.isdecimal() else f"no target {shown!r}")
    return (
        f"{'; '.join(words)}.\nTargets: all, {', '.join(f'{role}s' for role in roles)}{', ' if roles else ''}"
        f"{', '.join(names)}, or a PID that `broker ps` shows"
    )


def new_nice(row: ProcessRow, priority: int, relative: bool) -> int:
    """The value to set; UsageError outside -20 to 19, where the kernel would clamp without a word."""
    old = row.nice or 0
    new = old + priority if relative else priority
    if not NICE_MIN <= new <= NICE_MAX:
        wish = f"{new} for {describe(row)}, {old} {'-' if priority < 0 else '+'} {abs(priority)}," if relative else new
        raise UsageError(f"a priority is from {NICE_MIN} (gets the most CPU) to {NICE_MAX} (the least); {wish} is not")
    return new


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever wants to renice: effective user id, whether CAP_SYS_NICE is in force (CapEff), and the set of all
    capabilities that it could have in force (CapPrm, a bit each); capabilities(7).
    """

    euid: int
    cap_sys_nice: bool
    permitted: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A process as the permission check sees it: its owner's real and effective user ids, its own soft RLIMIT_NICE,
    the highest nice value among its threads (the one that is hardest to lower), and its capabilities (CapPrm).
    """

    ruid: int
    euid: int
    nice_limit: int
    highest_nice: int
    permitted: int = 0


def lowest_allowed(caller: Caller, standing: Standing) -> int | None:
    """The lowest nice value that the caller may give; None if the process is not his to change at all (EPERM).

    Raising nice is always allowed; lowering it down to 20 - RLIMIT_NICE, the limit being the process's own (EACCES
    below that); CAP_SYS_NICE allows everything. Nobody else may touch a process that has capabilities which he has
    not (EPERM; `cap_safe_nice()` in security/commoncap.c).
    """
    if caller.cap_sys_nice:
        return NICE_MIN
    if caller.euid not in (standing.ruid, standing.euid) or standing.permitted & ~caller.permitted:
        return None
    return max(min(standing.highest_nice, 20 - standing.nice_limit), NICE_MIN)


def refusal(caller: Caller, standing: Standing, new: int) -> str | None:
    """Why the caller may not set `new`, and what he may; None if he may."""
    lowest = lowest_allowed(caller, standing)
    if lowest is None and caller.euid in (standing.ruid, standing.euid):
        return "has capabilities that you have not; that takes CAP_SYS_NICE"
    if lowest is None:
        return f"belongs to user id {standing.euid}; that takes its owner, or CAP_SYS_NICE"
    if new >= lowest:
        return None
    return (
        f"{standing.highest_nice} → {new} is not permitted; allowed now: {lowest} to {NICE_MAX} "
        f"(no CAP_SYS_NICE, RLIMIT_NICE {standing.nice_limit})"
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """Within which nice values are weighed against each other: one cgroup that the CPU is divided among (None: the
    root), and there, if autogroups are on, one session's autogroup. Between scopes their own weights count.
    """

    cgroup: str | None
    autogroup: int | None

    def __str__(self) -> str:
        if self.cgroup is not None:
            return f"cgroup {printable(self.cgroup)}"
        return "the system" if self.autogroup is None else f"its session (autogroup {self.autogroup})"


@dataclass(frozen=True, slots=True)
class Contender:
    """A process as a rival for CPU time: `busy` just now; `shift` is by how much its nice has just been changed."""

    pid: int
    scope: Scope
    cpus: frozenset[int]
    policy: int
    busy: bool
    shift: int = 0


POLICIES_WITHOUT_NICE: Final = {1: "SCHED_FIFO", 2: "SCHED_RR", 5: "SCHED_IDLE", 6: "SCHED_DEADLINE"}
MOSTLY_IDLE: Final = 0.5


def why_no_effect(target: Contender, others: Iterable[Contender], idle_share: float) -> str | None:
    """Why the shift of `target` changes nothing now, in a few words; None if it does.

    `others` are the other processes of the machine that could run; `idle_share` is how idle the target's CPUs were.
    """
    if target.shift == 0:
        return None
    if target.policy in POLICIES_WITHOUT_NICE:
        return f"runs under {POLICIES_WITHOUT_NICE[target.policy]}, where nice does not count"
    others = [other for other in others if other.cpus & target.cpus and other.policy not in POLICIES_WITHOUT_NICE]
    inside = [other for other in others if other.scope == target.scope]
    if not inside:
        return f"nice counts only within {target.scope}, and nothing else is in there"
    rivals = [other for other in inside if other.shift != target.shift]
    if not rivals:
        return f"nice counts only within {target.scope}, and all in there was shifted alike"
    if any(rival.busy for rival in rivals) and idle_share < MOSTLY_IDLE:
        return None
    if idle_share >= MOSTLY_IDLE:
        return f"{cpu_list(target.cpus)} {idle_share:.0%} idle just now: nice shows only when processes compete"
    if any(other.busy for other in others if other.scope != target.scope):
        return f"nice counts only within {target.scope}, and what is busy just now is outside"
    return f"nothing else in {target.scope} wants {cpu_list(target.cpus)} just now"


def cpu_list(cpus: Iterable[int]) -> str:
    """`CPU 0`, `CPUs 0-3,7`."""
    numbers = sorted(cpus)
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    return f"CPU{'' if len(numbers) == 1 else 's'} {text}"


def lowest_for_heirs(supervisor: Caller, nice_limit: int, nice: int) -> int:
    """The lowest nice value that children can have which the supervisor, itself at `nice`, forks from now on.

    A child inherits its parent's nice, its RLIMIT_NICE and its capabilities, and may lower itself no further than they
    allow (setpriority(2), `can_nice()`).
    """
    return NICE_MIN if supervisor.cap_sys_nice else max(min(nice, 20 - nice_limit), NICE_MIN)
