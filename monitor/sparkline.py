"""A row of little bars: the recent past of one number, in as many cells as there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
"""The lowest stands for nothing at all, so that the least of something can be told from it."""


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars, the greatest of them at full height; cells without a value are blank."""
    shown = values[-width:] if width > 0 else ()
    greatest = max(shown, default=0.0)
    return "".join(_bar(value, greatest) for value in shown).rjust(max(width, 0))


def _bar(value: float, greatest: float) -> str:
    if value <= 0:
        return BARS[0]
    return BARS[min(1 + int(value / greatest * (len(BARS) - 1)), len(BARS) - 1)]
