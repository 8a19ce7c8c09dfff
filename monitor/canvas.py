"""Lines of styled text that fill a rectangle exactly: what the dashboard's parts are made of. Pure.

A line is a list of (text, style) pieces. rich could lay all this out by itself, from markup, tables and panels, at
several times the cost; the dashboard is drawn every second beside the processes that it measures. Text from outside
goes through `safe` first, and nothing here interprets markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from monitor.table import printable

Piece: TypeAlias = tuple[str, Style]
Line: TypeAlias = list[Piece]

PLAIN = Style.null()


@dataclass(frozen=True, slots=True)
class Canvas:
    """A rich renderable of `width` cells times the number of its lines."""

    width: int
    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from (Segment(text, style) for text, style in fitted(line, self.width))
            yield Segment.line()

    def text(self) -> list[str]:
        """The lines without styles and without blanks at their ends, for what is not a terminal."""
        return ["".join(text for text, _ in fitted(line, self.width)).rstrip() for line in self.lines]


def safe(text: object) -> str:
    """Text from outside on one line, without anything that could steer a terminal."""
    return printable(" ".join(str(text).split()))


def length(line: Line) -> int:
    """The terminal cells that a line takes."""
    return sum(cell_len(text) for text, _ in line)


def fitted(line: Line, width: int) -> Line:
    """The line, cut or filled to `width` cells; what is cut off leaves an ellipsis."""
    pieces: Line = []
    left = width
    for text, style in line:
        cells = cell_len(text)
        if cells > left:
            pieces.append((ellipsis(text, left), style))
            return pieces
        pieces.append((text, style))
        left -= cells
    if left:
        pieces.append((" " * left, PLAIN))
    return pieces


def ellipsis(text: str, width: int) -> str:
    """The text in exactly `width` cells, ending in an ellipsis if it had to be cut."""
    if width < 1:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def spread(left: Line, right: Line, width: int) -> Line:
    """One line with both ends; the right one gives way if there is no room for both."""
    blanks = width - length(left) - length(right)
    return [*left, (" " * blanks, PLAIN), *right] if blanks > 1 else left


def wrapped(text: str, width: int, style: Style, indent: int = 0) -> list[Line]:
    """A text of several lines, each broken between words where it is too long, below an indent of blanks."""
    lines: list[Line] = []
    for paragraph in text.split("\n"):
        current = ""
        for word in paragraph.split(" "):
            if current and cell_len(current) + 1 + cell_len(word) > width - indent:
                lines.append([(" " * indent + current, style)])
                current = ""
            *full, word = chop_cells(word, max(width - indent, 1)) or [""]
            lines.extend([(" " * indent + part, style)] for part in full)
            current = f"{current} {word}" if current else word
        lines.append([(" " * indent + current, style)])
    return lines


def joined(lines: Iterable[Line], separator: Line) -> Line:
    """All pieces on one line, with a separator in between."""
    result: Line = []
    for line in lines:
        result += [*(separator if result else []), *line]
    return result
