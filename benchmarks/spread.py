"""Figures of several rounds: their median and range, and ratios within each round. Pure.

Speeds of a shared machine wander by more than what is measured does. So a ratio is made of two figures of one round,
taken soon after each other; what is shown is the median of these ratios, with the least and the greatest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, and the ends of their range."""

    median: float
    least: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    """Of one value at least."""
    return Spread(median(values), min(values), max(values))


def ratios(values: Sequence[float], references: Sequence[float]) -> Spread:
    """Of each value to that of the same round; there is one at least, and no reference is 0."""
    return spread([value / reference for value, reference in zip(values, references, strict=True)])


def shown(spread: Spread | None, scale: float, digits: int) -> str:
    """For a table: the median times `scale`, and the range if there is one."""
    if spread is None:
        return "-"
    middle, low, high = (f"{value * scale:,.{digits}f}" for value in (spread.median, spread.least, spread.greatest))
    return middle if low == high else f"{middle} ({low}-{high})"
