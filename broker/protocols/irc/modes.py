"""MODE: the rules of a channel, the status of its members, what users set about themselves. Router; pure.

RFC 2811, 4, and RFC 2812, 3.1.5 and 3.2.3; modern.ircdocs.horse, MODE. What the modes mean is `broker.room_policy`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.masks import EXTENDED_SIGN, extended, whole_mask
from broker.names import key_of
from broker.protocols.irc import numerics as n
from broker.protocols.irc.channels import may_command
from broker.protocols.irc.limits import KEY_BYTES, MASK_BYTES, MASKS_PER_LIST, MODES_PER_LINE, USER_MODES
from broker.protocols.irc.render import prefix
from broker.protocols.irc.request import Request, echo
from broker.room_policy import FLAGS, LISTS, STATUSES, is_visible, rank, rank_to_change
from broker.rooms import ListedMask, Room

if TYPE_CHECKING:
    from broker.sessions import Session

LIMIT_MOST: Final = 1_000_000
_LIST_NUMERICS: Final = {
    "b": (n.RPL_BANLIST, n.RPL_ENDOFBANLIST),
    "e": (n.RPL_EXCEPTLIST, n.RPL_ENDOFEXCEPTLIST),
    "I": (n.RPL_INVEXLIST, n.RPL_ENDOFINVEXLIST),
}
_WITH_PARAMETER: Final = {True: LISTS + STATUSES + "kl", False: LISTS + STATUSES + "k"}


@dataclass(slots=True)
class _Changes:
    """What has been changed so far, as it will be told."""

    text: str = ""
    arguments: list[str] = field(default_factory=list)
    given: bool | None = None

    def add(self, given: bool, letter: str, argument: str | None = None) -> None:
        if given is not self.given:
            self.text += "+" if given else "-"
            self.given = given
        self.text += letter
        if argument is not None:
            self.arguments.append(argument)


def mode(request: Request) -> None:
    """MODE <target> [<modes> [<parameter>...]]."""
    target = request.parameters[0]
    if not target.startswith("#"):
        _user_mode(request, target)
        return
    room = request.room_named(target)
    if room is None or not is_visible(room, request.session):
        request.numeric(n.ERR_NOSUCHCHANNEL, echo(target))
    elif len(request.parameters) == 1:
        _tell_modes(request, room)
    else:
        _change_room(request, room)


def _tell_modes(request: Request, room: Room) -> None:
    inside = request.session.number in room.members or request.session.operator
    modes, arguments = room.modes, []
    if room.password:
        modes += "k"
        arguments.append(room.password if inside else "*")
    if room.limit:
        modes += "l"
        arguments.append(str(room.limit))
    request.numeric(n.RPL_CHANNELMODEIS, f"#{room.name.display}", f"+{modes}", *arguments)
    request.numeric(n.RPL_CREATIONTIME, f"#{room.name.display}", str(int(room.made_at)))


def _change_room(request: Request, room: Room) -> None:
    changes = _Changes()
    arguments = iter(request.parameters[2:])
    given, count = True, 0
    complained = False
    for letter in request.parameters[1]:
        if letter in "+-":
            given = letter == "+"
            continue
        argument = next(arguments, None) if letter in _WITH_PARAMETER[given] else None
        count += letter in _WITH_PARAMETER[given]
        if count > MODES_PER_LINE:
            break
        if letter in LISTS and argument is None:
            _tell_list(request, room, letter)
        elif letter not in LISTS + STATUSES + FLAGS + "kl":
            request.numeric(n.ERR_UNKNOWNMODE, echo(letter), text=f"{n.ERR_UNKNOWNMODE.text} for #{room.name.display}")
        elif complained or not may_command(request, room):
            complained = True  # once is enough for a line
        elif letter in LISTS:
            assert argument is not None
            _change_list(request, room, changes, given, letter, argument)
        elif letter in STATUSES:
            _change_status(request, room, changes, given, letter, argument)
        elif letter in FLAGS:
            if (letter in room.modes) is not given:
                room.modes = "".join(sorted(room.modes + letter)) if given else room.modes.replace(letter, "")
                changes.add(given, letter)
        elif letter == "k":
            _change_key(request, room, changes, given, argument)
        else:
            _change_limit(request, room, changes, given, argument)
    if changes.text:
        chat, session = request.chat, request.session
        told = chat.announce_modes(room, session.source, changes.text, tuple(changes.arguments), session.number)
        request.own(told)


def _tell_list(request: Request, room: Room, letter: str) -> None:
    entry_numeric, end = _LIST_NUMERICS[letter]
    for entry in room.lists.get(letter, {}).values():
        request.numeric(entry_numeric, f"#{room.name.display}", entry.mask, entry.by, str(int(entry.at)))
    request.numeric(end, f"#{room.name.display}")


def _change_list(request: Request, room: Room, changes: _Changes, given: bool, letter: str, argument: str) -> None:
    argument = argument.strip()
    odd = not argument or argument.startswith(":") or len(argument.encode()) > MASK_BYTES
    if odd or (argument.startswith(EXTENDED_SIGN) and not extended(argument)[0]):
        request.numeric(
            n.ERR_INVALIDMODEPARAM, f"#{room.name.display}", letter, echo(argument), text="That is not a mask"
        )
        return
    mask = whole_mask(argument.replace(" ", "?"))  # a parameter has no space in it, and `?` fits one
    key = key_of(mask)
    masks = room.lists.get(letter, {})
    if given and key not in masks and len(masks) >= MASKS_PER_LIST:
        request.numeric(n.ERR_BANLISTFULL, f"#{room.name.display}", mask)
        return
    if not given and key in masks:
        mask = masks[key].mask
    entry = ListedMask(mask, prefix(request.session.source), request.chat.now)
    if request.chat.set_mask(room, letter, key, entry if given else None):
        changes.add(given, letter, mask)


def _change_status(request: Request, room: Room, changes: _Changes, given: bool, letter: str, nick: str | None) -> None:
    if not nick:
        request.numeric(n.ERR_NEEDMOREPARAMS, "MODE")
        return
    session = request.session
    person = request.chat.find_person(nick)
    if person is None:
        request.numeric(n.ERR_NOSUCHNICK, echo(nick))
        return
    if person.number not in room.members:
        request.numeric(n.ERR_USERNOTINCHANNEL, person.name, f"#{room.name.display}")
        return
    own = rank(room.members.get(session.number, ""))
    theirs = rank(room.members[person.number])
    gives_up = not given and person is session
    if not session.operator and not gives_up and (own < rank_to_change(letter) or (not given and own < theirs)):
        request.numeric(n.ERR_CHANOPRIVSNEEDED, f"#{room.name.display}")
        return
    if request.chat.set_status(room, person.number, letter, given):
        changes.add(given, letter, person.name)


def _change_key(request: Request, room: Room, changes: _Changes, given: bool, key: str | None) -> None:
    if not given:
        if room.password:
            changes.add(False, "k", room.password)
            room.password = ""
        return
    if key is None:
        request.numeric(n.ERR_NEEDMOREPARAMS, "MODE")
    elif not key or key.startswith(":") or any(bad in key for bad in " ,") or len(key.encode()) > KEY_BYTES:
        request.numeric(
            n.ERR_INVALIDMODEPARAM, f"#{room.name.display}", "k", "*",
            text=f"A key has no space and no comma, and at most {KEY_BYTES} bytes",
        )  # fmt: skip
    elif key != room.password:
        room.password = key
        changes.add(True, "k", key)


def _change_limit(request: Request, room: Room, changes: _Changes, given: bool, text: str | None) -> None:
    if not given:
        if room.limit:
            room.limit = 0
            changes.add(False, "l")
        return
    if text is None:
        request.numeric(n.ERR_NEEDMOREPARAMS, "MODE")
    elif not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LIMIT_MOST):
        request.numeric(n.ERR_INVALIDMODEPARAM, f"#{room.name.display}", "l", echo(text), text="That is not a limit")
    elif int(text[:9]) != room.limit:
        room.limit = int(text[:9])
        changes.add(True, "l", str(room.limit))


# Of users.


def _user_mode(request: Request, target: str) -> None:
    session: Session = request.session
    person = request.chat.find_person(target)
    if person is None:
        request.numeric(n.ERR_NOSUCHNICK, echo(target))
    elif person is not session:
        request.numeric(n.ERR_USERSDONTMATCH)
    elif len(request.parameters) == 1:
        request.numeric(n.RPL_UMODEIS, f"+{session.modes}")
    else:
        _change_own(request, request.parameters[1])


def _change_own(request: Request, wanted: str) -> None:
    session = request.session
    changes = _Changes()
    given = True
    unknown = False
    for letter in wanted:
        if letter in "+-":
            given = letter == "+"
        elif letter not in USER_MODES:
            unknown = True
        elif (letter in session.modes) is given or (letter == "o" and given):
            continue  # nobody makes themselves an operator (RFC 2812, 3.1.5)
        else:
            session.modes = "".join(sorted(session.modes + letter)) if given else session.modes.replace(letter, "")
            changes.add(given, letter)
            if letter == "o":
                session.operator = ""
    if changes.text:
        session.identify()
        request.chat.note_modes(session)
        request.say(f"MODE {session.name} :{changes.text}")
    if unknown:
        request.numeric(n.ERR_UMODEUNKNOWNFLAG)
