"""A session: one person's presence in the chat, from connection to end. Runs in the router; pure data.

    naming  --named-->  present  --named-->  present
      |                   |
      +-----ended---------+----ended-->  gone

A step that the table below does not have is a bug of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from broker.errors import LocalProtocolError

if TYPE_CHECKING:
    from broker.rooms import Room

Phase: TypeAlias = Literal["naming", "present", "gone"]
Step: TypeAlias = Literal["named", "ended"]

NEXT_PHASE: Final[dict[tuple[Phase, Step], Phase]] = {
    ("naming", "named"): "present",
    ("naming", "ended"): "gone",
    ("present", "named"): "present",
    ("present", "ended"): "gone",
}


class WireFormat(NamedTuple):
    """All that decides which bytes an occasion becomes; sessions of one format in a room get the same ones."""

    protocol: str
    language: str


@dataclass(slots=True, eq=False)
class Session:
    """One session. `number` is unique in the whole broker; `worker` is the index of the worker that has its socket.

    `consumed` counts the bytes of its input that have been applied. `skipping` is set between the refusal of a line
    that is too long and the end of that line. `awaited` is true from a move to another worker until it is there.
    """

    number: int
    worker: int
    format: WireFormat
    phase: Phase = "naming"
    name: str = ""
    key: str = ""
    room: Room | None = None
    consumed: int = 0
    skipping: bool = False
    awaited: bool = False

    def step(self, step: Step) -> None:
        """Go to the next phase; LocalProtocolError if there is none from here."""
        phase = NEXT_PHASE.get((self.phase, step))
        if phase is None:
            raise LocalProtocolError(f"session {self.number} cannot be {step} while it is {self.phase}")
        self.phase = phase

    def consume(self, offset: int, length: int) -> int:
        """Take note of `length` bytes of input at `offset`; return how many of them, from the start, are old.

        LocalProtocolError if bytes before `offset` are missing.
        """
        old = self.consumed - offset
        if old < 0:
            raise LocalProtocolError(
                f"session {self.number}: input at {offset}, but only {self.consumed} bytes came before"
            )
        self.consumed = max(self.consumed, offset + length)
        return min(old, length)
