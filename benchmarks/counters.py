"""How far the load processes are, in memory that they share with the conductor: read at any moment, at no cost."""

from __future__ import annotations

import mmap
from typing import Final

_FIELDS: Final = 2


class Counters:
    """Deliveries and messages so far of each load process; made before the fork. One writer for each word."""

    def __init__(self, processes: int) -> None:
        self._words = memoryview(mmap.mmap(-1, 8 * _FIELDS * processes)).cast("Q")

    def store(self, process: int, deliveries: int, messages: int) -> None:
        """By that load process: what it did so far."""
        self._words[_FIELDS * process] = deliveries
        self._words[_FIELDS * process + 1] = messages

    def total(self) -> tuple[int, int]:
        """Deliveries and messages of all."""
        words = self._words.tolist()
        return sum(words[::_FIELDS]), sum(words[1::_FIELDS])
