"""What a new router makes of the journal that it finds: it takes up what is whole, and refuses what is damaged."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from broker.errors import DISCARD_JOURNAL, BrokerError, JournalDamaged
from broker.journal import Journal
from broker.journal_format import JOURNAL, RECORD_HEADER_BYTES, FileHeader
from tests.journal_lives import RUN, Router, failing, names, next_state, payloads, raises, recovered

OTHER_RUN = RUN[::-1]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the journal is to be; not there yet."""
    return tmp_path / "state" / "journal"


def test_a_torn_record_is_cut_with_a_warning(directory: Path) -> None:
    router = Router(directory)
    for _ in range(3):
        router.append()
    router.journal.close()
    path = directory / "journal-1"
    os.truncate(path, path.stat().st_size - 1)
    router = Router(directory)
    assert router.state == payloads(2)
    torn = RECORD_HEADER_BYTES + len(payloads(3)[2]) - 1
    assert router.recovered.warnings == [f"{path}: cut off a torn record, the last {torn} bytes"]
    router.append()
    router.journal.close()
    router = Router(directory)
    assert (router.state, router.recovered.warnings) == (payloads(3), [])
    router.journal.close()


def test_another_run_is_told_until_something_is_recorded_in_this_one(directory: Path) -> None:
    router = Router(directory)
    router.append()
    router.journal.close()
    for _ in range(2):  # a router that dies before it has recorded that it is another run leaves that to the next
        router = Router(directory, run=OTHER_RUN)
        assert (router.state, router.recovered.run) == (payloads(1), RUN)
        router.journal.close()
    router = Router(directory, run=OTHER_RUN)
    router.append()
    router.journal.close()
    router = Router(directory, run=OTHER_RUN)
    assert (router.state, router.recovered.run) == (payloads(2), OTHER_RUN)
    router.finish(router.begin_snapshot())
    router.journal.close()
    assert recovered(directory, OTHER_RUN).run == OTHER_RUN


def make_chain(directory: Path) -> None:
    """snapshot-2, journal-2, journal-3, journal-4; eight payloads."""
    router = Router(directory)
    for generation in range(4):
        router.append()
        router.append()
        if generation == 0:
            router.finish(router.begin_snapshot())
        elif generation < 3:
            router.finish(router.journal.begin_snapshot(raises(ValueError()), 0.0))
    router.journal.close()
    assert names(directory) == ["journal-2", "journal-3", "journal-4", "snapshot-2"]


@pytest.mark.parametrize("missing", ["journal-2", "journal-3", "snapshot-2"])
def test_a_gap_in_the_chain_is_damage_and_nothing_is_touched(directory: Path, missing: str) -> None:
    make_chain(directory)
    assert next_state(directory) == payloads(8)
    (directory / missing).unlink()
    before = names(directory)
    with pytest.raises(JournalDamaged) as damage:
        recovered(directory)
    assert str(damage.value) == f"the journal is damaged: {directory / missing}: is missing\n{DISCARD_JOURNAL}"
    assert names(directory) == before


@pytest.mark.parametrize("where", ["journal-2", "journal-3"])
def test_records_lost_from_the_end_of_an_earlier_journal_are_damage(directory: Path, where: str) -> None:
    make_chain(directory)
    path = directory / where
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(JournalDamaged, match=r"begins with record \d where \d should follow"):
        recovered(directory)


@pytest.mark.parametrize("where", ["snapshot-2", "journal-2", "journal-3", "journal-4"])
def test_a_flipped_byte_anywhere_in_the_chain_is_found(directory: Path, where: str) -> None:
    make_chain(directory)
    data = bytearray((directory / where).read_bytes())
    data[60] ^= 1
    (directory / where).write_bytes(data)
    with pytest.raises(JournalDamaged) as damage:
        recovered(directory)
    assert where in str(damage.value) or where == "journal-3"


@pytest.mark.parametrize("where", ["journal-2", "journal-3"])
@pytest.mark.parametrize("content", [b"brkr", bytes(4096)])
def test_a_journal_without_its_header_is_damage_where_it_has_been_in_use(
    directory: Path, where: str, content: bytes
) -> None:
    make_chain(directory)
    (directory / where).write_bytes(content)
    with pytest.raises(JournalDamaged, match="header was never finished") as damage:
        recovered(directory)
    assert damage.value.file == str(directory / where)


def test_a_new_chain_without_its_snapshot_does_not_continue_an_old_one(directory: Path) -> None:
    make_chain(directory)
    header = FileHeader(JOURNAL, 5, 9, RUN, needs_snapshot=True)
    (directory / "journal-5").write_bytes(header.encode())
    with pytest.raises(JournalDamaged, match="not what its name says"):
        recovered(directory)


@pytest.mark.parametrize(("one", "other"), [("journal-3", "journal-4"), ("journal-4", "journal-5")])
def test_a_journal_under_another_name_is_damage(directory: Path, one: str, other: str) -> None:
    make_chain(directory)
    shutil.copy(directory / one, directory / other)
    with pytest.raises(JournalDamaged, match="not what its name says"):
        recovered(directory)


def test_an_older_chain_serves_when_the_newest_snapshot_is_not_complete(directory: Path) -> None:
    """After a loss of power, which may forget the contents of a file and keep its name."""
    router = Router(directory)
    router.append()
    router.finish(router.begin_snapshot())
    router.append()
    for name in ("snapshot-2", "journal-2"):
        shutil.copy(directory / name, directory.parent / name)
    router.finish(router.begin_snapshot())
    router.append()
    router.journal.close()
    for name in ("snapshot-2", "journal-2"):
        shutil.copy(directory.parent / name, directory / name)
    os.truncate(directory / "snapshot-3", 60)
    router = Router(directory)
    assert router.state == payloads(3)
    assert router.recovered.warnings == [f"{directory / 'snapshot-3'}: is not complete and does not count"]
    assert names(directory) == ["journal-2", "journal-3", "snapshot-2"]
    router.journal.close()


@pytest.mark.parametrize("content", [b"", b"brkr", bytes(4096)])
def test_a_journal_that_was_only_being_created_is_begun_again(directory: Path, content: bytes) -> None:
    make_chain(directory)
    (directory / "journal-5").write_bytes(content)
    router = Router(directory)
    assert router.state == payloads(8)
    router.append()
    router.journal.close()
    assert next_state(directory) == payloads(9)


def test_other_files_are_left_alone(directory: Path) -> None:
    directory.mkdir(parents=True)
    others = ["journal-01", "journal-x", "notes", "snapshot-1.tmp.old"]
    for name in others:
        (directory / name).write_text("mine")
    router = Router(directory)
    router.append()
    router.finish(router.begin_snapshot())
    router.journal.discard()
    assert names(directory) == others


def test_discarding_leaves_nothing_and_needs_no_recovery(directory: Path) -> None:
    make_chain(directory)
    (directory / "journal-3").write_bytes(b"damaged" * 99)
    Journal(directory, "process", RUN).discard()
    assert not directory.exists()
    Journal(directory, "process", RUN).discard()
    assert next_state(directory) == []


def test_what_cannot_be_discarded_is_an_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_chain(directory)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing(errno.EROFS, os.unlink))
        with pytest.raises(BrokerError, match=r"cannot remove the journal in .*: Read-only file system"):
            Journal(directory, "process", RUN).discard()


def test_what_cannot_be_read_is_damage(directory: Path) -> None:
    make_chain(directory)
    (directory / "journal-3").unlink()
    (directory / "journal-3").mkdir()
    with pytest.raises(JournalDamaged, match="journal-3: cannot be read: Is a directory"):
        recovered(directory)
