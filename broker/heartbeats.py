"""Who has not beaten for too long, what is the matter with it, and what is done about it; runs in the supervisor.

The verdict is `broker.watchdog`'s, from two looks at /proc: one when a beat is overdue, one when the patience has
ended. A child that is ill is asked for its stack where one can be had, written down, and killed; its death then takes
the usual way. A child that is only slow is written down, once, and left alone.
"""

from __future__ import annotations

import signal
import time
from typing import Final

from broker.child import Child
from broker.child_state import Event, State
from broker.event_log import EventLog
from broker.loop import Loop
from broker.settings import Settings
from broker.watchdog import Look, Verdict, judge, until_beat
from monitor import procfs

_STACK_SECONDS: Final = 0.3
"""How long a child may take to write down its stack: `faulthandler` does it in the signal handler itself."""
_LISTENING_SECONDS: Final = 0.01
"""After the moment when all beat: then their beats have come, and this process is awake because of them."""


class HeartbeatWatch:
    """Looks at all children once a heartbeat, from now on."""

    def __init__(self, loop: Loop, events: EventLog, children: dict[str, Child], settings: Settings) -> None:
        self._loop = loop
        self._events = events
        self._children = children
        self.settings = settings
        self._last_check = time.monotonic()
        loop.call_later(self._until_check(), self._check_all)

    def _check_all(self) -> None:
        now = time.monotonic()
        late = now - self._last_check > 3 * self.settings.heartbeat_seconds
        self._last_check = now
        self._loop.call_later(self._until_check(), self._check_all)
        for child in list(self._children.values()):
            if child.state not in (State.STARTING, State.READY):
                continue
            if late:  # it was this process that was stopped or starved: nobody can be blamed for the time
                child.last_beat, child.look = now, None
            self._check(child, now)

    def _until_check(self) -> float:
        return until_beat(time.monotonic(), self.settings.heartbeat_seconds) + _LISTENING_SECONDS

    def _check(self, child: Child, now: float) -> None:
        overdue = now - (child.last_beat or child.spawned)
        if overdue < 2 * self.settings.heartbeat_seconds or child.pid is None:
            return
        look = _look(child.pid, now)
        if look is None:
            return
        if child.look is None:
            child.look = look
            return
        if overdue < self.settings.hang_seconds:
            return
        verdict = judge(child.look, look, self.settings.hang_seconds)
        if verdict.replace:
            self._replace(child, verdict, overdue)
        elif verdict is not child.verdict:
            text = f"{child.name} has not beaten for {overdue:.0f} s: {verdict.text}; left alone"
            self._events.record("warning", "hung", text, child.name, child.pid, verdict=verdict.text, stack=None)
        child.verdict = verdict

    def _replace(self, child: Child, verdict: Verdict, overdue: float) -> None:
        child.happen(Event.CONDEMNED)
        child.condemned_for = f"no heartbeat for {overdue:.0f} s: {verdict.text}"
        incarnation = child.incarnation

        def finish() -> None:
            if child.incarnation != incarnation or not child.alive:
                return
            text = f"{child.name}: {child.condemned_for}; it is killed and replaced"
            stack = child.stack()
            self._events.record("error", "hung", text, child.name, child.pid, verdict=verdict.text, stack=stack)
            child.kill(signal.SIGKILL)

        if verdict is Verdict.STOPPED:
            finish()  # it cannot write down anything
        else:
            child.kill(signal.SIGUSR1)
            self._loop.call_later(_STACK_SECONDS, finish)


def _look(pid: int, now: float) -> Look | None:
    stat, times = procfs.process_stat(pid), procfs.total_schedstat(pid)
    return None if stat is None or times is None else Look(now, stat.state, times.on_cpu_ns, times.waiting_ns)
