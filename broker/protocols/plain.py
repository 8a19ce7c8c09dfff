"""The plain line protocol, pleasant with nothing but `nc`; `docs/chat-protocol.md` specifies it. Router; pure.

What keeps a line from being taken for something else: a name has no space, no colon, and no `*` in it (`broker.names`).
So the first word of what somebody says ends in a colon, and that of a notice about somebody does not; `** ` begins an
action of somebody's, and `* ` whatever the broker has to say to one person.

Whether a line is a command is decided before unwanted characters are removed, so removing them cannot make one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import phrases
from broker.names import SYMBOLS_ANYWHERE, SYMBOLS_FIRST, Name, NameFault, parse_room_name
from broker.occasions import (
    Acted,
    Closing,
    FellBehind,
    Joined,
    Kicked,
    Left,
    NameTimedOut,
    Occasion,
    Renamed,
    Said,
    Whispered,
)
from broker.phrases import LANGUAGES, Phrase
from broker.text import clean, decode

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Phase, Session

NAMES_ON_ENTERING: Final = 20
NAMES_IN_WHO: Final = 50
ROOMS_IN_LIST: Final = 50
ECHO_LENGTH: Final = 40
"""Of somebody's mistake at most so many characters are repeated in the answer."""


# The four functions of a protocol.


def opened(chat: Chat, session: Session) -> None:
    """Ask for the name."""
    _ask_name(chat, session)


def line(chat: Chat, session: Session, data: bytes) -> None:
    """A name, a command, or something to say."""
    _LINE_HANDLERS[session.phase](chat, session, decode(data))


def overlong(chat: Chat, session: Session) -> None:
    """Refuse the line."""
    _reply(chat, session, phrases.LINE_TOO_LONG, limit=chat.config.max_line_bytes)
    if session.phase == "naming":
        _ask_name(chat, session)


def render(occasion: Occasion, language: str) -> bytes:
    """One line; the phrase's placeholders are the occasion's fields."""
    if isinstance(occasion, Kicked) and not occasion.reason:
        return f"* {phrases.KICKED.fill(language)}\n".encode()
    return _TEMPLATES[language][type(occasion)].format(*occasion).encode()


_OCCASIONS: Final[dict[type[Occasion], tuple[str, Phrase]]] = {
    Joined: ("", phrases.JOINED),
    Left: ("", phrases.LEFT),
    Said: ("", phrases.SAID),
    Acted: ("", phrases.ACTED),
    Renamed: ("", phrases.RENAMED),
    Whispered: ("", phrases.WHISPERED),
    NameTimedOut: ("\n* ", phrases.NAME_TIMED_OUT),  # the prompt has left the cursor in mid-line
    Kicked: ("* ", phrases.KICKED_BECAUSE),
    FellBehind: ("* ", phrases.FELL_BEHIND),
    Closing: ("* ", phrases.CLOSING),
}


def _template(kind: type[Occasion], language: str) -> str:
    """A whole line whose placeholders are numbers of fields: naming them would make every message dearer."""
    prefix, phrase = _OCCASIONS[kind]
    text: str = getattr(phrase, language)
    for number, field in enumerate(kind._fields):
        text = text.replace(f"{{{field}}}", f"{{{number}}}")
    return f"{prefix}{text}\n"


_TEMPLATES: Final = {language: {kind: _template(kind, language) for kind in _OCCASIONS} for language in LANGUAGES}


# Lines, by the session's phase.


def _line_while_naming(chat: Chat, session: Session, text: str) -> None:
    if text.startswith("/"):  # no name begins so
        _run(chat, session, text)
        if session.phase == "naming":
            _ask_name(chat, session)
        return
    fault = chat.set_name(session, text)
    if fault is not None:
        _refuse_name(chat, session, fault)
        _ask_name(chat, session)
        return
    _reply(chat, session, phrases.WELCOME, name=session.name)
    _enter(chat, session, chat.default_room.name)


def _line_while_present(chat: Chat, session: Session, text: str) -> None:
    if text.startswith("/"):
        if not text.startswith("//"):
            _run(chat, session, text)
            return
        text = text[1:]
    text = clean(text)
    if not text or text.isspace():
        return
    if session.room is None:
        _reply(chat, session, phrases.ROOM_NONE)
    else:
        chat.tell_others(session, Said(session.name, text))


_LINE_HANDLERS: Final[dict[Phase, Callable[[Chat, Session, str], None]]] = {
    "naming": _line_while_naming,
    "present": _line_while_present,
}


# Commands.


class Command(NamedTuple):
    """What the runner has to know of a command; `rest` of the line goes to the handler without outer white space."""

    handler: Callable[[Chat, Session, str], None]
    minimum_parameters: int
    before_naming: bool
    usage: Phrase
    summary: Phrase


def _run(chat: Chat, session: Session, text: str) -> None:
    word = text.split(None, 1)[0][1:]
    rest = text[1 + len(word) :].strip()
    command = COMMANDS.get(word.lower())
    if command is None:
        _reply_unknown(chat, session, word)
    elif session.phase == "naming" and not command.before_naming:
        _reply(chat, session, phrases.NAME_FIRST)
    elif len(rest.split(None, command.minimum_parameters)) < command.minimum_parameters:
        _reply(chat, session, phrases.USAGE, usage=command.usage.fill(session.format.language))
    else:
        command.handler(chat, session, rest)


def _reply_unknown(chat: Chat, session: Session, word: str) -> None:
    word = _echo(word)
    nearest = get_close_matches(word.lower(), COMMANDS, n=1)
    if nearest:
        _reply(chat, session, phrases.COMMAND_NEAREST, word=word, nearest=nearest[0])
    else:
        _reply(chat, session, phrases.COMMAND_UNKNOWN, word=word)


def _join(chat: Chat, session: Session, rest: str) -> None:
    name = parse_room_name(rest, chat.config.max_name_length)
    if isinstance(name, NameFault):
        _refuse_name(chat, session, name)
    elif session.room is not None and session.room is chat.find_room(name):
        _reply(chat, session, phrases.ROOM_SAME, room=session.room.name.display)
    else:
        _enter(chat, session, name)


def _part(chat: Chat, session: Session, rest: str) -> None:
    room = chat.leave(session)
    if room is None:
        _reply(chat, session, phrases.ROOM_NONE)
    else:
        _reply(chat, session, phrases.ROOM_LEFT, room=room.name.display)


def _rooms(chat: Chat, session: Session, rest: str) -> None:
    listed = ", ".join(f"{room.name.display} ({len(room.members)})" for room in chat.first_rooms(ROOMS_IN_LIST))
    more = chat.room_count - ROOMS_IN_LIST
    if more > 0:
        _reply(chat, session, phrases.ROOMS_MORE, rooms=listed, count=more)
    else:
        _reply(chat, session, phrases.ROOMS, rooms=listed)


def _who(chat: Chat, session: Session, rest: str) -> None:
    if rest:
        name = parse_room_name(rest, chat.config.max_name_length)
        room = chat.find_room(name) if isinstance(name, Name) else None
        if room is None:
            _reply(chat, session, phrases.ROOM_UNKNOWN, room=_echo(rest))
            return
    elif session.room is not None:
        room = session.room
    else:
        _reply(chat, session, phrases.ROOM_NONE)
        return
    total = len(room.members)
    if not total:
        _reply(chat, session, phrases.ROOM_EMPTY, room=room.name.display)
        return
    names = _names(islice(room.members.values(), NAMES_IN_WHO))
    if total > NAMES_IN_WHO:
        count = total - NAMES_IN_WHO
        _reply(chat, session, phrases.ROOM_PEOPLE_MORE, room=room.name.display, total=total, names=names, count=count)
    else:
        _reply(chat, session, phrases.ROOM_PEOPLE, room=room.name.display, total=total, names=names)


def _msg(chat: Chat, session: Session, rest: str) -> None:
    name, text = rest.split(None, 1)
    text = clean(text)
    recipient = chat.find_person(name)
    if recipient is None:
        _reply(chat, session, phrases.PERSON_UNKNOWN, name=_echo(name))
    elif not text or text.isspace():
        _reply(chat, session, phrases.USAGE, usage=phrases.MSG_USAGE.fill(session.format.language))
    else:
        chat.tell(recipient, Whispered(session.name, recipient.name, text))
        _reply(chat, session, phrases.WHISPER_SENT, name=recipient.name, text=text)


def _me(chat: Chat, session: Session, rest: str) -> None:
    text = clean(rest)
    if not text or text.isspace():
        _reply(chat, session, phrases.USAGE, usage=phrases.ME_USAGE.fill(session.format.language))
    elif session.room is None:
        _reply(chat, session, phrases.ROOM_NONE)
    else:
        chat.tell_others(session, Acted(session.name, text))


def _nick(chat: Chat, session: Session, rest: str) -> None:
    old = session.name
    fault = chat.set_name(session, rest)
    if fault is not None:
        _refuse_name(chat, session, fault)
    elif session.name == old:
        _reply(chat, session, phrases.NAME_UNCHANGED, name=old)
    else:
        _reply(chat, session, phrases.NAME_CHANGED, name=session.name)


def _lang(chat: Chat, session: Session, rest: str) -> None:
    language = rest.lower()
    if language in LANGUAGES:
        chat.set_language(session, language)
        _reply(chat, session, phrases.LANGUAGE_SET)
    else:
        _reply(chat, session, phrases.LANGUAGE_UNKNOWN, languages=", ".join(LANGUAGES))


def _help(chat: Chat, session: Session, rest: str) -> None:
    chat.send(session, _HELP[session.format.language])


def _quit(chat: Chat, session: Session, rest: str) -> None:
    chat.end(session, _reply_bytes(session, phrases.GOODBYE))


COMMANDS: Final[dict[str, Command]] = {
    "join": Command(_join, 1, False, phrases.JOIN_USAGE, phrases.JOIN_HELP),
    "part": Command(_part, 0, False, phrases.PART_USAGE, phrases.PART_HELP),
    "rooms": Command(_rooms, 0, False, phrases.ROOMS_USAGE, phrases.ROOMS_HELP),
    "who": Command(_who, 0, False, phrases.WHO_USAGE, phrases.WHO_HELP),
    "msg": Command(_msg, 2, False, phrases.MSG_USAGE, phrases.MSG_HELP),
    "me": Command(_me, 1, False, phrases.ME_USAGE, phrases.ME_HELP),
    "nick": Command(_nick, 1, False, phrases.NICK_USAGE, phrases.NICK_HELP),
    "lang": Command(_lang, 1, True, phrases.LANG_USAGE, phrases.LANG_HELP),
    "help": Command(_help, 0, True, phrases.HELP_USAGE, phrases.HELP_HELP),
    "quit": Command(_quit, 0, True, phrases.QUIT_USAGE, phrases.QUIT_HELP),
}


def _help_text(language: str) -> bytes:
    entries = [(command.usage, command.summary) for command in COMMANDS.values()]
    entries.append((phrases.SLASH_USAGE, phrases.SLASH_HELP))
    lines = [phrases.HELP.fill(language)]
    lines += [f"{usage.fill(language)} - {summary.fill(language)}" for usage, summary in entries]
    return "".join(f"* {text}\n" for text in lines).encode()


_HELP: Final = {language: _help_text(language) for language in LANGUAGES}


# What is said to one person.

_NAME_FAULTS: Final = {
    NameFault.EMPTY: phrases.NAME_EMPTY,
    NameFault.TOO_LONG: phrases.NAME_TOO_LONG,
    NameFault.SPACE: phrases.NAME_SPACE,
    NameFault.UNPRINTABLE: phrases.NAME_UNPRINTABLE,
    NameFault.SYMBOL: phrases.NAME_SYMBOL,
    NameFault.IN_USE: phrases.NAME_IN_USE,
}


def _ask_name(chat: Chat, session: Session) -> None:
    chat.send(session, phrases.ASK_NAME.fill(session.format.language).encode())


def _refuse_name(chat: Chat, session: Session, fault: NameFault) -> None:
    limit = chat.config.max_name_length
    _reply(chat, session, _NAME_FAULTS[fault], limit=limit, anywhere=SYMBOLS_ANYWHERE, first=SYMBOLS_FIRST)


def _enter(chat: Chat, session: Session, name: Name) -> None:
    room = chat.enter(session, name)
    others = [member for member in islice(room.members.values(), NAMES_ON_ENTERING + 1) if member is not session]
    names = _names(others[:NAMES_ON_ENTERING])
    more = len(room.members) - 1 - NAMES_ON_ENTERING
    if not others:
        _reply(chat, session, phrases.ROOM_ENTERED_ALONE, room=room.name.display)
    elif more > 0:
        _reply(chat, session, phrases.ROOM_ENTERED_MORE, room=room.name.display, names=names, count=more)
    else:
        _reply(chat, session, phrases.ROOM_ENTERED, room=room.name.display, names=names)


def _names(sessions: Iterable[Session]) -> str:
    return ", ".join(session.name for session in sessions)


def _echo(text: str) -> str:
    """What somebody wrote, fit to be repeated to them."""
    text = clean(text)
    return text if len(text) <= ECHO_LENGTH else f"{text[:ECHO_LENGTH]}…"


def _reply(chat: Chat, session: Session, phrase: Phrase, **values: object) -> None:
    chat.send(session, _reply_bytes(session, phrase, **values))


def _reply_bytes(session: Session, phrase: Phrase, **values: object) -> bytes:
    return f"* {phrase.fill(session.format.language, **values)}\n".encode()
