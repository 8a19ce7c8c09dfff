"""Carries an experiment out: every trial in its order, then the conclusion.

Runs in the process of `broker experiment`. A trial that fails is recorded as failed and the rest goes on; an
interrupted experiment is concluded from what it has, and says that it is not complete.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from monitor.experiments.design import Slot, schedule
from monitor.experiments.environment import environment
from monitor.experiments.experiment import Experiment
from monitor.experiments.placement import ExperimentError
from monitor.experiments.result import Caution, Result, Trial

FEWEST_REPETITIONS: Final = 3
"""With fewer an interval means nothing."""
MOST_FAILURES: Final = 3
"""So many failed trials in a row, and the experiment ends: the next would fail too."""


class Progress(Protocol):
    """Who shows how far it is."""

    def begin(self, slots: Sequence[Slot], seconds: Sequence[float]) -> None:
        """All trials to come, and how long each will take, about."""

    def tick(self) -> None:
        """Time passes."""

    def done(self, number: int, trial: Trial) -> None:
        """So many trials are done; this was the last."""


def carry_out(
    experiment: Experiment, repetitions: int, seed: int, command: Sequence[str], progress: Progress
) -> Result:
    """The result of all of it; BrokerError if it cannot be made."""
    started_at = time.time()
    with experiment:
        preparation = experiment.prepare()
        slots = schedule(preparation.arms, repetitions, seed)
        if not slots:
            reasons = "; ".join(f"{arm.name}: {arm.skipped}" for arm in preparation.arms)
            raise ExperimentError(f"no arm can be measured here: {reasons}")
        progress.begin(slots, [experiment.trial_seconds(slot.arm) for slot in slots])
        trials: list[Trial] = []
        is_complete = True
        try:
            for order, slot in enumerate(slots, 1):
                trials.append(_trial(experiment, order, slot, progress))
                progress.done(order, trials[-1])
                if all(trial.failure for trial in trials[-MOST_FAILURES:]) and len(trials) >= MOST_FAILURES:
                    raise ExperimentError(f"{MOST_FAILURES} trials in a row failed: {trials[-1].failure}")
        except KeyboardInterrupt:
            is_complete = False
            if not any(trial.values for trial in trials):
                raise
    result = Result(
        experiment=experiment.name,
        command=tuple(command),
        started_at=started_at,
        ended_at=time.time(),
        seed=seed,
        repetitions=repetitions,
        parameters=preparation.parameters,
        environment=environment(),
        measures=experiment.measures,
        charts=experiment.charts,
        arms=preparation.arms,
        trials=tuple(trials),
        cautions=tuple(preparation.cautions + general_cautions(trials, repetitions, is_complete)),
        is_complete=is_complete,
    )
    cautions, verdict = experiment.conclude(result)
    return replace(result, cautions=(*result.cautions, *cautions), verdict=verdict)


def _trial(experiment: Experiment, order: int, slot: Slot, progress: Progress) -> Trial:
    trial = Trial(order, slot.arm.name, slot.repetition, slot.seed, time.time())
    try:
        outcome = experiment.trial(slot, progress.tick)
    except ExperimentError as error:
        return replace(trial, failure=str(error))
    return replace(trial, values=outcome.values, samples=outcome.samples, notes=outcome.notes)


def general_cautions(trials: Sequence[Trial], repetitions: int, is_complete: bool) -> list[Caution]:
    """What speaks against any experiment's figures."""
    found = []
    if repetitions < FEWEST_REPETITIONS:
        found.append(
            Caution(
                "repetitions",
                f"{repetitions} repetition{'s' * (repetitions > 1)}: too few for an interval; use --repeat 5 or more",
                is_void=True,
            )
        )
    if not is_complete:
        found.append(Caution("interrupted", "it was interrupted: some trials are missing", is_void=True))
    failed = [trial for trial in trials if trial.failure]
    if failed:
        found.append(
            Caution(
                "failed", f"{len(failed)} of {len(trials)} trials failed, the last one because {failed[-1].failure}"
            )
        )
    return found
