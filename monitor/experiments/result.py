"""The result of an experiment as values, and as the JSON of `result.json` (docs/experiments.md has its schema).
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from broker.errors import UsageError
from monitor.experiments.design import Arm, Chart, Factor, Measure
from monitor.experiments.statistics import Estimate, estimate

SCHEMA: Final = "broker-experiment/1"


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that a reader must know. `is_void`: figures that it concerns do not mean what they seem to mean."""

    code: str
    text: str
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion in a sentence; `agrees` is None where nothing was predicted, or nothing can be said."""

    agrees: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: `order` counts from 1; a measure without a value was not to be had; `failure` says why there is none.

    `samples` are the latencies in seconds, one for each delivery, in the order in which they came; in the report they
    have a file of their own.
    """

    order: int
    arm: str
    repetition: int
    seed: int
    started_at: float
    values: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: str | None = None
    samples: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """All of an experiment; times are seconds since the epoch."""

    experiment: str
    command: tuple[str, ...]
    started_at: float
    ended_at: float
    seed: int
    repetitions: int
    parameters: Mapping[str, Any]
    environment: Mapping[str, Any]
    measures: tuple[Measure, ...]
    charts: tuple[Chart, ...]
    arms: tuple[Arm, ...]
    trials: tuple[Trial, ...]
    cautions: tuple[Caution, ...] = ()
    verdict: Verdict = Verdict(None, "")
    is_complete: bool = True

    def measure(self, key: str) -> Measure:
        """The measure of that key."""
        return next(measure for measure in self.measures if measure.key == key)

    def values(self, arm: str, key: str) -> list[float]:
        """What the arm's trials found, in their order."""
        return [trial.values[key] for trial in self.trials if trial.arm == arm and key in trial.values]

    def estimate(self, arm: str, key: str) -> Estimate | None:
        """The mean over the arm's trials, with its interval; None if no trial has a value."""
        values = self.values(arm, key)
        return estimate(values, self.seed) if values else None

    @property
    def is_void(self) -> bool:
        """Whether some caution says so."""
        return any(caution.is_void for caution in self.cautions)


def as_json(result: Result) -> dict[str, Any]:
    """The document of `result.json`."""
    return {
        "schema": SCHEMA,
        "experiment": result.experiment,
        "command": list(result.command),
        "started_at": result.started_at,
        "ended_at": result.ended_at,
        "seed": result.seed,
        "repetitions": result.repetitions,
        "is_complete": result.is_complete,
        "parameters": dict(result.parameters),
        "environment": dict(result.environment),
        "verdict": asdict(result.verdict),
        "cautions": [asdict(caution) for caution in result.cautions],
        "measures": [asdict(measure) for measure in result.measures],
        "charts": [asdict(chart) for chart in result.charts],
        "arms": [_arm_as_json(result, arm) for arm in result.arms],
        "trials": [_trial_as_json(trial) for trial in result.trials],
    }


def _arm_as_json(result: Result, arm: Arm) -> dict[str, Any]:
    estimates = {}
    for measure in result.measures:
        found = result.estimate(arm.name, measure.key)
        if found is not None:
            estimates[measure.key] = asdict(found)
    return {
        "name": arm.name,
        "factors": dict(arm.factors),
        "skipped": arm.skipped,
        "predicted": dict(arm.predicted),
        "estimates": estimates,
    }


def _trial_as_json(trial: Trial) -> dict[str, Any]:
    return {
        "order": trial.order,
        "arm": trial.arm,
        "repetition": trial.repetition,
        "seed": trial.seed,
        "started_at": trial.started_at,
        "values": dict(trial.values),
        "notes": list(trial.notes),
        "failure": trial.failure,
        "latency_samples": len(trial.samples),
    }


def from_json(document: object, source: str) -> Result:
    """The result that a document holds; UsageError, naming the source, if it is not one of ours.

    Estimates are computed from the trials again, so that they cannot differ from them. The latencies of single
    deliveries are not in there.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise UsageError(f"{source} is not the result of an experiment: its schema is {schema!r}, not {SCHEMA!r}")
    try:
        return _result(document)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{source} is damaged: {type(error).__name__} at {str(error)[:80]}") from None


def _result(document: dict[str, Any]) -> Result:
    return Result(
        experiment=str(document["experiment"]),
        command=tuple(map(str, document["command"])),
        started_at=float(document["started_at"]),
        ended_at=float(document["ended_at"]),
        seed=int(document["seed"]),
        repetitions=int(document["repetitions"]),
        parameters=dict(document["parameters"]),
        environment=dict(document["environment"]),
        measures=tuple(Measure(**measure) for measure in document["measures"]),
        charts=tuple(Chart(**chart) for chart in document["charts"]),
        arms=tuple(
            Arm(str(arm["name"]), _factors(arm["factors"]), _numbers(arm["predicted"]), arm["skipped"])
            for arm in document["arms"]
        ),
        trials=tuple(
            Trial(
                order=int(trial["order"]),
                arm=str(trial["arm"]),
                repetition=int(trial["repetition"]),
                seed=int(trial["seed"]),
                started_at=float(trial["started_at"]),
                values=_numbers(trial["values"]),
                notes=tuple(map(str, trial["notes"])),
                failure=trial["failure"],
            )
            for trial in document["trials"]
        ),
        cautions=tuple(Caution(**caution) for caution in document["cautions"]),
        verdict=Verdict(**document["verdict"]),
        is_complete=bool(document["is_complete"]),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(key): float(value) for key, value in values.items()}


def _factors(values: Mapping[str, Any]) -> dict[str, Factor]:
    return dict(values)
