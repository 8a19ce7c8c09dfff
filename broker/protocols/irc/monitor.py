"""MONITOR: hearing of it when somebody comes and goes (IRCv3 monitor, extended-monitor). Router; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.names import NameFault, parse_name
from broker.occasions import AwayChanged, HostChanged, RealnameChanged, Source
from broker.protocols.irc import numerics as n
from broker.protocols.irc.capabilities import EXTENDED_MONITOR
from broker.protocols.irc.limits import MONITORED
from broker.protocols.irc.message import BODY_BYTES
from broker.protocols.irc.numerics import Numeric
from broker.protocols.irc.render import prefix
from broker.protocols.irc.request import Request, echo, send_line

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Session


def monitor(request: Request) -> None:
    """MONITOR + <target>{,<target>} | - <target>{,<target>} | C | L | S."""
    subcommand = request.parameters[0].upper()
    targets = [target for target in request.parameter(1).split(",") if target]
    watched = request.session.watched
    if subcommand in ("+", "-") and not targets:
        request.numeric(n.ERR_NEEDMOREPARAMS, "MONITOR")
    elif subcommand == "+":
        _add(request, targets)
    elif subcommand == "-":
        for target in targets:
            name = parse_name(target, request.config.max_name_length)
            if not isinstance(name, NameFault):
                request.chat.unwatch(request.session, name.key)
    elif subcommand == "C":
        for key in list(watched):
            request.chat.unwatch(request.session, key)
    elif subcommand == "L":
        _packed(request, n.RPL_MONLIST, list(watched.values()))
        request.numeric(n.RPL_ENDOFMONLIST)
    elif subcommand == "S":
        _tell_status(request, list(watched.values()))
    else:
        request.numeric(n.ERR_UNKNOWNCOMMAND, "MONITOR", text="Unknown subcommand")


def _add(request: Request, targets: list[str]) -> None:
    session, added = request.session, []
    for index, target in enumerate(targets):
        name = parse_name(target, request.config.max_name_length)
        if isinstance(name, NameFault):
            continue
        if name.key not in session.watched and len(session.watched) >= MONITORED:
            request.numeric(n.ERR_MONLISTFULL, str(MONITORED), ",".join(map(echo, targets[index:])))
            break
        if name.key not in session.watched:
            request.chat.watch(session, name)
        added.append(name.display)
    _tell_status(request, added)


def _tell_status(request: Request, names: list[str]) -> None:
    people = [(name, request.chat.find_person(name)) for name in names]
    _packed(request, n.RPL_MONONLINE, [prefix(person.source) for _, person in people if person is not None])
    _packed(request, n.RPL_MONOFFLINE, [name for name, person in people if person is None])


def _packed(request: Request, numeric: Numeric, words: list[str]) -> None:
    """As many lines as it takes, with commas between the words."""
    room = BODY_BYTES - len(f":{request.server} {numeric.code} {request.nick} :".encode())
    line: list[str] = []
    for word in words:
        if line and len(",".join([*line, word]).encode()) > room:
            request.numeric(numeric, text=",".join(line))
            line = []
        line.append(word)
    if line:
        request.numeric(numeric, text=",".join(line))


def watched(chat: Chat, session: Session, source: Source, present: bool) -> None:
    """Somebody of a name that the session watches has come, or gone: 730 or 731."""
    numeric = n.RPL_MONONLINE if present else n.RPL_MONOFFLINE
    text = prefix(source) if present else source.name
    send_line(chat, session, f":{chat.config.server_name} {numeric.code} {session.name} :{text}")


def tell_extended(chat: Chat, person: Session, occasion: AwayChanged | RealnameChanged | HostChanged) -> None:
    """Tell those who watch somebody, share no channel and asked to hear of such things too (extended-monitor)."""
    for watcher in chat.watchers_of(person.key):
        shares = any(key in person.rooms for key in watcher.rooms)
        wants = watcher.irc is not None and bool(watcher.irc.capabilities & EXTENDED_MONITOR)
        if wants and not shares and watcher is not person:
            chat.tell(watcher, occasion)
