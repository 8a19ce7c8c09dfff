"""What happens in the chat, as values that every protocol renders in its own way. Pure.

The first group is seen by everybody else in a room, the second is for one person. Names and texts in here are clean
(`broker.names`, `broker.text`). They are plain tuples, so that they can be journaled.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Joined(NamedTuple):
    """Somebody came into the room."""

    name: str


class Left(NamedTuple):
    """Somebody left the room, or the chat."""

    name: str


class Said(NamedTuple):
    """Somebody said something."""

    name: str
    text: str


class Acted(NamedTuple):
    """Somebody did something (`/me`); `text` reads on after the name."""

    name: str
    text: str


class Renamed(NamedTuple):
    """Somebody has another name from here on."""

    old: str
    new: str


class Whispered(NamedTuple):
    """Somebody said something to one person only."""

    name: str
    recipient: str
    text: str


class NameTimedOut(NamedTuple):
    """No name came in time; the session is closed."""

    seconds: int


class Kicked(NamedTuple):
    """The operator ended the session; `reason` may be empty."""

    reason: str


class FellBehind(NamedTuple):
    """The person did not read what was sent; the session is closed, and what was left unread is lost."""


class Closing(NamedTuple):
    """The whole chat ends."""


RoomOccasion: TypeAlias = Joined | Left | Said | Acted | Renamed
PersonalOccasion: TypeAlias = Whispered | NameTimedOut | Kicked | FellBehind | Closing
Occasion: TypeAlias = RoomOccasion | PersonalOccasion
