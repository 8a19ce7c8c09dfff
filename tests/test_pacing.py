"""Token buckets against the plain inequality that defines them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.pacing import TokenBucket

STEPS = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50)), max_size=30)


@given(st.floats(0.1, 1000), st.integers(1, 100), STEPS)
def test_never_more_than_the_burst_and_the_rate_allow(rate: float, burst: int, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, spent = 0.0, 0
    for pause, wanted in steps:
        now += pause
        granted = min(wanted, bucket.available(now))
        bucket.spend(granted)
        spent += granted
        assert spent <= burst + rate * now + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 100))
def test_waiting_as_long_as_it_says_grants_a_line(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    bucket.spend(bucket.available(0.0))
    wait = bucket.wait_seconds()
    assert 0 < wait <= 1 / rate
    assert bucket.available(wait * 1.000001) >= 1


def test_a_fresh_bucket_grants_its_burst_at_once() -> None:
    bucket = TokenBucket(10, 30, 5.0)
    assert bucket.available(5.0) == 30
    assert bucket.wait_seconds() == 0
