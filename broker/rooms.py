"""Rooms: who is in them with which status, what applies in them, and the groups that their members fall into. Router.

A *group* is a room times a wire format: the workers know groups and no rooms. A room knows of each group how many
members each worker has, so that the cost of a message depends on the number of workers, not of members. Pure data; what
follows from a room's modes for who may do what is in `broker.room_policy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broker.names import Name
from broker.sessions import Session, WireFormat


@dataclass(slots=True, eq=False)
class Group:
    """Members of a room that get the same bytes; `number` is what the workers call it."""

    number: int
    members_of_worker: dict[int, int] = field(default_factory=dict)


class ListedMask(NamedTuple):
    """An entry of a room's list of bans, exceptions or invitations: the mask, who set it, and when."""

    mask: str
    by: str
    at: float


class Topic(NamedTuple):
    """What a room is about, who said so, and when; no text means that there is none."""

    text: str = ""
    by: str = ""
    at: float = 0.0


NO_TOPIC: Final = Topic()


@dataclass(slots=True, eq=False)
class Room:
    """One room.

    `members` has the status of each member by session number, in the order in which they came: letters of
    `broker.room_policy.STATUSES`, highest first. `modes` are the flags that are set, `lists` the masks of each of
    `broker.room_policy.LISTS` by their key. `password` and `limit` are empty and 0 if there is none. `invited` has the
    session numbers that may enter whatever the modes say. `silenced` remembers whether a member without status is kept
    from talking by a mask; it is emptied whenever that could change.
    """

    name: Name
    made_at: float = 0.0
    members: dict[int, str] = field(default_factory=dict)
    groups: dict[WireFormat, Group] = field(default_factory=dict)
    topic: Topic = NO_TOPIC
    modes: str = "nt"
    password: str = ""
    limit: int = 0
    lists: dict[str, dict[str, ListedMask]] = field(default_factory=dict)
    invited: dict[int, None] = field(default_factory=dict)
    silenced: dict[int, bool] = field(default_factory=dict)

    def count_in(self, session: Session, new_group_number: int) -> Group:
        """Count the session into the group of its format, which is made with `new_group_number` if there is none."""
        group = self.groups.get(session.format)
        if group is None:
            group = self.groups[session.format] = Group(new_group_number)
        group.members_of_worker[session.worker] = group.members_of_worker.get(session.worker, 0) + 1
        return group

    def count_out(self, session: Session) -> Group:
        """Count the session out of the group of its format, which goes when it is empty."""
        group = self.groups[session.format]
        group.members_of_worker[session.worker] -= 1
        if not group.members_of_worker[session.worker]:
            del group.members_of_worker[session.worker]
        if not group.members_of_worker:
            del self.groups[session.format]
        return group
