"""The dashboard as a picture: an SVG file that needs nothing but itself to be looked at. Runs in `broker top --svg`.

rich's own template asks a font server for its font; this one asks for the reader's monospaced one, and every piece of
text says how wide it is, so that columns stay columns in any.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from broker.errors import BrokerError
from monitor.canvas import Canvas, Line, Piece
from monitor.dashboard import draw, header
from monitor.view import View
from monitor.view import lines as arranged

CELLS: Final = 110
"""Wide enough for all but the least important columns, and still legible in a README."""

EVENTS: Final = 8
LINES_BESIDE: Final = 5
"""The table's heading, a blank, the events' heading, the line for outcomes and the keys."""

_THEME: Final = TerminalTheme(
    background=(24, 26, 31),
    foreground=(208, 211, 216),
    normal=[
        *((24, 26, 31), (224, 108, 117), (143, 188, 110), (222, 184, 106)),
        *((97, 162, 224), (190, 130, 210), (94, 184, 194), (208, 211, 216)),
    ],
)

_TEMPLATE: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="broker top">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", "Noto Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 16px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""  # noqa: E501


class PictureError(BrokerError):
    """The picture could not be written."""


def picture(view: View, width: int = CELLS) -> str:
    """The dashboard with all its processes as an SVG document; nothing is selected in it."""
    view = replace(view, selected=None, message=None, prompt=None)
    events = min(len(view.snapshot.events) if view.snapshot is not None else 0, EVENTS)
    height = len(header(view, width)) + len(arranged(view)) + max(events, 1) + LINES_BESIDE
    console = Console(
        record=True,
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        legacy_windows=False,
    )
    canvas = draw(view, width, height)
    lines = [[part for piece in line for part in _without_blank_ends(piece)] for line in canvas.lines]
    console.print(Canvas(width, lines))  # and one empty line: rich makes no clip path for the last one
    return console.export_svg(title="broker top", theme=_THEME, code_format=_TEMPLATE, unique_id="top")


def _without_blank_ends(piece: Piece) -> Line:
    """The piece as up to three: some renderers drop blanks at the start of a text, and all behind it would shift."""
    text, style = piece
    core = text.strip(" ")
    if core == text or not core:
        return [piece]
    start = text.index(core)
    parts = (text[:start], core, text[start + len(core) :])
    return [(part, style) for part in parts if part]


def save(view: View, path: Path) -> None:
    """Write the picture to `path`; PictureError if that cannot be done."""
    try:
        path.write_text(picture(view), encoding="utf-8")
    except OSError as error:
        raise PictureError(f"cannot write {path}: {error.strerror}; name another file with --svg") from None
