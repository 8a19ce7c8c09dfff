"""What an experiment is to the framework: its arms and measures, one trial, and what it concludes.

A new experiment is one module with a subclass of `Experiment`, and its line in `monitor.experiments.catalogue`. Order,
repetition, statistics and reports are the framework's; a trial is the experiment's alone, and may take as long as it
likes, provided that it calls `tick` now and then.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar

from monitor.experiments.design import Arm, Chart, Measure, Slot
from monitor.experiments.result import Caution, Result, Verdict

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one trial found: values by the keys of the experiment's measures, latencies in seconds, remarks."""

    values: Mapping[str, float]
    samples: Sequence[float] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Preparation:
    """What is settled before the first trial: `cautions` are those that are known by then."""

    arms: tuple[Arm, ...]
    parameters: dict[str, Any]
    cautions: list[Caution] = field(default_factory=list)


class Experiment(ABC):
    """Carried out within its own `with` block, which puts back whatever it changed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]]
    charts: ClassVar[tuple[Chart, ...]]
    repetitions: ClassVar[int] = 5
    """By default."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Take the options; UsageError if they make no sense."""
        self.arguments = arguments

    def __enter__(self) -> Experiment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    @abstractmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options that are this experiment's own."""

    @abstractmethod
    def prepare(self) -> Preparation:
        """Look at the machine and lay out the arms; BrokerError if the experiment cannot be made at all."""

    @abstractmethod
    def trial(self, slot: Slot, tick: Tick) -> Outcome:
        """Carry out one trial; ExperimentError if it failed."""

    @abstractmethod
    def conclude(self, result: Result) -> tuple[list[Caution], Verdict]:
        """What the figures mean, and what speaks against them."""

    @abstractmethod
    def trial_seconds(self, arm: Arm) -> float:
        """About how long a trial takes, for the time left until there is experience."""

    def close(self) -> None:  # noqa: B027 - most experiments change nothing that outlives a trial
        """Put back what was changed."""
