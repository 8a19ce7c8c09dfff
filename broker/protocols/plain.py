"""The plain line protocol, pleasant with nothing but `nc`; `docs/chat-protocol.md` specifies it. Router; pure.

What keeps a line from being taken for something else: a name has no space, no colon, and no `*` in it (`broker.names`).
So the first word of what somebody says ends in a colon, and that of a notice about somebody does not; `** ` begins an
action of somebody's, and `* ` whatever the broker has to say to one person.

Whether a line is a command is decided before unwanted characters are removed, so removing them cannot make one.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from broker import phrases
from broker.names import NameFault
from broker.occasions import Occasion, Said, SharedOccasion, Source
from broker.protocols import plain_render
from broker.protocols.plain_commands import COMMANDS
from broker.protocols.plain_replies import ENTRY_REFUSALS, ask_name, echo, enter, refuse_name, reply, speak, speak_on
from broker.room_policy import entry_refusal
from broker.sessions import WireFormat
from broker.text import clean, decode

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.flows import Flow
    from broker.sessions import Phase, Session

# The functions of a protocol.


def opened(chat: Chat, session: Session) -> None:
    """Ask for the name."""
    ask_name(chat, session)


def line(chat: Chat, session: Session, data: bytes) -> None:
    """A name, a command, or something to say."""
    _LINE_HANDLERS[session.phase](chat, session, decode(data))


def monologue(chat: Chat, session: Session, data: bytes) -> int:
    """Lines that are neither commands nor blank, with nothing in them that would have to be removed."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    longest_bytes = chat.config.max_line_bytes
    if not _is_talk(data, longest_bytes):
        return 0
    return speak_on(chat, session, data[:-1].split(b"\n"), longest_bytes)


def heard_of(flow: Flow, data: bytes) -> tuple[bytes, int]:
    """The same lines, each after the name."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if not _is_talk(data, flow.longest_bytes):
        return b"", 0
    start, texts = flow.start, data[:-1].split(b"\n")
    return start + (b"\n" + start).join(texts) + b"\n", len(texts)


def start_of_speech(source: Source, target: str, format: WireFormat) -> bytes:
    """The name, and a word of the language."""
    return plain_render.start_of_speech(source, format.language).encode()


def _is_talk(data: bytes, longest_bytes: int) -> bool:
    """Whether these lines are neither commands nor blank, with nothing in them that would have to be removed."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return (
        text[0] not in "/ \n"
        and text[-1] == "\n"
        and "\n/" not in text
        and "\n " not in text
        and "\n\n" not in text
        and text.replace("\n", "").isprintable()
        and (len(data) <= longest_bytes or max(map(len, data.split(b"\n"))) <= longest_bytes)
    )


def overlong(chat: Chat, session: Session) -> None:
    """Refuse the line."""
    reply(chat, session, phrases.LINE_TOO_LONG, limit=chat.config.max_line_bytes)
    if session.phase == "naming":
        ask_name(chat, session)


def longest_line_bytes(max_line_bytes: int) -> int:
    """The setting is about this protocol."""
    return max_line_bytes


def turned_away(reason: str) -> bytes:
    """The broker's word to one person, like all others."""
    return f"* {reason}\n".encode()


def render(occasion: Occasion, format: WireFormat) -> bytes:
    """See `broker.protocols.plain_render`."""
    renderer = plain_render.RENDERERS.get(type(occasion))
    return b"" if renderer is None else renderer(occasion, format.language).encode()


def shows_ids(capabilities: int) -> bool:
    """A message has no name here."""
    return False


def relevant(occasion: SharedOccasion, capabilities: int) -> int:
    """There are none."""
    return 0


def check(chat: Chat, session: Session) -> None:
    """Never asked for."""


def watched(chat: Chat, session: Session, source: Source, present: bool) -> None:
    """Never asked for."""


def answered(chat: Chat, session: Session, purpose: tuple[Any, ...], answer: Any) -> None:
    """Never asked for."""


def reconfigured(chat: Chat) -> None:
    """Nothing that anybody was told of has changed."""


# Lines, by the session's phase.


def _line_while_naming(chat: Chat, session: Session, text: str) -> None:
    if text.startswith("/"):  # no name begins so
        _run(chat, session, text)
        if session.phase == "naming":
            ask_name(chat, session)
        return
    fault = chat.set_name(session, text)
    if isinstance(fault, NameFault):
        refuse_name(chat, session, fault)
        ask_name(chat, session)
        return
    reply(chat, session, phrases.WELCOME, name=session.name)
    refusal = entry_refusal(chat.default_room, session, "")
    if refusal is None:
        enter(chat, session, chat.default_room.name)
    else:
        reply(chat, session, ENTRY_REFUSALS[refusal], room=chat.default_room.name.display)


def _line_while_present(chat: Chat, session: Session, text: str) -> None:
    if text.startswith("/"):
        if not text.startswith("//"):
            _run(chat, session, text)
            return
        text = text[1:]
    text = clean(text)
    if not text or text.isspace():
        return
    speak(chat, session, Said, text)


_LINE_HANDLERS: Final[dict[Phase, Callable[[Chat, Session, str], None]]] = {
    "naming": _line_while_naming,
    "present": _line_while_present,
}


# Commands.


def _run(chat: Chat, session: Session, text: str) -> None:
    word = text.split(None, 1)[0][1:]
    rest = text[1 + len(word) :].strip()
    command = COMMANDS.get(word.lower())
    if command is None:
        _reply_unknown(chat, session, word)
    elif session.phase == "naming" and not command.before_naming:
        reply(chat, session, phrases.NAME_FIRST)
    elif len(rest.split(None, command.minimum_parameters)) < command.minimum_parameters:
        reply(chat, session, phrases.USAGE, usage=command.usage.fill(session.format.language))
    else:
        command.handler(chat, session, rest)


def _reply_unknown(chat: Chat, session: Session, word: str) -> None:
    word = echo(word)
    nearest = get_close_matches(word.lower(), COMMANDS, n=1)
    if nearest:
        reply(chat, session, phrases.COMMAND_NEAREST, word=word, nearest=nearest[0])
    else:
        reply(chat, session, phrases.COMMAND_UNKNOWN, word=word)
