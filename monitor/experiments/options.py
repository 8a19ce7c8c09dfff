"""Option types of the experiments and the lab: numbers with bounds, lists, shares. Pure."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """A whole number within bounds; argparse.ArgumentTypeError says which."""

    def parse(text: str) -> int:
        digits = text[1:] if text[:1] in ("-", "+") else text
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 10 and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """A number within bounds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest:g} to {highest:g}")
        return value

    return parse


def whole_list(lowest: int, highest: int) -> Callable[[str], tuple[int, ...]]:
    """Whole numbers within bounds, separated by commas; each counts once, in the order given."""
    one = whole(lowest, highest)

    def parse(text: str) -> tuple[int, ...]:
        return tuple(dict.fromkeys(one(part.strip()) for part in text.split(",")))

    return parse


def word_list(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """Some of these words, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(allowed)}")
        return words

    return parse


def amount(text: str) -> float:
    """A number of things from 1 on, or a share of all below 1: `8`, `0.1`, `10%`."""
    digits = text.removesuffix("%")
    try:
        value = float(digits) / (100 if digits != text else 1)
    except ValueError:
        value = math.nan
    if not (0 < value < 1 or (1 <= value <= 100_000 and value == int(value))):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number from 1 nor a share below 1")
    return value
