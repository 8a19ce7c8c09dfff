"""The journal in files: what is appended comes back, what fails is owned up to, and nothing grows for ever."""

from __future__ import annotations

import errno
import marshal
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.errors import LocalProtocolError
from broker.journal import SNAPSHOT_SHARE, Journal, snapshot_due
from broker.journal_format import HEADER_BYTES, RECORD_HEADER_BYTES
from tests.journal_lives import (
    RUN,
    Router,
    failing,
    full_disk,
    names,
    next_state,
    payloads,
    raises,
    recovered,
    wait_readable,
)
from tests.running import is_gone, wait_until

OTHER_RUN = RUN[::-1]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the journal is to be; not there yet."""
    return tmp_path / "state" / "journal"


@pytest.fixture
def router(directory: Path) -> Iterator[Router]:
    """A router with an empty journal."""
    made = Router(directory)
    yield made
    made.journal.close()


def test_a_first_journal_is_empty_and_for_this_user_only(router: Router, directory: Path) -> None:
    assert (router.recovered.snapshot, router.recovered.records, router.recovered.run) == (None, [], None)
    assert router.recovered.warnings == []
    assert names(directory) == ["journal-1"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "journal-1").stat().st_mode & 0o777 == 0o600
    router.finish(router.begin_snapshot())
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_appended_comes_back_in_order(directory: Path, durability: str) -> None:
    router = Router(directory, durability=durability)
    for _ in range(5):
        router.append()
    router.journal.close()
    router = Router(directory, durability=durability)
    assert router.recovered.records == payloads(5)
    assert router.recovered.run == RUN
    assert router.journal.replayed == 5
    router.append()
    router.journal.close()
    assert next_state(directory) == payloads(6)


def test_an_append_is_one_write_and_with_power_a_sync(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append(name)
            return real(*arguments)

        return call

    routers = [Router(directory / durability, durability=durability) for durability in ("process", "power")]
    with monkeypatch.context() as patch:
        for name in ("open", "write", "writev", "pwrite", "lseek", "fstat", "stat", "close", "fsync", "fdatasync"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        for router in routers:
            router.append()
    assert calls == ["write", "write", "fdatasync"]
    for router in routers:
        router.journal.close()


def test_the_counters_count(router: Router, directory: Path) -> None:
    for _ in range(3):
        router.append()
    size = sum(RECORD_HEADER_BYTES + len(payload) for payload in payloads(3))
    assert (router.journal.records, router.journal.bytes) == (3, size)
    assert (directory / "journal-1").stat().st_size == HEADER_BYTES + size == router.journal.replay_bytes
    router.finish(router.begin_snapshot())
    assert router.journal.snapshots == 1
    assert router.journal.snapshot_bytes == (directory / "snapshot-2").stat().st_size
    assert router.journal.snapshot_seconds == 1.0
    assert router.journal.replay_bytes == HEADER_BYTES


def test_a_snapshot_replaces_what_is_older(router: Router, directory: Path) -> None:
    for _ in range(3):
        router.append()
    pidfd = router.begin_snapshot()
    assert names(directory) == ["journal-1", "journal-2", "snapshot-2.tmp"]
    router.append()  # goes to journal-2, and is in no snapshot
    assert router.finish(pidfd) is None
    assert names(directory) == ["journal-2", "snapshot-2"]
    router.append()
    router.journal.close()
    found = recovered(directory)
    assert marshal.loads(found.snapshot or b"") == payloads(3)
    assert found.records == payloads(5)[3:]


def test_a_snapshot_may_be_one_piece_or_empty(router: Router, directory: Path) -> None:
    pieces: list[Callable[[], bytes | list[bytes]]] = [lambda: b"all", lambda: b"", list, lambda: [b"a", b"ll"]]
    for serialise, expected in zip(pieces, (b"all", b"", b"", b"all"), strict=True):
        router.finish(router.journal.begin_snapshot(serialise, 0.0))
        assert recovered(directory).snapshot == expected


def test_there_is_one_snapshot_at_a_time(router: Router) -> None:
    pidfd = router.begin_snapshot()
    assert router.begin_snapshot() is None
    assert not router.journal.wants_snapshot(1e9)
    assert router.finish(pidfd) is None
    assert router.journal.snapshot_finished(0.0) is None


def test_the_snapshots_process_holds_nothing_and_has_a_name(router: Router, directory: Path) -> None:
    """Else the other end of a Pipe would not see that the router is gone."""
    reading, writing = os.pipe()
    said, heard = os.pipe()
    os.set_inheritable(said, True)

    def serialise() -> bytes:
        descriptors = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
        open_files = [os.readlink(link) for link in descriptors if os.path.lexists(link)]
        title = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0")
        return marshal.dumps((open_files, title, Path("/proc/self/comm").read_text()))

    assert router.finish(router.journal.begin_snapshot(serialise, 0.0)) is None
    for fd in (reading, writing, said, heard):
        os.close(fd)
    open_files, title, comm = marshal.loads(recovered(directory).snapshot or b"")
    assert open_files == [str(directory / "snapshot-2.tmp")]
    assert title == b"broker: router snapshot"
    assert comm == "router-snapshot\n"


def test_the_snapshots_process_dies_with_the_router(tmp_path: Path) -> None:
    router_pid = os.fork()
    if router_pid == 0:
        try:
            router = Router(tmp_path / "journal")

            def serialise() -> bytes:
                (tmp_path / "pid").write_text(str(os.getpid()))
                (tmp_path / "pid").rename(tmp_path / "ready")
                select.select([], [], [])  # for ever
                return b""

            router.journal.begin_snapshot(serialise, 0.0)
            select.select([], [], [])
        finally:
            os._exit(99)
    wait_until((tmp_path / "ready").exists, "the snapshot's process")
    pid = int((tmp_path / "ready").read_text())
    os.kill(router_pid, signal.SIGKILL)
    os.waitpid(router_pid, 0)
    wait_until(lambda: is_gone(pid), "the end of the snapshot's process")
    assert next_state(tmp_path / "journal") == []


def test_closing_ends_the_snapshots_process(directory: Path) -> None:
    router = Router(directory)
    router.append()

    def serialise() -> bytes:
        select.select([], [], [])
        return b""

    pidfd = router.journal.begin_snapshot(serialise, 0.0)
    router.journal.close()
    assert pidfd is not None
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(pidfd)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert next_state(directory) == payloads(1)


@pytest.mark.parametrize(
    ("serialise", "trouble"),
    [
        (raises(ValueError("no such room")), "ValueError: no such room"),
        (raises(OSError(errno.ENOSPC, "")), "No space left on device"),
        (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL) or b"", "its process was killed by signal 9 (Killed)"),
    ],
)
def test_a_failed_snapshot_leaves_the_chain_and_says_why(
    router: Router, directory: Path, serialise: Callable[[], bytes], trouble: str
) -> None:
    router.append()
    pidfd = router.journal.begin_snapshot(serialise, 0.0)
    router.append()
    assert router.finish(pidfd) == f"a snapshot of the router could not be made: {trouble}"
    assert router.journal.snapshot_trouble == trouble
    assert router.journal.state == "ok"
    assert names(directory) == ["journal-1", "journal-2"]
    router.append()
    shutil.copytree(directory, directory.parent / "copy")
    assert next_state(directory.parent / "copy") == payloads(3)
    assert router.finish(router.begin_snapshot()) is None
    assert router.journal.snapshot_trouble is None
    assert names(directory) == ["journal-3", "snapshot-3"]


@pytest.mark.parametrize("call", ["open", "fork", "pidfd_open", "dup"])
def test_a_snapshot_that_cannot_be_begun_leaves_the_chain(
    router: Router, directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    router.append()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(errno.EMFILE, getattr(os, call)))
        assert router.begin_snapshot() is None
    assert router.journal.snapshot_trouble == "Too many open files"
    assert router.journal.state == "ok"
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    router.append()
    shutil.copytree(directory, directory.parent / "copy")
    assert next_state(directory.parent / "copy") == payloads(2)
    assert router.finish(router.begin_snapshot()) is None
    assert len(names(directory)) == 2


def test_a_snapshot_that_cannot_be_renamed_leaves_the_chain(
    router: Router, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.append()
    pidfd = router.begin_snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EIO, os.rename))
        assert router.finish(pidfd) == "a snapshot of the router could not be made: Input/output error"
    assert names(directory) == ["journal-1", "journal-2"]
    router.append()
    assert next_state(directory) == payloads(2)


# The disk.


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO", "EFBIG", "EROFS"])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_disk_trouble_suspends_and_leaves_nothing_to_recover(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: str, call: str
) -> None:
    router = Router(directory, durability="power")
    router.append()
    number = getattr(errno, code)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number, getattr(os, call)))
        router.append()
        assert router.journal.suspended
        assert router.journal.state == f"suspended: {os.strerror(number)}"
        assert names(directory) == []
        assert router.retry() is None  # the disk is still full
    router.append()  # is not recorded, and no error
    assert router.journal.suspensions == 1
    assert next_state(directory) == []


def test_the_guarantee_comes_back_with_a_fresh_snapshot(router: Router, directory: Path) -> None:
    for _ in range(2):
        router.append()
    with full_disk(HEADER_BYTES + 30):  # the second record does not fit: a short write, then EFBIG
        router.append()
        assert router.journal.state == "suspended: File too large"
        router.append()
    pidfd = router.retry()
    assert router.journal.suspended, "not before the snapshot is complete"
    router.append()
    assert names(directory) == ["journal-2", "snapshot-2.tmp"]
    assert router.finish(pidfd) is None
    assert router.journal.state == "ok"
    router.append()
    assert router.retry() is None
    assert next_state(directory) == payloads(6)


def test_before_the_fresh_snapshot_is_complete_there_is_nothing_to_recover(router: Router, directory: Path) -> None:
    router.append()
    with full_disk():
        router.append()
    pidfd = router.retry()
    router.append()
    shutil.copytree(directory, directory.parent / "copy")
    following = Router(directory.parent / "copy")
    assert following.state == []
    assert "had been given up" in following.recovered.warnings[0]
    assert names(directory.parent / "copy") == ["journal-1"]
    following.journal.close()
    router.finish(pidfd)


def test_a_disk_that_stays_full_is_tried_once_a_second(router: Router, directory: Path) -> None:
    router.append()
    tries = 0

    def serialise() -> bytes:
        return b"x" * 100

    with full_disk(HEADER_BYTES + 20):
        router.append()
        now = 5.0
        for _ in range(30):  # three seconds
            pidfd = router.journal.retry(now, serialise)
            if pidfd is not None:
                tries += 1
                assert router.journal.retry(now, serialise) is None
                wait_readable(pidfd)
                assert router.journal.snapshot_finished(now) == (
                    "a snapshot of the router could not be made: File too large"
                )
                assert names(directory) == []
            now += 0.1
    assert 1 <= tries <= 4
    assert router.journal.state == "suspended: File too large"
    assert router.journal.suspensions == 1
    assert router.finish(router.retry()) is None
    assert router.journal.state == "ok"


def test_an_append_that_fails_while_a_snapshot_is_written_ends_the_snapshot(router: Router, directory: Path) -> None:
    router.append()

    def serialise() -> bytes:
        select.select([], [], [])
        return b""

    pidfd = router.journal.begin_snapshot(serialise, 0.0)
    with full_disk():
        router.append()
    assert names(directory) == []
    assert router.retry() is None, "its process is still to be reaped"
    assert router.finish(pidfd) == "a snapshot of the router could not be made: File too large"
    assert names(directory) == []
    assert router.finish(router.retry()) is None
    assert next_state(directory) == payloads(2)


def test_what_cannot_be_removed_is_made_void(router: Router, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some file systems removing needs space, too: truncating is enough."""
    for _ in range(2):
        router.append()
    router.finish(router.begin_snapshot())
    router.append()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing(errno.ENOSPC, os.unlink))
        with full_disk():
            router.append()
        assert router.journal.state == (
            "suspended: File too large; and its files could not be removed: No space left on device"
        )
        assert names(directory) == ["journal-2", "snapshot-2"]
        assert router.retry() is None
    shutil.copytree(directory, directory.parent / "copy")
    assert next_state(directory.parent / "copy") == []
    assert router.finish(router.retry()) is None
    assert len(names(directory)) == 2
    assert next_state(directory) == payloads(4)


def test_what_can_be_neither_removed_nor_truncated_is_removed_before_anything_is_begun(
    router: Router, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that was read-only for a while."""
    router.append()
    router.finish(router.begin_snapshot())
    with monkeypatch.context() as patch:
        for call in ("write", "unlink", "truncate"):
            patch.setattr(os, call, failing(errno.EROFS, getattr(os, call)))
        router.append()
        assert router.retry() is None
        assert names(directory) == ["journal-2", "snapshot-2"]
        assert "its files could not be removed: Read-only file system" in router.journal.state
    pidfd = router.retry()
    assert names(directory) == ["journal-3", "snapshot-3.tmp"]
    router.finish(pidfd)
    assert next_state(directory) == payloads(2)


def test_a_disk_that_takes_no_file_is_tried_once_a_second(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def refused(*arguments: object, **keywords: object) -> int:
        nonlocal tries
        tries += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with full_disk():
        router.append()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        for tenths in range(30):
            assert router.journal.retry(tenths / 10, router.serialise) is None
    assert tries == 3
    assert router.journal.state == "suspended: No space left on device"


def test_a_next_journal_that_can_be_neither_written_nor_removed_suspends(
    router: Router, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header may be on the disk and say that nothing was appended to the one before it."""
    router.append()

    def unlink(path: Path) -> None:
        raise OSError(errno.EIO, "bad disk") if path.exists() else FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(errno.EIO, os.write))
        patch.setattr(os, "unlink", unlink)
        assert router.begin_snapshot() is None
        assert router.journal.state == "suspended: bad disk; and its files could not be removed: bad disk"
    assert next_state(directory) == []


def test_a_journal_that_cannot_be_begun_is_suspended(directory: Path) -> None:
    with full_disk():
        router = Router(directory)
    assert router.journal.state == "suspended: File too large"
    router.append()
    assert names(directory) == []
    pidfd = router.retry()
    shutil.copytree(directory, directory.parent / "copy")
    assert next_state(directory.parent / "copy") == []
    router.finish(pidfd)
    assert router.journal.state == "ok"
    assert next_state(directory) == payloads(1)


# The limit.


def test_a_snapshot_that_does_not_come_is_begun_anew_and_the_journals_have_a_limit(directory: Path) -> None:
    router = Router(directory, rotate_bytes=1000, limit_bytes=16000)

    def serialise() -> bytes:
        select.select([], [], [])
        return b""

    while not router.journal.wants_snapshot(0.0):
        router.append()
    assert 1000 <= router.journal.replay_bytes < 1100
    pidfd = router.journal.begin_snapshot(serialise, 0.0)
    assert pidfd is not None
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    while router.journal.snapshot_trouble is None:
        router.append()
    assert router.journal.replay_bytes < 9000
    trouble = f"it was not done when the journal had grown to {router.journal.replay_bytes} bytes"
    assert router.finish(pidfd) == f"a snapshot of the router could not be made: {trouble}"
    assert router.journal.state == "ok"
    assert router.journal.wants_snapshot(router.now)
    while not router.journal.suspended:  # nobody makes one
        router.append()
        assert sum(path.stat().st_size for path in directory.iterdir()) < 16100
    assert router.journal.bytes > 15900
    assert router.journal.state == f"suspended: {trouble}"
    assert names(directory) == []
    assert router.finish(router.retry()) is None
    assert router.journal.state == "ok"
    router.journal.close()


def test_without_any_snapshot_the_limit_says_so(directory: Path) -> None:
    router = Router(directory, rotate_bytes=100, limit_bytes=400)
    while not router.journal.suspended:
        router.append()
    assert router.journal.state == "suspended: no snapshot was made within 400 bytes"
    router.journal.close()


def test_what_a_higher_limit_has_left_is_no_reason_to_give_up(directory: Path) -> None:
    router = Router(directory)
    for _ in range(40):
        router.append()
    router.journal.close()
    router = Router(directory, rotate_bytes=100, limit_bytes=400)
    router.append()
    assert router.journal.state == "ok"
    assert router.journal.wants_snapshot(0.0)
    assert router.finish(router.begin_snapshot()) is None
    router.journal.close()
    assert next_state(directory) == payloads(41)


@given(
    st.integers(0, 10**8),
    st.floats(0, 1e6),
    st.floats(0, 1e4),
    st.booleans(),
    st.integers(1, 10**7),
    st.integers(4, 64),
)
def test_snapshots_have_a_bounded_share_of_the_time(
    replay: int, since: float, cost: float, failed: bool, rotate: int, rotations: int
) -> None:
    limit = rotate * rotations
    due = snapshot_due(replay, rotate, limit, since, cost, failed)
    if replay < rotate:
        assert not due
    elif replay < limit / 4:
        assert due == (cost <= SNAPSHOT_SHARE * since and not (failed and since < 1))
    else:  # to stay below the limit is worth any price, but a failure is not repeated at every wake-up
        assert due == (not failed or since >= 1)


# Recovery.


def test_misuse_is_a_bug() -> None:
    with pytest.raises(LocalProtocolError, match="16 bytes"):
        Journal(Path("/nowhere"), "process", b"short")
    with pytest.raises(LocalProtocolError, match="recovered before"):
        Journal(Path("/nowhere"), "process", RUN).append(b"")


# All of it, in any order.


class JournalLife(RuleBasedStateMachine):
    """A router that appends, snapshots, dies and meets a full disk, in any order; the model is the list of payloads."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.router = Router(self.directory, rotate_bytes=300)
        self.pidfd: int | None = None

    @rule()
    def append(self) -> None:
        self.router.append()

    @precondition(lambda self: self.pidfd is None)
    @rule()
    def begin(self) -> None:
        suspended = self.router.journal.suspended
        self.pidfd = self.router.begin_snapshot()
        assert (self.pidfd is None) == suspended

    @precondition(lambda self: self.pidfd is None)
    @rule()
    def begin_a_failing_one(self) -> None:
        self.pidfd = self.router.journal.begin_snapshot(raises(ValueError()), 0.0)

    @precondition(lambda self: self.pidfd is None and self.router.journal.suspended)
    @rule(full=st.booleans())
    def retry(self, full: bool) -> None:
        if full:
            with full_disk(HEADER_BYTES + 20):
                self.pidfd = self.router.retry()
        else:
            self.pidfd = self.router.retry()
            assert self.pidfd is not None

    @precondition(lambda self: self.pidfd is not None)
    @rule()
    def finish(self) -> None:
        self.router.finish(self.pidfd)
        self.pidfd = None

    @rule()
    def append_to_a_full_disk(self) -> None:
        with full_disk():
            self.router.append()
        assert self.router.journal.suspended

    @rule(another_run=st.booleans(), torn=st.binary(max_size=30))
    def die(self, another_run: bool, torn: bytes) -> None:
        journal, state = self.router.journal, self.router.state
        suspended = journal.suspended
        journal.close()
        self.pidfd = None
        written = sorted(self.directory.glob("journal-*"), key=lambda path: int(path.name.partition("-")[2]))
        if written:
            with written[-1].open("ab") as newest:
                newest.write(torn)
        self.router = Router(self.directory, run=OTHER_RUN if another_run else RUN, rotate_bytes=300)
        assert self.router.state == ([] if suspended else state)
        assert not self.router.journal.suspended

    @invariant()
    def the_disk_holds_a_bounded_number_of_files(self) -> None:
        assert not self.router.journal.suspended or len(list(self.directory.iterdir())) <= 2

    def teardown(self) -> None:
        self.router.journal.discard()


def test_any_life_is_remembered(tmp_path: Path) -> None:
    class Life(JournalLife):
        directory = tmp_path / "journal"

    case = Life.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
    case().runTest()
