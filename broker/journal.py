"""The router's journal: every input is in a file before it is applied, so that the next router can apply it again.

Runs in the router process, which owns the directory alone. Payloads and snapshots are opaque here. A killed process
loses nothing that `append` has returned from, since a written page belongs to the kernel; with `durability="power"` it
is on the disk as well.

    new ──recover()──▶ ok ──disk trouble──▶ suspended ──retry()──▶ suspended, and a snapshot is being written ─┐
                       ▲                        ▲──────────────── its process or an append fails ──────────────┤
                       └──────────────────────────────── snapshot_finished() ──────────────────────────────────┘

The journal would grow for ever, so once it is long, a fork of the router writes a *snapshot* of the state, and what is
older goes away (`broker.journal_files` has the files, `broker.snapshot_process` the fork). No disk trouble raises: an
append that fails *suspends* the journal, and gives up its files at once, because what they hold is no longer all that
happened. From then on the chat goes on without the guarantee, until a fresh snapshot is complete.

On the disk are at most two snapshots (one in use, one being written) and `limit_bytes` of journals and one record more:
a snapshot that is not done when the journals are half-way to the limit is begun anew, and at the limit the journal is
suspended. A new router has that much to replay at worst, and `rotate_bytes` and what came during one snapshot usually.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from broker import faults
from broker.errors import BrokerError, LocalProtocolError
from broker.journal_files import Chain, JournalFiles
from broker.journal_format import HEADER_BYTES, JOURNAL, RUN_BYTES, SNAPSHOT, FileHeader, encode_record, mark_of
from broker.snapshot_process import Serialise, SnapshotProcess

ROTATE_BYTES: Final = 256 * 1024
"""A new router has to replay that much, as a rule: some thousand lines, which take less than a tenth of a second."""
LIMIT_BYTES: Final = 64 * 1024 * 1024
SNAPSHOT_SHARE: Final = 0.015
"""The part of one CPU's time that snapshots may take, as long as the journals stay below a quarter of their limit."""
RETRY_SECONDS: Final = 1.0


@dataclass
class Recovered:
    """What the last router left: load `snapshot` (None: begin with nothing), then apply `records` in order.

    `run` is the one that wrote the last of it, None if there is nothing. `warnings` are for the log.
    """

    snapshot: bytes | None = None
    records: list[bytes] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    run: bytes | None = None


def snapshot_due(
    replay_bytes: int, rotate_bytes: int, limit_bytes: int, since_seconds: float, cost_seconds: float, failed: bool
) -> bool:
    """Whether a snapshot is worth its price now. Pure.

    `replay_bytes` is the length of the journals; `since_seconds` have passed since the last snapshot was begun, which
    took `cost_seconds` of CPU time, or `failed`.
    """
    if replay_bytes < rotate_bytes or (failed and since_seconds < RETRY_SECONDS):
        return False
    return since_seconds * SNAPSHOT_SHARE >= cost_seconds or replay_bytes * 4 >= limit_bytes


class Journal:
    """The journal in one directory; call `recover` first.

    `durability` is "process" (survives the death of any process) or "power" (fdatasync(2) after each append), `run`
    the 16 random bytes of this run of the broker.
    """

    def __init__(
        self,
        directory: Path,
        durability: Literal["process", "power"],
        run: bytes,
        *,
        rotate_bytes: int = ROTATE_BYTES,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        if len(run) != RUN_BYTES:
            raise LocalProtocolError(f"a run id has {RUN_BYTES} bytes, not {len(run)}")
        self._durable = durability == "power"
        self._files = JournalFiles(directory, self._durable)
        self._run = run
        self._rotate_bytes = rotate_bytes
        self._limit_bytes = limit_bytes
        self._recovered = False

        self._fd = -1  # where records go; -1 while there is no such file
        self._mark = 0
        self._sequence = 1
        self._generation = 1
        self._replay_bytes = 0  # what a new router would have to read of journals
        self._older_bytes = 0  # as much of them a snapshot that is being written makes superfluous
        self._look_at = self._limit_bytes  # with more than that to replay, something has to be done

        self._suspended: str | None = None
        self._retry_at = float("-inf")
        self._snapshot: SnapshotProcess | None = None
        self._began_at = float("-inf")
        self._cost_seconds = 0.0
        self.snapshot_trouble: str | None = None
        """Why the last snapshot could not be made; None if it could."""

        self.records = 0
        self.bytes = 0
        self.replayed = 0
        self.suspensions = 0
        self.snapshots = 0
        self.snapshot_seconds = 0.0
        """From the beginning of the last snapshot until it was adopted."""
        self.snapshot_bytes = 0

    @property
    def state(self) -> str:
        """`ok`, or `suspended: ` and why."""
        return "ok" if self._suspended is None else f"suspended: {self._suspended}"

    @property
    def suspended(self) -> bool:
        """Whether the guarantee is off."""
        return self._suspended is not None

    @property
    def replay_bytes(self) -> int:
        """How long the journals are that a new router would have to read."""
        return self._replay_bytes

    def recover(self) -> Recovered:
        """What there is to replay. From here on `append` goes on behind it.

        JournalDamaged if it cannot be told; then no file has been changed.
        """
        chain = self._files.load()
        if faults.ENABLED:
            faults.point("journal.recovering")
        try:
            self._files.make_directory()
            self._go_on_behind(chain)
        except OSError as error:
            self._suspend(_why(error))
        self._recovered = True
        self.replayed = len(chain.records)
        if faults.ENABLED:
            faults.point("journal.recovered")
        return Recovered(chain.snapshot, chain.records, chain.warnings, chain.run)

    def append(self, payload: bytes) -> None:
        """Write one record, with one write(2). Disk trouble suspends the journal; while there is no file to write to,
        nothing is done.
        """
        if self._fd < 0:
            if not self._recovered:
                raise LocalProtocolError("the journal must be recovered before anything is appended")
            return
        record = encode_record(self._mark, self._sequence, payload)
        try:
            if faults.ENABLED:
                self._write_in_halves(record)
            else:
                written = os.write(self._fd, record)
                while written < len(record):  # what keeps the rest from being written is what the next try says
                    written += os.write(self._fd, record[written:])
            if self._durable:
                os.fdatasync(self._fd)
        except OSError as error:
            self._suspend(_why(error))
            return
        self._sequence += 1
        self.records += 1
        self.bytes += len(record)
        self._replay_bytes += len(record)
        if self._replay_bytes > self._look_at:
            self._look()

    def wants_snapshot(self, now: float) -> bool:
        """Whether to call `begin_snapshot`; `now` is in seconds of any clock, always the same one."""
        if self._replay_bytes < self._rotate_bytes or self._snapshot is not None or self._suspended is not None:
            return False
        since = now - self._began_at
        failed = self.snapshot_trouble is not None
        return snapshot_due(
            self._replay_bytes, self._rotate_bytes, self._limit_bytes, since, self._cost_seconds, failed
        )

    def begin_snapshot(self, serialise: Serialise, now: float) -> int | None:
        """Fork a process that writes `serialise()`, the state as all appended records have made it.

        Returns a descriptor that is readable when `snapshot_finished` is to be called, and which that call closes: stop
        watching it first. None if there can be none now; `snapshot_trouble` says why.
        """
        if self._fd < 0 or self._snapshot is not None or self._suspended is not None:
            return None
        try:
            return self._begin(serialise, now, needs_snapshot=False)
        except OSError as error:
            self.snapshot_trouble = _why(error)
            if self._files.journal(self._generation + 1).exists():
                self._suspend(_why(error))  # a file that can be neither used nor removed belies the chain
            return None

    def snapshot_finished(self, now: float) -> str | None:
        """The snapshot's process has ended: adopt what it wrote, and remove what that replaces. Returns a warning for
        the log if it failed; then the journals are kept, or the journal stays suspended.
        """
        process, self._snapshot = self._snapshot, None
        if process is None:
            return None
        self._look_at = self._limit_bytes
        trouble, self._cost_seconds = process.reap()
        if not process.killed:
            self.snapshot_trouble = trouble
        if self.snapshot_trouble is None:
            try:
                self._adopt(now)
            except OSError as error:
                self.snapshot_trouble = _why(error)
        if self.snapshot_trouble is None:
            return None
        with contextlib.suppress(OSError):
            self._files.temporary(self._generation).unlink(missing_ok=True)
        self._retry_at = self._next_try_at(now)
        if self._fd >= 0 and self._suspended is not None:
            self._suspend(self.snapshot_trouble)
        return f"a snapshot of the router could not be made: {self.snapshot_trouble}"

    def retry(self, now: float, serialise: Serialise) -> int | None:
        """While suspended, and not more than about once a second, begin a fresh snapshot: as `begin_snapshot`, and
        None if it is too early. The guarantee is back when `snapshot_finished` has adopted it.
        """
        if self._suspended is None or self._snapshot is not None or now < self._retry_at:
            return None
        self._retry_at = self._next_try_at(now)
        try:
            self._files.make_directory()
            self._files.give_up()  # what could not be removed before
            self._replay_bytes = 0
            return self._begin(serialise, now, needs_snapshot=True)
        except OSError as error:
            self._suspend(_why(error))
            return None

    def close(self) -> None:
        """Leave the files for the next router; a snapshot that is being written is not."""
        if self._snapshot is not None:
            self._snapshot.kill()
            self._snapshot.reap()
            self._snapshot = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Remove all files, and the directory if it is empty then; needs no `recover`. BrokerError if one stays."""
        self.close()
        try:
            self._files.give_up()
        except OSError as error:
            raise BrokerError(f"cannot remove the journal in {self._files.path}: {_why(error)}") from None
        with contextlib.suppress(OSError):
            self._files.path.rmdir()

    def _go_on_behind(self, chain: Chain) -> None:
        """Open the file that the next record goes to."""
        self._sequence = chain.next_sequence
        self._replay_bytes = chain.replay_bytes
        # What a higher limit has left gets its snapshot before anything is given up for it.
        self._limit_bytes = self._look_at = max(self._limit_bytes, 2 * chain.replay_bytes)
        if chain.newest == 0:
            self._files.give_up()
            self._open_generation(1)
            return
        self._generation = chain.newest
        self._files.remove_stale(chain.base)
        if chain.newest_header is None:
            self._open_generation(chain.newest)
        elif chain.newest_header.run != self._run:
            self._open_generation(chain.newest + 1)
        else:
            self._fd = self._files.reopen(chain.newest, chain.newest_bytes)
            self._mark = chain.newest_header.mark

    def _open_generation(self, generation: int, needs_snapshot: bool = False) -> None:
        """From here on, records go to a new file. OSError: they still go where they went."""
        header = FileHeader(JOURNAL, generation, self._sequence, self._run, needs_snapshot).encode()
        fd = self._files.create(self._files.journal(generation), header)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._mark, self._generation = fd, mark_of(header), generation
        self._replay_bytes += HEADER_BYTES

    def _begin(self, serialise: Serialise, now: float, needs_snapshot: bool) -> int:
        """Begin the next generation and the snapshot that is to come before it. OSError."""
        self._began_at = now
        generation, older_bytes = self._generation + 1, self._replay_bytes
        temporary = self._files.temporary(generation)
        output = self._files.create(temporary)
        try:
            self._open_generation(generation, needs_snapshot)
            if faults.ENABLED:
                faults.point("journal.rotated")
            header = FileHeader(SNAPSHOT, generation, self._sequence, self._run)
            self._snapshot = SnapshotProcess(output, header, serialise, self._durable)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(output)
        self._older_bytes = older_bytes
        self._look_at = (self._replay_bytes + self._limit_bytes) // 2
        self.snapshot_trouble = None
        if faults.ENABLED:
            faults.point("journal.snapshotting")
        return self._snapshot.pidfd

    def _adopt(self, now: float) -> None:
        """The chain begins with the new snapshot. OSError."""
        if faults.ENABLED:
            faults.point("journal.snapshot-reaped")
        size = self._files.temporary(self._generation).stat().st_size
        self._files.adopt(self._generation)
        if faults.ENABLED:
            faults.point("journal.snapshot-renamed")
        self.snapshots += 1
        self.snapshot_seconds = now - self._began_at
        self.snapshot_bytes = size
        self._replay_bytes -= self._older_bytes
        self._suspended = None
        with contextlib.suppress(OSError):  # what stays is older than the chain: the next adoption tries again
            self._files.remove_stale(self._generation)

    def _next_try_at(self, now: float) -> float:
        return now + max(RETRY_SECONDS, self._cost_seconds / SNAPSHOT_SHARE)

    def _look(self) -> None:
        """The journals have grown far: the snapshot does not come, or nobody makes one."""
        if self._snapshot is not None and not self._snapshot.killed:
            self._snapshot.kill()
            self.snapshot_trouble = f"it was not done when the journal had grown to {self._replay_bytes} bytes"
            self._look_at = self._limit_bytes
        else:
            self._suspend(self.snapshot_trouble or f"no snapshot was made within {self._limit_bytes} bytes")

    def _suspend(self, why: str) -> None:
        """What is in the files is not all that happens from here on: they must not be replayed."""
        if self._suspended is None:
            self.suspensions += 1
        self._suspended = why
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._snapshot is not None:
            self._snapshot.kill()
            self.snapshot_trouble = why
        try:
            self._files.give_up()
        except OSError as error:
            self._suspended = f"{why}; and its files could not be removed: {_why(error)}"

    def _write_in_halves(self, record: bytes) -> None:
        half = len(record) // 2
        os.write(self._fd, record[:half])
        faults.point("journal.half-appended")
        os.write(self._fd, record[half:])


def _why(error: OSError) -> str:
    return error.strerror or str(error)
