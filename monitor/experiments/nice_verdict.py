"""What the figures of `broker experiment nice` mean: agreement with the prediction, or the likely cause. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from monitor.experiments.design import Arm
from monitor.experiments.result import Caution, Result, Verdict

ALONE: Final = "alone"
TOLERANCE: Final = 0.02
"""A share that is off by no more than two percentage points agrees."""
BUSY: Final = 0.95
"""A target that runs or wants to run for less of the time did not compete for all it could get."""
DISTURBED: Final = 0.10
"""Who else takes more than this of the CPU is named."""
FAIR_POLICIES: Final = (0, 3)
"""SCHED_OTHER and SCHED_BATCH, where nice is a weight; sched(7)."""
_LATE: Final = 0.25
"""Of the latency at nice 0, what may be the load's own lateness."""
NO_EFFECT: Final = 0.05
"""Shares that differ by less between the levels show no effect."""


def arm_name(level: int) -> str:
    """The arm of one nice value against the rivals."""
    return f"nice {level}"


def conclude(
    result: Result, separation: str | None, policies: Sequence[int], interference: Mapping[str, float]
) -> tuple[list[Caution], Verdict]:
    """The cautions that the figures give cause for, and the verdict.

    `separation` says where the parties are if their nice values are not weighed against each other; `policies` are
    their scheduling policies; `interference` has who else was seen on the CPU, with their greatest share in a trial.
    """
    measured = [arm for arm in result.arms if arm.predicted and result.estimate(arm.name, "cpu_share")]
    cautions = _cautions(result, measured, separation, policies, interference)
    if not measured:
        return cautions, Verdict(None, "No level could be measured.")
    return cautions, _verdict(result, measured, {caution.code for caution in cautions}, separation)


def _cautions(
    result: Result,
    measured: Sequence[Arm],
    separation: str | None,
    policies: Sequence[int],
    interference: Mapping[str, float],
) -> list[Caution]:
    found = []
    if separation is not None:
        code = "cgroup" if "cgroup" in separation else "autogroup"
        why = "each cgroup gets its share first" if code == "cgroup" else "autogroup gives each session its share first"
        found.append(Caution(code, f"nice is not weighed between the parties ({separation}): {why}", is_void=True))
    if any(policy not in FAIR_POLICIES for policy in policies):
        text = f"scheduling policy {', '.join(map(str, policies))}: nice counts under SCHED_OTHER and SCHED_BATCH only"
        found.append(Caution("policy", text, is_void=True))
    idle = [arm for arm in measured if _mean(result, arm.name, "demand") + _uncounted(result, arm.name) < BUSY]
    if idle:
        shares = ", ".join(f"{arm.name} {_mean(result, arm.name, 'demand'):.0%}" for arm in idle)
        text = f"the target did not want the CPU all the time ({shares}): what it left is not a matter of weights"
        found.append(Caution("idle_target", text, is_void=True))
    others = max((_mean(result, arm.name, "others") for arm in measured), default=0.0)
    stolen = max((_mean(result, arm.name, "stolen") for arm in measured), default=0.0)
    if others > DISTURBED:
        who = sorted(interference, key=lambda name: -interference[name])[:3]
        seen = ", ".join(f"{name} (up to {interference[name]:.0%})" for name in who if interference[name] >= 0.01)
        text = (
            f"others took up to {others:.0%} of the CPU{f': seen there were {seen}' if seen else ''}"
            f"{f'; the hypervisor kept {stolen:.0%}' if stolen >= 0.01 else ''}; shares are of what was left"
        )
        found.append(Caution("interference", text))
    missing = {arm.name: sum(result.values(arm.name, "missing")) for arm in result.arms}
    if any(missing.values()):
        which = ", ".join(f"{name} {count:.0f}" for name, count in missing.items() if count)
        text = f"deliveries that did not come in time: {which}; there the latencies are lower bounds"
        found.append(Caution("missing", text, is_void=bool(missing.get(arm_name(0)))))
    late = _mean(result, arm_name(0), "lateness_p99")
    if late > _LATE * (_mean(result, arm_name(0), "latency_p99") or 1.0):
        text = f"the load itself was up to {late * 1e3:.1f} ms late at nice 0, which is in the latencies"
        found.append(Caution("late_load", text))
    return found


def _verdict(result: Result, measured: Sequence[Arm], codes: set[str], separation: str | None) -> Verdict:
    deviations = {arm.name: _mean(result, arm.name, "cpu_share") - arm.predicted["cpu_share"] for arm in measured}
    worst = max(deviations, key=lambda name: abs(deviations[name]))
    latency = _latency(result, measured)
    if separation is not None:
        shares = [_mean(result, arm.name, "cpu_share") for arm in measured]
        spread = max(shares) - min(shares)
        found = f"{min(shares):.1%} to {max(shares):.1%} over all levels"
        if spread >= NO_EFFECT:
            found += "; that it changes at all is not nice: the kernel divides a group's weight among the CPUs by load"
        return Verdict(
            False,
            f"The renice has no effect between target and rivals, since nice counts only inside one group, and here is "
            f"{separation}. The share is not what the weights say ({found}).",
        )
    if abs(deviations[worst]) <= TOLERANCE:
        within = abs(deviations[worst]) * 100
        return Verdict(
            True,
            f"Agrees with the prediction: at every level the share is what the weights say, within "
            f"{within:.1f} percentage points{latency}.",
        )
    cause = next(
        (text for code, text in _CAUSES.items() if code in codes),
        "no cause was found; repeat it on an idle machine, with more --seconds",
    )
    return Verdict(
        False,
        f"Does not agree with the prediction: at {worst} the share is off by "
        f"{deviations[worst] * 100:+.1f} percentage points; the likely cause: {cause}{latency}.",
    )


_CAUSES: Final = {
    "policy": "a scheduling policy under which nice does not count",
    "idle_target": "the target had too little to do; more --pressure or --clients",
    "interference": "others on that CPU, see the cautions",
}


def _latency(result: Result, measured: Sequence[Arm]) -> str:
    """How the chat fared at the highest level, against 0."""
    highest = max(measured, key=lambda arm: float(arm.factors["level"] or 0))
    here, there = result.estimate(arm_name(0), "latency_p99"), result.estimate(highest.name, "latency_p99")
    if here is None or there is None or highest.name == arm_name(0):
        return ""
    overlap = here.overlaps(there)
    intervals = "" if overlap is None else f", intervals {'overlap' if overlap else 'do not overlap'}"
    return (
        f"; chat p99 is {here.mean * 1e3:.1f} ms at {arm_name(0)} and {there.mean * 1e3:.1f} ms at "
        f"{highest.name}{intervals}"
    )


def _uncounted(result: Result, arm: str) -> float:
    """What the accounts may lack of the time that the target was ready: they get a wait only when it is over."""
    return _mean(result, arm, "run_delay_per_slice") / float(result.parameters.get("seconds", 1.0))


def _mean(result: Result, arm: str, key: str) -> float:
    found = result.estimate(arm, key)
    return 0.0 if found is None else found.mean
