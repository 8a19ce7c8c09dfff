"""How labs make themselves seen: a file in the broker's state directory for each, which the monitor reads and checks.

Written by `broker lab`, read by `broker ps` and `top`. A file tells a lab's PID and the names of its processes; a
process that is not there any more, or whose PID is somebody else's by now, is passed over, and so is a file that is no
such file. So a lab that was killed leaves nothing that could be mistaken for one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monitor import procfs
from monitor.procfs import ProcessStat

_PREFIX: Final = "lab-"
_SUFFIX: Final = ".json"
_LARGEST_BYTES: Final = 1 << 20
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that runs: its own PID and name, and the names of those of its processes that it gave one."""

    pid: int
    name: str
    names: Mapping[int, str]


class Registration:
    """This process's file; without a state directory there is none, and nobody looks either."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self._path = state_dir / f"{_PREFIX}{os.getpid()}{_SUFFIX}"
        self._is_wanted = state_dir.is_dir()
        self._name = name
        self._members: dict[int, tuple[int, str]] = {}

    def add(self, pid: int, name: str) -> None:
        """Tell of one process more."""
        process = procfs.process_stat(pid)
        if process is not None:
            self._members[pid] = process.start_ticks, name
        self.write()

    def write(self) -> None:
        """Put the file there, whole. That it cannot be is no reason not to hold the lab."""
        own = procfs.process_stat(os.getpid())
        if not self._is_wanted or own is None:
            return
        members = [[pid, start, name] for pid, (start, name) in self._members.items()]
        document = {"pid": own.pid, "start_ticks": own.start_ticks, "name": self._name, "members": members}
        temporary = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self._path)

    def remove(self) -> None:
        """Take it away."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read(state_dir: Path, processes: Mapping[int, ProcessStat]) -> list[Lab]:
    """The labs that run, oldest first, given all processes that there are."""
    labs = []
    for path in _files(state_dir):
        lab = _parse(path, processes)
        if lab is not None:
            labs.append(lab)
    return sorted(labs, key=lambda lab: (processes[lab.pid].start_ticks, lab.pid))


def forget_the_dead(state_dir: Path) -> None:
    """Remove the files of labs that do not run any more."""
    processes = procfs.scan()
    for path in _files(state_dir):
        if _parse(path, processes) is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _files(state_dir: Path) -> list[Path]:
    try:
        names = os.listdir(state_dir)
    except OSError:
        return []
    return [state_dir / name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]


def _parse(path: Path, processes: Mapping[int, ProcessStat]) -> Lab | None:
    data = procfs.read(str(path)) or b""
    if len(data) > _LARGEST_BYTES:
        return None
    try:
        document = json.loads(data)
        pid, name = int(document["pid"]), str(document["name"])
        if not _is_same(processes, pid, document["start_ticks"]):
            return None
        members = [(int(member), start, str(called)) for member, start, called in document["members"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    names = {member: called[:_LONGEST_NAME] for member, start, called in members if _is_same(processes, member, start)}
    return Lab(pid, name[:_LONGEST_NAME], names)


def _is_same(processes: Mapping[int, ProcessStat], pid: int, start_ticks: Any) -> bool:
    process = processes.get(pid)
    return process is not None and process.start_ticks == start_ticks
