"""A router killed before, after and within every single system call of its journal: the next one knows all it must."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.journal import Journal
from tests.journal_lives import RUN, Notes, Router, full_disk, killed_at, live, payloads, state_of

MOMENTS = ("before", "half", "after")


def check_next_router(directory: Path, notes: Notes) -> None:
    """What is recovered is all that was applied, or one more; nothing only if the guarantee was off; never a part."""
    applied, suspended = notes.read()
    router = Router(directory)
    allowed = [payloads(applied), payloads(applied + 1)] + ([[]] if suspended else [])
    assert router.state in allowed
    # It goes on from there, and so does the one after it.
    router.append()
    router.finish(router.begin_snapshot())
    router.append()
    assert router.journal.state == "ok"
    router.journal.close()
    after = Router(directory)
    assert after.state == router.state
    assert len(list(directory.iterdir())) == 2, "nothing stays but a snapshot and its journal"
    after.journal.close()


def kill_everywhere(
    life: Callable[[Path, Notes], None],
    tmp_path: Path,
    prepare: Callable[[Path, Notes], None] | None = None,
    check: Callable[[Path, Notes], None] = check_next_router,
) -> int:
    """Live a life again and again, killed at its first call, its second …, until it ends by itself; how often."""
    directory, kills = tmp_path / "journal", 0
    for moment in MOMENTS:
        for number in range(1, 1000):
            notes = Notes()
            if prepare:
                prepare(directory, notes)

            def whole_life(number: int = number, moment: str = moment, notes: Notes = notes) -> None:
                killed_at(number, moment)
                life(directory, notes)

            ended = live(whole_life)
            check(directory, notes)
            shutil.rmtree(directory)
            if ended == 0:
                break
            kills += 1
        else:
            pytest.fail("the life never ended by itself")
    return kills


def appends_and_snapshots(directory: Path, notes: Notes, durability: str = "process") -> None:
    """The life of a router with two snapshots; where one of its snapshot's processes is killed, of fewer."""
    router = Router(directory, durability=durability)
    for number in range(6):
        router.append()
        notes.write(len(router.state), suspended=False)
        if number in (1, 3):
            pidfd = router.begin_snapshot()
            router.append()
            notes.write(len(router.state), suspended=False)
            router.finish(pidfd)
    assert router.journal.state == "ok"


def test_a_router_may_be_killed_at_any_call(tmp_path: Path) -> None:
    assert kill_everywhere(appends_and_snapshots, tmp_path) > 100


@pytest.mark.slow
def test_a_router_that_syncs_may_be_killed_at_any_call(tmp_path: Path) -> None:
    def life(directory: Path, notes: Notes) -> None:
        appends_and_snapshots(directory, notes, "power")

    assert kill_everywhere(life, tmp_path) > 100


@pytest.mark.parametrize("run", [RUN, RUN[::-1]], ids=["same run", "another run"])
def test_a_router_may_be_killed_at_any_call_of_its_recovery(tmp_path: Path, run: bytes) -> None:
    def killed_amid_everything(directory: Path, notes: Notes) -> None:
        """Two generations, a torn record, half a snapshot, and an older chain that was not removed yet."""
        router = Router(directory)
        for _ in range(3):
            router.append()
        shutil.copy(directory / "journal-1", directory / "kept")
        router.finish(router.begin_snapshot())
        router.append()
        router.finish(router.begin_snapshot())
        router.append()
        router.journal.close()
        (directory / "kept").rename(directory / "journal-1")
        (directory / "snapshot-4.tmp").write_bytes((directory / "snapshot-3").read_bytes()[:20])
        with (directory / "journal-3").open("ab") as journal:
            journal.write(b"torn")
        notes.write(len(router.state), suspended=False)

    def life(directory: Path, notes: Notes) -> None:
        router = Router(directory, run=run)
        router.append()
        notes.write(len(router.state), suspended=False)

    assert kill_everywhere(life, tmp_path, killed_amid_everything) > 20


def test_a_router_whose_disk_is_full_may_be_killed_at_any_call(tmp_path: Path) -> None:
    """Short writes and failing ones, the chain given up, a snapshot that fails, one that succeeds, the guarantee back:
    at no moment is a part of what was applied taken for all of it.
    """

    def life(directory: Path, notes: Notes) -> None:
        router = Router(directory)

        def append() -> None:
            router.append()
            notes.write(len(router.state), router.journal.suspended)

        append()
        router.finish(router.begin_snapshot())
        append()
        pidfd = router.begin_snapshot()
        append()
        # From here on an append may be refused while it has not returned.
        notes.write(len(router.state), suspended=True)
        with full_disk(110):
            for _ in range(4):
                append()
            assert router.journal.suspended
            router.finish(pidfd)
            retried = router.retry()
            append()
            assert retried is None or router.finish(retried)
        retried = router.retry()
        append()
        if retried is not None:  # it was not killed
            router.finish(retried)
        if not router.journal.suspended:
            notes.write(len(router.state), suspended=False)
            append()

    assert kill_everywhere(life, tmp_path) > 100


def test_a_router_may_be_killed_at_any_call_of_its_end(tmp_path: Path) -> None:
    """Discarding leaves all or nothing, too."""

    def prepare(directory: Path, notes: Notes) -> None:
        router = Router(directory)
        for _ in range(3):
            router.append()
        router.finish(router.begin_snapshot())
        router.append()
        router.begin_snapshot()
        router.append()
        router.journal.close()

    def life(directory: Path, notes: Notes) -> None:
        Journal(directory, "process", RUN).discard()

    def check(directory: Path, notes: Notes) -> None:
        journal = Journal(directory, "process", RUN)
        assert state_of(journal.recover()) in ([], payloads(5))
        journal.close()

    assert kill_everywhere(life, tmp_path, prepare, check) > 10
