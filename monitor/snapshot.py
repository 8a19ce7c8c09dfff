"""What one look at the broker found: plain values, made by `monitor.sampler`, drawn by everything else. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process of the broker at one moment; None means unknown or does not apply.

    `pid` is None while a child waits for the end of its back-off. `messages_in` and `messages_out` are totals of this
    incarnation, the `…_per_second` figures their growth between its last two heartbeats; the supervisor's are the sums
    of its workers', if they are all known. `stale` says that the figures that only the supervisor can give (sessions,
    messages, restarts) are old, because it does not answer.
    """

    name: str
    role: str
    pid: int | None
    ppid: int | None
    stat: str
    nice: int | None
    zombies: int
    cpu_percent: float | None
    wait_percent: float | None
    rss_bytes: int | None
    pss_bytes: int | None
    threads: int | None
    sessions: int | None
    messages_in: int | None
    messages_out: int | None
    in_per_second: float | None
    out_per_second: float | None
    restarts: int | None
    uptime_seconds: float | None
    state: str = "ready"
    depth: int = 0
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All processes of one broker at one moment, and what its supervisor said of itself.

    `at` is seconds since the epoch; `status` is the control protocol's `status` result (the last one that was had) and
    `status_age_seconds` its age: 0 for a fresh one, None if there never was one. `events` are the control protocol's
    events, oldest first. `zombies` counts all zombies below the supervisor and in labs.
    """

    at: float
    rows: tuple[ProcessRow, ...]
    status: dict[str, Any] = field(default_factory=dict)
    status_age_seconds: float | None = None
    events: tuple[dict[str, Any], ...] = ()
    zombies: int = 0
    supervisor_pid: int | None = None
