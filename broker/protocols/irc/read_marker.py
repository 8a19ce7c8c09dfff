"""MARKREAD: until when somebody has read a conversation (IRCv3 draft read-marker). Runs in the router; pure.

Without accounts a marker is a session's own: it is remembered for as long as the connection is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.names import key_of
from broker.protocols.irc.capabilities import READ_MARKER
from broker.protocols.irc.request import channel_name, echo

if TYPE_CHECKING:
    from broker.protocols.irc.request import Request

TARGETS_KEPT: Final = 256
_TIMESTAMP: Final = re.compile(r"timestamp=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z)")


def markread(request: Request) -> None:
    """MARKREAD <target> [timestamp=YYYY-MM-DDThh:mm:ss.sssZ] (read-marker)."""
    if not request.has(READ_MARKER):
        request.fail("INVALID_PARAMS", text="Ask for the capability draft/read-marker first")
        return
    if not request.parameters:
        request.fail("NEED_MORE_PARAMS", text="Missing parameters")
        return
    target, read = request.parameters[0], request.state.read
    name = channel_name(request.chat, target)
    person = request.chat.find_person(target)
    key = f"#{name.key}" if name else f"@{person.key if person else key_of(target[:TARGETS_KEPT])}"
    if len(request.parameters) > 1:
        match = _TIMESTAMP.fullmatch(request.parameters[1])
        if match is None:
            request.fail("INVALID_PARAMS", echo(target), echo(request.parameters[1]), text="Invalid timestamp")
            return
        # Never back: the later of two moments, which are texts of one form, holds.
        read[key] = max(read.pop(key, ""), match[1])
        if len(read) > TARGETS_KEPT:
            del read[next(iter(read))]
    _tell(request, echo(target), key)


def tell_marker(request: Request, target: str, room_key: str) -> None:
    """Tell who has entered a channel until when they have read it."""
    _tell(request, target, f"#{room_key}")


def _tell(request: Request, target: str, key: str) -> None:
    moment = request.state.read.get(key)
    request.from_server(f"MARKREAD {target} {f'timestamp={moment}' if moment else '*'}")
