"""Reload: every child is replaced by a process with the code and the settings of today, one by one, under full load.

Runs in the supervisor. It is what `kill -9` of each child would be, done politely: nobody is disconnected. First a
*rehearsal*, in a process of its own: does the code import, are the settings valid, can each role be made ready? Only if
so does the supervisor load the new code itself (what it forks has what it has loaded) and replace its children.
Whatever fails before that leaves everything as it was. The supervisor's own process goes on with the code that it has.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from broker.code import Code
from broker.errors import BrokerError
from broker.linux import die_with_parent
from broker.loop import READ, Loop

PACKAGES: Final = ("broker", "monitor", "workers")
FIXED: Final = ("state_dir", "listen", "durability", "max_connections")
"""Settings on which what outlives the children depends: they need a restart."""
_REHEARSAL_SECONDS: Final = 20.0


Load = Callable[[], Code]
"""Loads code and settings anew; raises whatever is wrong with them."""


class Rehearsal:
    """A process that tries out what a reload would load; `done` is called with None, or with what is wrong."""

    def __init__(self, loop: Loop, load: Load, done: Callable[[str | None], None]) -> None:
        self._loop = loop
        self._done = done
        self._text = b""
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _rehearse(load, writer)
        os.close(writer)
        self._pidfd = os.pidfd_open(self.pid)
        loop.register(self._reader, READ, self._on_text)
        self._timer = loop.call_later(_REHEARSAL_SECONDS, self._give_up)

    def _on_text(self, _events: int) -> None:
        data = os.read(self._reader, 65536)
        if data:
            self._text += data
            return
        self._loop.unregister(self._reader)
        os.close(self._reader)
        self._timer.cancel()
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # it has said all that it had to say
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        try:
            self._done(json.loads(self._text)["wrong"])
        except ValueError:
            self._done("its rehearsal ended without a word")

    def _give_up(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def _rehearse(load: Load, writer: int) -> None:
    """Load and say how that went; never returns."""
    wrong: str | None = "its rehearsal failed"
    try:
        die_with_parent(os.getppid())
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        with fresh_modules():
            load().check()
        wrong = None
    except BaseException as error:
        wrong = explain(error)
    finally:
        with os.fdopen(writer, "wb") as answer:
            answer.write(json.dumps({"wrong": wrong}).encode())
        os._exit(0)


@contextmanager
def fresh_modules() -> Iterator[None]:
    """Whatever of our packages is imported in here is read from disk; afterwards that is what is loaded.

    If something is raised, what was loaded before is put back.
    """
    before: dict[str, ModuleType] = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in before:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        yield
    except BaseException:
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(before)
        raise


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


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
        Rehearsal(loop, load, self._rehearsed)

    def _rehearsed(self, wrong: str | None) -> None:
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
