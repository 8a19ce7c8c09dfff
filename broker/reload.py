"""Reload: every child is replaced by a process with the code and the settings of today, one by one, under full load.

Runs in the supervisor. It is what `kill -9` of each child would be, done politely: nobody is disconnected. First a
*rehearsal*, in a process of its own: does the code import, are the settings valid, can each role be made ready? Only if
so does the supervisor load the new code itself (what it forks has what it has loaded) and replace its children: the
router last, because it alone leaves something that only its own code may be able to read. Until all of them have lived
for PROBATION_SECONDS they are on probation: one that fails by itself has everything *taken back* to the code before.
The supervisor's own process goes on with the code that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.code import Code, fresh_modules
from broker.errand import Errand
from broker.errors import BrokerError
from broker.loop import Loop, Timer

FIXED: Final = ("state_dir", "listen", "durability", "max_connections")
"""Settings on which what outlives the children depends: they need a restart."""
PROBATION_SECONDS: Final = 2.0

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
    """One reload, from the rehearsal to the end of the probation.

    `put_in_force` is given the code that new children are to have from then on, first what was loaded and, should that
    fail, None for what was in force before; it returns the names of the children to be replaced, in order. `replace`
    begins with one and is False if there is nothing to be done; `replaced` is to be called when its replacement is
    ready, or when there will be none. `done` is called with None, or with why everything is as it was.
    """

    def __init__(
        self,
        loop: Loop,
        load: Load,
        put_in_force: Callable[[Code | None], list[str]],
        replace: Callable[[str], bool],
        done: Callable[[str | None], None],
    ) -> None:
        self.current: str | None = None
        """The child that is being replaced."""
        self.on_probation = False
        """The new code is in force, and may still be taken back."""
        self.wrong: str | None = None
        """Why it has been taken back."""
        self._loop = loop
        self._load = load
        self._put_in_force = put_in_force
        self._replace = replace
        self._done = done
        self._left: list[str] = []
        self._probation: Timer | None = None
        try:
            Errand(loop, lambda: [rehearse(load)], self._rehearsed)
        except OSError as error:
            wrong = f"there is no process for the rehearsal: {error.strerror}"
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
        self.on_probation = True
        self._left = self._put_in_force(new)
        self.replaced()

    def replaced(self) -> None:
        """Go on with the next child."""
        self.current = None
        while self._left:
            name = self._left.pop(0)
            if self._replace(name):
                self.current = name
                return
        if self.on_probation:
            self._probation = self._loop.call_later(PROBATION_SECONDS, self._passed)
        else:
            self._done(self.wrong)

    def _passed(self) -> None:
        self.on_probation = False
        self._done(None)

    def take_back(self, why: str) -> None:
        """The new code fails: from here on what was before is in force again, and whoever has the new code gets it."""
        self.on_probation = False
        self.wrong = f"the new code was taken back: {why}"
        if self._probation is not None:
            self._probation.cancel()
        self._left = self._put_in_force(None)
        if self.current is None:
            self.replaced()
