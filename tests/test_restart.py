"""Restart intensity and back-off, over timestamps only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.restart import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    STABLE_SECONDS,
    RestartHistory,
    RestartPolicy,
    add_restart,
)

POLICY = RestartPolicy(intensity=3, period_seconds=10)


def delays(policy: RestartPolicy, deaths: list[tuple[float, float]]) -> list[float | None]:
    history, result = RestartHistory(), []
    for now, useful in deaths:
        decision = add_restart(policy, history, now, useful)
        history = decision.history
        result.append(decision.delay_seconds)
    return result


def test_a_useful_child_is_replaced_at_once() -> None:
    assert delays(POLICY, [(0, 5), (100, 5), (200, 5)]) == [0, 0, 0]


def test_more_than_intensity_within_the_period_gives_up() -> None:
    assert delays(POLICY, [(0, 5), (1, 5), (2, 5), (3, 5)])[-1] is None


def test_deaths_outside_the_period_do_not_count() -> None:
    assert delays(POLICY, [(0, 5), (1, 5), (2, 5), (10.5, 5)])[-1] == 0


def test_short_lives_back_off_and_a_long_one_forgives() -> None:
    policy = RestartPolicy(100, 10)
    lives = [(float(n), 0.0) for n in range(8)] + [(20.0, STABLE_SECONDS)]
    assert delays(policy, lives) == [
        0, FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS, 4 * FIRST_DELAY_SECONDS, 8 * FIRST_DELAY_SECONDS,
        16 * FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, 0,
    ]  # fmt: skip


def test_a_child_that_never_gets_ready_ends_the_broker_within_the_default_period() -> None:
    policy = RestartPolicy(intensity=12, period_seconds=10)
    history, now = RestartHistory(), 0.0
    while True:
        decision = add_restart(policy, history, now, 0.0)
        if decision.delay_seconds is None:
            break
        history, now = decision.history, now + decision.delay_seconds
    assert now <= 10


def test_ten_times_as_many_kills_by_others_are_borne_and_none_makes_anybody_wait() -> None:
    history = RestartHistory()
    for number in range(30):
        decision = add_restart(POLICY, history, number / 10, 0.01, killed=True)
        assert decision.delay_seconds == 0
        history = decision.history
    assert add_restart(POLICY, history, 3.0, 5, killed=False).delay_seconds == 0, "they are no deaths of its own"
    assert add_restart(POLICY, history, 3.0, 5, killed=True).delay_seconds is None
    assert add_restart(POLICY, history, 13.1, 5, killed=True).delay_seconds == 0


def test_a_child_that_was_killed_before_it_was_ready_counts_as_dead() -> None:
    history = RestartHistory()
    for now in (0.0, 1.0, 2.0):
        history = add_restart(POLICY, history, now, 0.0, killed=True).history
    assert add_restart(POLICY, history, 3.0, 0.0, killed=True).delay_seconds is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 2)), max_size=60), st.integers(1, 10))
def test_gives_up_exactly_when_the_period_holds_too_many(gaps: list[tuple[float, float]], intensity: int) -> None:
    policy = RestartPolicy(intensity, 10)
    history, now, deaths = RestartHistory(), 0.0, []
    for gap, useful in gaps:
        now += gap
        deaths.append(now)
        decision = add_restart(policy, history, now, useful)
        history = decision.history
        recent = sum(now - died <= 10 for died in deaths)
        assert (decision.delay_seconds is None) == (recent > intensity)
        assert decision.delay_seconds is None or 0 <= decision.delay_seconds <= LONGEST_DELAY_SECONDS
