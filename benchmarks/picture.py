"""The tables as a picture: an SVG with a bar for each server, drawn by rich."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.bar import Bar
from rich.console import Console, Group
from rich.table import Table as Grid

from benchmarks.comparison import FIGURES, Table

_COLUMNS: Final = 110
_BAR_COLUMNS: Final = 40


def save(tables: Sequence[Table], title: str, path: Path) -> None:
    """Draw the first figure of each load and, under saturation, what a delivery costs. OSError."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Group(*(_grid(table, number) for table in tables for number in _drawn(table))))
    path.write_text(console.export_svg(title=title), encoding="utf-8")


def _drawn(table: Table) -> tuple[int, ...]:
    return (0,) if table.load.kind == "rest" else (0, 1)


def _grid(table: Table, number: int) -> Grid:
    figure = FIGURES[table.load.kind][number]
    values = {row.server: row.values[figure.key].median for row in table.rows if figure.key in row.values}
    greatest = max(values.values(), default=0.0) or 1.0
    grid = Grid(title=f"{table.load.title}: {figure.title}", title_justify="left", box=None, show_header=False)
    grid.add_column(width=20, no_wrap=True)
    grid.add_column(width=_BAR_COLUMNS)
    grid.add_column(justify="right", width=12)
    for server, value in values.items():
        colour = "green" if server.startswith("broker") else "blue" if server != "limit" else "bright_black"
        grid.add_row(
            server,
            Bar(greatest, 0, value, width=_BAR_COLUMNS, color=colour),
            f"{value * figure.scale:.{figure.digits}f}",
        )
    return grid
