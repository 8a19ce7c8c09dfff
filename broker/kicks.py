"""Whom the operator wants to have kicked: wishes to the router, each until it is answered. Runs in the supervisor.

A router that has died may have carried a wish out without having said so. Its replacement is asked again under the same
number, and what was answered to a number is part of the router's state: so nobody is kicked twice, and no answer wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.child import Child
from broker.custodian import Staff
from broker.messages import KICK

Answer = Callable[[str | None], None]


class Kicks:
    """The wishes that have not been answered, by number."""

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self._last = 0
        self._open: dict[int, tuple[tuple[Any, ...], Answer]] = {}

    def begin(self, name: str, reason: str, answer: Answer) -> None:
        """Have somebody's session ended; `answer` gets the name as its owner spells it, None if nobody has it."""
        self._last += 1
        wish = (KICK, self._last, name, reason)
        self._open[self._last] = wish, answer
        for router in self._staff.of_role("router"):
            self._staff.tell(router, wish)

    def begin_again(self, router: Child) -> None:
        """Ask a new router for all that its predecessor has not answered."""
        for wish, _ in self._open.values():
            self._staff.tell(router, wish)

    def answered(self, number: int, name: str | None) -> None:
        """The router's answer; the same wish may be answered twice."""
        _, answer = self._open.pop(number, (None, None))
        if answer is not None:
            answer(name)
