"""What a room's modes, masks and statuses allow: who may enter, who may speak, who is above whom. Router; pure.

It decides and changes nothing. The rules are IRC's (RFC 2811, sections 2.4, 4.1 to 4.3), and hold for everybody in the
room, whatever protocol they speak.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

from broker.masks import MUTE, extended, is_about
from broker.rooms import Room
from broker.sessions import Session

STATUSES: Final = "qohv"
"""Founder, operator, half-operator, voice: highest first."""
RANKS: Final[dict[str, int]] = {"": 0, "v": 1, "h": 2, "o": 3, "q": 4}
VOICE, HALF_OPERATOR, OPERATOR, FOUNDER = RANKS["v"], RANKS["h"], RANKS["o"], RANKS["q"]

FLAGS: Final = "imnstCRT"
"""Invitation only, moderated, no messages from outside, secret, topic by operators only; no CTCP but ACTION, accounts
only, no notices."""
BANS: Final = "b"
EXCEPTIONS: Final = "e"
INVITATIONS: Final = "I"
LISTS: Final = "beI"

Speech: TypeAlias = Literal["text", "notice", "query", "tags"]


class EntryRefusal(Enum):
    """Why somebody may not enter."""

    BANNED = "banned"
    INVITATION_ONLY = "by invitation only"
    PASSWORD = "wrong password"
    FULL = "full"
    ACCOUNT = "for accounts only"


class SpeechRefusal(Enum):
    """Why somebody may not speak."""

    OUTSIDE = "only from inside"
    MODERATED = "moderated"
    BANNED = "banned"
    ACCOUNT = "for accounts only"
    KIND = "no messages of this kind"


def rank(status: str) -> int:
    """How high a member of that status is: 0 for one without."""
    return RANKS[status[:1]]


def with_status(status: str, letter: str, given: bool) -> str:
    """The status after a letter was given or taken."""
    return "".join(each for each in STATUSES if (given if each == letter else each in status))


def rank_to_change(letter: str) -> int:
    """The rank that one must have to give or take a status: one's own at least, and an operator makes operators."""
    return {"v": HALF_OPERATOR, "h": OPERATOR, "o": OPERATOR, "q": FOUNDER}[letter]


def entry_refusal(room: Room, session: Session, password: str) -> EntryRefusal | None:
    """Why the session may not enter; None if it may. An invitation is good for everything."""
    if session.number in room.invited:
        return None
    if BANS in room.lists and is_listed(room, BANS, session) and not is_listed(room, EXCEPTIONS, session):
        return EntryRefusal.BANNED
    if "i" in room.modes and not is_listed(room, INVITATIONS, session):
        return EntryRefusal.INVITATION_ONLY
    if room.password and room.password != password:
        return EntryRefusal.PASSWORD
    if room.limit and len(room.members) >= room.limit:
        return EntryRefusal.FULL
    if "R" in room.modes and not session.account:
        return EntryRefusal.ACCOUNT
    return None


def speech_refusal(room: Room, session: Session, kind: Speech) -> SpeechRefusal | None:
    """Why the session may not speak in the room; None if it may."""
    status = room.members.get(session.number)
    if status is not None and room.modes == "nt" and not room.lists:  # as most rooms are
        return None
    if status is None and "n" in room.modes:
        return SpeechRefusal.OUTSIDE
    if (kind == "query" and "C" in room.modes) or (kind == "notice" and "T" in room.modes):
        return SpeechRefusal.KIND
    if status:
        return None
    if "m" in room.modes:
        return SpeechRefusal.MODERATED
    if "R" in room.modes and not session.account:
        return SpeechRefusal.ACCOUNT
    if BANS in room.lists and _is_silenced(room, session):
        return SpeechRefusal.BANNED
    return None


def is_listed(room: Room, letter: str, session: Session) -> bool:
    """Whether an entry of the list, mutes aside, is about the session."""
    return any(extended(mask)[0] != MUTE and is_about(mask, session) for mask in _masks(room, letter))


def is_visible(room: Room, session: Session) -> bool:
    """Whether the session may know that the room exists: a secret one shows itself to its members only."""
    return "s" not in room.modes or session.number in room.members


def _is_silenced(room: Room, session: Session) -> bool:
    """A ban or a mute is about the session, and no exception is: asked once for each member between two changes."""
    silenced = room.silenced.get(session.number)
    if silenced is None:
        silenced = any(is_about(mask, session) for mask in _masks(room, BANS)) and not any(
            is_about(mask, session) for mask in _masks(room, EXCEPTIONS)
        )
        if session.number in room.members:
            room.silenced[session.number] = silenced
    return silenced


def _masks(room: Room, letter: str) -> list[str]:
    return [entry.mask for entry in room.lists.get(letter, {}).values()]
