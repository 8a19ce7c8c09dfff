"""What experiments conclude from figures: agreement, its causes when there is none, and what makes figures void."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitor.experiments import fork, io, workers
from monitor.experiments.design import Arm
from monitor.experiments.nice_verdict import arm_name, conclude
from monitor.experiments.result import Caution, Result, Trial, Verdict
from monitor.experiments.runner import general_cautions
from tests.experiments import nice_result, result

SHARES = {0: 0.5, 5: 0.247, 19: 0.0144}
P99 = {0: 0.025, 5: 0.050, 19: 0.900}


def concluded(found: Result, separation: str | None = None, **others: Any) -> tuple[dict[str, Caution], Verdict]:
    """Cautions by code, and the verdict."""
    arguments = {"policies": [0], "interference": {}, **others}
    cautions, verdict = conclude(found, separation, **arguments)
    return {caution.code: caution for caution in cautions}, verdict


def test_shares_that_agree() -> None:
    cautions, verdict = concluded(nice_result(SHARES, P99))
    assert not cautions
    assert verdict.agrees is True
    assert "within 0.0 percentage points" in verdict.text
    assert "p99 is 25.0 ms at nice 0 and 900.0 ms at nice 19, intervals do not overlap" in verdict.text


def test_a_share_that_is_two_points_off_still_agrees_and_three_do_not() -> None:
    assert concluded(nice_result({**SHARES, 5: 0.265}, P99))[1].agrees is True
    _, verdict = concluded(nice_result({**SHARES, 5: 0.277}, P99))
    assert verdict.agrees is False
    assert "at nice 5 the share is off by +3.0 percentage points" in verdict.text
    assert "no cause was found" in verdict.text


def test_an_idle_target_is_the_cause() -> None:
    cautions, verdict = concluded(nice_result({**SHARES, 0: 0.3}, P99, demand=0.4))
    assert cautions["idle_target"].is_void
    assert "nice 0 40%" in cautions["idle_target"].text
    assert "too little to do" in verdict.text


def test_a_wait_that_is_not_over_is_no_idleness() -> None:
    found = nice_result(SHARES, P99, demand=0.9, run_delay_per_slice=0.3)
    assert "idle_target" not in concluded(replace(found, parameters={"seconds": 3.0}))[0]
    assert "idle_target" in concluded(replace(found, parameters={"seconds": 30.0}))[0]


def test_autogroup_makes_a_renice_void() -> None:
    where = "the target in its session (autogroup 7), the rivals in its session (autogroup 8)"
    cautions, verdict = concluded(nice_result({0: 0.5, 5: 0.49, 19: 0.505}, P99), where)
    assert cautions["autogroup"].is_void
    assert verdict.agrees is False
    assert "The renice has no effect" in verdict.text
    assert "autogroup 7" in verdict.text


def test_a_cgroup_is_named_as_such() -> None:
    cautions, verdict = concluded(
        nice_result({0: 0.5, 19: 0.2}, P99), "the target in cgroup /a, the rivals in the system"
    )
    assert "cgroup" in cautions and "autogroup" not in cautions
    assert "no effect between" in verdict.text and "among the CPUs" in verdict.text


def test_a_policy_without_nice() -> None:
    cautions, verdict = concluded(nice_result({**SHARES, 19: 0.5}, P99), policies=[0, 5])
    assert cautions["policy"].is_void
    assert "scheduling policy" in verdict.text


def test_who_else_was_there_is_named() -> None:
    found = nice_result(SHARES, P99, others=0.3, stolen=0.02)
    cautions, _ = concluded(found, interference={"make": 0.2, "cc1": 0.25, "idle": 0.001})
    text = cautions["interference"].text
    assert "30%" in text and "cc1 (up to 25%), make (up to 20%)" in text and "hypervisor kept 2%" in text
    assert "idle (" not in text
    assert not cautions["interference"].is_void  # shares are of what was left


def test_deliveries_that_did_not_come_make_latencies_lower_bounds() -> None:
    cautions, _ = concluded(nice_result(SHARES, P99, missing=2.0))
    assert "nice 0 6, " in cautions["missing"].text
    assert cautions["missing"].is_void, "what the others are compared with is not known"


def test_deliveries_that_did_not_come_at_another_level_than_0_make_nothing_void() -> None:
    made = nice_result(SHARES, P99)
    highest = arm_name(max(SHARES))
    trials = [
        replace(trial, values={**trial.values, "missing": 5.0}) if trial.arm == highest else trial
        for trial in made.trials
    ]
    cautions, verdict = concluded(replace(made, trials=tuple(trials)))
    assert f"{highest} 15; there the latencies are lower bounds" in cautions["missing"].text
    assert not cautions["missing"].is_void
    assert verdict.agrees


def test_a_load_that_is_late_itself() -> None:
    assert "late_load" in concluded(nice_result(SHARES, P99, lateness_p99=0.02))[0]
    assert "late_load" not in concluded(nice_result(SHARES, P99, lateness_p99=0.002))[0]


def test_nothing_measured() -> None:
    assert concluded(result([Arm("alone")], {"alone": {"cpu_share": [1.0]}}))[1].agrees is None


def trial(failure: str | None = None) -> Trial:
    return Trial(1, "arm", 1, 1, 0.0, {} if failure else {"x": 1.0}, failure=failure)


def test_cautions_of_any_experiment() -> None:
    assert general_cautions([trial()], 5, is_complete=True) == []
    few, cut, failed = general_cautions([trial(), trial("it rained")], 1, is_complete=False)
    assert (few.code, few.is_void) == ("repetitions", True)
    assert (cut.code, cut.is_void) == ("interrupted", True)
    assert (failed.code, failed.is_void) == ("failed", False)
    assert "1 of 2" in failed.text and "it rained" in failed.text


def io_result(**cost: list[float]) -> Result:
    arms = [
        Arm(f"{name} 1000", {"multiplexer": name, "connections": 1000}, {}, None if numbers else "no descriptors")
        for name, numbers in cost.items()
    ]
    values = {f"{name} 1000": {"cpu_per_event": numbers} for name, numbers in cost.items() if numbers}
    return result(arms, values, measures=io.MEASURES, charts=io.CHARTS)


def test_epoll_is_better_or_it_is_not() -> None:
    better = io.verdict(io_result(epoll=[4e-6, 5e-6], poll=[17e-6, 18e-6], select=[19e-6, 20e-6]))
    assert better.agrees is True
    assert "4.5 us with epoll and 17.5 us with poll (intervals do not overlap)" in better.text
    assert io.verdict(io_result(epoll=[4e-6, 20e-6], poll=[17e-6, 18e-6])).agrees is False
    assert io.verdict(io_result(epoll=[4e-6], select=[])).agrees is None


def test_the_number_of_workers() -> None:
    arms = [Arm("1 worker", {"workers": 1}), Arm("2 workers", {"workers": 2})]
    values = {
        "1 worker": {"throughput": [100.0, 102.0], "cpu_per_delivery": [1e-6, 1e-6]},
        "2 workers": {"throughput": [150.0, 153.0], "cpu_per_delivery": [2e-6, 2e-6]},
    }
    verdict = workers.verdict(result(arms, values, measures=workers.MEASURES, charts=workers.CHARTS))
    assert "2 workers deliver 1.50 times as much as 1 worker (intervals do not overlap)" in verdict.text
    assert workers.verdict(result(arms[:1], {}, measures=workers.MEASURES, charts=())).agrees is None


def test_fork_against_spawn() -> None:
    values = {
        "fork": {"startup": [0.004], "uss_start": [2 * 2**20], "uss_load": [3 * 2**20]},
        "spawn": {"startup": [0.4], "uss_start": [14 * 2**20], "uss_load": [15 * 2**20]},
    }
    arms = [Arm("fork"), Arm("spawn")]
    text = fork.verdict(result(arms, values, measures=fork.MEASURES, charts=fork.CHARTS)).text
    assert "100 times sooner" in text and "2.0 MiB" in text and "against 14.0" in text
    assert "could not" in fork.verdict(result(arms, {}, measures=fork.MEASURES, charts=())).text


@pytest.mark.parametrize(("text", "cpu", "expected"), [(b"cpu0 1 2 3 400 5 6 7 8 0 0\n", 0, (4.05, 0.13, 0.08))])
def test_times_of_a_cpu(text: bytes, cpu: int, expected: tuple[float, float, float]) -> None:
    from monitor.experiments.accounts import parse_cpu_times

    times = parse_cpu_times(b"cpu  9 9 9 9 9 9 9 9 9 9\n" + text, cpu)
    assert times is not None
    assert (times.idle, times.interrupts, times.stolen) == pytest.approx(expected)
    assert parse_cpu_times(text, 7) is None
