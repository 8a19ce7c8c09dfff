"""One run: the load talks, children are killed by the plan, the ledger is told to whoever watches, and then judged.

Runs in the process of `broker chaos`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

from broker.chaos.conductor import Conductor
from broker.chaos.killer import Killer
from broker.chaos.pauses import Pauses
from broker.chaos.plan import strikes
from broker.chaos.report import Report
from broker.errors import ControlError, NotRunningError

_LOOK_SECONDS: Final = 0.25
_SETTLE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of killing is wanted, for so many seconds."""

    seed: int
    seconds: float
    rate: float
    pairs: bool
    stop_fraction: float


class Run:
    """`show` gets a report every now and then."""

    def __init__(self, conductor: Conductor, killer: Killer, wish: Wish, show: Callable[[Report], None]) -> None:
        self._conductor = conductor
        self._killer = killer
        self._wish = wish
        self._show = show
        self._pauses = Pauses()
        self._began = 0.0
        self._talked = 0.0
        self._ended = ""
        self._interrupted = False

    def carry_out(self) -> Report:
        """From the first word to the verdict. Ctrl-C ends the killing; a second one is a KeyboardInterrupt."""
        signal.signal(signal.SIGINT, self._interrupt)
        self._conductor.tell("talk")
        self._began = time.monotonic()
        try:
            self._kill()
        except (ControlError, NotRunningError) as error:
            self._ended = f"the broker did not live through it: {error}"
        self._talked = time.monotonic() - self._began
        self._conductor.tell("stop")
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self._conductor.has_outcome() and time.monotonic() < deadline:
            self._listen(_LOOK_SECONDS)
        if not self._conductor.has_outcome():
            self._ended = self._ended or "the load did not come to an end"
        self._conductor.tell("leave")
        return self.report(is_final=True)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # No exception the first time: it could tear a load process's news, and the run is to be judged.
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def report(self, is_final: bool = False) -> Report:
        """How it stands."""
        return Report(
            seed=self._wish.seed,
            seconds=self._talked or time.monotonic() - self._began,
            ledger=self._conductor.ledger,
            pauses=self._pauses,
            skipped=self._killer.skipped,
            behind=self._conductor.behind,
            is_final=is_final,
            ended=self._ended,
        )

    def _kill(self) -> None:
        wish = self._wish
        end = self._began + wish.seconds
        for strike in strikes(wish.seed, wish.rate, self._killer.roles, wish.pairs, wish.stop_fraction):
            at = self._began + strike.at_seconds
            if at >= end:
                break
            while (left := at - time.monotonic()) > 0:
                self._listen(min(left, _LOOK_SECONDS))
                if self._is_over():
                    return
            for kill in self._killer.strike(strike):
                self._pauses.killed(kill)
        while (left := end - time.monotonic()) > 0:
            self._listen(min(left, _LOOK_SECONDS))
            if self._is_over():
                return

    def _is_over(self) -> bool:
        """Whether nobody is left to listen, or somebody wants it to end."""
        if self._interrupted:
            return True
        ledger = self._conductor.ledger
        clients = ledger.tcp.clients + ledger.unix.clients
        over = bool(clients) and ledger.tcp.disconnected + ledger.unix.disconnected >= clients
        if over:
            self._ended = "everybody was disconnected"
        return over

    def _listen(self, seconds: float) -> None:
        self._conductor.listen(seconds)
        for due, heard in self._conductor.take_late():
            self._pauses.late(due, heard)
        self._show(self.report())
