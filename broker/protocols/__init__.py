"""The chat protocols: each is a module with the same functions, so it can have no state but the session's.

A protocol turns lines into calls of `broker.chat.Chat`, and occasions into bytes. It never sees a socket or a clock,
and nothing that a peer sends makes it raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker.occasions import Occasion, SharedOccasion, Source
from broker.protocols import irc, plain

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.flows import Flow
    from broker.sessions import Session, WireFormat


class ChatProtocol(Protocol):
    """What a protocol's module has to offer."""

    def opened(self, chat: Chat, session: Session) -> None:
        """The session has just begun: greet it."""

    def line(self, chat: Chat, session: Session, data: bytes) -> None:
        """One line of input, at most as long as allowed, without its end. Not called once the session is gone."""

    def monologue(self, chat: Chat, session: Session, data: bytes) -> int:
        """Whole lines of somebody who has a name, of any length: how many there are.

        0, and nothing is done, if any of them is more than something plainly said in a room: take them one by one.
        """

    def heard_of(self, flow: Flow, data: bytes) -> tuple[bytes, int]:
        """What everybody else in the room gets of these whole lines if the session just goes on talking, and how many
        there are.

        b"" and 0, and nothing is done, if any of them is more than that.
        """

    def start_of_speech(self, source: Source, target: str, format: WireFormat) -> bytes:
        """What stands before the text in each line that tells people of this format what somebody says in a room.

        b"" if that differs from one line to the next.
        """

    def overlong(self, chat: Chat, session: Session) -> None:
        """A line was longer than allowed and has been dropped: say so."""

    def longest_line_bytes(self, max_line_bytes: int) -> int:
        """How long a line may be, without its end, where the setting says `max_line_bytes`."""

    def turned_away(self, reason: str) -> bytes:
        """What tells somebody why their connection is closed at once; there is no session."""

    def render(self, occasion: Occasion, format: WireFormat) -> bytes:
        """The bytes that tell somebody of the occasion: the same ones for the same arguments, always.

        No bytes if it means nothing in this format.
        """

    def shows_ids(self, capabilities: int) -> bool:
        """Whether people with these capabilities learn the names that messages have."""

    def relevant(self, occasion: SharedOccasion, capabilities: int) -> int:
        """Those of a format's capabilities that make a difference to this kind of occasion."""

    def check(self, chat: Chat, session: Session) -> None:
        """The time is over that was asked for by `Chat.check_later`."""

    def watched(self, chat: Chat, session: Session, source: Source, present: bool) -> None:
        """Somebody of a name that the session watches has come, or gone."""

    def answered(self, chat: Chat, session: Session, purpose: tuple[Any, ...], answer: Any) -> None:
        """What was asked for by `Chat.ask` is here."""

    def reconfigured(self, chat: Chat) -> None:
        """The chat may have another configuration from here on."""


PROTOCOLS: Final[dict[str, ChatProtocol]] = {"chat": plain, "irc": irc}
"""By the name that a listener's URL begins with."""


def longest_line_bytes(protocols: Iterable[str], max_line_bytes: int) -> int:
    """The longest line, without its end, of any of these protocols: what a worker has to be ready for."""
    return max(PROTOCOLS[protocol].longest_line_bytes(max_line_bytes) for protocol in protocols)
