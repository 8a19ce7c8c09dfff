"""Looks at the broker: who its processes are, by the supervisor's word and by /proc, and how each of them is doing.

Runs in `broker ps`, `top` and `renice`. STAT, priorities, zombies, memory, threads and CPU time come from /proc at
every look; only sessions, messages and restarts depend on the supervisor, and are marked stale when it does not answer.
Then its children are known by their PPID and their titles. It keeps what growth per second needs, and draws nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from broker.errors import NotRunningError
from broker.state_dir import running_pid
from monitor import procfs
from monitor.lab import registry
from monitor.process_tree import OTHER, Member, lab_members, process_tree
from monitor.procfs import ProcessStat, SchedStat
from monitor.roster import Roster
from monitor.snapshot import ProcessRow, Snapshot
from monitor.stat import stat_string

PSS_EVERY_SECONDS: Final = 5.0
"""The kernel walks a process's page tables for PSS, so each process pays for it this seldom, and not all at once."""
BEAT_SECONDS_APART: Final = 0.3
"""Heartbeats come once a second; two that seem closer than this are one, its age told a little late."""
BEATS_MISSED: Final = 3
"""Without a heartbeat for this many times as long as between the last two, messages per second are unknown."""
DEAD_STATES: Final = ("Z", "X")
IDLE_STATES: Final = (*DEAD_STATES, "T", "t")
"""Stopped or dead: whoever is, passes no messages on."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How fast the counters grew between the last two heartbeats, which were `interval_seconds` apart."""

    interval_seconds: float
    in_per_second: float
    out_per_second: float


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat at monotonic second `at`, its counters, and their growth since the one before, if there was one.

    Counters begin anew with each incarnation, that is: with each PID.
    """

    pid: int | None
    at: float
    messages_in: int
    messages_out: int
    growth: Growth | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One process's CPU accounts at monotonic second `at`, to measure growth from."""

    at: float
    start_ticks: int
    cpu_ticks: int
    threads: Mapping[int, SchedStat]


def next_beat(before: Beat | None, beat: Beat) -> Beat:
    """The beat to remember: the new one with its growth, or the old one if it is the same heartbeat told again."""
    if before is None or before.pid != beat.pid:
        return beat
    seconds = beat.at - before.at
    if seconds < BEAT_SECONDS_APART:
        return before
    growth = Growth(
        seconds,
        (beat.messages_in - before.messages_in) / seconds,
        (beat.messages_out - before.messages_out) / seconds,
    )
    return replace(beat, growth=growth)


def percentages(before: Look, now: Look) -> tuple[float | None, float | None]:
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
        self._looks: dict[int, Look] = {}
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
        """Look once.

        Raises NotRunningError if no broker runs on the state directory, ControlError if that is another user's.
        """
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
        labs = registry.read(self.state_dir, processes)
        for lab in labs:
            below += [lab.pid, *procfs.descendants(lab.pid, children), *lab.names]
        below = list(dict.fromkeys(below))
        named = {entry["pid"] for entry in roster.processes}
        titles = {pid: procfs.cmdline(pid) or [] for pid in below if pid not in named}
        zombies = procfs.zombies_by_parent(processes.values())
        members = process_tree(supervisor_pid, roster.processes, processes, titles)
        shown = {member.pid for member in members}
        members += [member for member in lab_members(labs, processes, titles) if member.pid not in shown]
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
            counters, beat_age_seconds = entry["counters"], entry["beat_age_seconds"]
            if beat_age_seconds is not None:
                at = roster.answered_at - beat_age_seconds
                beat = Beat(entry["pid"], at, counters["messages_in"], counters["messages_out"])
                self._beats[entry["name"]] = next_beat(self._beats.get(entry["name"]), beat)

    def _rates(
        self, member: Member, processes: Mapping[int, ProcessStat], now: float
    ) -> tuple[float | None, float | None]:
        """Messages per second in and out; of the supervisor, who beats for nobody, the sum of its workers'.

        There is no sum while one of those that work is unknown: a part of it would be taken for the whole.
        """
        names = [member.name]
        if member.role == "supervisor":
            names = [
                entry["name"]
                for entry in self._roster.processes
                if entry["role"] == "worker"
                and entry["state"] == "ready"
                and (process := processes.get(entry["pid"]))
                and process.state not in IDLE_STATES
            ]
        elif member.entry is None:
            return None, None
        growths = [self._growth(name, now) for name in names]
        known = [growth for growth in growths if growth is not None]
        if not known or len(known) < len(growths):
            return None, None
        return sum(growth.in_per_second for growth in known), sum(growth.out_per_second for growth in known)

    def _growth(self, name: str, now: float) -> Growth | None:
        beat = self._beats.get(name)
        if beat is None or beat.growth is None or now - beat.at > BEATS_MISSED * beat.growth.interval_seconds:
            return None
        return beat.growth

    def _row(
        self, member: Member, processes: Mapping[int, ProcessStat], zombies: Mapping[int, list[int]], now: float
    ) -> ProcessRow:
        entry = member.entry or {}
        counters = entry.get("counters") or {}
        in_per_second, out_per_second = self._rates(member, processes, now)
        process = None if member.pid is None else processes.get(member.pid)
        cpu_percent = wait_percent = None
        stat = ""
        if process is not None:
            stat = stat_string(process, procfs.locked_bytes(process.pid))
            look = Look(time.monotonic(), process.start_ticks, process.cpu_ticks, procfs.schedstats(process.pid))
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
            pss_bytes=self._pss_bytes(process, now) if process else None,
            threads=process.threads if process else None,
            sessions=counters.get("sessions"),
            messages_in=counters.get("messages_in"),
            messages_out=counters.get("messages_out"),
            in_per_second=in_per_second,
            out_per_second=out_per_second,
            restarts=entry.get("restarts"),
            uptime_seconds=procfs.age_seconds(process) if process else None,
            state=str(entry.get("state", "ready")),
            depth=member.depth,
            stale=member.role != OTHER and not self._roster.fresh,
        )

    def _pss_bytes(self, process: ProcessStat, now: float) -> int | None:
        if process.state in DEAD_STATES:  # it has no memory any more, whatever was read of it last
            return None
        pss, due_at = self._pss.get(process.pid, (None, 0.0))
        if now >= due_at:
            # The first interval depends on the PID, which spreads the readings over the looks to come.
            phase = process.pid % 10 / 10 if due_at == 0.0 else 1.0
            pss = procfs.pss_bytes(process.pid)
            self._pss[process.pid] = (pss, now + PSS_EVERY_SECONDS * phase)
        return pss

    def _forget_all_but(self, pids: set[int | None], names: set[str]) -> None:
        self._looks = {pid: look for pid, look in self._looks.items() if pid in pids}
        self._pss = {pid: pss for pid, pss in self._pss.items() if pid in pids}
        self._beats = {name: beat for name, beat in self._beats.items() if name in names}
