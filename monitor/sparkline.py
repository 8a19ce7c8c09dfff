"""A row of little bars: the recent past of one number, in as many cells as there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
"""The lowest stands for nothing at all, so that the least of something can be told from it."""


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last `width` values as bars, the greatest of them at full height; None and cells to spare are blank."""
    shown = values[-width:] if width > 0 else ()
    greatest = max((value for value in shown if value is not None), default=0.0)
    return "".join(_bar(value, greatest) for value in shown).rjust(max(width, 0))


def _bar(value: float | None, greatest: float) -> str:
    if value is None:
        return " "
    if value <= 0:
        return BARS[0]
    return BARS[min(1 + int(value / greatest * (len(BARS) - 1)), len(BARS) - 1)]
