"""The grammar of IRC's lines: reading what a client sends, writing what it gets. Runs in the router; pure.

Knows tags, commands and parameters, and no meaning of any of them. Sources: RFC 1459 and RFC 2812, 2.3; IRCv3
message-tags; modern.ircdocs.horse, "Message Format". A line is without its end here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

BODY_BYTES: Final = 510
"""Of a line without its tags and its end: 512 with CR LF (RFC 2812, 2.3)."""
CLIENT_TAG_BYTES: Final = 4094
"""Of what a client may send between `@` and the space behind the tags (message-tags, "Size limit")."""
TAG_SECTION_BYTES: Final = 8191
"""Of tags with their `@` and their space, whoever wrote them (the same place)."""
LONGEST_LINE_BYTES: Final = TAG_SECTION_BYTES + BODY_BYTES

_ESCAPES: Final = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_TO_ESCAPE: Final = re.compile("[;\\ \\\\\r\n]")
_ESCAPED: Final = {plain: f"\\{code}" for code, plain in _ESCAPES.items()}
_CLIENT_TAG: Final = re.compile(r"\+(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9-]+")
_NEITHER: Final = str.maketrans("", "", "\r\n\0")


class Message(NamedTuple):
    """One line: its tags without their escapes, its command in capitals, its parameters. Its source does not count."""

    tags: dict[str, str]
    command: str
    parameters: list[str]


NO_TAGS: Final[dict[str, str]] = {}
"""Shared, and never written to."""

NO_MESSAGE: Final = Message(NO_TAGS, "", [])
"""What is answered when something happens that nobody asked for."""


def parse(text: str) -> Message | None:
    """The message of a line; None if there is no command in it.

    CR and NUL, which no line has in it (RFC 2812, 2.3.1), are dropped wherever they are: a receiver could take a CR for
    the end of the line.
    """
    if "\r" in text or "\0" in text:
        text = text.translate(_NEITHER)
    tags = NO_TAGS
    if text.startswith("@"):
        section, _, text = text[1:].partition(" ")
        tags = parse_tags(section)
    text = text.lstrip(" ")
    if text.startswith(":"):
        text = text.partition(" ")[2].lstrip(" ")
    head, colon, last = text.partition(" :")
    parameters = head.split(" ")
    if "" in parameters:  # there were several spaces in a row
        parameters = [word for word in parameters if word]
    if not parameters:
        return None
    command = parameters.pop(0).upper()
    if colon:
        parameters.append(last)
    return Message(tags, command, parameters)


def parse_tags(section: str) -> dict[str, str]:
    """The tags between `@` and the space; the last of two with one name counts."""
    tags = {}
    for tag in section.split(";"):
        key, _, value = tag.partition("=")
        if key:
            tags[key] = unescape(value)
    return tags


def unescape(value: str) -> str:
    """A tag's value as it is meant (message-tags, "Escaping values"); a lone backslash at the end is dropped."""
    if "\\" not in value:
        return value
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)


def escape(value: str) -> str:
    """A tag's value as it is written."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPED[match[0]], value)


def tag(key: str, value: str) -> str:
    """One tag as it is written; without a value it has no `=` either."""
    return f"{key}={escape(value)}" if value else key


def is_client_tag(key: str) -> bool:
    """Whether it is one that goes from client to client (message-tags, "Client-only tags")."""
    return _CLIENT_TAG.fullmatch(key) is not None


def assemble(tags: Sequence[str], body: str) -> bytes:
    """The bytes of a line with its end; a body that is too long loses its end, tags that are too long are left out."""
    data = body.encode()
    if len(data) > BODY_BYTES:
        data = cut(data, BODY_BYTES)
    if not tags:
        return data + b"\r\n"
    section = f"@{';'.join(tags)} ".encode()
    return (section if len(section) <= TAG_SECTION_BYTES else b"") + data + b"\r\n"


def cut(data: bytes, length: int) -> bytes:
    """At most `length` bytes from the start, ending where a character ends."""
    if len(data) <= length:
        return data
    while length and data[length] & 0xC0 == 0x80:  # the middle of a character (RFC 3629, 3)
        length -= 1
    return data[:length]


def shortened(text: str, length_bytes: int) -> str:
    """The text, or so much of it as is at most `length_bytes` long."""
    if len(text) * 4 <= length_bytes:
        return text
    return cut(text.encode(), length_bytes).decode()


def pieces(text: str, length_bytes: int) -> list[str]:
    """The text cut into parts of at most `length_bytes`, at least 4 (a character's); one empty part if it is empty."""
    if len(text) * 4 <= length_bytes:
        return [text]
    data = text.encode()
    found = []
    while len(data) > length_bytes:
        piece = cut(data, length_bytes)
        found.append(piece.decode())
        data = data[len(piece) :]
    return [*found, data.decode()]
