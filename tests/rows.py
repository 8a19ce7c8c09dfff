"""Rows and snapshots made by hand, for tests of what is drawn from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from monitor.snapshot import ProcessRow, Snapshot

AT = 1_700_000_000.0

_ROW = ProcessRow(
    name="supervisor",
    role="supervisor",
    pid=100,
    ppid=1,
    stat="S",
    nice=0,
    zombies=0,
    cpu_percent=0.5,
    wait_percent=0.1,
    rss_bytes=20 * 2**20,
    pss_bytes=7 * 2**20,
    threads=1,
    sessions=3,
    messages_in=10,
    messages_out=30,
    in_per_second=1.0,
    out_per_second=3.0,
    restarts=0,
    uptime_seconds=61.0,
)


def row(name: str = "supervisor", pid: int | None = 100, **values: Any) -> ProcessRow:
    """A row like that of a healthy process; a child of the supervisor unless it is the supervisor."""
    role = name.rstrip("0123456789").removesuffix("-")
    if name != "supervisor":
        values = {"ppid": 100, "depth": 1, "stat": "Sl", "threads": 2, **values}
    return replace(_ROW, **{"name": name, "role": role, "pid": pid, **values})


def rows(workers: int = 2) -> tuple[ProcessRow, ...]:
    """A whole broker: PIDs from 100 up, in start order."""
    names = ["router", *(f"worker-{number}" for number in range(workers)), "acceptor-0"]
    return (row(), *(row(name, pid) for pid, name in enumerate(names, 101)))


def snapshot(*processes: ProcessRow, at: float = AT, **values: Any) -> Snapshot:
    """A snapshot of these processes, of a whole broker if there are none, with a status as of now."""
    status = {
        "version": "0.1.0",
        "state": "running",
        "sessions": 7,
        "rooms": 2,
        "listeners": ["chat://127.0.0.1:8888", "chat+unix:/run/broker/chat.sock"],
    }
    found = processes or rows()
    zombies = sum(process.stat.startswith("Z") for process in found)
    defaults = {"status": status, "status_age_seconds": 0.0, "zombies": zombies, "supervisor_pid": found[0].pid}
    return Snapshot(at=at, rows=found, **{**defaults, **values})


def event(number: int = 1, **values: Any) -> dict[str, Any]:
    """An event of the control protocol."""
    common = {"number": number, "at": AT, "level": "info", "kind": "log", "process": None, "pid": None}
    return {**common, "text": f"event {number}", **values}
