"""Saying things: PRIVMSG, NOTICE, TAGMSG, and REDACT, which takes them back. Runs in the router; pure.

RFC 2812, 3.3; IRCv3 message-tags, echo-message, message-redaction; CTCP (modern.ircdocs.horse/ctcp) is passed through.
A message that would be too long for the line that the others get loses its end before anybody gets it, so that all get
the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from broker.occasions import Acted, Message, Noticed, Queried, Redacted, Said, Source, Stamp, Tagged, Tags
from broker.protocols.irc import numerics as n
from broker.protocols.irc.capabilities import ECHO_MESSAGE, MESSAGE_REDACTION, MESSAGE_TAGS
from broker.protocols.irc.limits import KICK_BYTES, SIGNS, STATUS_OF_SIGN, TARGETS
from broker.protocols.irc.message import BODY_BYTES, is_client_tag, shortened
from broker.protocols.irc.render import text_bytes
from broker.protocols.irc.request import Request, echo, parse_channel_name
from broker.room_policy import HALF_OPERATOR, RANKS, Speech, is_visible, rank, speech_refusal
from broker.text import is_utf8

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.flows import Flow
    from broker.names import Name
    from broker.rooms import Room
    from broker.sessions import Session

CTCP: Final = "\x01"
_ACTION: Final = "ACTION "
_SPEECH: Final = re.compile(rb"PRIVMSG (#[^\0-\x20,:]{1,200}) :")
MakeMessage = Callable[[str, bool, Stamp], Message]
"""From a target as it is written, whether that is one person, and a stamp."""


def privmsg(request: Request) -> None:
    """PRIVMSG <target>{,<target>} <text> (RFC 2812, 3.3.1)."""
    if not request.parameters:
        request.numeric(n.ERR_NORECIPIENT, text=f"No recipient given ({request.command})")
    elif not request.parameter(1):
        request.numeric(n.ERR_NOTEXTTOSEND)
    else:
        _send_text(request, notice=False)


def notice(request: Request) -> None:
    """NOTICE <target>{,<target>} <text> (RFC 2812, 3.3.2): nothing is ever answered to it."""
    if request.parameter(1):
        _send_text(request, notice=True)


def tagmsg(request: Request) -> None:
    """TAGMSG <target> (message-tags): tags without a text."""
    if not request.has(MESSAGE_TAGS):
        request.numeric(n.ERR_UNKNOWNCOMMAND, "TAGMSG")
    elif not request.parameter(0):
        request.numeric(n.ERR_NEEDMOREPARAMS, "TAGMSG")
    else:
        source, tags = request.session.source, client_tags(request)
        deliver_to_all(request, "tags", lambda target, private, stamp: Tagged(source, target, tags, stamp))


def client_tags(request: Request) -> Tags:
    """The tags that go on to the receivers: of those only who understand tags themselves."""
    if not request.has(MESSAGE_TAGS):
        return ()
    return tuple((key, value) for key, value in request.tags.items() if is_client_tag(key))


def _send_text(request: Request, notice: bool) -> None:
    text = request.parameters[1]
    source, tags = request.session.source, client_tags(request)
    kind: Speech = "notice" if notice else "text"
    if text.startswith(CTCP):
        query = text[1:].removesuffix(CTCP)
        if query.startswith(_ACTION) and not notice:
            maker = _maker(Acted, source, query[len(_ACTION) :], tags, len(_ACTION) + 2)
        else:
            if notice is False:
                kind = "query"
            maker = _query_maker(source, query, notice, tags)
    else:
        maker = _maker(Noticed if notice else Said, source, text, tags)
    deliver_to_all(request, kind, maker)


def monologue(chat: Chat, session: Session, data: bytes) -> int:
    """Lines that all are `PRIVMSG #channel :text` with the same channel, written so, and nothing special in the text.

    That is what clients write, and several lines of it arrive at once when somebody pastes, or there is much to do.
    Taking them one by one costs five to ten times as much.
    """
    state = session.irc
    start = _SPEECH.match(data)
    if start is None or state is None or state.capabilities & ECHO_MESSAGE:
        return 0
    head = start[0]
    texts = _texts_after(head, data)
    if not texts:
        return 0
    name = _room_name(start[1], chat.config.max_name_length)
    room = None if name is None else chat.find_room(name)
    if room is None or session.number not in room.members or speech_refusal(room, session, "text") is not None:
        return 0
    longest = min(BODY_BYTES - len(head), text_bytes(session.source, "PRIVMSG", f"#{room.name.display}"))
    if max(map(len, texts)) > longest:
        return 0
    session.spoke_at = chat.now
    chat.publish_monologue(room, session, texts)
    chat.keep_flow(room, session, head, longest)
    return len(texts)


def heard_of(flow: Flow, data: bytes) -> tuple[bytes, int]:
    """Lines that all begin as the flow's do, and are otherwise as `monologue` would have them."""
    texts = _texts_after(flow.head, data)
    if not texts or max(map(len, texts)) > flow.longest_bytes:
        return b"", 0
    start = flow.start
    return start + (b"\r\n" + start).join(texts) + b"\r\n", len(texts)


def _texts_after(head: bytes, data: bytes) -> list[bytes]:
    """The rests of lines that all begin so, if there is nothing special in any of them; otherwise none."""
    end = b"\r\n" if data.endswith(b"\r\n") else b"\n"
    texts = data[len(head) : -len(end)].split(end + head)
    messages = len(texts)
    if (
        not data.startswith(head)
        or data.count(b"\n") != messages
        or data.count(b"\r") != (messages if end == b"\r\n" else 0)
        or b"" in texts
        or b"\0" in data
        or b"\x01" in data
        or not (data.isascii() or is_utf8(data))
    ):
        return []
    return texts


@lru_cache(maxsize=4096)
def _room_name(target: bytes, max_length: int) -> Name | None:
    """Remembered, as people say more than one thing in a room."""
    return parse_channel_name(target.decode(), max_length)


def _maker(
    kind: type[Said | Acted | Noticed], source: Source, text: str, tags: Tags, besides_bytes: int = 0
) -> MakeMessage:
    command = "NOTICE" if kind is Noticed else "PRIVMSG"

    def make(target: str, private: bool, stamp: Stamp) -> Message:
        fitting = shortened(text, text_bytes(source, command, target) - besides_bytes)
        return kind(source, target, fitting, stamp, tags, private)

    return make


def _query_maker(source: Source, query: str, answer: bool, tags: Tags) -> MakeMessage:
    def make(target: str, private: bool, stamp: Stamp) -> Message:
        fitting = shortened(query, text_bytes(source, "PRIVMSG", target) - 2)
        return Queried(source, target, fitting, answer, stamp, tags, private)

    return make


def deliver_to_all(request: Request, kind: Speech, make: MakeMessage) -> None:
    """Deliver to each target of the first parameter; a failure is told of, unless it was a NOTICE."""
    targets = [request.parameters[0]]
    if "," in targets[0]:
        targets = list(dict.fromkeys(word for word in targets[0].split(",") if word))
    request.session.spoke_at = request.chat.now
    for index, target in enumerate(targets):
        if index >= TARGETS:
            if kind != "notice":
                request.numeric(n.ERR_TOOMANYTARGETS, echo(target))
            return
        deliver(request, kind, target, make)


def deliver(request: Request, kind: Speech, target: str, make: MakeMessage) -> None:
    """Deliver to one target: a channel, those of some status in a channel, or a person."""
    name = target.lstrip(SIGNS)
    if name.startswith("#"):
        _deliver_to_room(request, kind, target[: len(target) - len(name)], name, make)
    else:
        _deliver_to_person(request, kind, target, make)


def _deliver_to_room(request: Request, kind: Speech, signs: str, name: str, make: MakeMessage) -> None:
    chat, session = request.chat, request.session
    room = request.room_named(name)
    if room is None or not (is_visible(room, session) or "n" in room.modes):
        if kind != "notice":
            request.numeric(n.ERR_NOSUCHCHANNEL, echo(name))
        return
    refusal = speech_refusal(room, session, kind)
    if refusal is not None:
        if kind != "notice":
            text = f"{n.ERR_CANNOTSENDTOCHAN.text} ({refusal.value})"
            request.numeric(n.ERR_CANNOTSENDTOCHAN, f"#{room.name.display}", text=text)
        return
    lowest = min(signs, key=lambda sign: RANKS[STATUS_OF_SIGN[sign]]) if signs else ""
    message = make(f"{lowest}#{room.name.display}", False, chat.next_stamp())
    if signs:
        chat.tell_each(_of_rank(request, room, RANKS[STATUS_OF_SIGN[lowest]]), message)
    else:
        chat.publish_message(room, session, message)
    if request.has(ECHO_MESSAGE):
        request.own(message)


def _of_rank(request: Request, room: Room, least: int) -> list[Session]:
    return [
        member
        for member, status in zip(request.chat.members_of(room), room.members.values(), strict=True)
        if rank(status) >= least and member is not request.session
    ]


def _deliver_to_person(request: Request, kind: Speech, target: str, make: MakeMessage) -> None:
    chat, session = request.chat, request.session
    person = chat.find_person(target)
    if person is None:
        if kind != "notice":
            request.numeric(n.ERR_NOSUCHNICK, echo(target))
        return
    if "R" in person.modes and not session.account and not session.operator and person is not session:
        if kind != "notice":
            request.numeric(n.ERR_NONONREG, person.name)
        return
    message = make(person.name, True, chat.next_stamp())
    if person.irc is not None:
        chat.past.wrote(message.stamp.id, session.number, f"@{person.key}")
    chat.tell(person, message)
    if request.has(ECHO_MESSAGE):
        request.own(message)
    if kind == "text" and person.away:
        request.numeric(n.RPL_AWAY, person.name, text=person.away)


def redact(request: Request) -> None:
    """REDACT <target> <msgid> [<reason>] (message-redaction): by who wrote it, or an operator of the channel."""
    chat, session = request.chat, request.session
    target, identifier = request.parameters[:2]
    if not request.has(MESSAGE_REDACTION):
        request.numeric(n.ERR_UNKNOWNCOMMAND, "REDACT")
        return
    reason = shortened(request.parameter(2), KICK_BYTES)
    room = request.room_named(target)
    person = None if target.startswith("#") else chat.find_person(target)
    if room is not None and session.number not in room.members:
        room = None
    if room is None and person is None:
        request.fail("INVALID_TARGET", echo(target), text="There is nothing there that you could take back")
        return
    author = chat.past.messages.get(identifier)
    places = [room.name.key] if room is not None else []
    if person is not None:
        places = [f"@{person.key}", f"@{session.key}"]
    if author is None or author.place not in places or (person is not None and author.session not in
                                                         (session.number, person.number)):  # fmt: skip
        request.fail("UNKNOWN_MSGID", echo(target), echo(identifier), text="That message is not known any more")
        return
    may = author.session == session.number
    if room is not None and not may:
        may = bool(session.operator) or rank(room.members[session.number]) >= HALF_OPERATOR
    if not may:
        request.fail("REDACT_FORBIDDEN", echo(target), echo(identifier), text="You may not take that message back")
        return
    del chat.past.messages[identifier]
    shown = f"#{room.name.display}" if room is not None else person.name if person is not None else target
    occasion = Redacted(session.source, shown, identifier, reason, chat.next_stamp())
    if room is not None:
        chat.publish(room, occasion, session.number)
    elif person is not None and person is not session:
        chat.tell(person, occasion)
    request.own(occasion)
