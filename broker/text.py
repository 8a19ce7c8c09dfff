"""From the bytes of a line to text that may be shown on somebody else's terminal. Runs in the router; pure.

Knows Unicode, and nothing of sessions or commands.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_NONCHARACTERS: Final = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)
)

UNWANTED: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls: C0, DEL, C1 (the C1 ones are escape sequences in one code point)
    "\u2028\u2029"  # line and paragraph separator: a line is one line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls: they reorder what stands around them
    "\ufeff"  # byte order mark
    "\ud800-\udfff"  # lone surrogates: not text, and UTF-8 has no bytes for them
    "\U000e0000-\U000e007f"  # tags: invisible text
    f"{_NONCHARACTERS}"
    "]"
)
"""One code point that nobody else's terminal should get. The joiners U+200C and U+200D stay: emoji need them."""


def decode(data: bytes) -> str:
    """The text of a line as it was sent; each malformed UTF-8 sequence becomes U+FFFD (as Unicode 15 §3.9 advises)."""
    return data.decode("utf-8", "replace")


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are well-formed."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=1024)
def shared(text: str) -> str:
    """The same string, and the same object for equal ones: what thousands have, as an address, is there once."""
    return text


def clean(text: str) -> str:
    """Without the code points of UNWANTED; a TAB becomes a space."""
    if text.isprintable():  # true of no unwanted code point, and much cheaper than the search
        return text
    if UNWANTED.search(text) is None:
        return text
    return UNWANTED.sub("", text.replace("\t", " "))
