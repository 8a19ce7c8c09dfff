"""What the load generator has to know of a chat protocol: one small class for each. Pure.

A line is given and taken without its end. To measure servers of another protocol, add its class to PROTOCOLS, and
its URL scheme to `broker.urls` if the broker speaks it too.
"""

from __future__ import annotations

from typing import Final, Protocol


class ChatProtocol(Protocol):
    """One client's side of a protocol; everybody's names and rooms are ASCII letters and digits."""

    line_end: bytes
    """Ends every line, in both directions."""

    def opening(self, name: str, room: str) -> bytes:
        """All that is sent on connecting, to take the name and enter the room."""

    def answer(self, line: bytes) -> bytes:
        """What to send at once because this line came while entering, such as the PONG to a PING; usually nothing."""

    def has_entered(self, line: bytes, name: str, room: str) -> bool:
        """Whether this line says that the client of that name is in that room from here on."""

    def saying(self, room: str) -> bytes:
        """What stands before the text in a line that says something in the room."""

    def said(self, name: str, room: str) -> bytes:
        """What stands before the text in the line that the others in the room get."""


class PlainProtocol:
    """The broker's own line protocol, `docs/chat-protocol.md`."""

    line_end = b"\n"

    def opening(self, name: str, room: str) -> bytes:
        # The language first: that of what others say depends on it.
        return f"/lang zh\n{name}\n/join {room}\n".encode()

    def answer(self, line: bytes) -> bytes:
        return b""

    def has_entered(self, line: bytes, name: str, room: str) -> bool:
        # The wording is not fixed; but nobody else speaks of this room before one is in it.
        return line.startswith(b"* ") and room.encode() in line

    def saying(self, room: str) -> bytes:
        return b""

    def said(self, name: str, room: str) -> bytes:
        return f"{name}说: ".encode()


PROTOCOLS: Final[dict[str, ChatProtocol]] = {"chat": PlainProtocol()}
"""By the name that `broker.urls.ListenerURL.protocol` has for it."""
