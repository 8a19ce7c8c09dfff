"""Looks at the broker: who its processes are, by the supervisor's word and by /proc, and how each of them is doing.

Runs in `broker ps`, `top` and `renice`. STAT, priorities, zombies, memory, threads and CPU time come from /proc at
every look; only sessions, messages and restarts depend on the supervisor, and are marked stale when it does not answer.
Then its children are known by their PPID and their titles. It keeps what growth per second needs, and draws nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from broker.errors import NotRunningError
from broker.messages import CHILD_ROLES
from broker.state_dir import running_pid
from monitor import procfs
from monitor.procfs import ProcessStat, SchedStat
from monitor.roster import Roster
from monitor.snapshot import ProcessRow, Snapshot
from monitor.stat import stat_string

TITLE_PREFIX: Final = "broker: "
PSS_EVERY_SECONDS: Final = 5.0
"""The kernel walks a process's page tables for PSS, so each process pays for it this seldom, and not all at once."""
BEAT_SECONDS_APART: Final = 0.3
"""Heartbeats come once a second; two that seem closer than this are one, its age told a little late."""
RATE_KEPT_SECONDS: Final = 3.0
"""Without a heartbeat for this long, messages per second are unknown."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the broker's tree: `pid` None while the supervisor's `entry` for it has no living process."""

    name: str
    role: str
    pid: int | None
    depth: int
    entry: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat's counters at monotonic second `at`, and their growth since the heartbeat before (None: no such).

    Counters begin anew with each incarnation, that is: with each PID.
    """

    pid: int | None
    at: float
    messages_in: int
    messages_out: int
    in_per_second: float | None = None
    out_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """One process's CPU accounts at one moment, to measure growth from."""

    at: float
    start_ticks: int
    cpu_ticks: int
    threads: dict[int, SchedStat]


def role_of(name: str) -> str:
    """The role that a child's name tells: `worker-0` is a worker."""
    stem = name.rstrip("0123456789").removesuffix("-")
    return stem if stem in CHILD_ROLES else "other"


def name_of(title: Sequence[str], comm: str) -> str:
    """What to call a process that the supervisor did not name: its title if it has one, else the command's name."""
    if len(title) == 1 and not title[0].startswith("/"):
        return title[0].removeprefix(TITLE_PREFIX)
    return comm.removeprefix(TITLE_PREFIX)


def tree(
    supervisor_pid: int,
    entries: Sequence[Mapping[str, Any]],
    processes: Mapping[int, ProcessStat],
    titles: Mapping[int, Sequence[str]],
) -> list[Member]:
    """The broker's processes as a tree, parents first: the supervisor, its children in the supervisor's order, then
    those that only /proc knows, each followed by its own descendants.

    `entries` are the control protocol's processes, perhaps old ones: a PID that is no child of the supervisor now is
    nobody's. `titles` has the command lines of the descendants that no entry names. A child with the title `broker:
    NAME` is that NAME; what else there is has the role `other`.
    """
    children = procfs.children_by_parent(processes.values())
    own = children.get(supervisor_pid, [])
    members: list[Member] = []

    def add(name: str, role: str, pid: int | None, depth: int, entry: Mapping[str, Any] | None) -> None:
        members.append(Member(name, role, pid, depth, entry))
        for child in children.get(pid, ()) if pid is not None and depth else ():
            add(name_of(titles.get(child, ()), processes[child].comm), "other", child, depth + 1, None)

    root = next((entry for entry in entries if entry.get("role") == "supervisor"), None)
    add("supervisor", "supervisor", supervisor_pid, 0, root)
    titled = {title[0].removeprefix(TITLE_PREFIX): pid for pid in own if len(title := titles.get(pid, ())) == 1}
    listed: set[int] = set()
    names = {"supervisor"}
    for entry in entries:
        if entry is root:
            continue
        name = str(entry.get("name"))
        pid = entry.get("pid") if entry.get("pid") in own else titled.get(name)
        names.add(name)
        if pid is not None:
            listed.add(pid)
        add(name, str(entry.get("role", role_of(name))), pid, 1, entry)
    for pid in own:
        if pid not in listed:
            name = name_of(titles.get(pid, ()), processes[pid].comm)
            add(name, "other" if name in names else role_of(name), pid, 1, None)
            names.add(name)
    return members


def next_beat(before: Beat | None, beat: Beat) -> Beat:
    """The beat to remember: the new one with its rates, or the old one if it is the same heartbeat told again."""
    if before is None or before.pid != beat.pid:
        return beat
    seconds = beat.at - before.at
    if seconds < BEAT_SECONDS_APART:
        return before
    return Beat(
        beat.pid,
        beat.at,
        beat.messages_in,
        beat.messages_out,
        (beat.messages_in - before.messages_in) / seconds,
        (beat.messages_out - before.messages_out) / seconds,
    )


def percentages(before: _Look, now: _Look) -> tuple[float | None, float | None]:
    """CPU % and WAIT % of one core between two looks at one process, over all threads that are there at the second."""
    seconds = now.at - before.at
    if seconds <= 0 or now.start_ticks != before.start_ticks:
        return None, None
    if not now.threads:  # a kernel without CONFIG_SCHED_INFO
        return 100 * (now.cpu_ticks - before.cpu_ticks) / procfs.TICKS_PER_SECOND / seconds, None
    on_cpu_ns = waiting_ns = 0
    for tid, thread in now.threads.items():
        earlier = before.threads.get(tid)
        on_cpu_ns += thread.on_cpu_ns - (earlier.on_cpu_ns if earlier else 0)
        waiting_ns += thread.waiting_ns - (earlier.waiting_ns if earlier else 0)
    # A thread id that was used again in between would count backwards.
    return max(on_cpu_ns / seconds / 1e7, 0.0), max(waiting_ns / seconds / 1e7, 0.0)


class Sampler:
    """Looks at the broker of one state directory; `sample()` again and again, `close()` at the end.

    A look takes at most `control_timeout_seconds` more than reading /proc does, whatever the supervisor is up to.
    """

    def __init__(self, state_dir: Path, control_timeout_seconds: float = 0.3) -> None:
        self.state_dir = state_dir
        self._roster = Roster(state_dir, control_timeout_seconds)
        self._looks: dict[int, _Look] = {}
        self._beats: dict[str, Beat] = {}
        self._pss: dict[int, tuple[int | None, float]] = {}  # and when it is due again

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the control connection."""
        self._roster.close()

    def sample(self) -> Snapshot:
        """Look once. NotRunningError if no broker runs on the state directory."""
        roster = self._roster
        absent: NotRunningError | None = None
        supervisor_pid = running_pid(self.state_dir)
        # Asking makes the supervisor run, so its state is what it was before it was asked.
        undisturbed = None if supervisor_pid is None else procfs.process_stat(supervisor_pid)
        try:
            roster.refresh()
        except NotRunningError as error:
            absent = error
        if roster.fresh:
            supervisor_pid = roster.status["pid"]
        processes = procfs.scan()
        now = time.monotonic()
        if supervisor_pid is None or supervisor_pid not in processes:
            raise absent or NotRunningError(f"no broker runs on {self.state_dir}; `broker start` starts one")
        if undisturbed and undisturbed.start_ticks == processes[supervisor_pid].start_ticks:
            processes[supervisor_pid] = undisturbed
        if roster.status.get("pid") != supervisor_pid:
            roster.forget()
        children = procfs.children_by_parent(processes.values())
        below = procfs.descendants(supervisor_pid, children)
        named = {entry.get("pid") for entry in roster.processes}
        titles = {pid: procfs.cmdline(pid) or [] for pid in below if pid not in named}
        zombies = procfs.zombies_by_parent(processes.values())
        members = tree(supervisor_pid, roster.processes, processes, titles)
        self._note_beats()
        rows = tuple(self._row(member, processes, zombies, now) for member in members)
        self._forget_all_but({member.pid for member in members}, {member.name for member in members})
        age_seconds = 0.0 if roster.fresh else None if roster.answered_at is None else now - roster.answered_at
        return Snapshot(
            at=time.time(),
            rows=rows,
            status=roster.status,
            status_age_seconds=age_seconds,
            events=tuple(roster.events),
            zombies=sum(processes[pid].state == "Z" for pid in below),
            supervisor_pid=supervisor_pid,
        )

    def _note_beats(self) -> None:
        roster = self._roster
        if not roster.fresh or roster.answered_at is None:
            return
        for entry in roster.processes:
            counters = entry.get("counters") or {}
            if "messages_in" not in counters or "messages_out" not in counters:
                continue
            name = str(entry.get("name"))
            beat = Beat(
                entry.get("pid"),
                roster.answered_at - (entry.get("beat_age_seconds") or 0.0),
                counters["messages_in"],
                counters["messages_out"],
            )
            self._beats[name] = next_beat(self._beats.get(name), beat)

    def _row(
        self, member: Member, processes: Mapping[int, ProcessStat], zombies: Mapping[int, list[int]], now: float
    ) -> ProcessRow:
        entry = member.entry or {}
        counters = entry.get("counters") or {}
        beat = self._beats.get(member.name) if member.entry else None
        if beat is not None and now - beat.at > RATE_KEPT_SECONDS:
            beat = None
        process = None if member.pid is None else processes.get(member.pid)
        cpu_percent = wait_percent = None
        stat = ""
        if process is not None:
            stat = stat_string(process, procfs.locked_bytes(process.pid))
            look = _Look(time.monotonic(), process.start_ticks, process.cpu_ticks, procfs.schedstats(process.pid))
            before = self._looks.get(process.pid)
            if before is not None:
                cpu_percent, wait_percent = percentages(before, look)
            self._looks[process.pid] = look
        return ProcessRow(
            name=member.name,
            role=member.role,
            pid=member.pid,
            ppid=process.ppid if process else None,
            stat=stat,
            nice=process.nice if process else entry.get("nice"),
            zombies=len(zombies.get(process.pid, ())) if process else 0,
            cpu_percent=cpu_percent,
            wait_percent=wait_percent,
            rss_bytes=process.rss_bytes if process else None,
            pss_bytes=self._pss_bytes(process.pid, now) if process else None,
            threads=process.threads if process else None,
            sessions=counters.get("sessions"),
            messages_in=counters.get("messages_in"),
            messages_out=counters.get("messages_out"),
            in_per_second=beat.in_per_second if beat else None,
            out_per_second=beat.out_per_second if beat else None,
            restarts=entry.get("restarts"),
            uptime_seconds=procfs.age_seconds(process) if process else None,
            state=str(entry.get("state", "ready")),
            depth=member.depth,
            stale=member.role != "other" and not self._roster.fresh,
        )

    def _pss_bytes(self, pid: int, now: float) -> int | None:
        pss, due_at = self._pss.get(pid, (None, 0.0))
        if now >= due_at:
            # The first interval depends on the PID, which spreads the readings over the looks to come.
            phase = pid % 10 / 10 if due_at == 0.0 else 1.0
            pss = procfs.pss_bytes(pid)
            self._pss[pid] = (pss, now + PSS_EVERY_SECONDS * phase)
        return pss

    def _forget_all_but(self, pids: set[int | None], names: set[str]) -> None:
        self._looks = {pid: look for pid, look in self._looks.items() if pid in pids}
        self._pss = {pid: pss for pid, pss in self._pss.items() if pid in pids}
        self._beats = {name: beat for name, beat in self._beats.items() if name in names}
