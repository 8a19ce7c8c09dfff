"""Verdicts over a child that does not beat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.watchdog import Look, Verdict, judge, until_beat

SECOND = 10**9


@pytest.mark.parametrize(
    ("state", "on_cpu", "waiting", "verdict"),
    [
        ("T", 0, 0, Verdict.STOPPED),
        ("t", 0, 0, Verdict.STOPPED),
        ("T", 9 * SECOND, 0, Verdict.STOPPED),
        ("D", 0, 0, Verdict.WAITING_FOR_IO),
        ("R", SECOND // 10, 9 * SECOND, Verdict.STARVED),
        ("R", 4 * SECOND, 6 * SECOND, Verdict.STARVED),
        ("R", 5 * SECOND, 90 * SECOND, Verdict.LOOPING),  # as much CPU as its patience: a busy machine is no excuse
        ("R", 10 * SECOND, 0, Verdict.LOOPING),
        ("R", 6 * SECOND, 4 * SECOND, Verdict.LOOPING),
        ("S", 0, 0, Verdict.STUCK),
        ("S", SECOND // 100, SECOND // 100, Verdict.STUCK),
    ],
)
def test_verdict(state: str, on_cpu: int, waiting: int, verdict: Verdict) -> None:
    earlier = Look(100.0, "S", 5 * SECOND, 7 * SECOND)
    later = Look(110.0, state, 5 * SECOND + on_cpu, 7 * SECOND + waiting)
    assert judge(earlier, later, patience_seconds=5.0) is verdict


def test_only_the_ill_are_replaced() -> None:
    assert {verdict for verdict in Verdict if verdict.replace} == {Verdict.STOPPED, Verdict.LOOPING, Verdict.STUCK}


@given(st.floats(0, 1e7), st.floats(0.05, 60))
def test_all_beat_at_the_same_moments(now: float, period: float) -> None:
    wait = until_beat(now, period)
    assert period / 2 <= wait <= period * 1.5
    beats = (now + wait) / period
    assert abs(beats - round(beats)) * period < 1e-6
