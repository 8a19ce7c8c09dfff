"""The two load processes of a trial as one: the chat that is measured, and the pressure that keeps the target busy.

Runs in the process of `broker experiment`, which tells them when the measured window is and hears what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from monitor.experiments.helpers import Helper
from monitor.experiments.placement import ExperimentError
from monitor.experiments.pressure import LONERS
from monitor.experiments.subject import Subject, clients_of

PATIENCE_SECONDS: Final = 20.0
TYPED_LINE_BYTES: Final = 1200
_OUTCOME_SECONDS: Final = 60.0
_NANOSECONDS: Final = 1_000_000_000
_PLACED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Pressure:
    """The other load beside the measured chat: a module of this package, how many clients it has, and its arguments,
    before which it is told the URL and a name for its rooms."""

    module: str
    clients: int
    arguments: tuple[str, ...]


def typing_people(count: int) -> Pressure | None:
    """So many people who type, for a worker; None for nobody."""
    return Pressure("pressure", count, ("typing", str(TYPED_LINE_BYTES), str(count))) if count else None


def lines_in_flight(count: int) -> Pressure | None:
    """So many lines in flight, for the router; None for none."""
    return Pressure("pressure", LONERS, ("lines", str(count), str(LONERS))) if count else None


def full_rooms(rooms: int, clients: int, window: int) -> Pressure:
    """Rooms of so many clients, with as much as the broker can deliver: `window` messages in flight in each."""
    return Pressure("fan_out", rooms * clients, (str(rooms), str(clients), str(window)))


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to put on the broker: `rate` measured messages a second of `clients` in one room, `text_bytes` long, and
    `pressure` beside them."""

    rate: float
    clients: int
    text_bytes: int
    pressure: Pressure | None


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of the measured window: latencies and lateness in seconds; `expected` counts deliveries, `done` the
    deliveries (or the lines, with that kind) that the pressure made."""

    latencies: list[float]
    lateness: list[float]
    messages: int
    expected: int
    delivered: int
    done: int


class ChatLoad:
    """Connected and entered when its `with` block begins; gone when it ends.

    `holders` are the processes that the clients are to be with: of a broker with other workers more clients are
    connected than it takes, and those elsewhere leave again. In a `separate_session` the load does not count for the
    broker's autogroup.
    """

    def __init__(
        self, plan: LoadPlan, subject: Subject, cpus: Iterable[int] | None, seed: int, holders: Sequence[int] = (),
        workers: int = 1, separate_session: bool = False,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._subject = subject
        self._holders = holders
        surplus = 0 if not holders else 2 * workers
        arguments = [subject.url, f"m{seed:08x}", plan.clients, plan.clients * surplus]
        self._chat = Helper(
            "monitor.experiments.open_loop", [*map(str, arguments), str(plan.rate), str(plan.text_bytes), str(seed)],
            cpus,
            new_session=separate_session,
        )  # fmt: skip
        self._helpers = [self._chat]
        self._pressure: Helper | None = None
        if plan.pressure is not None:
            spare = [str(plan.pressure.clients * surplus)] if plan.pressure.module == "pressure" else []
            self._pressure = Helper(
                f"monitor.experiments.{plan.pressure.module}",
                [subject.url, f"p{seed:08x}", *plan.pressure.arguments, *spare],
                cpus,
                new_session=separate_session,
            )
            self._helpers.append(self._pressure)

    @property
    def pids(self) -> list[int]:
        """Those of the load processes."""
        return [helper.pid for helper in self._helpers]

    def __enter__(self) -> ChatLoad:
        try:
            counts = (self._plan.clients, self._plan.pressure.clients if self._plan.pressure else 0)
            for helper, count in zip(self._helpers, counts, strict=False):
                helper.tell("keep", self._choose(helper.expect("connected"), count))
            for helper in self._helpers:
                helper.expect("entered")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def begin(self, warm_up_seconds: float, seconds: float) -> tuple[float, float]:
        """Let them talk; the measured window, in monotonic seconds."""
        begins = time.monotonic() + warm_up_seconds
        ends = begins + seconds
        window = [int(begins * _NANOSECONDS), int(ends * _NANOSECONDS)]
        self._chat.tell("go", [*window, int(PATIENCE_SECONDS * _NANOSECONDS)])
        if self._pressure is not None:
            self._pressure.tell("go", window)
        return begins, ends

    def outcome(self, while_waiting: Callable[[], None]) -> Heard:
        """Wait until everything that is measured has come; ExperimentError if a load process fails."""
        deadline = time.monotonic() + PATIENCE_SECONDS + _OUTCOME_SECONDS
        outcomes: list[dict[str, Any]] = []
        for helper in self._helpers:
            while (answer := helper.poll(0.2)) is None:
                while_waiting()
                if time.monotonic() > deadline:
                    raise ExperimentError("a load process did not tell what it had measured")
            outcomes.append(answer[1])
        chat, pressure = outcomes[0], outcomes[1] if len(outcomes) > 1 else {"done": 0}
        return Heard(
            latencies=[value / _NANOSECONDS for value in chat["latencies_ns"]],
            lateness=[value / _NANOSECONDS for value in chat["lateness_ns"]],
            messages=chat["messages"],
            expected=chat["expected"],
            delivered=chat["delivered_in_window"],
            done=pressure["done"],
        )

    def _choose(self, ports: Sequence[int], count: int) -> list[int]:
        """The clients to keep: those with the holders, as soon as enough are seen to be there."""
        if not self._holders:
            return list(range(count))
        deadline = time.monotonic() + _PLACED_SECONDS
        while True:
            placed = clients_of(self._holders, self._subject.url, ports)
            if len(placed) >= count:
                return placed[:count]
            if time.monotonic() > deadline:
                raise ExperimentError(
                    f"only {len(placed)} of {len(ports)} clients came to the target; {count} are needed"
                )
            time.sleep(0.05)

    def _end(self) -> None:
        for helper in self._helpers:
            helper.kill()
