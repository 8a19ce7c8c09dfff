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

    def answer(self, line: bytes, name: str, room: str) -> bytes:
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

    def answer(self, line: bytes, name: str, room: str) -> bytes:
        return b""

    def has_entered(self, line: bytes, name: str, room: str) -> bool:
        # The wording is not fixed; but nobody else speaks of this room before one is in it.
        return line.startswith(b"* ") and room.encode() in line

    def saying(self, room: str) -> bytes:
        return b""

    def said(self, name: str, room: str) -> bytes:
        return f"{name}说: ".encode()


class IrcProtocol:
    """IRC (RFC 2812), on any server: a room is the channel of its name, and capabilities are not asked for.

    `address` is USER@HOST of every client, as the server shows it (`benchmarks.probe`).
    """

    line_end = b"\r\n"

    def __init__(self) -> None:
        self.address = b""

    def opening(self, name: str, room: str) -> bytes:
        return f"NICK {name}\r\nUSER load 0 * :load\r\n".encode()

    def answer(self, line: bytes, name: str, room: str) -> bytes:
        words = line.split(b" ")
        if words[0] == b"PING":
            return b"PONG " + line.partition(b" ")[2] + b"\r\n"
        if len(words) > 1 and words[1] == b"PING":
            return b"PONG " + line.split(b" ", 2)[2] + b"\r\n"
        # A server may look the client up first, and until its welcome it takes no JOIN.
        return f"JOIN #{room}\r\n".encode() if words[1:2] == [b"001"] else b""

    def has_entered(self, line: bytes, name: str, room: str) -> bool:
        # The end of the names, of which there may be several lines after the JOIN.
        words = line.split(b" ")
        return words[1:2] == [b"366"] and words[3:4] == [f"#{room}".encode()]

    def saying(self, room: str) -> bytes:
        return f"PRIVMSG #{room} :".encode()

    def said(self, name: str, room: str) -> bytes:
        return f":{name}!".encode() + self.address + f" PRIVMSG #{room} :".encode()


PROTOCOLS: Final[dict[str, ChatProtocol]] = {"chat": PlainProtocol(), "irc": IrcProtocol()}
"""By the name that `broker.urls.ListenerURL.protocol` has for it."""
