"""IRC as the load of `broker chaos` knows it, without capabilities: its inputs, and the lines that they make. Pure.

Sources: RFC 2812; modern.ircdocs.horse for CTCP ACTION and the order of a registration's answers. What depends on the
server (its name, what it tells everybody who registers, the host that it sees its clients at) is learned from one
registration before the load comes. It knows nothing of how the broker writes these lines.

An answer of several lines (to a registration, a JOIN, NAMES) is one unit: its lines with the LFs between them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from broker.chaos.dialect import Present, Variants

_USER: Final = "chaos"
_BYE: Final = "bye"
_BODY_BYTES: Final = 510
"""Of a line without its CR LF (RFC 2812, 2.3)."""
_NUMERIC: Final = re.compile(rb":[^ ]+ ([0-9]{3}) ")
_LAST: Final = (b"366", b"376", b"422")
"""Numerics that end an answer of several lines: of NAMES, of a registration with a MOTD, and of one without."""
_GOES_ON: Final = re.compile(rb"(00[1-5]|25[1-5]|26[56]|353|37[25])")
_NUMBERS_OF_PEOPLE: Final = (b"251", b"252", b"253", b"254", b"255", b"265", b"266")
"""LUSERS, whose numbers are not known."""
_QUITS: Final = (
    "Connection closed",
    "Connection reset",
    "Too slow",
    "Client quit",
    "Removed",
    "An error of the server",
)
"""Reasons of a QUIT that was not asked for; the first is that of whoever ends the stream."""


def is_last_of_registration(line: bytes) -> bool:
    """Whether this line, without its LF, ends what is told to somebody who registers."""
    return _numeric(line) in (b"376", b"422")


def _numeric(line: bytes) -> bytes:
    found = _NUMERIC.match(line)
    return found[1] if found is not None else b""


class IrcDialect:
    """`registration` are the lines, without LFs, that somebody got who registered by `opening` as `name`; ValueError if
    they cannot be that.
    """

    variants = 1
    long_text_bytes = (200, 350)
    leaves_to_join = True
    has_antechamber = False

    def __init__(self, registration: Sequence[bytes] = (), name: str = "") -> None:
        found = re.fullmatch(rb":([^ ]+) 001 ([^ ]+) :.* ([^ !]+)![^ @]+@([^ ]+)\r", registration[0])
        if found is None or found[2] != found[3] or found[2] != name.encode():
            raise ValueError("this is not what follows a registration")
        self._server = found[1].decode()
        self._host = found[4].decode()
        self._registration = _without_particulars(b"\n".join(registration), name)

    def opening(self, name: str, variant: int) -> bytes:
        """NICK and USER (RFC 2812, 3.1)."""
        return opening(name)

    def greeting(self, variant: int) -> Sequence[bytes]:
        """Nothing is said first."""
        return ()

    def is_welcome(self, line: bytes, name: str, variant: int) -> bool:
        """Whether this is all that follows a registration: what was learned, but for name and numbers of people."""
        return _without_particulars(line, name) == self._registration

    def refused(self, name: str, variant: int) -> bytes:
        """ERR_NICKNAMEINUSE."""
        return f":{self._server} 433 * {name} :Nickname is already in use\r".encode()

    def is_antechamber(self, line: bytes, variant: int) -> bool:
        return False

    def is_personal(self, line: bytes, name: str) -> bool:
        """Whether the server says this to one person, or it is that person's own doing."""
        return line.startswith((f":{self._server} ".encode(), f":{name}!".encode(), b"ERROR "))

    def gather(self, lines: deque[bytes], name: str) -> bool:
        """Make the first unit of the first lines. It goes on from one's own JOIN, or a numeric that is not the last of
        its kind, to the next, and ends before whatever is no numeric.
        """
        first = lines[0]
        last = first.rpartition(b"\n")[2]
        while last.startswith(self._own(name, "JOIN ")) or _GOES_ON.fullmatch(_numeric(last)):
            if len(lines) < 2:
                return False
            if _numeric(lines[1]) not in _LAST and not _GOES_ON.fullmatch(_numeric(lines[1])):
                return True
            lines.popleft()
            last = lines[0]
            first = lines[0] = first + b"\n" + last
        return True

    def automatic(self, line: bytes) -> bytes:
        """PONG to the server's PING (RFC 2812, 3.7.2)."""
        return f"PONG :{self._server}\r\n".encode() if line == self._line("PING", f":{self._server}\r") else b""

    # Inputs.

    def say(self, room: str, text: bytes) -> bytes:
        return b"PRIVMSG #%b :%b\r\n" % (room.encode(), text)

    def act(self, room: str, text: bytes) -> bytes:
        return b"PRIVMSG #%b :\x01ACTION %b\x01\r\n" % (room.encode(), text)

    def whisper(self, name: str, text: bytes) -> bytes:
        """Nothing answers a message, so a PING asks how far the server is; its token is the end of the text."""
        return b"PRIVMSG %b :%b\r\nPING %b\r\n" % (name.encode(), text, _token(text))

    def rename(self, name: str) -> bytes:
        return f"NICK {name}\r\n".encode()

    def call_name(self, name: str) -> bytes:
        return f"USERHOST {name}\r\n".encode()

    def change_variant(self, variant: int) -> bytes:
        raise NotImplementedError("there is one variant")

    def join(self, room: str) -> bytes:
        return f"JOIN #{room}\r\n".encode()

    def part(self, room: str) -> bytes:
        return f"PART #{room}\r\n".encode()

    def quit(self) -> bytes:
        return f"QUIT :{_BYE}\r\n".encode()

    def who(self, room: str) -> bytes:
        return f"NAMES #{room}\r\n".encode()

    # What others see.

    def said(self, name: str, room: str, text: bytes) -> Variants:
        return (self._own(name, f"PRIVMSG #{room} :") + text + b"\r",)

    def acted(self, name: str, room: str, text: bytes) -> Variants:
        return (self._own(name, f"PRIVMSG #{room} :") + b"\x01ACTION " + text + b"\x01\r",)

    def whispered(self, name: str, recipient: str, text: bytes) -> Variants:
        return (self._own(name, f"PRIVMSG {recipient} :") + text + b"\r",)

    def renamed(self, old: str, new: str) -> Variants:
        return (self._own(old, f"NICK :{new}\r"),)

    def joined(self, name: str, room: str) -> Variants:
        return (self._own(name, f"JOIN #{room}\r"),)

    def left(self, name: str, room: str) -> Variants:
        return (self._own(name, f"PART #{room}\r"),)

    def has_quit(self, name: str) -> Variants:
        return (self._own(name, f"QUIT :Quit: {_BYE}\r"),)

    def has_ended(self, name: str) -> Variants:
        return (self._own(name, f"QUIT :{_QUITS[0]}\r"),)

    def departures(self, name: str) -> Sequence[Variants]:
        return [self.has_quit(name), *((self._own(name, f"QUIT :{reason}\r"),) for reason in _QUITS)]

    # Answers.

    def whisper_sent(self, name: str, text: bytes, variant: int) -> bytes:
        return self._line("PONG", self._server) + b" :" + _token(text) + b"\r"

    def rename_done(self, old: str, name: str, variant: int) -> bytes:
        return self.renamed(old, name)[0]

    def name_called(self, name: str, variant: int) -> bytes:
        return f":{self._server} 302 {name} :{name}=+{_USER}@{self._host}\r".encode()

    def variant_changed(self, variant: int) -> bytes:
        raise NotImplementedError("there is one variant")

    def entered(self, room: str, present: Present, name: str, variant: int) -> bytes:
        """One's own JOIN, and the names, with one's own at their end."""
        everybody = Present([*present.names, name], present.founder)
        return self.joined(name, room)[0] + b"\n" + self.people(room, everybody, name, variant)

    def parted(self, room: str, name: str, variant: int) -> bytes:
        return self.left(name, room)[0]

    def goodbye(self, variant: int) -> bytes:
        return f"ERROR :Closing Link: {self._host} (Quit: {_BYE})\r".encode()

    def people(self, room: str, present: Present, name: str, variant: int) -> bytes:
        """RPL_NAMREPLY, as many as it takes, and RPL_ENDOFNAMES; who made the room is its operator (@)."""
        start = f":{self._server} 353 {name} = #{room} :"
        words = [f"@{each}" if each == present.founder else each for each in present.names]
        lines = [start + line for line in _packed(words, _BODY_BYTES - len(start))]
        lines.append(f":{self._server} 366 {name} #{room} :End of /NAMES list")
        return "\n".join(f"{line}\r" for line in lines).encode()

    def _own(self, name: str, rest: str) -> bytes:
        return f":{name}!{_USER}@{self._host} {rest}".encode()

    def _line(self, command: str, parameter: str) -> bytes:
        return f":{self._server} {command} {parameter}".encode()


def opening(name: str) -> bytes:
    """What everybody registers with."""
    return f"NICK {name}\r\nUSER {_USER} 0 * :{_USER}\r\n".encode()


def _token(text: bytes) -> bytes:
    return text[-24:]


def _packed(words: Sequence[str], room: int) -> Iterator[str]:
    """The words in as few lines of at most `room` characters as they fit into in their order."""
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > room:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        yield line


def _without_particulars(unit: bytes, name: str) -> list[bytes]:
    """The lines without the name, and without the numbers in those that tell how many people there are."""
    lines = []
    for line in unit.split(b"\n"):
        number = _numeric(line)
        line = line.replace(name.encode(), b"\0")
        if number in _NUMBERS_OF_PEOPLE:
            start, nick, rest = line.partition(b" \0 ")
            line = start + nick + re.sub(rb"[0-9]+", b"0", rest)
        lines.append(line)
    return lines
