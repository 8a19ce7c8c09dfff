"""The journal's bytes: how records and snapshots stand in a file, and what is made of one that a crash cut off. Pure.

A file begins with a header (48 bytes, little-endian) whose last field is the CRC-32 of the others:

    magic "brkrjrnl", format version u16, kind u8 (1 journal, 2 snapshot), flags u8, generation u64, sequence u64,
    run id 16 bytes, CRC-32 u32

`sequence` is the number of the first record that follows: in a journal in this very file, after a snapshot in the
journal of the same generation. The header's CRC is also the file's *mark*: it depends on the random run id, so nobody
who chats can know it, and it stands in every record. A record is

    CRC-32 u32 of all that follows, mark u32, payload's length u32, sequence number u64, payload

with numbers that go up by one, on from file to file. A snapshot's body is opaque; after it stand its length u64 and the
CRC-32 u32 of mark and body, so a snapshot that was not finished is known for one.

A process that dies within a write leaves a *torn tail*: it is cut. After a bad record that is followed by a valid one,
something else has happened: that is damage, and to go on would be to forget what was promised. The mark makes the
difference certain: a client's text cannot look like a record, and the search for one is a search for four bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.errors import JournalDamaged, LocalProtocolError

FORMAT_VERSION: Final = 1
JOURNAL: Final = 1
SNAPSHOT: Final = 2
RUN_BYTES: Final = 16
MAX_PAYLOAD_BYTES: Final = 256 * 1024 * 1024

_MAGIC: Final = b"brkrjrnl"
_HEADER: Final = struct.Struct("<8sHBBQQ16s")
_CRC: Final = struct.Struct("<I")
_TAIL_OF_HEAD: Final = struct.Struct("<IIQ")  # a record's header without its CRC
_TRAILER: Final = struct.Struct("<QI")
_NEEDS_SNAPSHOT: Final = 1

HEADER_BYTES: Final = _HEADER.size + _CRC.size
RECORD_HEADER_BYTES: Final = _CRC.size + _TAIL_OF_HEAD.size


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says about itself.

    `needs_snapshot` marks a journal that begins a new chain instead of going on with one: without the snapshot of its
    own generation it is worth nothing.
    """

    kind: int
    generation: int
    sequence: int
    run: bytes
    needs_snapshot: bool = False

    def encode(self) -> bytes:
        """The HEADER_BYTES with which the file begins."""
        flags = _NEEDS_SNAPSHOT if self.needs_snapshot else 0
        fields = _HEADER.pack(_MAGIC, FORMAT_VERSION, self.kind, flags, self.generation, self.sequence, self.run)
        return fields + _CRC.pack(zlib.crc32(fields))

    @property
    def mark(self) -> int:
        """What stands in each of the file's records."""
        return mark_of(self.encode())


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What a journal holds: its payloads in order, and how far it is sound.

    `header` is None if the file ends within it. `warning` is None, or says what was at the end and does not count.
    """

    header: FileHeader | None
    payloads: list[bytes]
    sound_bytes: int
    warning: str | None


def mark_of(header: bytes) -> int:
    """The mark of the file that begins with this header."""
    (mark,) = _CRC.unpack_from(header, _HEADER.size)
    return int(mark)


def encode_record(mark: int, sequence: int, payload: bytes) -> bytes:
    """One record; LocalProtocolError if the payload is longer than MAX_PAYLOAD_BYTES."""
    length = len(payload)
    if length > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(f"a record of {length} bytes is larger than {MAX_PAYLOAD_BYTES}")
    rest = _TAIL_OF_HEAD.pack(mark, length, sequence)
    return b"".join((_CRC.pack(zlib.crc32(payload, zlib.crc32(rest))), rest, payload))


def decode_header(data: bytes | memoryview, file: str, kind: int) -> FileHeader | None:
    """The header of the file with these contents; None if it was never wholly written and nothing follows it.

    Zeros count as never written: after a loss of power a file may have its length and not its contents. JournalDamaged
    if it is not a header, or not one of a `kind` file of this format version.
    """
    head = bytes(data[:HEADER_BYTES])
    if len(head) < HEADER_BYTES:
        return None
    magic, version, found_kind, flags, generation, sequence, run = _HEADER.unpack_from(head)
    if mark_of(head) != zlib.crc32(head[: _HEADER.size]) or magic != _MAGIC:
        if len(data) == HEADER_BYTES or not any(bytes(data)):
            return None
        raise JournalDamaged(file, "its header fails its checksum", offset_bytes=0)
    if version != FORMAT_VERSION:
        raise JournalDamaged(file, f"its format is version {version}; this broker reads version {FORMAT_VERSION}", 0)
    if found_kind != kind:
        raise JournalDamaged(file, "it is not what its name says", offset_bytes=0)
    return FileHeader(found_kind, generation, sequence, run, bool(flags & _NEEDS_SNAPSHOT))


def read_journal(data: bytes | memoryview, file: str) -> JournalContents:
    """All payloads of a journal, without a torn tail; `file` is its name in messages.

    JournalDamaged for a bad record that a valid one follows, and for a valid record whose number is not the next.
    """
    data = bytes(data)
    header = decode_header(data, file, JOURNAL)
    if header is None:
        warning = f"{file}: its {len(data)} bytes are no whole header and do not count" if data else None
        return JournalContents(None, [], 0, warning)
    mark, sequence = header.mark, header.sequence
    payloads: list[bytes] = []
    offset = HEADER_BYTES
    view = memoryview(data)
    while offset < len(data):
        record = _record_at(view, offset, mark)
        if record is None:
            if _is_followed(data, offset, mark, sequence):
                what = "it fails its checksum, and valid records follow it"
                raise JournalDamaged(file, what, offset, len(payloads) + 1)
            cut = len(data) - offset
            return JournalContents(header, payloads, offset, f"{file}: cut off a torn record, the last {cut} bytes")
        number, payload = record
        if number != sequence:
            what = f"it has the number {number} where {sequence} should be"
            raise JournalDamaged(file, what, offset, len(payloads) + 1)
        payloads.append(bytes(payload))
        sequence += 1
        offset += RECORD_HEADER_BYTES + len(payload)
    return JournalContents(header, payloads, offset, None)


def encode_snapshot(header: FileHeader, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A snapshot's file, piece by piece."""
    encoded = header.encode()
    yield encoded
    length, checksum = 0, zlib.crc32(encoded[-_CRC.size :])
    for piece in pieces:
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
        yield piece
    yield _TRAILER.pack(length, checksum)


def decode_snapshot(data: bytes | memoryview, file: str) -> tuple[FileHeader, bytes] | None:
    """Header and body of a snapshot; None if it is not complete and sound. JournalDamaged as for `decode_header`,
    but for a bad checksum.
    """
    view = memoryview(data)
    head = bytes(view[:HEADER_BYTES])
    if len(view) < HEADER_BYTES + _TRAILER.size:
        return None
    header = decode_header(head, file, SNAPSHOT)
    if header is None:
        return None
    body = view[HEADER_BYTES : -_TRAILER.size]
    checksum = zlib.crc32(body, zlib.crc32(head[-_CRC.size :]))
    return (header, bytes(body)) if _TRAILER.pack(len(body), checksum) == view[-_TRAILER.size :] else None


def _record_at(view: memoryview, offset: int, mark: int) -> tuple[int, memoryview] | None:
    """Sequence number and payload of the valid record that begins at an offset; None if none does."""
    if len(view) - offset < RECORD_HEADER_BYTES:
        return None
    found, length, sequence = _TAIL_OF_HEAD.unpack_from(view, offset + _CRC.size)
    end = offset + RECORD_HEADER_BYTES + length
    if found != mark or end > len(view):
        return None
    (checksum,) = _CRC.unpack_from(view, offset)
    if zlib.crc32(view[offset + _CRC.size : end]) != checksum:
        return None
    return sequence, view[offset + RECORD_HEADER_BYTES : end]


def _is_followed(data: bytes, offset: int, mark: int, sequence: int) -> bool:
    """Whether a valid record with this number or a later one begins somewhere behind an offset."""
    view, wanted = memoryview(data), _CRC.pack(mark)
    at = data.find(wanted, offset + 1 + _CRC.size)
    while at >= 0:
        record = _record_at(view, at - _CRC.size, mark)
        if record is not None and record[0] >= sequence:
            return True
        at = data.find(wanted, at + 1)
    return False
