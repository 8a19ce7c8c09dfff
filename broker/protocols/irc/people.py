"""What one may learn of others, and tell of oneself: WHOIS, WHOWAS, USERHOST, ISON, AWAY, SETNAME. Router; pure.

RFC 2812, 3.6, 4.1, 4.8, 4.9; modern.ircdocs.horse; IRCv3 setname, bot mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.names import key_of
from broker.protocols.irc import numerics as n
from broker.protocols.irc.channels import split
from broker.protocols.irc.limits import AWAY_BYTES, REALNAME_BYTES, TARGETS, signs_of
from broker.protocols.irc.message import BODY_BYTES, shortened
from broker.protocols.irc.monitor import tell_extended
from broker.protocols.irc.render import server_time
from broker.protocols.irc.request import Request, echo
from broker.protocols.irc.server import is_here
from broker.room_policy import is_visible

if TYPE_CHECKING:
    from broker.sessions import Session

USERHOST_NICKS = 5


def whois(request: Request) -> None:
    """WHOIS [<server>] <nick>{,<nick>} (RFC 2812, 3.6.2)."""
    if not request.parameters or not request.parameters[-1]:
        request.numeric(n.ERR_NONICKNAMEGIVEN)
        return
    if len(request.parameters) > 1 and not is_here(request):
        return
    nicks = request.parameters[1] if len(request.parameters) > 1 else request.parameters[0]
    for nick in split(nicks)[:TARGETS]:
        person = request.chat.find_person(nick)
        if person is None:
            request.numeric(n.ERR_NOSUCHNICK, echo(nick))
        else:
            _tell_of(request, person)
    request.numeric(n.RPL_ENDOFWHOIS, echo(nicks))


def _tell_of(request: Request, person: Session) -> None:
    name, own = person.name, person is request.session
    request.numeric(n.RPL_WHOISUSER, name, person.user, person.host, "*", text=person.realname)
    words = [
        f"{signs_of(room.members[person.number], True)}#{room.name.display}"
        for room in request.chat.rooms_of(person)
        if request.session.number in room.members or ("i" not in person.modes and is_visible(room, request.session))
    ]
    if words:
        request.packed(n.RPL_WHOISCHANNELS, name, words)
    request.numeric(n.RPL_WHOISSERVER, name, request.server, text=request.config.server_description)
    if person.operator:
        request.numeric(n.RPL_WHOISOPERATOR, name)
    if person.away:
        request.numeric(n.RPL_AWAY, name, text=person.away)
    if "B" in person.modes:
        request.numeric(n.RPL_WHOISBOT, name)
    if own or request.session.operator:
        request.numeric(n.RPL_WHOISACTUALLY, name, f"{person.user}@{person.host}", person.host)
        request.numeric(n.RPL_WHOISMODES, name, text=f"is using modes +{person.modes}")
    idle = max(0, int(request.chat.now - person.spoke_at))
    request.numeric(n.RPL_WHOISIDLE, name, str(idle), str(int(person.began_at)))


def whowas(request: Request) -> None:
    """WHOWAS <nick>{,<nick>} [<count> [<server>]] (RFC 2812, 3.6.3): latest first, a count of 0 or less is no limit."""
    if not request.parameter(0):
        request.numeric(n.ERR_NONICKNAMEGIVEN)
        return
    if not is_here(request, 2):
        return
    text = request.parameter(1)
    count = int(text[:9]) if text.isascii() and text.isdigit() else 0
    for nick in split(request.parameters[0])[:TARGETS]:
        found = request.chat.past.who_was(key_of(nick))
        for person in found[:count] if count else found:
            source = person.source
            request.numeric(n.RPL_WHOWASUSER, source.name, source.user, source.host, "*", text=person.realname)
            request.numeric(n.RPL_WHOISSERVER, source.name, request.server, text=server_time(person.until))
        if not found:
            request.numeric(n.ERR_WASNOSUCHNICK, echo(nick))
        request.numeric(n.RPL_ENDOFWHOWAS, echo(nick))


def userhost(request: Request) -> None:
    """USERHOST <nick>{ <nick>} (RFC 2812, 4.8)."""
    words = []
    for nick in request.parameters[:USERHOST_NICKS]:
        person = request.chat.find_person(nick)
        if person is not None:
            operator, sign = "*" if person.operator else "", "-" if person.away else "+"
            words.append(f"{person.name}{operator}={sign}{person.user}@{person.host}")
    request.numeric(n.RPL_USERHOST, text=" ".join(words))


def ison(request: Request) -> None:
    """ISON <nick>{ <nick>} (RFC 2812, 4.9): the answer is hardly longer than the question."""
    nicks = [nick for parameter in request.parameters for nick in parameter.split(" ") if nick]
    people = [request.chat.find_person(nick) for nick in nicks]
    text = " ".join(person.name for person in people if person is not None)
    request.numeric(n.RPL_ISON, text=shortened(text, BODY_BYTES))


def away(request: Request) -> None:
    """AWAY [<text>] (RFC 2812, 4.1); without a text one is back."""
    message = shortened(request.parameter(0), AWAY_BYTES)
    session = request.session
    if message or session.away:
        occasion = request.chat.set_away(session, message)
        tell_extended(request.chat, session, occasion)
    request.numeric(n.RPL_NOWAWAY if message else n.RPL_UNAWAY)


def setname(request: Request) -> None:
    """SETNAME <realname> (setname)."""
    realname = request.parameters[0]
    if not realname.strip():
        request.fail("INVALID_REALNAME", text="A real name cannot be empty")
    elif len(realname.encode()) > REALNAME_BYTES:
        request.fail("INVALID_REALNAME", text=f"A real name has at most {REALNAME_BYTES} bytes")
    else:
        occasion = request.chat.set_realname(request.session, realname)
        request.own(occasion)
        tell_extended(request.chat, request.session, occasion)
