"""Turns lines of the conversation into terminal text: time, name column, colours, hanging indent. Pure.

Used by the process of `broker chat`. It knows neither the broker nor the input line. rich supplies the colours, the
cell widths and the wrapping, but never reads a text as markup. A line costs a few microseconds unless it has to be
wrapped, so a thousand of them a second are no burden.
"""

from __future__ import annotations

from zlib import crc32

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from rich.text import Text

from broker.client.lines import Kind, Line
from broker.names import key_of

NAME_COLORS = (167, 166, 130, 100, 64, 28, 29, 30, 31, 27, 63, 98, 134, 164, 162, 132)
"""Colours of the 256-colour palette whose contrast with black and with white is at least 3.6 : 1 (WCAG 2)."""

MIN_NAME_CELLS, MAX_NAME_CELLS = 8, 20
"""The name column starts narrow and grows with the names; a name wider still is not cut, only out of line."""

MIN_TEXT_CELLS = 16
"""With less room than this beside the names, the terminal wraps long lines by itself."""

MAX_CACHED_NAMES = 10_000

_MARKS = {Kind.ENTERED: "+", Kind.LEFT: "-", Kind.NOTICE: "*", Kind.WARNING: "!"}
_BODY_STYLES = {
    Kind.ENTERED: Style(dim=True),
    Kind.LEFT: Style(dim=True),
    Kind.NOTICE: Style(dim=True),
    Kind.WARNING: Style(bold=True),
}
_TO_ME_STYLE = Style(bold=True)
_CLOCK_STYLE = Style(dim=True)


def name_style(name: str) -> Style:
    """The style of a name: the same in every session, and for every spelling that counts as the same name."""
    return Style.parse(f"color({NAME_COLORS[crc32(key_of(name).encode()) % len(NAME_COLORS)]})")


class Painter:
    """Paints for one terminal, of which `color_system` says what it can do; None: no escape sequences at all."""

    def __init__(self, color_system: ColorSystem | None) -> None:
        self._color_system = color_system
        self._column = MIN_NAME_CELLS
        self._cells: dict[tuple[str, Kind, bool], str] = {}
        self._wrapper = Console(color_system=None, legacy_windows=False, force_terminal=False)

    def paint(self, line: Line, clock: str, width: int) -> str:
        """The text of one line, LF at the end. `clock` is the time to show, `width` the terminal's in cells."""
        cell = self._cells.get((line.name, line.kind, line.mine)) or self._name_cell(line)
        style = _TO_ME_STYLE if line.to_me else _BODY_STYLES.get(line.kind)
        head = f"{self._styled(clock, _CLOCK_STYLE)} {cell} | "
        indent = len(clock) + self._column + 4
        room = width - indent
        # No character takes more than two cells, so short lines need no measuring.
        if room < MIN_TEXT_CELLS or 2 * len(line.text) <= room or cell_len(line.text) <= room:
            return f"{head}{self._styled(line.text, style)}\n"
        pieces = [piece.plain.rstrip() for piece in Text(line.text).wrap(self._wrapper, room)]
        margin = "\n" + " " * (indent - 2) + "| "
        return head + margin.join(self._styled(piece, style) for piece in pieces) + "\n"

    def _styled(self, text: str, style: Style | None) -> str:
        if style is None or self._color_system is None:
            return text
        return style.render(text, color_system=self._color_system)

    def _name_cell(self, line: Line) -> str:
        """What stands in the name column, padded on the left; remembered until the column grows."""
        shown = _MARKS.get(line.kind) or (f"* {line.name}" if line.kind is Kind.ACTION else line.name)
        cells = cell_len(shown)
        if self._column < cells <= MAX_NAME_CELLS:
            self._column = cells
            self._cells.clear()
        if len(self._cells) >= MAX_CACHED_NAMES:
            self._cells.clear()
        style = None if line.kind in _MARKS else name_style(line.name) + Style(bold=line.mine)
        cell = " " * (self._column - cells) + self._styled(shown, style)
        self._cells[line.name, line.kind, line.mine] = cell
        return cell
