"""What the clients say: texts of one size that tell who said them, when, and as which message of his. Pure.

    xxxxxxxxxxxxxxxxxxxxxxxxxx 00001a2b3c4d5e6f 0000002a =00017     (without the spaces)
    padding                    time stamp       number   author

All that varies stands at the end, at fixed places: whoever finds an end of line has the time stamp at a fixed distance
before it, and `=00017` with the end of line occurs once for each message of author 17, and nowhere else.
"""

from __future__ import annotations

from typing import Final

STAMP_DIGITS: Final = 16
TAIL_BYTES: Final = STAMP_DIGITS + 8 + 6
LARGEST_AUTHOR: Final = 99_999
START: Final = 0
"""The number of a herald's first message, which begins the stream; everybody else's first message is number 1."""

# The parts of a text, or of a line without its end.
HEAD: Final = slice(None, -TAIL_BYTES)
KEY: Final = slice(-14, None)
TAG: Final = slice(-6, None)
_NUMBER: Final = slice(-14, -6)


def padding(size_bytes: int) -> bytes:
    """What every text of that size begins with."""
    return b"x" * (size_bytes - TAIL_BYTES)


def tag(author: int) -> bytes:
    """What every text of this author ends with, and no other."""
    return b"=%05d" % author


def tail(stamp_ns: int, number: int, author: int) -> bytes:
    """The rest of a text; `stamp_ns` is CLOCK_MONOTONIC, which is the same in all processes (clock_gettime(2))."""
    return b"%016x%08x=%05d" % (stamp_ns, number, author)


def key(number: int, tag: bytes) -> bytes:
    """What this text of that author ends with, and no other text."""
    return b"%08x%b" % (number, tag)


def number_of(line: bytes) -> int | None:
    """The number at its place; None if there is none."""
    try:
        return int(line[_NUMBER], 16)
    except ValueError:
        return None
