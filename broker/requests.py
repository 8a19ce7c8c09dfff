"""What the router has others do for it: slow work, and what only the supervisor can. Runs in the supervisor.

A request has a kind and a number; its answer goes back under the number. Work that takes time is an errand's, so that
nobody waits; a router that has been replaced meanwhile gets the answer all the same, and asks again for others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from broker.code import fresh_modules
from broker.errand import Errand
from broker.errors import ControlError
from broker.loop import Loop
from broker.operators import is_password

_ERRANDS_AT_ONCE: Final = 4
"""More wait for their turn: passwords are tried in peace, and the CPU is for the chat."""

Answer = Callable[[Any], None]
Reload = Callable[[Callable[[str | None, list[str]], None]], None]


class Requests:
    """Does what is requested; `reload` is the supervisor's."""

    def __init__(self, loop: Loop, state_dir: Path, reload: Reload) -> None:
        self._loop = loop
        self._state_dir = state_dir
        self._reload = reload
        self._in_progress: dict[int, None] = {}
        self._running = 0
        self._waiting: list[tuple[Callable[[], Any], Any, Answer]] = []

    def begin(self, number: int, kind: str, arguments: tuple[Any, ...], answer: Answer) -> None:
        """Have it done; `answer` is called once, now or later. Not at all if the same is being done already."""
        if number in self._in_progress:
            return
        self._in_progress[number] = None

        def finish(result: Any) -> None:
            del self._in_progress[number]
            answer(result)

        self._begin(kind, arguments, finish)

    def _begin(self, kind: str, arguments: tuple[Any, ...], answer: Answer) -> None:
        if kind == "verify":
            password_hash, password = arguments
            self._send(lambda: is_password(password_hash, password), False, answer)
        elif kind == "processes":
            self._send(partial(process_table, self._state_dir), ["The process table cannot be had now."], answer)
        elif kind == "rehash":
            self._rehash(answer)
        else:
            answer(None)

    def _send(self, work: Callable[[], Any], failed: Any, answer: Answer) -> None:
        self._waiting.append((work, failed, answer))
        self._send_next()

    def _send_next(self) -> None:
        while self._waiting and self._running < _ERRANDS_AT_ONCE:
            work, failed, answer = self._waiting.pop(0)

            def done(result: Any, failed: Any = failed, answer: Answer = answer) -> None:
                self._running -= 1
                answer(failed if result is None else result)
                self._send_next()

            try:
                Errand(self._loop, work, done)
            except OSError:
                answer(failed)
            else:
                self._running += 1

    def _rehash(self, answer: Answer) -> None:
        def done(wrong: str | None, needs_restart: list[str]) -> None:
            if wrong is not None:
                answer(f"Nothing was changed: {wrong}")
            elif needs_restart:
                answer(f"Done; a restart is needed for {', '.join(needs_restart)}")
            else:
                answer("Done: code and settings are those of now")

        try:
            self._reload(done)
        except ControlError as error:
            answer(f"Nothing was changed: {error}")


def process_table(state_dir: Path) -> list[str]:
    """The lines of `broker ps`; for an errand, which may import what the supervisor does not, as it is on disk now."""
    with fresh_modules():
        ps = importlib.import_module("broker.commands.ps")
        lines: list[str] = ps.plain_lines(ps.look(state_dir))
    return lines
