"""Reload: every child is replaced by a process with the code and the settings of today, one by one, under full load.

Runs in the supervisor. It is what `kill -9` of each child would be, done politely: nobody is disconnected. First a
*rehearsal*, in a process of its own: does the code import, are the settings valid, can each role be made ready? Only if
so does the supervisor load the new code itself (what it forks has what it has loaded) and replace its children.
Whatever fails before that leaves everything as it was. The supervisor's own process goes on with the code that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.code import Code, fresh_modules
from broker.errand import Errand
from broker.errors import BrokerError
from broker.loop import Loop

FIXED: Final = ("state_dir", "listen", "durability", "max_connections")
"""Settings on which what outlives the children depends: they need a restart."""

Load = Callable[[], Code]
"""Loads code and settings anew; raises whatever is wrong with them."""


def rehearse(load: Load) -> str | None:
    """Load, and say what is wrong, None if nothing is; for a process that is over then."""
    try:
        with fresh_modules():
            load().check()
    except BaseException as error:
        return explain(error)
    return None


def explain(error: BaseException) -> str:
    """In one line. The code that raised it may have been loaded anew, and have an exception class of its own."""
    if any(kind.__name__ == BrokerError.__name__ for kind in type(error).__mro__):
        return str(error)
    return f"{type(error).__name__}: {error}".replace("\n", " ")


class Reload:
    """One reload, from the rehearsal to the last child's replacement.

    `adopt` is given what was loaded, and returns the names of the children to be replaced, in order; `replace` begins
    with one, and `replaced` is to be called when its replacement is ready; `done` is called with None, or with why
    nothing was changed.
    """

    def __init__(
        self,
        loop: Loop,
        load: Load,
        adopt: Callable[[Code], list[str]],
        replace: Callable[[str], bool],
        done: Callable[[str | None], None],
    ) -> None:
        self.current: str | None = None
        """The child that is being replaced."""
        self._load = load
        self._adopt = adopt
        self._replace = replace
        self._done = done
        self._left: list[str] = []
        try:
            Errand(loop, lambda: [rehearse(load)], self._rehearsed)
        except OSError as error:
            self._answer_later(loop, f"there is no process for the rehearsal: {error.strerror}")

    def _answer_later(self, loop: Loop, wrong: str) -> None:
        loop.call_later(0, lambda: self._done(wrong))

    def _rehearsed(self, answer: list[str | None] | None) -> None:
        wrong = answer[0] if answer is not None else "its rehearsal ended without a word"
        if wrong is None:
            try:
                with fresh_modules():
                    new = self._load()
                    new.check()
            except Exception as error:
                wrong = explain(error)
        if wrong is not None:
            self._done(wrong)
            return
        self._left = self._adopt(new)
        self.replaced()

    def replaced(self) -> None:
        """Go on with the next child."""
        self.current = None
        while self._left:
            name = self._left.pop(0)
            if self._replace(name):
                self.current = name
                return
        self._done(None)
