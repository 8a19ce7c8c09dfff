"""The arithmetic of experiments: percentiles, bootstrap, weights, the order of trials, option types."""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.experiments import statistics
from monitor.experiments.design import Arm, schedule
from monitor.experiments.options import amount, number, whole, whole_list, word_list
from monitor.experiments.statistics import Estimate, estimate, mean, percentile
from monitor.experiments.weights import WEIGHTS, predicted_share, weight

FINITE = st.floats(-1e9, 1e9, allow_nan=False)
SAMPLES = st.lists(FINITE, min_size=1, max_size=60)


@given(SAMPLES, st.floats(0, 1))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(samples: list[float], share: float) -> None:
    found = percentile(samples, share)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= share * len(samples) - 1e-9
    below = [sample for sample in samples if sample < found]
    assert len(below) < share * len(samples) or not below


@given(SAMPLES)
def test_the_extreme_percentiles_are_the_extremes(samples: list[float]) -> None:
    assert percentile(samples, 0) == min(samples)
    assert percentile(samples, 1) == max(samples)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99), (0.999, 100), (1.0, 100)])
def test_percentiles_of_a_hundred(share: float, expected: int) -> None:
    assert percentile(random.Random(1).sample(range(1, 101), 100), share) == expected


@pytest.mark.parametrize(("samples", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_percentiles_that_there_are_not(samples: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(samples, share)


@given(SAMPLES)
def test_a_mean_lies_between_the_extremes(samples: list[float]) -> None:
    assert min(samples) <= mean(samples) <= max(samples)


@given(FINITE, st.integers(1, 20))
def test_equal_samples_are_their_own_mean_and_interval(value: float, count: int) -> None:
    found = estimate([value] * count)
    assert found.mean == value
    if count > 1:
        assert (found.low, found.high) == (value, value)


@settings(deadline=None, max_examples=40)
@given(st.lists(FINITE, min_size=2, max_size=12), st.integers(0, 1000))
def test_an_interval_holds_the_mean_and_lies_within_the_samples(samples: list[float], seed: int) -> None:
    found = estimate(samples, seed)
    assert found.low is not None and found.high is not None
    # The distribution of means may be so skewed that 95 % of it lies beside the mean only for absurd samples.
    assert min(samples) <= found.low <= found.high <= max(samples)
    assert found == estimate(samples, seed)
    assert estimate(sorted(samples), seed).mean == pytest.approx(found.mean)


def test_a_single_sample_has_no_interval() -> None:
    assert estimate([3.0]) == Estimate(3.0, None, None, 1)


def test_the_enumerated_bootstrap_is_what_drawing_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [1.0, 2.0, 4.0, 8.0, 16.0]
    exact = estimate(samples)
    monkeypatch.setattr(statistics, "EXACT_UP_TO", 0)
    drawn = estimate(samples, seed=3)
    assert exact.low is not None and exact.high is not None and drawn.low is not None and drawn.high is not None
    assert drawn.low == pytest.approx(exact.low, abs=0.4)
    assert drawn.high == pytest.approx(exact.high, abs=0.6)


def test_the_bootstrap_of_two_samples_by_hand() -> None:
    # Means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4: 2.5 % and 97.5 % are in the outer ones.
    assert estimate([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0, 2)


def test_intervals_cover_the_truth_about_as_often_as_they_are_said_to() -> None:
    generator = random.Random(5)
    covered = sum(
        estimate([generator.gauss(10, 1) for _ in range(5)]).contains(10.0) is True for _ in range(400)
    )  # fmt: skip
    assert 0.76 < covered / 400 < 0.93  # "about 85 %" of the docstring


@given(st.lists(FINITE, min_size=2, max_size=6), st.lists(FINITE, min_size=2, max_size=6))
def test_overlap_is_mutual(first: list[float], second: list[float]) -> None:
    one, other = estimate(first), estimate(second)
    assert one.overlaps(other) is other.overlaps(one)
    assert one.overlaps(one) is True


def test_overlap_is_unknown_without_an_interval() -> None:
    assert estimate([1.0]).overlaps(estimate([1.0, 2.0])) is None
    assert estimate([1.0]).contains(1.0) is None


def test_a_level_is_a_factor_of_about_a_quarter() -> None:
    assert len(WEIGHTS) == 40
    assert (weight(-20), weight(-10), weight(0), weight(5), weight(19)) == (88761, 9548, 1024, 335, 15)
    for heavier, lighter in pairwise(WEIGHTS):
        assert 1.17 < heavier / lighter < 1.31


@given(st.integers(-20, 19), st.integers(1, 64), st.integers(1, 8))
def test_shares_of_all_parties_make_a_whole(nice: int, rivals: int, targets: int) -> None:
    ours = predicted_share(nice, rivals, targets)
    theirs = rivals * weight(0) / (targets * weight(nice) + rivals * weight(0))
    assert math.isclose(ours + theirs, 1.0)
    assert predicted_share(0, rivals, rivals) == pytest.approx(0.5)


@pytest.mark.parametrize(("nice", "percent"), [(0, 50.0), (5, 24.7), (19, 1.4), (-10, 90.3)])
def test_shares_against_one_rival(nice: int, percent: float) -> None:
    assert round(100 * predicted_share(nice, 1), 1) == percent


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_every_repetition_has_every_arm_once(arms: int, repetitions: int, seed: int) -> None:
    all_arms = [Arm(str(index)) for index in range(arms)] + [Arm("left out", skipped="no permission")]
    slots = schedule(all_arms, repetitions, seed)
    for repetition in range(repetitions):
        block = slots[repetition * arms : (repetition + 1) * arms]
        assert {slot.repetition for slot in block} == {repetition + 1}
        assert Counter(slot.arm.name for slot in block) == Counter(str(index) for index in range(arms))
    assert slots == schedule(all_arms, repetitions, seed)


def test_the_order_is_drawn_anew_for_each_repetition() -> None:
    slots = schedule([Arm(str(index)) for index in range(6)], 20, seed=1)
    orders = {tuple(slot.arm.name for slot in slots[start : start + 6]) for start in range(0, 120, 6)}
    assert len(orders) > 15
    assert len({slot.seed for slot in slots}) == len(slots)


@pytest.mark.parametrize("text", ["", "x", "1_0", "٣", "20", "-21", "1.5", "9" * 30])
def test_whole_numbers_out_of_bounds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from -20 to 19"):
        whole(-20, 19)(text)


def test_option_types() -> None:
    assert whole_list(-20, 19)("-10, 0,5,5") == (-10, 0, 5)
    assert word_list("poll", "epoll")("epoll,poll") == ("epoll", "poll")
    assert number(0.1, 10)("2.5") == 2.5
    assert [amount(text) for text in ("8", "0.1", "10%", "1")] == [8.0, 0.1, 0.1, 1.0]


@pytest.mark.parametrize("text", ["", "nan", "inf", "0.05", "11", "x"])
def test_numbers_out_of_bounds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"from 0\.1 to 10"):
        number(0.1, 10)(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "100%x", "%", "nan"])
def test_amounts_that_there_are_not(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
        amount(text)


def test_words_that_there_are_not() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'kqueue' is none of poll, epoll"):
        word_list("poll", "epoll")("epoll,kqueue")
