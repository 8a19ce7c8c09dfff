"""Who is who among the broker's processes: the supervisor's word and the kernel's, made into one tree. Pure.

The supervisor's list has the names; the kernel's PPIDs have the truth. Where the two differ (a child that died this
moment, one that was just forked, a list from before the supervisor was stopped) a process is what its title says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.messages import CHILD_ROLES
from monitor import procfs
from monitor.lab.registry import Lab
from monitor.procfs import ProcessStat

TITLE_PREFIX: Final = "broker: "
OTHER: Final = "other"
"""The role of processes below the supervisor that are not of its making: somebody's experiment, a helper."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the tree; `pid` is None while the supervisor's `entry` for it has no living process."""

    name: str
    role: str
    pid: int | None
    depth: int
    entry: Mapping[str, Any] | None = None


def role_of(name: str) -> str:
    """The role that a child's name tells: `worker-0` is a worker."""
    stem = name.rstrip("0123456789").removesuffix("-")
    return stem if stem in CHILD_ROLES else OTHER


def name_of(title: Sequence[str], comm: str) -> str:
    """What to call a process that the supervisor did not name: its title if it has set one, else its command.

    setproctitle leaves one argument, which reads like a title and not like a path. A zombie has no title any more, but
    the broker's children have their name as their command too.
    """
    return title[0].removeprefix(TITLE_PREFIX) if len(title) == 1 and not title[0].startswith("/") else comm


def process_tree(
    supervisor_pid: int,
    entries: Sequence[Mapping[str, Any]],
    processes: Mapping[int, ProcessStat],
    titles: Mapping[int, Sequence[str]],
) -> list[Member]:
    """The processes of a broker, parents first: the supervisor; its children in its own order, then those that only
    the kernel knows, by role and number; below each child its descendants, oldest first.

    `entries` are the control protocol's processes, perhaps old ones: a PID in them that is no child of the supervisor
    now is somebody else's. `titles` has the arguments of those descendants that no entry names.
    """
    children = procfs.children_by_parent(processes.values())
    own = children.get(supervisor_pid, [])
    unnamed = {pid: name_of(titles[pid], processes[pid].comm) for pid in own if pid in titles}

    root = next((entry for entry in entries if entry["role"] == "supervisor"), None)
    listed: list[Member] = []
    for entry in entries:
        if entry is not root:
            by_title = (pid for pid, name in unnamed.items() if name == entry["name"])
            pid = entry["pid"] if entry["pid"] in own else next(by_title, None)
            listed.append(Member(entry["name"], entry["role"], pid, 1, entry))
    taken_pids = {member.pid for member in listed}
    taken_names = {"supervisor", *(member.name for member in listed)}
    unlisted = [
        Member(name, OTHER if name in taken_names else role_of(name), pid, 1)
        for pid, name in unnamed.items()
        if pid not in taken_pids
    ]

    unlisted.sort(key=_start_order)

    members = [Member("supervisor", "supervisor", supervisor_pid, 0, root)]
    for member in (*listed, *unlisted):
        members.append(member)
        if member.pid is not None:
            members.extend(_below(member.pid, 2, children, processes, titles))
    return members


def lab_members(
    labs: Sequence[Lab], processes: Mapping[int, ProcessStat], titles: Mapping[int, Sequence[str]]
) -> list[Member]:
    """The processes of labs, parents first: each lab as if it were a child of the supervisor, below it its descendants,
    then those of its processes that have another parent by now. Whose child each really is, its PPID says.
    """
    children = procfs.children_by_parent(processes.values())
    members = []
    for lab in labs:
        below = _below(lab.pid, 2, children, processes, titles)
        known = {lab.pid, *(member.pid for member in below)}
        for pid in lab.names:
            if pid not in known:
                name = name_of(titles.get(pid, ()), processes[pid].comm)
                strays = [Member(name, OTHER, pid, 2), *_below(pid, 3, children, processes, titles)]
                known.update(member.pid for member in strays)
                below += strays
        members.append(Member(lab.name, OTHER, lab.pid, 1))
        members += [replace(member, name=lab.names.get(member.pid or 0, member.name)) for member in below]
    return members


def _start_order(member: Member) -> tuple[int, int]:
    """Where the supervisor would have put it: `worker-9` after the router and before `worker-10`."""
    rank = CHILD_ROLES.index(member.role) if member.role in CHILD_ROLES else len(CHILD_ROLES)
    number = member.name.rpartition("-")[2]
    return rank, int(number) if number.isdecimal() else 0


def _below(
    pid: int,
    depth: int,
    children: Mapping[int, list[int]],
    processes: Mapping[int, ProcessStat],
    titles: Mapping[int, Sequence[str]],
) -> list[Member]:
    found = []
    for child in children.get(pid, ()):
        found.append(Member(name_of(titles.get(child, ()), processes[child].comm), OTHER, child, depth))
        found.extend(_below(child, depth + 1, children, processes, titles))
    return found
