"""What the plain protocol answers, and what several of its commands have in common. Runs in the router; pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from broker import phrases
from broker.names import SYMBOLS_ANYWHERE, SYMBOLS_FIRST, Name, NameFault
from broker.occasions import Acted, Said
from broker.phrases import Phrase
from broker.protocols.plain_render import readable
from broker.room_policy import HALF_OPERATOR, EntryRefusal, rank, speech_refusal
from broker.rooms import Room
from broker.text import clean

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Session

NAMES_ON_ENTERING: Final = 20
ECHO_LENGTH: Final = 40
"""Of somebody's mistake at most so many characters are repeated in the answer."""

ENTRY_REFUSALS: Final = {
    EntryRefusal.BANNED: phrases.ENTRY_BANNED,
    EntryRefusal.INVITATION_ONLY: phrases.ENTRY_INVITATION,
    EntryRefusal.PASSWORD: phrases.ENTRY_PASSWORD,
    EntryRefusal.FULL: phrases.ENTRY_FULL,
    EntryRefusal.ACCOUNT: phrases.ENTRY_ACCOUNT,
}

_NAME_FAULTS: Final = {
    NameFault.EMPTY: phrases.NAME_EMPTY,
    NameFault.TOO_LONG: phrases.NAME_TOO_LONG,
    NameFault.SPACE: phrases.NAME_SPACE,
    NameFault.UNPRINTABLE: phrases.NAME_UNPRINTABLE,
    NameFault.SYMBOL: phrases.NAME_SYMBOL,
    NameFault.IN_USE: phrases.NAME_IN_USE,
}


def ask_name(chat: Chat, session: Session) -> None:
    chat.send(session, phrases.ASK_NAME.fill(session.format.language).encode())


def refuse_name(chat: Chat, session: Session, fault: NameFault) -> None:
    limit = chat.config.max_name_length
    reply(chat, session, _NAME_FAULTS[fault], limit=limit, anywhere=SYMBOLS_ANYWHERE, first=SYMBOLS_FIRST)


def enter(chat: Chat, session: Session, name: Name) -> None:
    room = chat.enter(session, name)
    others = [member for member in islice(chat.members_of(room), NAMES_ON_ENTERING + 1) if member is not session]
    names = names_of(others[:NAMES_ON_ENTERING])
    more = len(room.members) - 1 - NAMES_ON_ENTERING
    if not others:
        reply(chat, session, phrases.ROOM_ENTERED_ALONE, room=room.name.display)
    elif more > 0:
        reply(chat, session, phrases.ROOM_ENTERED_MORE, room=room.name.display, names=names, count=more)
    else:
        reply(chat, session, phrases.ROOM_ENTERED, room=room.name.display, names=names)
    if room.topic.text:
        reply(chat, session, phrases.TOPIC, room=room.name.display, topic=readable(room.topic.text))


def leave_all(chat: Chat, session: Session) -> None:
    for room in chat.rooms_of(session):
        chat.leave(session, room)


def speak(chat: Chat, session: Session, kind: type[Said | Acted], text: str) -> None:
    room = chat.first_room_of(session)
    if room is None:
        reply(chat, session, phrases.ROOM_NONE)
    elif speech_refusal(room, session, "text") is not None:
        reply(chat, session, phrases.SPEECH_REFUSED, room=room.name.display)
    else:
        session.spoke_at = chat.now
        chat.publish_message(room, session, kind(session.source, f"#{room.name.display}", text, chat.stamp_in(room)))


def speak_on(chat: Chat, session: Session, texts: list[bytes], longest_bytes: int) -> int:
    """Say several things at once, and how many; 0, and nothing is done, if they have to be refused."""
    room = chat.first_room_of(session)
    if room is None or speech_refusal(room, session, "text") is not None:
        return 0
    session.spoke_at = chat.now
    chat.publish_monologue(room, session, texts)
    chat.keep_flow(room, session, b"", longest_bytes)
    return len(texts)


def room_of(chat: Chat, session: Session) -> Room | None:
    """The room that the session is in, or None after saying that it is in none."""
    room = chat.first_room_of(session)
    if room is None:
        reply(chat, session, phrases.ROOM_NONE)
    return room


def member_for(chat: Chat, session: Session, name: str, least_rank: int = HALF_OPERATOR) -> tuple[Room, Session] | None:
    """The session's room and somebody in it, if the session may command there; None after saying why not."""
    room = room_of(chat, session)
    if room is None:
        return None
    person = chat.find_person(name)
    if rank(room.members[session.number]) < least_rank:
        reply(chat, session, phrases.NOT_OPERATOR)
    elif person is None:
        reply(chat, session, phrases.PERSON_UNKNOWN, name=echo(name))
    elif person.number not in room.members:
        reply(chat, session, phrases.PERSON_NOT_HERE, name=person.name)
    else:
        return room, person
    return None


def names_of(sessions: Iterable[Session]) -> str:
    return ", ".join(session.name for session in sessions)


def echo(text: str) -> str:
    """What somebody wrote, fit to be repeated to them."""
    text = clean(text)
    return text if len(text) <= ECHO_LENGTH else f"{text[:ECHO_LENGTH]}…"


def reply(chat: Chat, session: Session, phrase: Phrase, **values: object) -> None:
    chat.send(session, reply_bytes(session, phrase, **values))


def reply_bytes(session: Session, phrase: Phrase, **values: object) -> bytes:
    return f"* {phrase.fill(session.format.language, **values)}\n".encode()
