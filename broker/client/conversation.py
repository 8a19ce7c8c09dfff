"""Who and where the person is, what the broker's lines mean for that, and what to answer it. Pure.

Used by the process of `broker chat`. Bytes go in, lines to show come out, lines to send wait in `outgoing`; no socket,
no clock, no terminal. One Conversation outlives its connections, so that a new one goes on where the old one ended.

    GREETING  the broker has not asked for a name yet
    ASKING    it has, and the person has to give one (there is none yet, or it was refused)
    NAMING    a name was sent, there is no verdict yet
    WAITING   it is in use, probably by our own lost connection: it will be sent again shortly
    ENTERING  accepted; on the way to the room that was asked for
    PRESENT   in the chat
    ENDED     the connection is over, or none was made yet; `ending` says why
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from broker import phrases
from broker.client import sentences
from broker.client.completion import Vocabulary
from broker.client.lines import Kind, Line, LineDecoder
from broker.client.people import People
from broker.client.recogniser import REPLY_PREFIX, prompt_language, recognise, split_prompt
from broker.names import key_of
from broker.phrases import LANGUAGES, Phrase
from broker.protocols.plain_commands import COMMANDS
from broker.text import clean

MAX_LINE_BYTES: Final = 4096
"""What a broker takes in one line, without its end (docs/chat-protocol.md, Limits)."""

_LINE_END: Final = re.compile("\r\n?|\n")  # not all that `splitlines` takes for one: these end a message

NAME_RETRY_SECONDS: Final = (0.3, 0.6, 1.2, 2.0, 3.0)
"""Delays before trying again a name that our lost connection may still hold."""


class Phase(Enum):
    """How far one is; see the module's docstring."""

    GREETING = "greeting"
    ASKING = "asking"
    NAMING = "naming"
    WAITING = "waiting"
    ENTERING = "entering"
    PRESENT = "present"
    ENDED = "ended"


class Ending(Enum):
    """Why a connection ended."""

    LOST = "lost"
    QUIT = "quit"
    KICKED = "kicked"
    NAME_TIMED_OUT = "name timed out"
    FELL_BEHIND = "fell behind"
    CLOSING = "closing"


class Conversation:
    """One person's side of the chat.

    `name` and `room` are where the person wants to be until the broker says where that is (empty: not decided; the
    broker's room to begin with). `language` is the one to speak until the broker asks its first question;
    `wanted_language`, if given, is asked of the broker.
    """

    def __init__(self, name: str, room: str, language: str, wanted_language: str | None) -> None:
        self.name = name
        self.room = ""
        self.language = language
        self.phase = Phase.ENDED
        self.ending = Ending.LOST
        self.outgoing: list[str] = []
        """Lines for the broker, to be sent and cleared by whoever has the connection."""
        self.refusal = ""
        """Why the broker refused the name that was sent last, or the room asked for; empty if it did not."""
        self.last_words = ""
        """The last thing that the broker told this person alone."""
        self.people = People()
        self.retry_seconds = 0.0
        """How long to wait before `name_again`, while WAITING."""
        self.ever_asked = False
        """A broker has asked for a name, so there is one, and it lets us in."""
        self._ever_present = False
        self._wanted_room = room.strip().removeprefix("#")
        self._wanted_language = wanted_language
        self._rooms: dict[str, str] = {}
        self._mention: re.Pattern[str] | None = None
        self._name_retries: list[float] = []
        self._connected_anew()

    def _connected_anew(self) -> None:
        self._decoder = LineDecoder()
        self._language_asked = False
        self._name_sent = False
        self._join_sent = False
        self._name_taken = False

    # The connection.

    def connected(self) -> None:
        """There is a new connection."""
        self._connected_anew()
        self.outgoing.clear()
        self.refusal = self.last_words = ""
        self.ending = Ending.LOST
        self.phase = Phase.GREETING
        self._name_retries = list(NAME_RETRY_SECONDS) if self._ever_present else []

    def disconnected(self) -> None:
        """The connection has ended; if the broker did not say why, it is LOST."""
        self.phase = Phase.ENDED

    def received(self, data: bytes) -> list[Line]:
        """Bytes of the broker's: the lines to show for them."""
        shown = [line for text in self._decoder.feed(data) if text for line in self._line(text)]
        if self.phase is not Phase.PRESENT:
            asked_in = prompt_language(self._decoder.rest)
            if asked_in is not None:
                self._decoder.drop_rest()
                shown += self._name_asked(asked_in)
        return shown

    # The person.

    def give_name(self, name: str) -> None:
        """The person answers the question for a name, now or before the next connection asks it."""
        if name.startswith("/"):  # no name does; the broker takes a few commands here
            self._send(name)
            return
        self.name = name
        if self.phase is Phase.ASKING:
            self._name_retries.clear()
            self._send_name()
        elif self.phase is Phase.ENDED:
            self.ending = Ending.LOST  # the broker's impatience is answered

    @property
    def asks_name(self) -> bool:
        """The next thing that the person has to give is a name, though the broker may have tired of waiting for it."""
        return self.phase is Phase.ASKING or (self.phase is Phase.ENDED and self.ending is Ending.NAME_TIMED_OUT)

    def name_again(self) -> None:
        """The delay that `retry_seconds` told is over."""
        if self.phase is Phase.WAITING:
            self._send_name()

    def say(self, text: str) -> tuple[bool, list[Line]]:
        """What the person typed: whether it was taken, and the lines to show for it.

        Of a text of several lines only the first can be a command. Nothing of it is sent if one line is too long.
        """
        first, *others = _LINE_END.split(text)
        lines = [first, *(f"/{line}" if line.startswith("/") else line for line in others)]
        for line in lines:
            length = len(line.encode(errors="replace"))
            if length > MAX_LINE_BYTES:
                warning = sentences.LINE_TOO_LONG.fill(self.language, length=length, limit=MAX_LINE_BYTES)
                return False, [Line(Kind.WARNING, warning)]
        if self.phase is not Phase.PRESENT:
            return False, [Line(Kind.WARNING, sentences.NOT_CONNECTED.fill(self.language))]
        shown: list[Line] = []
        for line in lines:
            if not line.isspace() and line:
                self._send(line)
                shown += self._echo(line)
        return True, shown

    def vocabulary(self) -> Vocabulary:
        """What can be completed now."""
        names = self.people.names()
        rooms = self._rooms.values()
        return Vocabulary(
            [f"/{command}" for command in COMMANDS],
            names,
            {"/msg": names, "/join": rooms, "/who": rooms, "/lang": LANGUAGES},
        )

    # Within.

    def _send(self, line: str) -> None:
        self.outgoing.append(line)

    def _send_name(self) -> None:
        self._send(self.name)
        self._name_sent = True
        self._name_taken = False
        self.refusal = ""
        self.phase = Phase.NAMING

    def _echo(self, line: str) -> list[Line]:
        """What the broker tells everybody else of a line, for the one who sent it; it does not tell that one."""
        if not self.room:
            return []
        if line.startswith("/") and not line.startswith("//"):
            word, _, rest = line[1:].replace("\t", " ").partition(" ")
            done = clean(rest.strip())
            return [Line(Kind.ACTION, done, self.name, mine=True)] if word.lower() == "me" and done else []
        return [Line(Kind.SAID, clean(line.removeprefix("/")), self.name, mine=True)]

    def _name_asked(self, language: str) -> list[Line]:
        self.language = language
        self.ever_asked = True
        if self._wanted_language not in (None, language) and not self._language_asked:
            self._language_asked = True
            self._send(f"/lang {self._wanted_language}")
        elif self.name and not self._name_sent:
            self._send_name()
        elif self._name_taken and self._name_retries:
            self.phase = Phase.WAITING
            self.retry_seconds = self._name_retries.pop(0)
            if self.retry_seconds == NAME_RETRY_SECONDS[0]:
                return [Line(Kind.NOTICE, sentences.NAME_STILL_HELD.fill(language, name=self.name))]
        else:
            self.phase = Phase.ASKING
        return []

    def _line(self, text: str) -> list[Line]:
        shown: list[Line] = []
        if self.phase is not Phase.PRESENT:
            asked_in, text = split_prompt(text)
            if asked_in is not None:
                shown += self._name_asked(asked_in)
        recognised = recognise(text, self.language)
        if recognised is not None:
            shown += _HANDLERS[recognised.phrase](self, text, **recognised.values)
        elif text:
            shown += self._notice(text)
        return shown

    def _notice(self, text: str) -> list[Line]:
        self.last_words = text.removeprefix(REPLY_PREFIX)
        return [Line(Kind.NOTICE, self.last_words, raw=text)]

    # What happens in the room.

    def _said(self, raw: str, name: str, text: str) -> list[Line]:
        self.people.spoke(name)
        to_me = self._mention is not None and self._mention.search(text) is not None
        return [Line(Kind.SAID, text, name, to_me=to_me, raw=raw)]

    def _acted(self, raw: str, name: str, text: str) -> list[Line]:
        self.people.spoke(name)
        return [Line(Kind.ACTION, text, name, raw=raw)]

    def _joined(self, raw: str, name: str) -> list[Line]:
        self.people.entered(name)
        return [Line(Kind.ENTERED, raw, raw=raw)]

    def _left(self, raw: str, name: str) -> list[Line]:
        self.people.left(name)
        return [Line(Kind.LEFT, raw, raw=raw)]

    def _renamed(self, raw: str, old: str, new: str) -> list[Line]:
        self.people.renamed(old, new)
        return [Line(Kind.NOTICE, raw, raw=raw)]

    # What is between the broker, or one other person, and this one.

    def _whispered(self, raw: str, name: str, text: str) -> list[Line]:
        self.people.met([name])
        text = sentences.WHISPER_TO_ME.fill(self.language, text=text)
        return [Line(Kind.SAID, text, name, to_me=True, raw=raw)]

    def _whisper_sent(self, raw: str, name: str, text: str) -> list[Line]:
        self.people.met([name])
        text = sentences.WHISPER_BY_ME.fill(self.language, name=name, text=text)
        return [Line(Kind.SAID, text, self.name, mine=True, raw=raw)]

    def _welcomed(self, raw: str, name: str) -> list[Line]:
        self._is_called(name)
        self.phase = Phase.ENTERING
        return self._notice(raw)

    def _is_called(self, name: str) -> None:
        self.name = name
        # Beside ASCII letters only: Chinese text has no spaces around a name.
        self._mention = re.compile(f"(?<![0-9A-Za-z_]){re.escape(name)}(?![0-9A-Za-z_])", re.IGNORECASE)

    def _name_changed(self, raw: str, name: str) -> list[Line]:
        self._is_called(name)
        return self._notice(raw)

    def _name_refused(self, raw: str, **values: str) -> list[Line]:
        shown = self._notice(raw)
        if self.phase is Phase.NAMING:
            self.refusal = self.last_words
        elif self.phase is Phase.ENTERING:  # it was the name of the room
            self.refusal = self.last_words
            self._wanted_room = ""
            self._present()
        return shown

    def _name_in_use(self, raw: str) -> list[Line]:
        self._name_taken = self.phase is Phase.NAMING
        shown = self._name_refused(raw)
        return [] if self._name_taken and self._name_retries else shown

    def _room_entered(self, raw: str, room: str, names: str = "", count: str = "0") -> list[Line]:
        self.room = room
        self._rooms[key_of(room)] = room
        self.people.found(_listed(names), int(count))
        wanted = self._wanted_room
        if self.phase is Phase.ENTERING and wanted and key_of(wanted) != key_of(room) and not self._join_sent:
            self._join_sent = True
            self._send(f"/join {wanted}")
        else:
            self._wanted_room = room
            self._present()
        return self._notice(raw)

    def _present(self) -> None:
        self.phase = Phase.PRESENT
        self._ever_present = True

    def _room_left(self, raw: str, room: str) -> list[Line]:
        self.room = self._wanted_room = ""
        self.people.found([], 0)
        return self._notice(raw)

    def _people_listed(self, raw: str, room: str, total: str, names: str, **values: str) -> list[Line]:
        others = [name for name in _listed(names) if name != self.name]
        if room == self.room:
            self.people.found(others, max(0, int(total) - 1 - len(others)))
        else:
            self.people.met(others)
        return self._notice(raw)

    def _rooms_listed(self, raw: str, rooms: str, **values: str) -> list[Line]:
        for room in _listed(rooms):
            name = room.partition(" (")[0]
            self._rooms[key_of(name)] = name
        return self._notice(raw)

    def _language_set(self, raw: str, language: str) -> list[Line]:
        self.language = self._wanted_language = language
        return [] if self.phase is Phase.GREETING else self._notice(raw)  # in GREETING it was not the person who asked

    def _farewell(self, ending: Ending, raw: str) -> list[Line]:
        self.ending = ending
        return self._notice(raw)


def _listed(text: str) -> list[str]:
    return text.split(", ") if text else []


def _ending(ending: Ending) -> Callable[..., list[Line]]:
    return lambda conversation, raw, **values: conversation._farewell(ending, raw)


_HANDLERS: Final[dict[Phrase, Callable[..., list[Line]]]] = {
    phrases.SAID: Conversation._said,
    phrases.ACTED: Conversation._acted,
    phrases.JOINED: Conversation._joined,
    phrases.LEFT: Conversation._left,
    phrases.RENAMED: Conversation._renamed,
    phrases.WHISPERED: Conversation._whispered,
    phrases.WHISPER_SENT: Conversation._whisper_sent,
    phrases.WELCOME: Conversation._welcomed,
    phrases.NAME_CHANGED: Conversation._name_changed,
    phrases.NAME_IN_USE: Conversation._name_in_use,
    **dict.fromkeys(
        (
            phrases.NAME_EMPTY,
            phrases.NAME_TOO_LONG,
            phrases.NAME_SPACE,
            phrases.NAME_UNPRINTABLE,
            phrases.NAME_SYMBOL,
        ),
        Conversation._name_refused,
    ),
    phrases.ROOM_ENTERED: Conversation._room_entered,
    phrases.ROOM_ENTERED_MORE: Conversation._room_entered,
    phrases.ROOM_ENTERED_ALONE: Conversation._room_entered,
    phrases.ROOM_LEFT: Conversation._room_left,
    phrases.ROOM_PEOPLE: Conversation._people_listed,
    phrases.ROOM_PEOPLE_MORE: Conversation._people_listed,
    phrases.ROOMS: Conversation._rooms_listed,
    phrases.ROOMS_MORE: Conversation._rooms_listed,
    phrases.LANGUAGE_SET: Conversation._language_set,
    phrases.GOODBYE: _ending(Ending.QUIT),
    phrases.KICKED: _ending(Ending.KICKED),
    phrases.KICKED_BECAUSE: _ending(Ending.KICKED),
    phrases.NAME_TIMED_OUT: _ending(Ending.NAME_TIMED_OUT),
    phrases.FELL_BEHIND: _ending(Ending.FELL_BEHIND),
    phrases.CLOSING: _ending(Ending.CLOSING),
}
"""What to do about each sentence that `broker.client.recogniser` finds; called with the line and its placeholders."""
