"""What a client of the load sends, with all that must come of it. Pure; no logic but that of making them.

An input is one line, or the end of the stream. Its effects are lines in rooms, its reply is a line to the client
itself. Whoever makes one must tell the rooms and the follower before the first byte of it is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Literal

from broker.chaos.dialect import Variants
from broker.chaos.room_log import Effect

InputKind = Literal[
    "hello", "name", "antechamber", "say", "act", "whisper", "rename", "variant", "join", "part", "quit", "end", "call"
]
Reply = Callable[[bytes, int], bool]
"""Whether a line, to a client that gets that variant now, is the answer; asked when all effects have their indexes."""


class Met(Enum):
    """What became of a line that somebody got."""

    TAKEN = "taken"
    WAITS = "waits"
    STRANGE = "strange"


class Input:
    """`data` is what is sent; `variant` is that of all that comes from the answer on, None if it stays.

    `effects` are in the order in which they happen: one leaves a room before one enters another. An input that is not
    `counted` is a wait for something that comes unasked.
    """

    __slots__ = ("counted", "data", "effects", "kind", "reply", "variant")

    def __init__(
        self,
        kind: InputKind,
        data: bytes,
        effects: tuple[Effect, ...] = (),
        reply: Reply | None = None,
        variant: int | None = None,
        counted: bool = True,
    ) -> None:
        self.kind = kind
        self.data = data
        self.effects = effects
        self.reply = reply
        self.variant = variant
        self.counted = counted


class Whisper:
    """Something that is said to one client; `queue` has all of one sender to one recipient that are on their way."""

    __slots__ = ("lines", "queue")

    def __init__(self, lines: Variants, queue: deque[Whisper]) -> None:
        self.lines = lines
        self.queue = queue
        queue.append(self)


def is_line(expected: bytes) -> Reply:
    """The reply that is this line."""
    return lambda line, variant: line == expected
