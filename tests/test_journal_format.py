"""The journal's bytes against a model: whatever is cut off, flipped or appended, out comes a prefix or an error."""

from __future__ import annotations

import re
import struct
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.errors import DISCARD_JOURNAL, JournalDamaged, LocalProtocolError
from broker.journal_format import (
    HEADER_BYTES,
    JOURNAL,
    MAX_PAYLOAD_BYTES,
    RECORD_HEADER_BYTES,
    SNAPSHOT,
    FileHeader,
    decode_header,
    decode_snapshot,
    encode_record,
    encode_snapshot,
    mark_of,
    read_journal,
)

RUN = bytes(range(16))
HEADER = FileHeader(JOURNAL, 7, 100, RUN)
OF_SNAPSHOT = FileHeader(SNAPSHOT, 7, 100, RUN)
PAYLOADS = st.lists(st.binary(max_size=40), max_size=6)
SAMPLE = [b"one", b"", b"\0" * 9, b"four" * 5]


def journal(payloads: list[bytes], header: FileHeader = HEADER) -> bytes:
    """A file with these records."""
    records = [encode_record(header.mark, header.sequence + n, payload) for n, payload in enumerate(payloads)]
    return header.encode() + b"".join(records)


def ends(payloads: list[bytes]) -> list[int]:
    """Where the header and each record end."""
    found = [HEADER_BYTES]
    for payload in payloads:
        found.append(found[-1] + RECORD_HEADER_BYTES + len(payload))
    return found


@given(
    st.sampled_from([JOURNAL, SNAPSHOT]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=16, max_size=16),
    st.booleans(),
)
def test_a_header_comes_back(kind: int, generation: int, sequence: int, run: bytes, needs_snapshot: bool) -> None:
    header = FileHeader(kind, generation, sequence, run, needs_snapshot)
    assert len(header.encode()) == HEADER_BYTES
    assert decode_header(header.encode(), "file", kind) == header
    assert header.mark == mark_of(header.encode())


@given(PAYLOADS)
def test_records_come_back(payloads: list[bytes]) -> None:
    data = journal(payloads)
    contents = read_journal(memoryview(data), "file")
    assert contents.header == HEADER
    assert contents.payloads == payloads
    assert contents.sound_bytes == len(data)
    assert contents.warning is None


def test_the_layout_is_as_described() -> None:
    head = b"brkrjrnl" + struct.pack("<HBBQQ", 1, 1, 0, 7, 100) + RUN
    assert HEADER.encode() == head + struct.pack("<I", zlib.crc32(head))
    rest = struct.pack("<IIQ", HEADER.mark, 3, 100) + b"one"
    assert journal([b"one"])[HEADER_BYTES:] == struct.pack("<I", zlib.crc32(rest)) + rest


@given(PAYLOADS)
def test_every_truncation_leaves_the_whole_records_before_it(payloads: list[bytes]) -> None:
    data, marks = journal(payloads), ends(payloads)
    for size in range(len(data)):
        contents = read_journal(data[:size], "journal-7")
        whole = sum(end <= size for end in marks) - 1  # the header is the first of them
        assert contents.payloads == payloads[: max(whole, 0)]
        if whole < 0:
            assert contents.header is None and contents.sound_bytes == 0
            assert (contents.warning is None) == (size == 0)
        else:
            assert contents.sound_bytes == marks[whole]
            cut = size - marks[whole]
            expected = f"journal-7: cut off a torn record, the last {cut} bytes" if cut else None
            assert contents.warning == expected


@given(PAYLOADS.filter(bool), st.integers(1, 255))
def test_every_flipped_byte_is_found(payloads: list[bytes], flip: int) -> None:
    data, marks = journal(payloads), ends(payloads)
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= flip
        hit = sum(end <= at for end in marks)  # 0 the header, n the n-th record
        if hit == len(payloads):  # the last: it may have been half written
            contents = read_journal(bytes(broken), "file")
            assert contents.payloads == payloads[:-1]
            assert contents.sound_bytes == marks[-2]
            assert contents.warning
        else:
            with pytest.raises(JournalDamaged) as damage:
                read_journal(bytes(broken), "file")
            assert damage.value.offset_bytes == (marks[hit - 1] if hit else 0)
            assert damage.value.record == (hit or None)


@given(PAYLOADS, st.binary(min_size=1, max_size=200))
@example([], b"\0" * 4096)
@example(SAMPLE, b"\0" * 4096)
@example(SAMPLE, HEADER.encode())
@example(SAMPLE, journal(SAMPLE, FileHeader(JOURNAL, 6, 104, RUN))[HEADER_BYTES:])  # of another generation
@example(SAMPLE, journal(SAMPLE, FileHeader(JOURNAL, 7, 104, RUN[::-1]))[HEADER_BYTES:])  # of another run
@example(SAMPLE, struct.pack("<I", HEADER.mark) * 50)
def test_garbage_at_the_end_is_cut(payloads: list[bytes], garbage: bytes) -> None:
    data = journal(payloads)
    contents = read_journal(data + garbage, "file")
    assert contents.payloads == payloads
    assert contents.sound_bytes == len(data)
    assert contents.warning == f"file: cut off a torn record, the last {len(garbage)} bytes"


@given(PAYLOADS, st.integers(0, 300), st.integers(1, 5000))
def test_a_tail_of_zeros_is_cut_wherever_it_begins(payloads: list[bytes], back: int, zeros: int) -> None:
    """After a loss of power a file has its length, but zeros where its last pages should be."""
    data = journal(payloads)
    kept = max(len(data) - back, HEADER_BYTES)
    contents = read_journal(data[:kept] + bytes(zeros), "file")
    assert contents.payloads == payloads[: len(contents.payloads)]
    assert len(contents.payloads) >= sum(end <= kept for end in ends(payloads)) - 1
    assert contents.warning or contents.sound_bytes == kept + zeros  # zeros may be just what stood there


@pytest.mark.parametrize("number", [0, 101, 103, 2**64 - 1])
def test_a_record_out_of_sequence_is_damage(number: int) -> None:
    data = journal([b"a", b"b"]) + encode_record(HEADER.mark, number, b"c")
    with pytest.raises(JournalDamaged, match=f"number {number} where 102 should be") as damage:
        read_journal(data, "file")
    assert damage.value.record == 3


def test_a_hole_is_damage_and_the_message_says_where_and_what_to_do() -> None:
    data, marks = journal(SAMPLE), ends(SAMPLE)
    holed = data[: marks[1]] + bytes(marks[2] - marks[1]) + data[marks[2] :]
    with pytest.raises(JournalDamaged) as damage:
        read_journal(holed, "/state/journal-7")
    assert str(damage.value) == (
        f"the journal is damaged: /state/journal-7 (record 2, byte {marks[1]}): "
        f"it fails its checksum, and valid records follow it\n{DISCARD_JOURNAL}"
    )
    assert damage.value.file == "/state/journal-7"


@given(st.binary(max_size=30), st.integers(1, 60))
def test_a_record_within_a_payload_is_no_record(text: bytes, cut: int) -> None:
    """Somebody says bytes that look like a record of another run: the torn record that holds them is only torn."""
    forged = encode_record(FileHeader(JOURNAL, 7, 100, bytes(16)).mark, 105, text)
    data = journal([b"a", forged + b"x" * 60])
    assert read_journal(data[:-cut], "file").payloads == [b"a"]


def test_what_is_no_header_is_refused() -> None:
    with pytest.raises(JournalDamaged, match="header fails its checksum"):
        read_journal(b"x" * (HEADER_BYTES + 1), "file")
    for torn in (b"", b"x", HEADER.encode()[:-1], bytes(HEADER_BYTES), bytes(9999), b"x" * HEADER_BYTES):
        assert read_journal(torn, "file").header is None
    with pytest.raises(JournalDamaged, match="not what its name says"):
        read_journal(OF_SNAPSHOT.encode(), "file")


def test_another_version_is_told_from_damage() -> None:
    fields = b"brkrjrnl" + struct.pack("<HBBQQ", 9, 1, 0, 7, 100) + RUN
    with pytest.raises(JournalDamaged, match=re.escape("its format is version 9; this broker reads version 1")):
        read_journal(fields + struct.pack("<I", zlib.crc32(fields)), "file")


def test_a_payload_has_a_limit() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_PAYLOAD_BYTES + 1

    with pytest.raises(LocalProtocolError, match="larger than"):
        encode_record(1, 1, Huge())


@given(PAYLOADS)
def test_a_snapshot_comes_back_however_it_was_cut_into_pieces(pieces: list[bytes]) -> None:
    data = b"".join(encode_snapshot(OF_SNAPSHOT, iter(pieces)))
    assert decode_snapshot(data, "file") == (OF_SNAPSHOT, b"".join(pieces))


@given(st.binary(max_size=60), st.integers(1, 255))
def test_a_snapshot_that_is_cut_off_or_changed_is_known_for_it(body: bytes, flip: int) -> None:
    data = b"".join(encode_snapshot(OF_SNAPSHOT, [body]))
    for size in range(len(data)):
        assert decode_snapshot(data[:size], "file") is None
        assert decode_snapshot(data[:size] + bytes(len(data) - size), "file") in (None, (OF_SNAPSHOT, body))
        broken = bytearray(data)
        broken[size] ^= flip
        assert decode_snapshot(broken, "file") is None
    assert decode_snapshot(data + b"\0", "file") is None
