"""What the load has to know of a chat protocol: how inputs are written, and which lines they make. Pure.

A dialect is one protocol seen from a client; `broker.chaos.irc_dialect` has IRC's. To put another protocol under load,
write its dialect, name it in PROTOCOLS and have `broker.chaos.scout` find it. Lines are without their LF.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from broker import phrases
from broker.phrases import LANGUAGES, Phrase

Variants = tuple[bytes, ...]
"""One line in each variant of the wire format; the plain protocol's are the languages."""


class Present(NamedTuple):
    """Who was in a room already when somebody came in: all names, first come first, and who of them made the room."""

    names: Sequence[str]
    founder: str = ""


class Dialect(Protocol):
    """The variants are numbered from 0; everybody's names and rooms are ASCII letters and digits.

    `long_text_bytes` are the least and the most of a long text. `leaves_to_join`: one must leave a room to be in
    another one only. `has_antechamber`: one gets into a room unasked. `gather` makes one unit of the first lines if
    they are one answer, and returns False if more of it must come. `automatic` is what a client must say to a line at
    once, or b"".
    """

    variants: int
    long_text_bytes: tuple[int, int]
    leaves_to_join: bool
    has_antechamber: bool

    def opening(self, name: str, variant: int) -> bytes: ...
    def greeting(self, variant: int) -> Sequence[bytes]: ...
    def is_welcome(self, line: bytes, name: str, variant: int) -> bool: ...
    def refused(self, name: str, variant: int) -> bytes: ...
    def is_antechamber(self, line: bytes, variant: int) -> bool: ...
    def is_personal(self, line: bytes, name: str) -> bool: ...
    def gather(self, lines: deque[bytes], name: str) -> bool: ...
    def automatic(self, line: bytes) -> bytes: ...

    def say(self, room: str, text: bytes) -> bytes: ...
    def act(self, room: str, text: bytes) -> bytes: ...
    def whisper(self, name: str, text: bytes) -> bytes: ...
    def rename(self, name: str) -> bytes: ...
    def call_name(self, name: str) -> bytes: ...
    def change_variant(self, variant: int) -> bytes: ...
    def join(self, room: str) -> bytes: ...
    def part(self, room: str) -> bytes: ...
    def quit(self) -> bytes: ...
    def who(self, room: str) -> bytes: ...

    def said(self, name: str, room: str, text: bytes) -> Variants: ...
    def acted(self, name: str, room: str, text: bytes) -> Variants: ...
    def whispered(self, name: str, recipient: str, text: bytes) -> Variants: ...
    def renamed(self, old: str, new: str) -> Variants: ...
    def joined(self, name: str, room: str) -> Variants: ...
    def left(self, name: str, room: str) -> Variants: ...
    def has_quit(self, name: str) -> Variants: ...
    def has_ended(self, name: str) -> Variants: ...
    def departures(self, name: str) -> Sequence[Variants]: ...

    def whisper_sent(self, name: str, text: bytes, variant: int) -> bytes: ...
    def rename_done(self, old: str, name: str, variant: int) -> bytes: ...
    def name_called(self, name: str, variant: int) -> bytes: ...
    def variant_changed(self, variant: int) -> bytes: ...
    def entered(self, room: str, present: Present, name: str, variant: int) -> bytes: ...
    def parted(self, room: str, name: str, variant: int) -> bytes: ...
    def goodbye(self, variant: int) -> bytes: ...
    def people(self, room: str, present: Present, name: str, variant: int) -> bytes: ...


def _fill(phrase: Phrase, variant: int, **values: object) -> bytes:
    return phrase.fill(LANGUAGES[variant], **values).encode()


def _variants(phrase: Phrase, **values: object) -> Variants:
    return tuple(phrase.fill(language, **values).encode() for language in LANGUAGES)


def _reply(phrase: Phrase, variant: int, **values: object) -> bytes:
    return b"* " + _fill(phrase, variant, **values)


class PlainDialect:
    """The broker's own line protocol, docs/chat-protocol.md; a variant is a language."""

    variants = len(LANGUAGES)
    long_text_bytes = (1000, 2500)
    leaves_to_join = False
    has_antechamber = True
    _shown_on_entering = 20
    _shown_in_who = 50

    def opening(self, name: str, variant: int) -> bytes:
        """What is sent on connecting. The language first: that of the notices depends on it."""
        return f"/lang {LANGUAGES[variant]}\n{name}\n".encode()

    def greeting(self, variant: int) -> Sequence[bytes]:
        """What answers the first line; the prompt before it is in the language that the broker begins with."""
        return [_fill(phrases.ASK_NAME, first) + self.variant_changed(variant) for first in range(self.variants)]

    def is_welcome(self, line: bytes, name: str, variant: int) -> bool:
        """The prompt has no end of line: the answer to the name follows it."""
        return line == _fill(phrases.ASK_NAME, variant) + _reply(phrases.WELCOME, variant, name=name)

    def refused(self, name: str, variant: int) -> bytes:
        """What comes instead if somebody has the name."""
        return _fill(phrases.ASK_NAME, variant) + _reply(phrases.NAME_IN_USE, variant)

    def is_antechamber(self, line: bytes, variant: int) -> bool:
        """Whether this says that one is in the room that everybody comes into first, where strangers may be."""
        beginning = _reply(phrases.ROOM_ENTERED_ALONE, variant, room="lobby")
        start, _, _ = beginning.partition(b"lobby")
        return line.startswith(start + b"lobby")

    def is_personal(self, line: bytes, name: str) -> bool:
        """Whether this is the broker's word to one person."""
        return line.startswith(b"* ")

    def gather(self, lines: deque[bytes], name: str) -> bool:
        """Every answer is one line."""
        return True

    def automatic(self, line: bytes) -> bytes:
        """Nobody is asked anything."""
        return b""

    def say(self, room: str, text: bytes) -> bytes:
        return text + b"\n"

    def act(self, room: str, text: bytes) -> bytes:
        return b"/me %b\n" % text

    def whisper(self, name: str, text: bytes) -> bytes:
        return b"/msg %b %b\n" % (name.encode(), text)

    def rename(self, name: str) -> bytes:
        return f"/nick {name}\n".encode()

    def call_name(self, name: str) -> bytes:
        """Ask for the name that one has: the answer tells that one still has it, and in which language."""
        return self.rename(name)

    def change_variant(self, variant: int) -> bytes:
        return f"/lang {LANGUAGES[variant]}\n".encode()

    def join(self, room: str) -> bytes:
        return f"/join {room}\n".encode()

    def part(self, room: str) -> bytes:
        return b"/part\n"

    def quit(self) -> bytes:
        return b"/quit\n"

    def who(self, room: str) -> bytes:
        return b"/who\n"

    def said(self, name: str, room: str, text: bytes) -> Variants:
        return _variants(phrases.SAID, name=name, text=text.decode())

    def acted(self, name: str, room: str, text: bytes) -> Variants:
        return _variants(phrases.ACTED, name=name, text=text.decode())

    def whispered(self, name: str, recipient: str, text: bytes) -> Variants:
        return _variants(phrases.WHISPERED, name=name, text=text.decode())

    def renamed(self, old: str, new: str) -> Variants:
        return _variants(phrases.RENAMED, old=old, new=new)

    def joined(self, name: str, room: str) -> Variants:
        return _variants(phrases.JOINED, name=name)

    def left(self, name: str, room: str) -> Variants:
        return _variants(phrases.LEFT, name=name)

    def has_quit(self, name: str) -> Variants:
        return _variants(phrases.LEFT, name=name)

    def has_ended(self, name: str) -> Variants:
        return _variants(phrases.LEFT, name=name)

    def departures(self, name: str) -> Sequence[Variants]:
        """The ways in which it may be told that somebody has gone who had not asked for it."""
        return [_variants(phrases.LEFT, name=name)]

    def whisper_sent(self, name: str, text: bytes, variant: int) -> bytes:
        return _reply(phrases.WHISPER_SENT, variant, name=name, text=text.decode())

    def rename_done(self, old: str, name: str, variant: int) -> bytes:
        return _reply(phrases.NAME_CHANGED, variant, name=name)

    def name_called(self, name: str, variant: int) -> bytes:
        return _reply(phrases.NAME_UNCHANGED, variant, name=name)

    def variant_changed(self, variant: int) -> bytes:
        return _reply(phrases.LANGUAGE_SET, variant)

    def entered(self, room: str, present: Present, name: str, variant: int) -> bytes:
        names = ", ".join(present.names[: self._shown_on_entering])
        more = len(present.names) - self._shown_on_entering
        if not present.names:
            return _reply(phrases.ROOM_ENTERED_ALONE, variant, room=room)
        if more > 0:
            return _reply(phrases.ROOM_ENTERED_MORE, variant, room=room, names=names, count=more)
        return _reply(phrases.ROOM_ENTERED, variant, room=room, names=names)

    def parted(self, room: str, name: str, variant: int) -> bytes:
        return _reply(phrases.ROOM_LEFT, variant, room=room)

    def goodbye(self, variant: int) -> bytes:
        return _reply(phrases.GOODBYE, variant)

    def people(self, room: str, present: Present, name: str, variant: int) -> bytes:
        total = len(present.names)
        names = ", ".join(present.names[: self._shown_in_who])
        more = total - self._shown_in_who
        if more > 0:
            return _reply(phrases.ROOM_PEOPLE_MORE, variant, room=room, total=total, names=names, count=more)
        return _reply(phrases.ROOM_PEOPLE, variant, room=room, total=total, names=names)


PROTOCOLS: Final = ("chat", "irc")
"""Those that there is a dialect of, by the names that `broker.urls.ListenerURL.protocol` has for them."""
