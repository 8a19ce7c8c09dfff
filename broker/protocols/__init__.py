"""The chat protocols: each is a module with the same four functions, so it can have no state but the session's.

A protocol turns lines into calls of `broker.chat.Chat`, and occasions into bytes. It never sees a socket or a clock,
and nothing that a peer sends makes it raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from broker.occasions import Occasion
from broker.protocols import plain

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Session


class ChatProtocol(Protocol):
    """What a protocol's module has to offer."""

    def opened(self, chat: Chat, session: Session) -> None:
        """The session has just begun: greet it."""

    def line(self, chat: Chat, session: Session, data: bytes) -> None:
        """One line of input, at most as long as allowed, without its end. Not called once the session is gone."""

    def overlong(self, chat: Chat, session: Session) -> None:
        """A line was longer than allowed and has been dropped: say so."""

    def render(self, occasion: Occasion, language: str) -> bytes:
        """The bytes that tell somebody of the occasion: the same ones for the same arguments, always."""


PROTOCOLS: Final[dict[str, ChatProtocol]] = {"chat": plain}
"""By the name that a listener's URL begins with."""
