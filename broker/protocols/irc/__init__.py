"""The IRC protocol: every IRC client on the same rooms as everybody else. Runs in the router; pure.

The functions of a protocol are here, and the table of commands with what is common to all of them: how many parameters,
whether before registration. A command's module has its meaning. Sources: RFC 1459, RFC 2812, modern.ircdocs.horse
where they differ, the IRCv3 specifications; `docs/irc.md` tells what is supported.

No state but the session's (`broker.protocols.irc.state`), and nothing that a client sends raises. Accounts and history
will be asked for by commands of their own; where an account shows, `Session.account` is read already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.protocols.irc import numerics as n
from broker.protocols.irc import registration, server
from broker.protocols.irc.capabilities import MULTILINE
from broker.protocols.irc.channels import invite, join, kick, names, part, rename, topic
from broker.protocols.irc.list import list_
from broker.protocols.irc.message import (
    BODY_BYTES,
    CLIENT_TAG_BYTES,
    LONGEST_LINE_BYTES,
    NO_MESSAGE,
    parse,
)
from broker.protocols.irc.messaging import heard_of, monologue, notice, privmsg, redact, tagmsg
from broker.protocols.irc.modes import mode
from broker.protocols.irc.monitor import monitor, watched
from broker.protocols.irc.multiline import batch, take_line
from broker.protocols.irc.people import away, ison, setname, userhost, whois, whowas
from broker.protocols.irc.read_marker import markread
from broker.protocols.irc.registration import reconfigured
from broker.protocols.irc.render import relevant, render, shows_ids, start_of_speech
from broker.protocols.irc.request import Request, echo, send_line
from broker.protocols.irc.server import answered
from broker.protocols.irc.state import IrcState
from broker.protocols.irc.who import who

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Session

__all__ = [
    "answered", "check", "heard_of", "line", "longest_line_bytes", "monologue", "opened", "overlong",
    "reconfigured", "relevant", "render", "shows_ids", "start_of_speech", "turned_away", "watched",
]  # fmt: skip


def opened(chat: Chat, session: Session) -> None:
    """Nothing is said before the client has said something."""
    session.irc = IrcState()
    session.user = "~"
    session.identify()


def longest_line_bytes(max_line_bytes: int) -> int:
    """IRC has a limit of its own: 512 bytes, and 8,191 of tags before them."""
    return LONGEST_LINE_BYTES


def turned_away(reason: str) -> bytes:
    """ERROR (RFC 2812, 3.7.4)."""
    return f"ERROR :{reason}\r\n".encode()


def line(chat: Chat, session: Session, data: bytes) -> None:
    """One command."""
    state = session.irc
    assert state is not None  # `opened` made it
    text = _decoded(chat, session, state, data)
    if text is None:
        return
    message = parse(text)
    if message is None:
        return
    request = Request(chat, session, state, message)
    if "batch" not in message.tags or not state.capabilities & MULTILINE or not take_line(request):
        _run(request)
    request.send()


def _decoded(chat: Chat, session: Session, state: IrcState, data: bytes) -> str | None:
    """The text of a line; None after saying that it is too long, or not UTF-8 (utf8only)."""
    body = len(data)
    if data.startswith(b"@"):
        tags = data.find(b" ")
        tags = len(data) if tags < 0 else tags
        body -= tags + 1
        if tags - 1 > CLIENT_TAG_BYTES:
            body = BODY_BYTES + 1
    if body > BODY_BYTES:
        overlong(chat, session)
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        message = parse(data.decode("ascii", "replace"))
        request = Request(chat, session, state, message or NO_MESSAGE)
        command = message.command if message is not None and message.command in COMMANDS else "*"
        request.fail("INVALID_UTF8", text="Messages must be UTF-8; this one was dropped", command=command)
        request.send()
        return None


def overlong(chat: Chat, session: Session) -> None:
    """417 (modern.ircdocs.horse, ERR_INPUTTOOLONG)."""
    assert session.irc is not None
    request = Request(chat, session, session.irc, NO_MESSAGE)
    request.numeric(n.ERR_INPUTTOOLONG)
    request.send()


def check(chat: Chat, session: Session) -> None:
    """PING who has been silent, and end who did not answer the last one (RFC 2812, 3.7.2)."""
    assert session.irc is not None
    state = session.irc
    silent = chat.now - session.heard_at
    if silent >= chat.config.ping_seconds:
        if state.pinged_at > session.heard_at:
            request = Request(chat, session, state, NO_MESSAGE)
            request.end(f"Ping timeout: {int(silent)} seconds")
            return
        state.pinged_at = chat.now
        send_line(chat, session, f":{chat.config.server_name} PING :{chat.config.server_name}")
    chat.check_later(session)


# Commands.


class Command(NamedTuple):
    """What the runner has to know of a command; one with an empty parameter too few has too few."""

    handler: Callable[[Request], None]
    parameters: int = 0
    before_registration: bool = False


def _run(request: Request) -> None:
    command = COMMANDS.get(request.command)
    if command is None:
        if request.session.phase == "naming":
            request.numeric(n.ERR_NOTREGISTERED)
        else:
            request.numeric(n.ERR_UNKNOWNCOMMAND, echo(request.command))
    elif request.session.phase == "naming" and not command.before_registration:
        request.numeric(n.ERR_NOTREGISTERED)
    elif len(request.parameters) < command.parameters:
        request.numeric(n.ERR_NEEDMOREPARAMS, request.command)
    else:
        command.handler(request)


def _ping(request: Request) -> None:
    """PING <token> (modern.ircdocs.horse, PING)."""
    if request.parameters[0]:
        request.from_server(f"PONG {request.server} :{request.parameters[0]}")
    else:
        request.numeric(n.ERR_NOORIGIN)


def _pong(request: Request) -> None:
    """PONG (RFC 2812, 3.7.3): that something was heard has been noted already."""


def _quit(request: Request) -> None:
    """QUIT [<reason>] (RFC 2812, 3.1.7)."""
    reason = request.parameter(0)
    request.end(f"Quit: {reason}")


def _error(request: Request) -> None:
    """ERROR from a client means nothing (modern.ircdocs.horse, ERROR)."""


COMMANDS: Final[dict[str, Command]] = {
    "PRIVMSG": Command(privmsg),
    "NOTICE": Command(notice),
    "TAGMSG": Command(tagmsg),
    "BATCH": Command(batch, 1),
    "REDACT": Command(redact, 2),
    "JOIN": Command(join, 1),
    "PART": Command(part, 1),
    "TOPIC": Command(topic, 1),
    "NAMES": Command(names),
    "LIST": Command(list_),
    "INVITE": Command(invite),
    "KICK": Command(kick, 2),
    "MODE": Command(mode, 1),
    "RENAME": Command(rename, 2),
    "PASS": Command(registration.pass_, 1, True),
    "NICK": Command(registration.nick, 0, True),
    "USER": Command(registration.user, 4, True),
    "CAP": Command(registration.cap, 1, True),
    "PING": Command(_ping, 1, True),
    "PONG": Command(_pong, 0, True),
    "QUIT": Command(_quit, 0, True),
    "ERROR": Command(_error, 0, True),
    "AWAY": Command(away),
    "WHO": Command(who),
    "WHOIS": Command(whois),
    "WHOWAS": Command(whowas),
    "USERHOST": Command(userhost, 1),
    "ISON": Command(ison, 1),
    "MONITOR": Command(monitor, 1),
    "SETNAME": Command(setname, 1),
    "MARKREAD": Command(markread),
    "MOTD": Command(server.motd),
    "LUSERS": Command(server.lusers),
    "VERSION": Command(server.version),
    "TIME": Command(server.time),
    "INFO": Command(server.info),
    "ADMIN": Command(server.admin),
    "LINKS": Command(server.links),
    "STATS": Command(server.stats, 1),
    "HELP": Command(server.help_),
    "HELPOP": Command(server.help_),
    "OPER": Command(server.oper, 2),
    "REHASH": Command(server.rehash),
    "KILL": Command(server.kill, 2),
    "WALLOPS": Command(server.wallops, 1),
    "PROCESSES": Command(server.processes),
    "CONNECT": Command(server.no_such_server, 1),
    "SQUIT": Command(server.no_such_server, 1),
    "TRACE": Command(server.no_such_server),
}
"""Every command; the most frequent ones first."""
