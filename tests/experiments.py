"""Results of experiments made by hand, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.experiments.design import Arm, Chart, Measure
from monitor.experiments.nice import CHARTS, MEASURES
from monitor.experiments.nice_verdict import ALONE, arm_name
from monitor.experiments.result import Result, Trial
from monitor.experiments.weights import predicted_share

ENVIRONMENT: dict[str, Any] = {
    "kernel": "6.18.0", "machine": "x86_64", "cpu_model": "A CPU <model>", "cpus_allowed": [0, 1],
    "autogroup_enabled": True, "autogroup": 50, "cgroup": {"": "/"}, "policy": "SCHED_OTHER", "nice": 0,
    "python": "3.11.7", "broker": "0.1.0",
}  # fmt: skip


def result(
    arms: Sequence[Arm],
    values: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    measures: Sequence[Measure] = MEASURES,
    charts: Sequence[Chart] = CHARTS,
    **others: Any,
) -> Result:
    """A result whose trials have these values, by arm and measure."""
    trials = []
    for arm, by_measure in values.items():
        count = max(map(len, by_measure.values()))
        for index in range(count):
            found = {key: numbers[index] for key, numbers in by_measure.items()}
            trials.append(Trial(len(trials) + 1, arm, index + 1, 7, 1_700_000_000.0, found, samples=(0.001, 0.002)))
    standing: dict[str, Any] = {
        "experiment": "nice", "command": ("broker", "experiment", "nice"), "started_at": 1_700_000_000.0,
        "ended_at": 1_700_000_060.0, "seed": 1, "repetitions": 3, "parameters": {"target": "worker-0"},
        "environment": ENVIRONMENT,
    }  # fmt: skip
    return Result(**{**standing, **others}, measures=tuple(measures), charts=tuple(charts), arms=tuple(arms),
                  trials=tuple(trials))  # fmt: skip


def nice_result(shares: Mapping[int, float], p99: Mapping[int, float], **every: float) -> Result:
    """One of `broker experiment nice`: shares and p99 by level, three trials each, hardly spread; `every` is a value
    that each trial has of another measure."""
    arms = [Arm(ALONE, {"level": 0, "rivals": 0})]
    values: dict[str, dict[str, list[float]]] = {ALONE: {"cpu_share": [1.0] * 3, "latency_p99": [0.005] * 3}}
    for level, share in shares.items():
        arms.append(
            Arm(arm_name(level), {"level": level, "rivals": 1}, {"cpu_share": predicted_share(level, 1)})
        )  # fmt: skip
        others = {"demand": 1.0, "others": 0.0, "stolen": 0.0, "lateness_p99": 0.0, "missing": 0.0, **every}
        values[arm_name(level)] = {
            "cpu_share": [share - 0.001, share, share + 0.001],
            "latency_p99": [p99[level] * factor for factor in (0.9, 1.0, 1.1)],
            **{key: [value] * 3 for key, value in others.items()},
        }
    return result(arms, values)
