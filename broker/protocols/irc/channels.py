"""Coming into channels, going, and who is there: JOIN, PART, NAMES, LIST, TOPIC, INVITE, KICK, RENAME. Router; pure.

An IRC channel is a room with a `#` before its name. RFC 2812, 3.2, and modern.ircdocs.horse where it differs; the rules
are in `broker.room_policy`, what is done is in `broker.membership`.
"""

from __future__ import annotations

from typing import Final

from broker.occasions import Invited, Joined, Parted
from broker.protocols.irc import numerics as n
from broker.protocols.irc.capabilities import (
    CHANNEL_RENAME,
    INVITE_NOTIFY,
    MULTI_PREFIX,
    NO_IMPLICIT_NAMES,
    READ_MARKER,
    USERHOST_IN_NAMES,
)
from broker.protocols.irc.limits import CHANNELS, KICK_BYTES, TARGETS, TOPIC_BYTES, signs_of
from broker.protocols.irc.message import NO_MESSAGE, shortened
from broker.protocols.irc.read_marker import tell_marker
from broker.protocols.irc.render import prefix
from broker.protocols.irc.request import Request, channel_name, echo
from broker.room_policy import HALF_OPERATOR, OPERATOR, EntryRefusal, entry_refusal, is_visible, rank
from broker.rooms import Room

_ENTRY_REFUSALS: Final = {
    EntryRefusal.BANNED: n.ERR_BANNEDFROMCHAN,
    EntryRefusal.INVITATION_ONLY: n.ERR_INVITEONLYCHAN,
    EntryRefusal.PASSWORD: n.ERR_BADCHANNELKEY,
    EntryRefusal.FULL: n.ERR_CHANNELISFULL,
    EntryRefusal.ACCOUNT: n.ERR_NEEDREGGEDNICK,
}


def split(text: str) -> list[str]:
    """The targets of a list with commas, without empty ones and without repetitions."""
    return list(dict.fromkeys(word for word in text.split(",") if word))


def join(request: Request) -> None:
    """JOIN <channel>{,<channel>} [<key>{,<key>}], or JOIN 0 (RFC 2812, 3.2.1)."""
    chat, session = request.chat, request.session
    if request.parameters[0] == "0":
        for room in chat.rooms_of(session):
            _leave(request, room, "")
        return
    keys = request.parameter(1).split(",")
    for index, target in enumerate(request.parameters[0].split(",")):
        if not target:
            continue
        name = channel_name(chat, target)
        if name is None:
            request.numeric(n.ERR_NOSUCHCHANNEL, echo(target))
            continue
        if name.key in session.rooms:
            continue
        if len(session.rooms) >= CHANNELS:
            request.numeric(n.ERR_TOOMANYCHANNELS, echo(target))
            continue
        found = chat.find_room(name)
        key = keys[index] if index < len(keys) else ""
        refusal = None if found is None or session.operator else entry_refusal(found, session, key)
        if refusal is not None:
            request.numeric(_ENTRY_REFUSALS[refusal], echo(target))
            continue
        room = chat.enter(session, name)
        request.own(Joined(session.source, room.name.display, session.realname))
        _welcome(request, room)


def _welcome(request: Request, room: Room) -> None:
    """What follows the JOIN: the topic, the read marker, the names."""
    if room.topic.text:
        _topic_numerics(request, room)
    if request.has(READ_MARKER):
        tell_marker(request, f"#{room.name.display}", room.name.key)
    if not request.has(NO_IMPLICIT_NAMES):
        _names_of(request, room)


def part(request: Request) -> None:
    """PART <channel>{,<channel>} [<reason>] (RFC 2812, 3.2.2)."""
    reason = shortened(request.parameter(1), KICK_BYTES)
    for target in split(request.parameters[0]):
        room = _own_room(request, target)
        if room is not None:
            _leave(request, room, reason)


def _leave(request: Request, room: Room, reason: str) -> None:
    request.own(Parted(request.session.source, room.name.display, reason))
    request.chat.leave(request.session, room, reason)


def _own_room(request: Request, target: str) -> Room | None:
    """The channel of that name that the client is in, or None after saying that there is none, or it is not in it."""
    room = request.room_named(target)
    if room is None:
        request.numeric(n.ERR_NOSUCHCHANNEL, echo(target))
        return None
    if request.session.number not in room.members:
        request.numeric(n.ERR_NOTONCHANNEL, f"#{room.name.display}")
        return None
    return room


def may_command(request: Request, room: Room, least_rank: int = HALF_OPERATOR) -> bool:
    """Whether the client may decide in a channel that it is in; says so if not. Server operators may everywhere."""
    if request.session.operator or rank(room.members.get(request.session.number, "")) >= least_rank:
        return True
    request.numeric(n.ERR_CHANOPRIVSNEEDED, f"#{room.name.display}")
    return False


# Looking around.


def names(request: Request) -> None:
    """NAMES [<channel>{,<channel>}] (RFC 2812, 3.2.5)."""
    if not request.parameters:
        for room in request.chat.first_rooms(request.chat.room_count):
            if is_visible(room, request.session) and room.members and not request.is_full:
                _name_replies(request, room)
        request.numeric(n.RPL_ENDOFNAMES, "*")
        return
    for target in split(request.parameters[0]):
        found = request.room_named(target)
        if found is not None and is_visible(found, request.session):
            _names_of(request, found)
        else:
            request.numeric(n.RPL_ENDOFNAMES, echo(target))


def _names_of(request: Request, room: Room) -> None:
    _name_replies(request, room)
    request.numeric(n.RPL_ENDOFNAMES, f"#{room.name.display}")


def _name_replies(request: Request, room: Room) -> None:
    chat, session = request.chat, request.session
    everything, with_host = request.has(MULTI_PREFIX), request.has(USERHOST_IN_NAMES)
    inside = session.number in room.members
    words = []
    for member, status in zip(chat.members_of(room), room.members.values(), strict=True):
        if "i" in member.modes and not inside:
            continue  # invisible to who shares no channel (RFC 2812, 3.1.5), or not this one
        name = prefix(member.source) if with_host else member.name
        words.append(f"{signs_of(status, everything)}{name}" if status else name)
    symbol = "@" if "s" in room.modes else "="
    request.packed(n.RPL_NAMREPLY, f"{symbol} #{room.name.display}", words)


def topic(request: Request) -> None:
    """TOPIC <channel> [<topic>] (RFC 2812, 3.2.4)."""
    room = request.room_named(request.parameters[0])
    if room is None or not is_visible(room, request.session):
        request.numeric(n.ERR_NOSUCHCHANNEL, echo(request.parameters[0]))
    elif len(request.parameters) == 1:
        if room.topic.text:
            _topic_numerics(request, room)
        else:
            request.numeric(n.RPL_NOTOPIC, f"#{room.name.display}")
    elif request.session.number not in room.members:
        request.numeric(n.ERR_NOTONCHANNEL, f"#{room.name.display}")
    elif "t" not in room.modes or may_command(request, room):
        text = shortened(request.parameters[1], TOPIC_BYTES)
        request.own(request.chat.set_topic(room, request.session.source, text, request.session.number))


def _topic_numerics(request: Request, room: Room) -> None:
    request.numeric(n.RPL_TOPIC, f"#{room.name.display}", text=room.topic.text)
    request.numeric(n.RPL_TOPICWHOTIME, f"#{room.name.display}", room.topic.by, str(int(room.topic.at)))


# What operators of a channel do.


def invite(request: Request) -> None:
    """INVITE <nickname> <channel> (RFC 2812, 3.2.7); INVITE alone lists one's own (modern.ircdocs.horse)."""
    chat, session = request.chat, request.session
    if not request.parameters:
        for room in chat.invitations_of(session):
            request.numeric(n.RPL_INVITELIST, f"#{room.name.display}")
        request.numeric(n.RPL_ENDOFINVITELIST)
        return
    if len(request.parameters) == 1:
        request.numeric(n.ERR_NEEDMOREPARAMS, "INVITE")
        return
    nick, target = request.parameters[:2]
    person = chat.find_person(nick)
    if person is None:
        request.numeric(n.ERR_NOSUCHNICK, echo(nick))
        return
    found = _own_room(request, target)
    if found is None:
        return
    if person.number in found.members:
        request.numeric(n.ERR_USERONCHANNEL, person.name, f"#{found.name.display}")
        return
    if "i" in found.modes and not may_command(request, found):
        return
    occasion = chat.invite(found, session.source, person)
    request.numeric(n.RPL_INVITING, person.name, f"#{found.name.display}")
    if person.away:
        request.numeric(n.RPL_AWAY, person.name, text=person.away)
    _notify_of_invitation(request, found, occasion)


def _notify_of_invitation(request: Request, room: Room, occasion: Invited) -> None:
    """Those who could have invited, too, and want to know (invite-notify)."""
    told = [
        member
        for member, status in zip(request.chat.members_of(room), room.members.values(), strict=True)
        if rank(status) >= HALF_OPERATOR and member.irc and member.irc.capabilities & INVITE_NOTIFY
        and member is not request.session
    ]  # fmt: skip
    request.chat.tell_each(told, occasion)


def kick(request: Request) -> None:
    """KICK <channel> <user>{,<user>} [<comment>] (RFC 2812, 3.2.8)."""
    channels, nicks = request.parameters[0].split(","), request.parameters[1].split(",")[:TARGETS]
    if len(channels) == 1:
        channels *= len(nicks)
    if len(channels) != len(nicks):  # "as many channel parameters as there are user parameters"
        request.numeric(n.ERR_NEEDMOREPARAMS, "KICK")
        return
    refused = ""
    for channel, nick in zip(channels, nicks, strict=True):
        if channel != refused:
            room = _own_room(request, channel)
            if room is not None and may_command(request, room):
                _kick(request, room, nick)
            else:
                refused = channel


def _kick(request: Request, room: Room, target: str) -> None:
    chat, session = request.chat, request.session
    reason = shortened(request.parameter(2), KICK_BYTES)
    person = chat.find_person(target)
    if person is None:
        request.numeric(n.ERR_NOSUCHNICK, echo(target))
    elif person.number not in room.members:
        request.numeric(n.ERR_USERNOTINCHANNEL, person.name, f"#{room.name.display}")
    elif rank(room.members[person.number]) > rank(room.members.get(session.number, "")) and not session.operator:
        request.numeric(n.ERR_CHANOPRIVSNEEDED, f"#{room.name.display}")
    else:
        request.own(chat.remove(room, session.source, person, reason, session.number))


def rename(request: Request) -> None:
    """RENAME <channel> <new name> [<reason>] (channel-rename)."""
    chat, session = request.chat, request.session
    room = _own_room(request, request.parameters[0])
    if room is None or not may_command(request, room, OPERATOR):
        return
    old, wanted = f"#{room.name.display}", request.parameters[1]
    name = channel_name(chat, wanted)
    if name is None:
        request.fail("CANNOT_RENAME", old, echo(wanted), text="That cannot be the name of a channel")
    elif room.name.key == chat.default_room_key:
        request.fail("CANNOT_RENAME", old, echo(wanted), text="This channel is always there")
    elif name.key != room.name.key and chat.find_room(name) is not None:
        request.fail("CHANNEL_NAME_IN_USE", old, echo(wanted), text="There is a channel of that name")
    else:
        reason = shortened(request.parameter(2), KICK_BYTES)
        same = name.key == room.name.key  # then who does not know RENAME need not be told
        chat.rename_room(room, session.source, name, reason, session.number)
        for member in chat.members_of(room):
            if same or member.irc is None or member.irc.capabilities & CHANNEL_RENAME:
                continue
            if member is session:
                _fall_back(request, old, room, reason)
            else:
                theirs = Request(chat, member, member.irc, NO_MESSAGE)
                _fall_back(theirs, old, room, reason)
                theirs.send()
        if request.has(CHANNEL_RENAME):
            request.say(f"RENAME {old} #{name.display} :{reason}")


def _fall_back(request: Request, old: str, room: Room, reason: str) -> None:
    """For whom the channel cannot change its name it is left, and another one entered (channel-rename, "Fallback")."""
    request.say(f"PART {old} :{reason}" if reason else f"PART {old}")
    request.own(Joined(request.session.source, room.name.display, request.session.realname))
    _welcome(request, room)
