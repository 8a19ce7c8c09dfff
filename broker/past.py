"""The recent past: who has had which name, and who wrote which message. Runs in the router; pure data.

Bounded: the oldest is forgotten first. It is for WHOWAS and for taking messages back; what was said is not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broker.occasions import Source

NAMES_KEPT: Final = 1024
MESSAGES_KEPT: Final = 4096


class Person(NamedTuple):
    """Somebody who has had a name until a moment."""

    key: str
    source: Source
    realname: str
    until: float


class Author(NamedTuple):
    """Who wrote a message, and where: a room's key, or the other person's behind an `@`."""

    session: int
    place: str


@dataclass(slots=True)
class Past:
    """What is remembered, oldest first."""

    people: OrderedDict[int, Person] = field(default_factory=OrderedDict)
    messages: OrderedDict[str, Author] = field(default_factory=OrderedDict)
    last: int = 0

    def add(self, key: str, source: Source, realname: str, now: float) -> None:
        """Somebody has that name no more."""
        self.last += 1
        self.people[self.last] = Person(key, source, realname, now)
        if len(self.people) > NAMES_KEPT:
            self.people.popitem(last=False)

    def who_was(self, key: str) -> list[Person]:
        """Who had that name, latest first."""
        return [person for person in reversed(self.people.values()) if person.key == key]

    def wrote(self, id: str, session: int, place: str) -> None:
        """A message has been sent."""
        self.messages[id] = Author(session, place)
        if len(self.messages) > MESSAGES_KEPT:
            self.messages.popitem(last=False)
