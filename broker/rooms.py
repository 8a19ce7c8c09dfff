"""Rooms, and the groups that their members fall into. Runs in the router; pure data.

A *group* is a room times a wire format: the workers know groups and no rooms. A room knows of each group how many
members each worker has, so that the cost of a message depends on the number of workers, not of members.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.names import Name
from broker.sessions import Session, WireFormat


@dataclass(slots=True, eq=False)
class Group:
    """Members of a room that get the same bytes; `number` is what the workers call it."""

    number: int
    members_of_worker: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Room:
    """One room; `members` by session number, in the order in which they came."""

    name: Name
    members: dict[int, Session] = field(default_factory=dict)
    groups: dict[WireFormat, Group] = field(default_factory=dict)

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
