"""The directory of the router's journal: which files there are, what they come to, and how they go away again.

Used by the router process only, through `broker.journal`. Refuses to know what a record means.

    journal-G        the records of generation G
    snapshot-G       the state before the first record of journal-G, complete: nothing else has this name
    snapshot-G.tmp   one that is being written

A *chain* is a snapshot and the journals from its generation on, or, from the very start, journal-1 and those after it.
The newest complete snapshot begins it; what is older is only not removed yet. A chain that a disk has left incomplete
must never be replayed: it is given up by truncating its first journal to nothing, one system call that needs no space
and leaves no moment at which the rest could be taken for a chain. A new chain that begins with a snapshot has a journal
whose header says so; without that snapshot it is void too.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker import faults
from broker.errors import JournalDamaged
from broker.journal_format import JOURNAL, FileHeader, decode_header, decode_snapshot, read_journal

_NAME: Final = re.compile(r"(journal|snapshot)-(0|[1-9]\d*)(\.tmp)?")
_CREATE: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Chain:
    """What a directory holds. `base` and `newest` are the first and last generation; 0 where nothing counts.

    `run` is the one that wrote the last record, `newest_header` None if that file's header was not finished,
    `newest_bytes` how far that file is sound, `replay_bytes` what all journals of the chain come to.
    """

    base: int = 0
    newest: int = 0
    snapshot: bytes | None = None
    records: list[bytes] = field(default_factory=list)
    run: bytes | None = None
    next_sequence: int = 1
    newest_header: FileHeader | None = None
    newest_bytes: int = 0
    replay_bytes: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Names:
    journals: list[int]
    snapshots: list[int]
    others: list[str]


class JournalFiles:
    """The directory `path`; with `durable`, whatever is created, renamed or removed has reached the disk."""

    def __init__(self, path: Path, durable: bool) -> None:
        self.path = path
        self._durable = durable

    def journal(self, generation: int) -> Path:
        """Where the records of a generation are."""
        return self.path / f"journal-{generation}"

    def snapshot(self, generation: int) -> Path:
        """Where the snapshot of a generation is."""
        return self.path / f"snapshot-{generation}"

    def temporary(self, generation: int) -> Path:
        """Where a snapshot is while it is written."""
        return self.path / f"snapshot-{generation}.tmp"

    def make_directory(self) -> None:
        """Create the directory, for this user only; OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path, content: bytes = b"") -> int:
        """Create a file, for this user only, open for appending; nothing is left of it if that fails with OSError."""
        path.unlink(missing_ok=True)
        fd = os.open(path, _CREATE, 0o600)
        try:
            while content:
                content = content[os.write(fd, content) :]
            if self._durable:
                os.fdatasync(fd)
                self._sync()
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd

    def reopen(self, generation: int, size: int) -> int:
        """Open a generation's journal for appending, without what is behind `size`; OSError."""
        fd = os.open(self.journal(generation), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size > size:
                os.ftruncate(fd, size)
            if self._durable:
                os.fdatasync(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def adopt(self, generation: int) -> None:
        """Give a finished snapshot its name: from this moment the chain begins with it. OSError."""
        os.rename(self.temporary(generation), self.snapshot(generation))
        if self._durable:
            self._sync()

    def remove_stale(self, base: int) -> None:
        """Remove what is older than the chain, and whatever is no part of it. OSError."""
        names = self._names()
        for name in names.others:
            (self.path / name).unlink(missing_ok=True)
        for generation in names.snapshots:
            if generation != base:
                self.snapshot(generation).unlink(missing_ok=True)
        for generation in names.journals:
            if generation < base:
                self.journal(generation).unlink(missing_ok=True)

    def give_up(self) -> None:
        """Remove every file, so that at no moment a part of them can be taken for a chain. OSError if one stays.

        Removing needs no space, but on some file systems it can fail where truncating does not.
        """
        names = self._names()
        base = max(names.snapshots, default=0) or min(names.journals, default=0)
        with contextlib.suppress(OSError):
            os.truncate(self.journal(base), 0)
        if faults.ENABLED and base:
            faults.point("journal.giving-up")
        # The oldest first: what an earlier removal may have left must not become the newest.
        for generation in names.snapshots:
            self.snapshot(generation).unlink(missing_ok=True)
        for name in names.others:
            (self.path / name).unlink(missing_ok=True)
        for generation in names.journals:
            if generation != base:
                self.journal(generation).unlink(missing_ok=True)
        self.journal(base).unlink(missing_ok=True)
        if self._durable and self.path.exists():
            self._sync()

    def load(self) -> Chain:
        """Read what is there, and change nothing. JournalDamaged if it is not a chain, or cannot be read."""
        try:
            return self._load()
        except OSError as error:
            raise JournalDamaged(error.filename or str(self.path), f"cannot be read: {error.strerror}") from None

    def _load(self) -> Chain:
        names = self._names()
        chain = Chain()
        if not names.journals and not names.snapshots:
            return chain
        self._read_snapshot(names, chain)
        base = chain.base or (1 if 1 in names.journals else min(names.journals or names.snapshots))
        newest = max(names.journals, default=base)
        if base in names.journals and self._is_void(base, newest, chain):
            text = f"the journal in {self.path} had been given up, as after disk trouble: nothing of it was recovered"
            return Chain(warnings=[] if base == newest == 1 else [text])
        chain.base, chain.newest = base, newest
        for generation in range(base, newest + 1):
            if generation not in names.journals:
                raise JournalDamaged(str(self.journal(generation)), "is missing")
            self._read_journal(generation, chain)
        return chain

    def _read_snapshot(self, names: _Names, chain: Chain) -> None:
        """Begin a chain with the newest complete snapshot, if there is one."""
        for generation in reversed(names.snapshots):
            path = self.snapshot(generation)
            decoded = decode_snapshot(path.read_bytes(), str(path))
            if decoded is None:
                chain.warnings.append(f"{path}: is not complete and does not count")
                continue
            header, chain.snapshot = decoded
            if header.generation != generation:
                raise JournalDamaged(str(path), "it is not what its name says", offset_bytes=0)
            chain.base, chain.run, chain.next_sequence = generation, header.run, header.sequence
            return

    def _is_void(self, base: int, newest: int, chain: Chain) -> bool:
        """Whether a chain was given up; JournalDamaged if it has lost its beginning in any other way."""
        path = self.journal(base)
        if path.stat().st_size == 0:
            return True
        if chain.base or base == 1:
            return False
        header = decode_header(path.read_bytes(), str(path), JOURNAL)
        if header and header.needs_snapshot and base == newest and not chain.warnings:
            return True
        raise JournalDamaged(str(self.snapshot(base)), "is not complete" if chain.warnings else "is missing")

    def _read_journal(self, generation: int, chain: Chain) -> None:
        """Add a journal to the chain."""
        path = self.journal(generation)
        contents = read_journal(path.read_bytes(), str(path))
        header = contents.header
        if header is None:
            # Being created was the last thing that happened here; a snapshot's own journal was there before it.
            if generation != chain.newest or (chain.snapshot is not None and generation == chain.base):
                raise JournalDamaged(str(path), "its header was never finished", offset_bytes=0)
        elif header.generation != generation or (header.needs_snapshot and generation != chain.base):
            raise JournalDamaged(str(path), "it is not what its name says", offset_bytes=0)
        elif header.sequence != chain.next_sequence:
            what = f"it begins with record {header.sequence} where {chain.next_sequence} should follow"
            raise JournalDamaged(str(path), what, offset_bytes=0)
        elif contents.payloads:
            chain.run = header.run
        if contents.warning:
            chain.warnings.append(contents.warning)
        chain.records += contents.payloads
        chain.next_sequence += len(contents.payloads)
        chain.newest_header, chain.newest_bytes = header, contents.sound_bytes
        chain.replay_bytes += contents.sound_bytes

    def _names(self) -> _Names:
        """Our files in the directory, by generation; none if it does not exist."""
        journals: list[int] = []
        snapshots: list[int] = []
        others: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.path)):
                match = _NAME.fullmatch(name)
                if match is None:
                    continue
                if match[3]:
                    others.append(name)
                else:
                    (journals if match[1] == "journal" else snapshots).append(int(match[2]))
        return _Names(sorted(journals), sorted(snapshots), others)

    def _sync(self) -> None:
        """Have the directory's entries reach the disk (fsync(2), "the directory that contains the file")."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
