"""The router's journal on a disk made of lists: an append may be torn, a snapshot takes its time, and either may fail
with the process that is at it. What it gives back is what `broker.journal` promises to give back.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.journal import Recovered
from tests.simulation.kernel import Life


@dataclass
class Disk:
    """What outlives the routers. `history` has all that was ever appended, for whoever wants to know better."""

    snapshot: bytes | None = None
    records: list[bytes] = field(default_factory=list)  # since the snapshot
    history: list[bytes] = field(default_factory=list)
    snapshots: int = 0


class SnapshotProcess:
    """A forked copy that writes a snapshot; its pidfd is readable when it is done."""

    def __init__(self, data: bytes, older: int) -> None:
        self.data, self.older = data, older
        self.done = False

    def hold(self) -> None:
        pass

    def let_go(self) -> None:
        pass

    def readiness(self) -> int:
        return select.EPOLLIN if self.done else 0


class SimulatedJournal:
    """The interface of `broker.journal.Journal`."""

    def __init__(self, life: Life, disk: Disk, snapshot_every: int) -> None:
        self._life, self._disk = life, disk
        self._snapshot_every = snapshot_every
        self.snapshot: SnapshotProcess | None = None
        self._pidfd = -1
        self.state = "ok"
        self.suspended = False

    def recover(self) -> Recovered:
        self._life.begin("journal recover")
        return Recovered(self._disk.snapshot, list(self._disk.records), [], None)

    def append(self, payload: bytes) -> None:
        self._life.begin("journal append")
        # Amid the append: the torn record is cut by whoever recovers, so it is as if there had been none.
        if self._life.amount(1):
            self._disk.records.append(payload)
            self._disk.history.append(payload)
        self._life.step("journal append")

    def wants_snapshot(self, _now: float) -> bool:
        return self.snapshot is None and len(self._disk.records) >= self._snapshot_every

    def begin_snapshot(self, serialise: Callable[[], list[bytes]], _now: float) -> int | None:
        self._life.begin("fork")
        self.snapshot = SnapshotProcess(b"".join(serialise()), len(self._disk.records))
        self._pidfd = self._life.open(self.snapshot)
        return self._pidfd

    def snapshot_finished(self, _now: float) -> str | None:
        self._life.begin("rename")
        process, self.snapshot = self.snapshot, None
        if process is not None:
            self._life.close(self._pidfd)
            self._disk.snapshot = process.data
            del self._disk.records[: process.older]
            self._disk.snapshots += 1
        self._life.step("rename")
        return None

    def close(self) -> None:
        self._life.begin("close")
