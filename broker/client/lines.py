"""What a line of the conversation is, and cutting the broker's bytes into lines of text. Pure.

Used by the process of `broker chat`; knows no protocol and no terminal.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from broker.text import clean, decode

MAX_LINE_BYTES: Final = 65_536
"""No broker sends lines this long: what does is shown in pieces rather than gathered for ever."""


class Kind(Enum):
    """What a line is to the person who reads it."""

    SAID = "said"
    ACTION = "action"
    ENTERED = "entered"
    LEFT = "left"
    NOTICE = "notice"
    WARNING = "warning"


class Line(NamedTuple):
    """One line to show.

    `name` is who said or did it, empty for the broker and this client. `mine`: the person at this terminal did;
    `to_me`: it is meant for that person. `raw` is the line as the broker sent it, empty if it did not.
    """

    kind: Kind
    text: str
    name: str = ""
    mine: bool = False
    to_me: bool = False
    raw: str = ""


class LineDecoder:
    """Cuts a stream of bytes into lines of clean text (`broker.text`); `rest` is what has come of the next one."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now, without LF or CRLF."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [clean(decode(line)) for line in lines]

    @property
    def rest(self) -> str:
        """The line that is not finished yet, which is where a question without a line end is found."""
        return clean(decode(self._rest))

    def drop_rest(self) -> None:
        """The unfinished line was understood as it is."""
        self._rest = b""
