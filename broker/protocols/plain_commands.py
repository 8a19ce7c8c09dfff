"""The commands of the plain protocol: `docs/chat-protocol.md` has them for people. Runs in the router; pure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import phrases
from broker.names import Name, NameFault, parse_room_name
from broker.occasions import Acted, Said
from broker.phrases import LANGUAGES, Phrase
from broker.protocols.plain_render import readable
from broker.protocols.plain_replies import (
    ENTRY_REFUSALS,
    echo,
    enter,
    leave_all,
    member_for,
    names_of,
    refuse_name,
    reply,
    reply_bytes,
    room_of,
    speak,
)
from broker.room_policy import HALF_OPERATOR, OPERATOR, entry_refusal, is_visible, rank
from broker.text import clean

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Session

NAMES_IN_WHO: Final = 50
ROOMS_IN_LIST: Final = 50
TOPIC_LENGTH: Final = 300
REASON_LENGTH: Final = 300
"""In characters: what IRC people can be told in one line, and what they are told here by them."""


class Command(NamedTuple):
    """What the runner has to know of a command; `rest` of the line goes to the handler without outer white space."""

    handler: Callable[[Chat, Session, str], None]
    minimum_parameters: int
    before_naming: bool
    usage: Phrase
    summary: Phrase


def _join(chat: Chat, session: Session, rest: str) -> None:
    name = parse_room_name(rest, chat.config.max_name_length)
    password = ""
    if name is NameFault.SPACE:  # a room's name has none in it, so what follows may be its password
        first, password = rest.split(None, 1)
        locked = parse_room_name(first, chat.config.max_name_length)
        room = chat.find_room(locked) if isinstance(locked, Name) else None
        name = locked if room is not None and room.password else name
    if isinstance(name, NameFault):
        refuse_name(chat, session, name)
        return
    room = chat.find_room(name)
    refusal = None if room is None or room.name.key in session.rooms else entry_refusal(room, session, password)
    if name.key in session.rooms:
        reply(chat, session, phrases.ROOM_SAME, room=room.name.display if room else name.display)
    elif refusal is not None:
        reply(chat, session, ENTRY_REFUSALS[refusal], room=name.display)
    else:
        leave_all(chat, session)
        enter(chat, session, name)


def _part(chat: Chat, session: Session, rest: str) -> None:
    room = chat.first_room_of(session)
    if room is None:
        reply(chat, session, phrases.ROOM_NONE)
    else:
        leave_all(chat, session)
        reply(chat, session, phrases.ROOM_LEFT, room=room.name.display)


def _rooms(chat: Chat, session: Session, rest: str) -> None:
    visible = [room for room in chat.first_rooms(ROOMS_IN_LIST) if is_visible(room, session)]
    listed = ", ".join(f"{room.name.display} ({len(room.members)})" for room in visible)
    more = chat.room_count - ROOMS_IN_LIST
    if more > 0:
        reply(chat, session, phrases.ROOMS_MORE, rooms=listed, count=more)
    else:
        reply(chat, session, phrases.ROOMS, rooms=listed)


def _who(chat: Chat, session: Session, rest: str) -> None:
    if rest:
        name = parse_room_name(rest, chat.config.max_name_length)
        room = chat.find_room(name) if isinstance(name, Name) else None
        if room is None or not is_visible(room, session):
            reply(chat, session, phrases.ROOM_UNKNOWN, room=echo(rest))
            return
    else:
        room = chat.first_room_of(session)
        if room is None:
            reply(chat, session, phrases.ROOM_NONE)
            return
    total = len(room.members)
    if not total:
        reply(chat, session, phrases.ROOM_EMPTY, room=room.name.display)
        return
    names = names_of(islice(chat.members_of(room), NAMES_IN_WHO))
    if total > NAMES_IN_WHO:
        count = total - NAMES_IN_WHO
        reply(chat, session, phrases.ROOM_PEOPLE_MORE, room=room.name.display, total=total, names=names, count=count)
    else:
        reply(chat, session, phrases.ROOM_PEOPLE, room=room.name.display, total=total, names=names)


def _msg(chat: Chat, session: Session, rest: str) -> None:
    name, text = rest.split(None, 1)
    text = clean(text)
    recipient = chat.find_person(name)
    if recipient is None:
        reply(chat, session, phrases.PERSON_UNKNOWN, name=echo(name))
    elif not text or text.isspace():
        reply(chat, session, phrases.USAGE, usage=phrases.MSG_USAGE.fill(session.format.language))
    else:
        session.spoke_at = chat.now
        chat.tell(recipient, Said(session.source, recipient.name, text, chat.next_stamp(), private=True))
        reply(chat, session, phrases.WHISPER_SENT, name=recipient.name, text=text)
        if recipient.away:
            reply(chat, session, phrases.PERSON_AWAY, name=recipient.name, reason=readable(recipient.away))


def _me(chat: Chat, session: Session, rest: str) -> None:
    text = clean(rest)
    if not text or text.isspace():
        reply(chat, session, phrases.USAGE, usage=phrases.ME_USAGE.fill(session.format.language))
    else:
        speak(chat, session, Acted, text)


def _nick(chat: Chat, session: Session, rest: str) -> None:
    old = session.name
    fault = chat.set_name(session, rest)
    if isinstance(fault, NameFault):
        refuse_name(chat, session, fault)
    elif session.name == old:
        reply(chat, session, phrases.NAME_UNCHANGED, name=old)
    else:
        reply(chat, session, phrases.NAME_CHANGED, name=session.name)


def _topic(chat: Chat, session: Session, rest: str) -> None:
    room = room_of(chat, session)
    text = clean(rest)[:TOPIC_LENGTH]
    if room is None:
        return
    if not rest:
        if room.topic.text:
            reply(chat, session, phrases.TOPIC, room=room.name.display, topic=readable(room.topic.text))
        else:
            reply(chat, session, phrases.TOPIC_NONE, room=room.name.display)
    elif "t" in room.modes and rank(room.members[session.number]) < HALF_OPERATOR:
        reply(chat, session, phrases.NOT_OPERATOR)
    else:
        chat.set_topic(room, session.source, text)


def _kick(chat: Chat, session: Session, rest: str) -> None:
    name, _, reason = rest.partition(" ")
    found = member_for(chat, session, name)
    if found is not None:
        room, person = found
        if rank(room.members[person.number]) > rank(room.members[session.number]):
            reply(chat, session, phrases.NOT_OPERATOR)
        else:
            chat.remove(room, session.source, person, clean(reason).strip()[:REASON_LENGTH])


def _op(chat: Chat, session: Session, rest: str) -> None:
    found = member_for(chat, session, rest, OPERATOR)
    if found is not None:
        room, person = found
        if chat.set_status(room, person.number, "o", True):
            chat.announce_modes(room, session.source, "+o", (person.name,))


def _invite(chat: Chat, session: Session, rest: str) -> None:
    room = room_of(chat, session)
    if room is None:
        return
    person = chat.find_person(rest)
    if person is None:
        reply(chat, session, phrases.PERSON_UNKNOWN, name=echo(rest))
    elif person.number in room.members:
        reply(chat, session, phrases.PERSON_HERE, name=person.name)
    elif "i" in room.modes and rank(room.members[session.number]) < HALF_OPERATOR:
        reply(chat, session, phrases.NOT_OPERATOR)
    else:
        chat.invite(room, session.source, person)
        reply(chat, session, phrases.INVITE_SENT, name=person.name, room=room.name.display)


def _lang(chat: Chat, session: Session, rest: str) -> None:
    language = rest.lower()
    if language in LANGUAGES:
        chat.set_format(session, session.format._replace(language=language))
        reply(chat, session, phrases.LANGUAGE_SET)
    else:
        reply(chat, session, phrases.LANGUAGE_UNKNOWN, languages=", ".join(LANGUAGES))


def _help(chat: Chat, session: Session, rest: str) -> None:
    chat.send(session, _HELP[session.format.language])


def _quit(chat: Chat, session: Session, rest: str) -> None:
    chat.end(session, reply_bytes(session, phrases.GOODBYE), "Quit")


COMMANDS: Final[dict[str, Command]] = {
    "join": Command(_join, 1, False, phrases.JOIN_USAGE, phrases.JOIN_HELP),
    "part": Command(_part, 0, False, phrases.PART_USAGE, phrases.PART_HELP),
    "rooms": Command(_rooms, 0, False, phrases.ROOMS_USAGE, phrases.ROOMS_HELP),
    "who": Command(_who, 0, False, phrases.WHO_USAGE, phrases.WHO_HELP),
    "msg": Command(_msg, 2, False, phrases.MSG_USAGE, phrases.MSG_HELP),
    "me": Command(_me, 1, False, phrases.ME_USAGE, phrases.ME_HELP),
    "nick": Command(_nick, 1, False, phrases.NICK_USAGE, phrases.NICK_HELP),
    "topic": Command(_topic, 0, False, phrases.TOPIC_USAGE, phrases.TOPIC_HELP),
    "invite": Command(_invite, 1, False, phrases.INVITE_USAGE, phrases.INVITE_HELP),
    "kick": Command(_kick, 1, False, phrases.KICK_USAGE, phrases.KICK_HELP),
    "op": Command(_op, 1, False, phrases.OP_USAGE, phrases.OP_HELP),
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
