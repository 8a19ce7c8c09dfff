"""The process table that `broker ps` and `broker top` share: its columns, what stands in a cell, and which columns fit.

Pure: rows in, text out; colours and the terminal are the callers' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.cells import cell_len

from broker.durations import duration
from monitor.snapshot import ProcessRow

UNKNOWN: Final = "-"
GAP: Final = 1
"""Blanks between two columns."""


def printable(text: str) -> str:
    """Text from outside (titles, names) with everything that could steer a terminal replaced by `?`."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def human_bytes(count: float) -> str:
    """At most four characters up to 999T, in powers of 1024: `512B`, `2.4M`, `118M`."""
    return _scaled(count, 1024, ("B", "K", "M", "G", "T"))


def human_count(count: float) -> str:
    """At most four characters up to 999T, in powers of 1000: `0.5`, `12`, `3.4k`, `120k`."""
    if 0 < count < 9.95 and count != int(count):
        return f"{count:.1f}"
    return _scaled(count, 1000, ("", "k", "M", "G", "T"))


def _scaled(count: float, base: int, units: Sequence[str]) -> str:
    power = 0
    while count >= 999.5 and power < len(units) - 1:
        count /= base
        power += 1
    decimals = 1 if power and count < 9.95 else 0
    return f"{count:.{decimals}f}{units[power]}"


def human_percent(percent: float) -> str:
    """One decimal below 100, none above; of one CPU core, so several threads can exceed 100."""
    return f"{percent:.1f}" if percent < 99.95 else f"{percent:.0f}"


def _whole(number: float) -> str:
    return f"{number:.0f}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `key` is the ProcessRow's field and what it sorts by; 1 is the most important of all.

    `supervised` marks the figures that only the supervisor can give, which can be stale.
    """

    key: str
    heading: str
    justify: Literal["left", "right"]
    importance: int
    format: Callable[[float], str] | None = None
    supervised: bool = False

    def cell(self, row: ProcessRow) -> str:
        """What stands in this column for `row`: safe to print, UNKNOWN where there is nothing to say."""
        value = getattr(row, self.key)
        if value is None or value == "":
            return UNKNOWN
        return printable(str(value)) if self.format is None else self.format(value)


COLUMNS: Final = (
    Column("name", "NAME", "left", 1),
    Column("pid", "PID", "right", 2, _whole),
    Column("ppid", "PPID", "right", 6, _whole),
    Column("stat", "STAT", "left", 3),
    Column("nice", "NI", "right", 4, _whole),
    Column("zombies", "ZOMBIES", "right", 5, _whole),
    Column("cpu_percent", "CPU%", "right", 7, human_percent),
    Column("wait_percent", "WAIT%", "right", 8, human_percent),
    Column("rss_bytes", "RSS", "right", 12, human_bytes),
    Column("pss_bytes", "PSS", "right", 15, human_bytes),
    Column("threads", "THREADS", "right", 16, _whole),
    Column("sessions", "SESSIONS", "right", 9, _whole, supervised=True),
    Column("in_per_second", "IN/s", "right", 10, human_count, supervised=True),
    Column("out_per_second", "OUT/s", "right", 11, human_count, supervised=True),
    Column("restarts", "RESTARTS", "right", 14, _whole, supervised=True),
    Column("uptime_seconds", "UPTIME", "right", 13, duration),
)
"""Every column, in the order in which they are shown; docs/processes.md says what each means."""


def labels(rows: Sequence[ProcessRow]) -> list[str]:
    """What stands in the NAME column: with the branches of the tree, and the state where it is not `ready`.

    The rows are in the order of `monitor.process_tree`: parents first, `depth` says whose child one is.
    """
    texts = []
    for index, row in enumerate(rows):
        branches = ""
        for depth in range(1, row.depth + 1):
            more = _has_later_sibling(rows, index, depth)
            if depth < row.depth:
                branches += "│  " if more else "   "
            else:
                branches += "├─ " if more else "└─ "
        state = "" if row.state == "ready" else f" ({printable(row.state)})"
        texts.append(branches + printable(row.name) + state)
    return texts


def _has_later_sibling(rows: Sequence[ProcessRow], index: int, depth: int) -> bool:
    """Whether the ancestor of row `index` at `depth` (or the row itself) has a sibling further down."""
    return next((row.depth == depth for row in rows[index + 1 :] if row.depth <= depth), False)


def cells(rows: Sequence[ProcessRow], columns: Sequence[Column] = COLUMNS) -> list[list[str]]:
    """The table's text, one list per row; the NAME column has the labels."""
    names = labels(rows)
    return [
        [name if column.key == "name" else column.cell(row) for column in columns]
        for name, row in zip(names, rows, strict=True)
    ]


def widths(texts: Sequence[Sequence[str]], columns: Sequence[Column] = COLUMNS) -> list[int]:
    """The terminal cells that each column needs, its heading included."""
    return [max(len(column.heading), *(cell_len(line[i]) for line in texts), 0) for i, column in enumerate(columns)]


def columns_that_fit(available: int, needed: Mapping[str, int], gap: int = GAP) -> list[Column]:
    """The most important columns that fit into `available` terminal cells, in the order of COLUMNS.

    `needed` is each column's width by its key. NAME always stays.
    """
    chosen: list[Column] = []
    used = -gap
    for column in sorted(COLUMNS, key=lambda column: column.importance):
        used += gap + needed[column.key]
        if used > available and chosen:
            break
        chosen.append(column)
    return [column for column in COLUMNS if column in chosen]


def pad(text: str, width: int, justify: Literal["left", "right"]) -> str:
    """The text, filled with blanks to `width` terminal cells (wide characters count as two)."""
    blanks = " " * (width - cell_len(text))
    return text + blanks if justify == "left" else blanks + text
