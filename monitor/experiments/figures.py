"""Figures of a result as text: with their units, rounded, with their intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.experiments.design import Arm, Measure
from monitor.experiments.result import Result
from monitor.experiments.statistics import Estimate

UNKNOWN = "-"


def figure(value: float | None, measure: Measure) -> str:
    """A value of the measure, in its unit but without its name: `24.7`."""
    if value is None:
        return UNKNOWN
    shown = value * measure.scale
    digits = min(measure.digits, 0 if abs(shown) >= 1000 else 1 if abs(shown) >= 100 else measure.digits)
    return f"{shown:,.{digits}f}"


def interval(found: Estimate | None, measure: Measure) -> str:
    """`24.7 [24.5, 24.9]`; without the interval where there is none."""
    if found is None:
        return UNKNOWN
    text = figure(found.mean, measure)
    if found.low is None or found.high is None:
        return text
    return f"{text} [{figure(found.low, measure)}, {figure(found.high, measure)}]"


def heading(measure: Measure) -> str:
    """`p99, ms`."""
    return f"{measure.label}, {measure.unit}" if measure.unit else measure.label


def table(result: Result, measures: Sequence[Measure] | None = None, with_intervals: bool = True) -> list[list[str]]:
    """Heading and one line for each arm: its name, then each measure, before a measure that is predicted its
    prediction."""
    shown = [measure for measure in result.measures if measure.in_table] if measures is None else list(measures)
    predicted = {key for arm in result.arms for key in arm.predicted}
    first = [""]
    for measure in shown:
        if measure.key in predicted:
            first.append(f"predicted, {measure.unit}")
        first.append(heading(measure))
    return [first, *(_line(result, arm, shown, predicted, with_intervals) for arm in result.arms)]


def _line(
    result: Result, arm: Arm, measures: Sequence[Measure], predicted: set[str], with_intervals: bool
) -> list[str]:
    line = [arm.name]
    for measure in measures:
        if measure.key in predicted:
            line.append(figure(arm.predicted.get(measure.key), measure))
        found = result.estimate(arm.name, measure.key)
        line.append(interval(found, measure) if with_intervals else figure(found.mean if found else None, measure))
    return line


def facts(result: Result) -> list[tuple[str, str]]:
    """What the result depends on, in the order in which one asks for it."""
    environment = result.environment
    duration = result.ended_at - result.started_at
    found = [
        ("command", " ".join(result.command)),
        ("seed, repetitions", f"{result.seed}, {result.repetitions}"),
        ("took", f"{duration:.0f} s"),
        ("kernel", f"{environment.get('kernel')} on {environment.get('machine')}"),
        ("CPU", f"{environment.get('cpu_model') or 'unknown'}, {len(environment.get('cpus_allowed') or ())} usable"),
        (
            "autogroup",
            f"{'on' if environment.get('autogroup_enabled') else 'off'}, number {environment.get('autogroup')}",
        ),
        ("cgroup", ", ".join(f"{name or 'v2'}:{path}" for name, path in (environment.get("cgroup") or {}).items())),
        ("policy, nice", f"{environment.get('policy')}, {environment.get('nice')}"),
        ("Python, broker", f"{environment.get('python')}, {environment.get('broker')}"),
    ]
    return [*found, *((name.replace("_", " "), _plain(value)) for name, value in result.parameters.items())]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
