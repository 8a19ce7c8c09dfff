"""What happens in the chat, as values that every protocol renders in its own way. Pure.

The first group is seen by a whole room or by everybody who shares one with somebody, the second is for one person.
Names in here are clean (`broker.names`); a text is one line, and which of its characters a receiver can bear is decided
where it is rendered. They are plain tuples, so that they can be journaled.

A `room` is shown without any sign before its name. `target` is where something was said, as IRC people write it:
`#room`, `@#room` for those of some status, or a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Final, NamedTuple, TypeAlias


class Source(NamedTuple):
    """Who did it. A server has no user and no host."""

    name: str
    user: str
    host: str
    account: str = ""
    bot: bool = False


NOBODY: Final = Source("", "", "")


class Stamp(NamedTuple):
    """When something was said (Unix time), and the name that this one message has in the whole broker."""

    time: float
    id: str = ""


NO_STAMP: Final = Stamp(0.0)
Tags: TypeAlias = tuple[tuple[str, str], ...]


class Joined(NamedTuple):
    """Somebody came into the room."""

    source: Source
    room: str
    realname: str = ""
    stamp: Stamp = NO_STAMP


class Parted(NamedTuple):
    """Somebody left the room and stays in the chat; `reason` may be empty."""

    source: Source
    room: str
    reason: str = ""
    stamp: Stamp = NO_STAMP


class Quit(NamedTuple):
    """Somebody left the chat."""

    source: Source
    reason: str = ""
    stamp: Stamp = NO_STAMP


class Removed(NamedTuple):
    """Somebody was put out of the room by somebody else."""

    source: Source
    room: str
    name: str
    reason: str = ""
    stamp: Stamp = NO_STAMP


class Said(NamedTuple):
    """Somebody said something, in a room or, if `private`, to one person."""

    source: Source
    target: str
    text: str
    stamp: Stamp = NO_STAMP
    tags: Tags = ()
    private: bool = False


class Monologue(NamedTuple):
    """Somebody said several things in a room, one after the other, and nothing came between.

    The same as a `Said` for each of `texts`, UTF-8 with no control character that ends anything in it, but told in one
    go. `ids` has the names of the messages, in their order; it is empty if nobody in the room could be told of them.
    """

    source: Source
    target: str
    texts: list[bytes]
    stamp: Stamp = NO_STAMP
    ids: tuple[str, ...] = ()

    def each(self) -> Iterator[Said]:
        """The same, one by one."""
        for text, id in zip(self.texts, self.ids or repeat(""), strict=False):
            yield Said(self.source, self.target, text.decode(), Stamp(self.stamp.time, id))


class Acted(NamedTuple):
    """Somebody did something (`/me`); `text` reads on after the name."""

    source: Source
    target: str
    text: str
    stamp: Stamp = NO_STAMP
    tags: Tags = ()
    private: bool = False


class Noticed(NamedTuple):
    """Something was said, mostly by a program, that no program is to answer."""

    source: Source
    target: str
    text: str
    stamp: Stamp = NO_STAMP
    tags: Tags = ()
    private: bool = False


class Queried(NamedTuple):
    """A client asked or answered another one (IRC's CTCP); `text` is without its delimiters."""

    source: Source
    target: str
    text: str
    answer: bool
    stamp: Stamp = NO_STAMP
    tags: Tags = ()
    private: bool = False


class Tagged(NamedTuple):
    """Nothing was said, but tags were sent: that somebody types, or likes a message."""

    source: Source
    target: str
    tags: Tags
    stamp: Stamp = NO_STAMP


class Recited(NamedTuple):
    """Something of several lines was said at once; a line is (text, whether it goes on the one before)."""

    source: Source
    target: str
    lines: tuple[tuple[str, bool], ...]
    notice: bool
    stamp: Stamp = NO_STAMP
    tags: Tags = ()
    private: bool = False


class Redacted(NamedTuple):
    """A message was taken back."""

    source: Source
    target: str
    id: str
    reason: str = ""
    stamp: Stamp = NO_STAMP


class Renamed(NamedTuple):
    """Somebody has another name from here on; `source` is as it was before."""

    source: Source
    name: str
    stamp: Stamp = NO_STAMP


class TopicSet(NamedTuple):
    """The room has another topic, or none if `topic` is empty."""

    source: Source
    room: str
    topic: str
    stamp: Stamp = NO_STAMP


class ModesChanged(NamedTuple):
    """Other rules apply in the room: `changes` as IRC writes them (`+o-v`), `arguments` in their order."""

    source: Source
    room: str
    changes: str
    arguments: tuple[str, ...] = ()
    stamp: Stamp = NO_STAMP


class RoomRenamed(NamedTuple):
    """The room has another name from here on."""

    source: Source
    room: str
    name: str
    reason: str = ""
    topic: str = ""
    stamp: Stamp = NO_STAMP


class AwayChanged(NamedTuple):
    """Somebody is away, or back if `message` is empty."""

    source: Source
    message: str
    stamp: Stamp = NO_STAMP


class RealnameChanged(NamedTuple):
    """Somebody goes by another real name."""

    source: Source
    realname: str
    stamp: Stamp = NO_STAMP


class HostChanged(NamedTuple):
    """Somebody is shown with another user and host; `source` is as it was before."""

    source: Source
    user: str
    host: str
    stamp: Stamp = NO_STAMP


class Invited(NamedTuple):
    """Somebody asked a person into a room."""

    source: Source
    name: str
    room: str
    stamp: Stamp = NO_STAMP


class PutOut(NamedTuple):
    """The person was put out of a room: what the others see as `Removed`."""

    source: Source
    room: str
    name: str
    reason: str = ""
    stamp: Stamp = NO_STAMP


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


Message: TypeAlias = Said | Acted | Noticed | Queried | Tagged | Recited
SharedOccasion: TypeAlias = (
    Joined | Parted | Quit | Removed | Message | Monologue | Redacted | Renamed
    | TopicSet | ModesChanged | RoomRenamed | AwayChanged | RealnameChanged | HostChanged
)  # fmt: skip
PersonalOccasion: TypeAlias = Invited | PutOut | NameTimedOut | Kicked | FellBehind | Closing
Occasion: TypeAlias = SharedOccasion | PersonalOccasion
