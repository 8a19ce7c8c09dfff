"""The order of the table's lines in `broker top`: tree or flat, sorted, filtered, the departed among the living. Pure.

The order of a snapshot's rows is the order of their start, parents before their children, and `depth` says how deep
each stands. Runs in the process of `broker top`; knows nothing of keys and colours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from monitor.snapshot import ProcessRow

Identity: TypeAlias = int | str
"""What makes a process the same one in two snapshots: its PID, or its name while it has none."""


def identity(row: ProcessRow) -> Identity:
    """The identity of a row's process."""
    return row.name if row.pid is None else row.pid


@dataclass(frozen=True, slots=True)
class Departed:
    """A process that is gone, shown until `until`; `after` is what stood above it, `cause` what ended it, if known."""

    row: ProcessRow
    after: Identity | None
    until: float
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; `prefix` is the tree drawn before the name, `departed` is set if the process is gone."""

    row: ProcessRow
    prefix: str
    departed: Departed | None

    @property
    def identity(self) -> Identity:
        """Whose line it is."""
        return identity(self.row)


def arrange(
    rows: Sequence[ProcessRow], departed: Sequence[Departed], *, tree: bool, sort: str | None, pattern: str
) -> tuple[Line, ...]:
    """The table's lines. `sort` is a field of ProcessRow, or None for the order of start; `pattern` is a filter."""
    merged = _merge(rows, departed)
    if tree:
        lines: list[Line] = []
        roots = [node for node in _forest(merged) if _prune(node, pattern)]
        _draw(_sorted(roots, sort), sort, "", lines, is_root=True)
        return tuple(lines)
    nodes = [node for node in merged if _matches(node.row, pattern)]
    return tuple(Line(node.row, "", node.departed) for node in _sorted(nodes, sort))


@dataclass(slots=True)
class _Node:
    row: ProcessRow
    departed: Departed | None = None
    children: list[_Node] = field(default_factory=list)


def _merge(rows: Sequence[ProcessRow], departed: Sequence[Departed]) -> list[_Node]:
    """Each departed process stands before its successor, else below what stood above it.

    What stood above may have departed too, later than what stood below it: so the last to depart are placed first, and
    those whose place is not there yet wait for it. Of two below the same one the last to depart stood further down.
    """
    merged = [_Node(row) for row in rows]
    waiting = sorted(departed, key=lambda gone: gone.until, reverse=True)  # stable: within one look they keep order
    while waiting:
        still_waiting = []
        for gone in waiting:
            index = _place(merged, gone)
            if index is None:
                still_waiting.append(gone)
            else:
                merged.insert(index, _Node(gone.row, gone))
        if len(still_waiting) == len(waiting):  # what stood above has left the screen, or has got its process
            gone = still_waiting.pop()
            merged.append(_Node(gone.row, gone))
        waiting = still_waiting
    return merged


def _place(merged: Sequence[_Node], gone: Departed) -> int | None:
    """Where `gone` belongs; None if nothing there says it."""
    for index, node in enumerate(merged):
        if node.row.name == gone.row.name and not node.departed and node.row.depth == gone.row.depth:
            return index
    for index, node in enumerate(merged):
        if identity(node.row) == gone.after:
            return index + 1
    return 0 if gone.after is None else None


def _forest(nodes: Sequence[_Node]) -> list[_Node]:
    roots: list[_Node] = []
    path: list[_Node] = []
    for node in nodes:
        while path and path[-1].row.depth >= node.row.depth:
            path.pop()
        (path[-1].children if path else roots).append(node)
        path.append(node)
    return roots


def _prune(node: _Node, pattern: str) -> bool:
    """Drop what does not match and has nothing below that does; whether anything is left."""
    node.children = [child for child in node.children if _prune(child, pattern)]
    return bool(node.children) or _matches(node.row, pattern)


def _draw(nodes: Sequence[_Node], sort: str | None, indent: str, lines: list[Line], *, is_root: bool = False) -> None:
    for position, node in enumerate(nodes, 1):
        is_last = position == len(nodes)
        own, below = ("", "") if is_root else ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        lines.append(Line(node.row, indent + own, node.departed))
        _draw(_sorted(node.children, sort), sort, indent + below, lines)


def _matches(row: ProcessRow, pattern: str) -> bool:
    wanted = pattern.casefold()
    return any(wanted in text.casefold() for text in (row.name, row.role, row.stat, row.state, str(row.pid or "")))


# --- Sorting ---------------------------------------------------------------------------------------------------------

TEXT_FIELDS: Final = frozenset(("name", "role", "stat", "state", "pid", "ppid"))
"""Sorted upwards: words and identifiers. Quantities are sorted downwards, the greatest is what one looks for."""


def _sorted(nodes: Sequence[_Node], sort: str | None) -> Sequence[_Node]:
    if sort is None:
        return nodes
    known = [node for node in nodes if getattr(node.row, sort) is not None]
    unknown = [node for node in nodes if getattr(node.row, sort) is None]
    known.sort(key=lambda node: _sort_key(getattr(node.row, sort)), reverse=sort not in TEXT_FIELDS)
    return known + unknown


def _sort_key(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # Natural order: worker-2 before worker-10. Splitting at digits alternates text and number, so they compare.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d{1,18})", value)]
