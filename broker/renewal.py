"""Which code and which settings children get, and how those in force are exchanged; the part of the supervisor for it.

`broker.reload` says what is done in which order; here it is done to the children. Each child's `code` is that of its
next incarnation, and of the present one until it is dead. Knows nothing of how children are started and reaped.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from typing import Final, Protocol

from broker.child import Child, Death
from broker.child_state import State
from broker.code import Code
from broker.custodian import Staff
from broker.errors import ControlError
from broker.event_log import EventLog
from broker.loop import Loop
from broker.messages import STOP, Role
from broker.reload import FIXED, Load, Reload
from broker.restart import RestartHistory
from broker.settings import Settings
from broker.workforce import Workforce

_ORDER: Final[tuple[Role, ...]] = ("worker", "acceptor", "router")
_OF_OTHERS: Final = ("SIGKILL", "SIGTERM")
"""Signals by which somebody else ends a child."""

Answer = Callable[[str | None, list[str]], None]


class Foreman(Staff, Protocol):
    """What a renewal wants of the supervisor."""

    children: dict[str, Child]
    workforce: Workforce

    def use(self, settings: Settings) -> None:
        """These are in force from now on."""

    def spawn_again(self, child: Child) -> None:
        """Start the next incarnation of a child."""


class Renewal:
    """`code` is what is in force; `load` loads what there is today."""

    def __init__(self, foreman: Foreman, loop: Loop, events: EventLog, load: Load, code: Code) -> None:
        self.code = code
        self._foreman = foreman
        self._loop = loop
        self._events = events
        self._load = load
        self._reload: Reload | None = None
        self._before: tuple[Code, int] | None = None  # what the last reload has replaced: code, and how many workers

    def begin(self, answer: Answer) -> None:
        """Replace every child by one with the code and the settings of today; `answer` gets why not, or None and the
        settings that need a restart. ControlError if that cannot be now.
        """
        if self._reload is not None:
            raise ControlError("a reload is under way already")
        needs_restart: list[str] = []
        before, workers_before = self.code, self._foreman.workforce.wanted

        def put_in_force(new: Code | None) -> list[str]:
            if new is None:
                self._put_in_force(before, workers_before)
            else:
                old = before.settings
                # Compared as they are written: the classes of what has been loaded anew are others.
                needs_restart.extend(
                    name for name in FIXED if repr(getattr(old, name)) != repr(getattr(new.settings, name))
                )
                kept = {name: getattr(old, name) for name in FIXED}
                workers = workers_before if new.settings.workers == old.workers else new.settings.workers
                self._put_in_force(
                    dataclasses.replace(new, settings=dataclasses.replace(new.settings, **kept)), workers
                )
            return [child.name for role in _ORDER for child in self._foreman.of_role(role)]

        def done(wrong: str | None) -> None:
            self._reload = None
            if wrong is None:
                self._before = before, workers_before
                self._events.record("info", "reloaded", "every process has been replaced", "supervisor", os.getpid())
            else:
                self._events.record(
                    "error", "reload-refused", f"nothing was reloaded: {wrong}", "supervisor", os.getpid()
                )
            answer(wrong, needs_restart)

        self._events.record("info", "reloading", "code and settings are read anew", "supervisor", os.getpid())
        self._reload = Reload(self._loop, self._load, put_in_force, self._replace, done)

    # What the supervisor tells.

    def ready(self, child: Child) -> None:
        """A child is ready; a reload may have waited for it."""
        if self._reload is None or self._reload.current != child.name:
            return
        again, child.being_replaced = child.being_replaced, False
        if not (again and self._replace(child.name)):
            self._reload.replaced()

    def gone(self, child: Child) -> None:
        """There will be no further incarnation of a child; a reload may have waited for one."""
        if self._reload is not None and self._reload.current == child.name:
            self._reload.replaced()

    def has_failed(self, child: Child, death: Death) -> bool:
        """Whether the new code of a reload is to blame for the death of a child."""
        own_end = child.condemned_for is not None or death.signal not in _OF_OTHERS
        return self.is_on_probation(child) and own_end and not child.told_to_stop

    def is_on_probation(self, child: Child) -> bool:
        """Whether its code is that of a reload, and may still be taken back."""
        return self._reload is not None and self._reload.on_probation and child.code is self.code

    def change(self, child: Child, death: Death) -> bool:
        """A child is dead: give it the code that is in force, if that can go on where it ended. Returns whether it has
        ended only to be replaced, and in good order.
        """
        in_good_order = child.being_replaced and (death.exit_status == 0 or self._going_back)
        if in_good_order or self._may_change(child):
            child.code = self.code
            child.being_replaced = False
        return in_good_order

    def take_back(self, child: Child, why: str) -> None:
        """New code on probation has failed as this child, which is dead: have the code before in force again."""
        assert self._reload is not None
        self._events.record("error", "taken-back", f"the new code is taken back: {why}", child.name)
        self._reload.take_back(why)
        child.code = self.code
        self._foreman.spawn_again(child)

    def take_back_late(self, child: Child, why: str) -> bool:
        """This dead child is one to give up for. Instead it gets the code before the last reload, and so does whoever
        is started from now on. False if it has that already.

        The others are left alone: the router may have left what only its own code can read.
        """
        if self._before is None or self._reload is not None or child.code is not self.code:
            return False
        (code, workers), self._before = self._before, None
        self._events.record(
            "error", "taken-back", f"the code before the last reload is in force again: {why}", child.name
        )
        self._put_in_force(code, workers)
        for other in self._foreman.children.values():
            other.history = RestartHistory()
        child.code = code
        self._foreman.spawn_again(child)
        return True

    # Within.

    def _put_in_force(self, code: Code, workers: int) -> None:
        """From here on new children get this code; those that there are get it when they are replaced."""
        self.code = code
        self._foreman.use(code.settings)
        if workers != self._foreman.workforce.wanted:
            self._foreman.workforce.scale(workers)

    def _replace(self, name: str) -> bool:
        """Replace one child, politely; False if there is nothing to replace any more."""
        child = self._foreman.children.get(name)
        if child is None or child.retiring or child.code is self.code:
            return False
        if child.state is State.WAITING and self._may_change(child):
            child.code = self.code
            return False
        child.being_replaced = True
        if child.state is not State.READY:
            return True  # it has just died: once its replacement is ready
        if child.spec.role == "router" and self._going_back:
            child.kill(signal.SIGKILL)  # told to stop, it would leave what only its own code may be able to read
            return True
        self._foreman.tell(child, (STOP,))
        incarnation = child.incarnation

        def insist() -> None:
            if child.incarnation == incarnation and child.alive:
                child.kill(signal.SIGKILL)
                if child.spec.role == "router" and self._reload is not None and self._reload.on_probation:
                    self._reload.take_back("the router did not end in good order within the time for a stop")

        self._loop.call_later(self.code.settings.stop_timeout_seconds, insist)
        return True

    @property
    def _going_back(self) -> bool:
        return self._reload is not None and self._reload.wrong is not None

    def _may_change(self, child: Child) -> bool:
        """Whether other code can go on where a child has ended. A router leaves inputs that its own code must apply;
        but if that code fails, the one before is the best that there is.
        """
        return child.spec.role != "router" or self._going_back
