"""A session: one person's presence in the chat, from connection to end. Runs in the router; pure data.

    naming  --named-->  present  --named-->  present
      |                   |
      +-----ended---------+----ended-->  gone

A step that the table below does not have is a bug of ours.

Sessions and rooms refer to each other by number and key, never by reference: the whole state is pickled, and a chain of
references from room to member to room would be as deep as the chat is large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from broker.errors import LocalProtocolError
from broker.occasions import NOBODY, Source

if TYPE_CHECKING:
    from broker.protocols.irc.state import IrcState

Phase: TypeAlias = Literal["naming", "present", "gone"]
Step: TypeAlias = Literal["named", "ended"]

NEXT_PHASE: Final[dict[tuple[Phase, Step], Phase]] = {
    ("naming", "named"): "present",
    ("naming", "ended"): "gone",
    ("present", "named"): "present",
    ("present", "ended"): "gone",
}


class WireFormat(NamedTuple):
    """All that decides which bytes an occasion becomes; sessions of one format in a room get the same ones.

    `capabilities` are those of a protocol's options, as bits, that change the lines which a room shares.
    """

    protocol: str
    language: str
    capabilities: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """One session. `number` is unique in the whole broker; `worker` is the index of the worker that has its socket.

    `consumed` counts the bytes of its input that have been applied. `skipping` is set between the refusal of a line
    that is too long and the end of that line. `awaited` is true from a move to another worker until it is there.
    `rooms` has the keys of the rooms that it is in, in the order of entering. `user` and `host` are what IRC people see
    of it beside the name; `source` is the three together, made anew by `identify`. `modes` are IRC's user modes as
    letters; `operator` is the name under which somebody is operator of the whole server. Times are those of the chat's
    inputs: `heard_at` of any line, `spoke_at` of the last thing said.
    """

    number: int
    worker: int
    format: WireFormat
    host: str = "localhost"
    user: str = "chat"
    phase: Phase = "naming"
    name: str = ""
    key: str = ""
    realname: str = ""
    account: str = ""
    away: str = ""
    modes: str = ""
    operator: str = ""
    rooms: dict[str, None] = field(default_factory=dict)
    invitations: dict[str, None] = field(default_factory=dict)
    watched: dict[str, str] = field(default_factory=dict)
    """Names, by key, of whose coming and going it wants to hear (IRC's MONITOR)."""
    consumed: int = 0
    skipping: bool = False
    awaited: bool = False
    began_at: float = 0.0
    heard_at: float = 0.0
    spoke_at: float = 0.0
    source: Source = NOBODY
    irc: IrcState | None = None

    def step(self, step: Step) -> None:
        """Go to the next phase; LocalProtocolError if there is none from here."""
        phase = NEXT_PHASE.get((self.phase, step))
        if phase is None:
            raise LocalProtocolError(f"session {self.number} cannot be {step} while it is {self.phase}")
        self.phase = phase

    def identify(self) -> None:
        """Make `source` anew: call it after every change of what it shows."""
        self.source = Source(self.name, self.user, self.host, self.account, "B" in self.modes)

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
