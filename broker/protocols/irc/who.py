"""WHO, with WHOX: who is in a channel, or fits a mask. Runs in the router; pure.

RFC 2812, 3.6.1; modern.ircdocs.horse, WHO; IRCv3 whox (`WHO <mask> %<fields>[,<token>]`). Whoever is invisible (+i) is
shown to those only who share a channel, or ask for the very nick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.masks import matches
from broker.names import key_of
from broker.protocols.irc import numerics as n
from broker.protocols.irc.capabilities import MULTI_PREFIX
from broker.protocols.irc.limits import signs_of
from broker.protocols.irc.request import Request, echo
from broker.room_policy import is_visible

if TYPE_CHECKING:
    from broker.rooms import Room
    from broker.sessions import Session

FIELDS: Final = "tcuihsnfdlaor"
"""Of WHOX, in the order in which they are written whatever order they are asked for in."""
_TOKEN_DIGITS: Final = 3


def who(request: Request) -> None:
    """WHO <mask> [o | %<fields>[,<token>]]."""
    mask = request.parameter(0) or "*"
    options = request.parameter(1)
    fields, token = "", "0"
    if "%" in options:
        fields, _, token = options.partition("%")[2].partition(",")
        token = token if token.isascii() and token.isdigit() and len(token) <= _TOKEN_DIGITS else "0"
    operators_only = "o" in options.partition("%")[0]
    for person, room in _found(request, mask):
        if operators_only and not person.operator:
            continue
        if request.is_full:
            request.numeric(n.ERR_TOOMANYMATCHES, "WHO")
            break
        if "%" in options:
            _reply_fields(request, person, room, fields, token)
        else:
            _reply(request, person, room)
    request.numeric(n.RPL_ENDOFWHO, echo(mask))


def shared_room(request: Request, person: Session) -> Room | None:
    """A room that both are in; one's own first room if the person is oneself."""
    rooms = request.session.rooms
    for room in request.chat.rooms_of(person):
        if room.name.key in rooms:
            return room
    return None


def _found(request: Request, mask: str) -> list[tuple[Session, Room | None]]:
    chat = request.chat
    if mask.startswith("#"):
        room = request.room_named(mask)
        if room is None or not is_visible(room, request.session):
            return []
        inside = request.session.number in room.members
        return [(member, room) for member in chat.members_of(room) if inside or "i" not in member.modes]
    exact = chat.find_person(mask)
    if exact is not None:
        return [(exact, shared_room(request, exact))]
    pattern = "*" if mask == "0" else key_of(mask)
    found = []
    for person in chat.people():
        if pattern == "*" or _fits(request, pattern, person):
            room = shared_room(request, person)
            if "i" not in person.modes or room is not None or person is request.session:
                found.append((person, room))
    return found


def _fits(request: Request, pattern: str, person: Session) -> bool:
    texts = (
        person.key,
        person.user.casefold(),
        person.host.casefold(),
        key_of(person.realname),
        request.server.lower(),
    )
    return any(matches(pattern, text) for text in texts)


def _flags(request: Request, person: Session, room: Room | None) -> str:
    status = "" if room is None else room.members.get(person.number, "")
    return (
        ("G" if person.away else "H")
        + ("*" if person.operator else "")
        + signs_of(status, request.has(MULTI_PREFIX))
        + ("B" if "B" in person.modes else "")
    )


def _reply(request: Request, person: Session, room: Room | None) -> None:
    """352 <channel> <user> <host> <server> <nick> <flags> :<hopcount> <realname>."""
    channel = "*" if room is None else f"#{room.name.display}"
    request.numeric(
        n.RPL_WHOREPLY, channel, person.user, person.host, request.server, person.name,
        _flags(request, person, room), text=f"0 {person.realname}",
    )  # fmt: skip


def _reply_fields(request: Request, person: Session, room: Room | None, fields: str, token: str) -> None:
    """354 with the fields that were asked for (whox)."""
    idle = str(max(0, int(request.chat.now - person.spoke_at)))
    values = {
        "t": token,
        "c": "*" if room is None else f"#{room.name.display}",
        "u": person.user,
        "i": person.host,
        "h": person.host,
        "s": request.server,
        "n": person.name,
        "f": _flags(request, person, room),
        "d": "0",
        "l": idle,
        "a": person.account or "0",
        "o": "n/a",
    }
    words = [values[field] for field in FIELDS if field in fields and field != "r"]
    request.numeric(n.RPL_WHOSPCRPL, *words, text=person.realname if "r" in fields else None)
