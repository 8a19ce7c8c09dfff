"""A table as text, as wide as it has to be. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def as_table(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The title, and below it the columns: the first one flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    shown = [
        "  ".join([_cell(number, cell, widths[number]) for number, cell in enumerate(line)])
        for line in [headings, *lines]
    ]
    return "\n".join([title, *(f"  {line.rstrip()}" for line in shown)])


def _cell(number: int, cell: str, width: int) -> str:
    return cell.ljust(width) if number == 0 else cell.rjust(width)
