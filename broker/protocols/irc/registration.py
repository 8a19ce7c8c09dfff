"""How an IRC client becomes somebody: PASS, NICK, USER, CAP, and what it is told then. Runs in the router; pure.

Registration is complete once there are a nick, a user and, if CAP began, its END (modern.ircdocs.horse, "Connection
Registration"; IRCv3, Capability Negotiation). A nick is not reserved before that: whoever completes first has it.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from broker.names import NameFault, parse_name
from broker.occasions import Renamed
from broker.protocols.irc import numerics as n
from broker.protocols.irc.capabilities import (
    CAP_NOTIFY,
    CAPABILITIES,
    VALUES,
    in_format,
    names_of,
    offered,
)
from broker.protocols.irc.limits import (
    PARAMETER_MODES,
    REALNAME_BYTES,
    USER_BYTES,
    USER_MODES,
)
from broker.protocols.irc.message import BODY_BYTES, shortened
from broker.protocols.irc.render import prefix, server_time
from broker.protocols.irc.request import Request, echo, send_line
from broker.protocols.irc.server import isupport, lusers, motd
from broker.room_policy import FLAGS, LISTS, STATUSES

if TYPE_CHECKING:
    from broker.chat import Chat

_BAD_IN_USER: Final = re.compile(r"[^A-Za-z0-9_.~\-\[\]\\`^{}|]")
_FAULTS: Final = {
    NameFault.TOO_LONG: "Erroneous nickname: it is too long",
    NameFault.SPACE: "Erroneous nickname: it has a space in it",
    NameFault.UNPRINTABLE: "Erroneous nickname: it has characters that cannot be seen",
    NameFault.SYMBOL: "Erroneous nickname: it has a symbol with a meaning of its own",
}


def pass_(request: Request) -> None:
    """PASS <password> (RFC 2812, 3.1.1)."""
    if request.session.phase == "present":
        request.numeric(n.ERR_ALREADYREGISTERED)
    else:
        request.state.password = request.parameters[0]


def nick(request: Request) -> None:
    """NICK <nickname> (RFC 2812, 3.1.2): the first one, or another one."""
    session, state, wanted = request.session, request.state, request.parameter(0)
    if not wanted:
        request.numeric(n.ERR_NONICKNAMEGIVEN)
    elif session.phase == "present":
        result = request.chat.set_name(session, wanted)
        if isinstance(result, NameFault):
            _refuse_nick(request, wanted, result)
        elif isinstance(result, Renamed):
            request.own(result)
    else:
        name = parse_name(wanted, request.config.max_name_length)
        if isinstance(name, NameFault) or request.chat.find_person(name.display) is not None:
            _refuse_nick(request, wanted, name if isinstance(name, NameFault) else NameFault.IN_USE)
        else:
            state.nick = name.display
            complete(request)


def _refuse_nick(request: Request, wanted: str, fault: NameFault) -> None:
    if fault is NameFault.EMPTY:
        request.numeric(n.ERR_NONICKNAMEGIVEN)
    elif fault is NameFault.IN_USE:
        request.numeric(n.ERR_NICKNAMEINUSE, echo(wanted))
    else:
        request.numeric(n.ERR_ERRONEUSNICKNAME, echo(wanted), text=_FAULTS[fault])


def user(request: Request) -> None:
    """USER <username> <mode> <unused> <realname> (RFC 2812, 3.1.3; modern.ircdocs.horse, USER: none may be empty)."""
    session = request.session
    if session.phase == "present" or request.state.user_given:
        request.numeric(n.ERR_ALREADYREGISTERED)
        return
    username, realname = request.parameters[0], request.parameters[3]
    if not username or not realname.strip():
        request.numeric(n.ERR_NEEDMOREPARAMS, "USER")
        return
    session.user = shortened(_BAD_IN_USER.sub("", username), USER_BYTES) or "user"
    session.realname = shortened(realname, REALNAME_BYTES)
    request.state.user_given = True
    complete(request)


def complete(request: Request) -> None:
    """Welcome the client, once all is there that is needed."""
    session, state, config = request.session, request.state, request.config
    if session.phase != "naming" or not state.nick or not state.user_given or state.negotiating:
        return
    # In constant time: how long a comparison takes must not tell how much of a guess is right.
    if config.password and not hmac.compare_digest(config.password.encode(), state.password.encode()):
        request.numeric(n.ERR_PASSWDMISMATCH)
        request.end("Bad password")
        return
    state.password = ""
    fault = request.chat.set_name(session, state.nick)
    if isinstance(fault, NameFault):  # somebody else was quicker
        wanted, state.nick = state.nick, ""
        _refuse_nick(request, wanted, fault)
        return
    request.chat.check_later(session)
    _welcome(request)


def _welcome(request: Request) -> None:
    """001 to 005, LUSERS and MOTD (modern.ircdocs.horse, "Connection Registration")."""
    config = request.config
    welcome = f"Welcome to the {config.network_name} Network, {prefix(request.session.source)}"
    request.numeric(n.RPL_WELCOME, text=welcome)
    request.numeric(n.RPL_YOURHOST, text=f"Your host is {config.server_name}, running version broker-{config.version}")
    request.numeric(n.RPL_CREATED, text=f"This chat began {server_time(request.chat.began_at)}")
    modes = "".join(sorted(FLAGS + LISTS + PARAMETER_MODES + STATUSES))
    with_parameter = "".join(sorted(LISTS + PARAMETER_MODES + STATUSES))
    request.numeric(n.RPL_MYINFO, config.server_name, f"broker-{config.version}", USER_MODES, modes, with_parameter)
    isupport(request)
    lusers(request)
    motd(request)


# Capability negotiation.


def cap(request: Request) -> None:
    """CAP <subcommand> (IRCv3, Capability Negotiation)."""
    subcommand = request.parameters[0].upper()
    handler = _SUBCOMMANDS.get(subcommand)
    if handler is None:
        request.numeric(n.ERR_INVALIDCAPCMD, echo(request.parameters[0]))
    else:
        handler(request)


def _ls(request: Request) -> None:
    """LS [version]: what is on offer; the highest version that was asked for holds."""
    state = request.state
    _suspend(request)
    version = request.parameter(1)
    if version.isascii() and version.isdigit():
        state.version = max(state.version, int(version[:9]))
    if state.version >= 302:
        state.capabilities |= CAP_NOTIFY
    words = [
        f"{name}={VALUES[name]}" if state.version >= 302 and name in VALUES else name
        for name in offered(request.config.disabled_capabilities)
    ]
    _list(request, "LS", words)


def _list_own(request: Request) -> None:
    """LIST: what the client has."""
    _list(request, "LIST", list(names_of(request.state.capabilities, offered(request.config.disabled_capabilities))))


def _list(request: Request, subcommand: str, words: list[str]) -> None:
    """One line, or several of which all but the last have an asterisk; without 302 there is one, cut if need be."""
    start = f"CAP {request.nick} {subcommand}"
    room = BODY_BYTES - len(f":{request.server} {start} * :".encode())
    lines: list[list[str]] = [[]]
    for word in words:
        if len(" ".join([*lines[-1], word])) > room:
            lines.append([])
        lines[-1].append(word)
    if request.state.version < 302:
        lines = lines[:1]
    for line in lines[:-1]:
        request.from_server(f"{start} * :{' '.join(line)}")
    request.from_server(f"{start} :{' '.join(lines[-1])}")


def _req(request: Request) -> None:
    """REQ: take these or, with a minus, give them up: all or none."""
    _suspend(request)
    on_offer = offered(request.config.disabled_capabilities)
    capabilities = request.state.capabilities
    asked = request.parameter(1)
    accepted = True
    for word in asked.split():
        name = word.removeprefix("-")
        if name not in on_offer:
            accepted = False
        elif not word.startswith("-"):
            capabilities |= CAPABILITIES[name]
        elif name == "cap-notify" and request.state.version >= 302:
            accepted = False  # it cannot be given up by who speaks 302 (cap-notify)
        else:
            capabilities &= ~CAPABILITIES[name]
    if accepted:
        set_capabilities(request, capabilities)
    request.from_server(f"CAP {request.nick} {'ACK' if accepted else 'NAK'} :{asked}")


def set_capabilities(request: Request, capabilities: int) -> None:
    """From here on the client has these."""
    session = request.session
    request.state.capabilities = capabilities
    request.chat.set_format(session, session.format._replace(capabilities=in_format(capabilities)))


def _end(request: Request) -> None:
    """END: registration may go on."""
    request.state.negotiating = False
    complete(request)


def _suspend(request: Request) -> None:
    if request.session.phase == "naming":
        request.state.negotiating = True


_SUBCOMMANDS: Final = {"LS": _ls, "LIST": _list_own, "REQ": _req, "END": _end}


def reconfigured(chat: Chat) -> None:
    """Tell those who want to know of capabilities that are on offer from here on, or not any more (cap-notify)."""
    before, after = chat.offered, offered(chat.config.disabled_capabilities)
    chat.offered = after
    for subcommand, names in (
        ("NEW", [name for name in after if name not in before]),
        ("DEL", [name for name in before if name not in after]),
    ):
        if not names:
            continue
        lost = 0
        for name in names if subcommand == "DEL" else []:
            lost |= CAPABILITIES[name]
        for person in chat.people():
            if person.irc is None:
                continue
            if person.irc.capabilities & CAP_NOTIFY:
                words = [f"{name}={VALUES[name]}" if subcommand == "NEW" and name in VALUES else name for name in names]
                send_line(chat, person, f":{chat.config.server_name} CAP {person.name} {subcommand} :{' '.join(words)}")
            person.irc.capabilities &= ~lost
            chat.set_format(person, person.format._replace(capabilities=in_format(person.irc.capabilities)))
