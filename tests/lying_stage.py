"""A chat that does not keep its word, once, so that whoever checks it can be checked."""

from __future__ import annotations

from collections.abc import Callable

from broker.messages import PUBLISH, Operation
from tests.chat_stage import Stage

Lie = Callable[[bytes, bytes], bytes]
"""What becomes of two lines that follow each other."""


class LyingStage(Stage):
    """Tells one client, whose name ends in `victim`, what the lie makes of two lines: of those with `mark` in them that
    it gets, the one of number `place` and the next.
    """

    def __init__(self, lie: Lie, mark: bytes, victim: str, place: int) -> None:
        super().__init__()
        self.told = False
        self._lie = lie
        self._mark = mark
        self._victim = victim
        self._left = place
        self._withheld = b""

    def interpret(self, worker: int, operation: Operation) -> None:
        """Line by line, as it lies about single ones."""
        if operation[0] != PUBLISH:
            super().interpret(worker, operation)
            return
        _, group, data, excepted = operation
        for line in data.splitlines(keepends=True):
            super().interpret(worker, (PUBLISH, group, line, excepted))
            if self._mark in line and not self.told:
                self._consider(worker, group, line, excepted)

    def _consider(self, worker: int, group: int, line: bytes, excepted: int) -> None:
        sessions = self.chat._sessions.values()
        victim = next(session.number for session in sessions if session.name.endswith(self._victim))
        if victim not in self.groups[worker][group] or victim == excepted:
            return
        received = self.people[victim].received
        assert received.endswith(line)
        self._left -= 1
        if self._left == 0:
            self._withheld = line
            del received[-len(line) :]
        elif self._left < 0:
            self.told = True
            received[-len(line) :] = self._lie(self._withheld, line)
