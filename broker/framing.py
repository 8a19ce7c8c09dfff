"""Frames: how a message becomes bytes in a Pipe, and bytes become messages again. Pure.

A frame is a little-endian 32-bit length and that many bytes of `marshal`, the fastest serialisation there is for plain
tuples, ints and bytes. Both ends are the same interpreter (children are forked), so its format need not be stable.
Nothing from a client is ever unmarshalled: a client's bytes travel inside a frame as one `bytes` object.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any, Final

from broker.errors import LocalProtocolError

_LENGTH: Final = struct.Struct("<I")
HEADER_BYTES: Final = _LENGTH.size
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


def encode(message: Any) -> bytes:
    """One frame; LocalProtocolError if the message is larger than MAX_FRAME_BYTES."""
    body = marshal.dumps(message)
    if len(body) > MAX_FRAME_BYTES:
        raise LocalProtocolError(f"a frame of {len(body)} bytes is larger than {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Any:
    """The message in the body of a frame; LocalProtocolError if it is not one of ours."""
    try:
        return marshal.loads(body)
    except (ValueError, EOFError, TypeError) as error:
        raise LocalProtocolError(f"a frame of {len(body)} bytes is not one of ours: {error}") from None


class FrameReader:
    """Collects bytes and gives back whole frames, however the bytes were cut."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of the frames that `data` completes, in order, each for `decode`.

        LocalProtocolError if a frame cannot be one of ours.
        """
        buffer = self._buffer + data if self._buffer else data
        bodies = []
        start, available = 0, len(buffer)
        while available - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise LocalProtocolError(f"a frame announces {length} bytes, more than {MAX_FRAME_BYTES}")
            end = start + _LENGTH.size + length
            if end > available:
                break
            bodies.append(buffer[start + _LENGTH.size : end])
            start = end
        self._buffer = buffer[start:] if start else buffer
        return bodies
