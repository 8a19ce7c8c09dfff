"""Who is in the room, as far as one can know from what the broker tells, and whom else one has met. Pure.

Used by the process of `broker chat`, for the head count and for completion.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from broker.names import key_of

MAX_MET_ELSEWHERE: Final = 1000


class People:
    """The others in the room; the person at this terminal is not among them.

    On entering, the broker names only the first people of a full room: the others are `unnamed` until they speak.
    """

    def __init__(self) -> None:
        self._here: dict[str, str] = {}  # spelling by key
        self._spellings: set[str] = set()  # of those who are here: what a flood of messages is looked up in
        self._unnamed = 0
        self._elsewhere: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many others are in the room."""
        return len(self._here) + self._unnamed

    def names(self) -> list[str]:
        """Everybody whose name is known, those in the room first."""
        elsewhere = [name for key, name in self._elsewhere.items() if key not in self._here]
        return [*self._here.values(), *elsewhere]

    def found(self, names: Iterable[str], unnamed: int) -> None:
        """A room was entered; these are in it, and so many more."""
        self._here = {key_of(name): name for name in names}
        self._spellings = set(self._here.values())
        self._unnamed = unnamed

    def entered(self, name: str) -> None:
        """Somebody came into the room."""
        self._here[key_of(name)] = name
        self._spellings.add(name)

    def spoke(self, name: str) -> None:
        """Somebody in the room said or did something."""
        if name not in self._spellings:
            self._unnamed = max(0, self._unnamed - 1)
            self.entered(name)

    def left(self, name: str) -> None:
        """Somebody left the room."""
        if self._here.pop(key_of(name), None) is None:
            self._unnamed = max(0, self._unnamed - 1)
        self._spellings.discard(name)

    def renamed(self, old: str, new: str) -> None:
        """Somebody in the room has another name."""
        self.left(old)
        self.entered(new)

    def met(self, names: Iterable[str]) -> None:
        """These are in the chat, in whatever room."""
        for name in names:
            self._elsewhere.setdefault(key_of(name), name)
        for key in list(islice(self._elsewhere, max(0, len(self._elsewhere) - MAX_MET_ELSEWHERE))):
            del self._elsewhere[key]
