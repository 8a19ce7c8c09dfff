"""LIST: which channels there are, with the filters that ELIST tells of. Runs in the router; pure.

RFC 2812, 3.2.6; modern.ircdocs.horse, LIST: C by the minutes since it was made, M by mask, N by a mask that must not
fit, T by the minutes since its topic was set, U by the number of users.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from broker.masks import matches
from broker.names import key_of
from broker.protocols.irc import numerics as n
from broker.protocols.irc.request import Request
from broker.room_policy import is_visible

if TYPE_CHECKING:
    from broker.rooms import Room

_COUNT: Final = re.compile(r"([CT]?)([<>])(\d{1,9})", re.IGNORECASE | re.ASCII)


def list_(request: Request) -> None:
    """LIST [<channel>{,<channel>}] [<condition>{,<condition>}]; either may stand in the other's place."""
    conditions: list[Callable[[Room], bool]] = []
    wanted: list[str] = []
    for word in ",".join(request.parameters).split(","):
        match = _COUNT.fullmatch(word)
        if match is not None:
            conditions.append(_condition(match[1].upper(), match[2] == "<", int(match[3]), request.chat.now))
        elif word.startswith("!"):
            conditions.append(_unlike(word[1:]))
        elif word:
            wanted.append(word)
    request.numeric(n.RPL_LISTSTART, "Channel")
    for room in _candidates(request, wanted):
        if not room.members or not is_visible(room, request.session):
            continue
        if not all(condition(room) for condition in conditions):
            continue
        if request.is_full:
            request.numeric(n.ERR_TOOMANYMATCHES, "LIST")
            break
        request.numeric(n.RPL_LIST, f"#{room.name.display}", str(len(room.members)), text=room.topic.text)
    request.numeric(n.RPL_LISTEND)


def _candidates(request: Request, wanted: list[str]) -> list[Room]:
    """The rooms of these names and masks, or all of them."""
    if wanted and not any("*" in word or "?" in word for word in wanted):
        found = [request.room_named(word) for word in wanted]
        return [room for room in found if room is not None]
    rooms = request.chat.first_rooms(request.chat.room_count)
    patterns = [key_of(word) for word in wanted]
    if not patterns:
        return rooms
    return [room for room in rooms if any(matches(pattern, f"#{room.name.key}") for pattern in patterns)]


def _unlike(mask: str) -> Callable[[Room], bool]:
    pattern = key_of(mask)
    return lambda room: not matches(pattern, f"#{room.name.key}")


def _condition(kind: str, less: bool, value: int, now: float) -> Callable[[Room], bool]:
    def measure(room: Room) -> float:
        if kind == "C":
            return (now - room.made_at) / 60
        if kind == "T":
            return (now - room.topic.at) / 60 if room.topic.text else float("inf")
        return len(room.members)

    def holds(room: Room) -> bool:
        if kind == "T" and not room.topic.text:
            return False
        return measure(room) < value if less else measure(room) > value

    return holds
