"""One line per process of the broker, supervisor first, as a tree.

STAT is what `ps -o stat=` prints; ZOMBIES counts the dead children that the process has not reaped; CPU% and WAIT% are
shares of one core spent running, and spent ready to run but waiting for a CPU, of all its threads. On a terminal the
least important columns give way to its width; piped, all are printed. It takes about one second, since lines are
counted with each heartbeat, once a second; IN/s and OUT/s of the supervisor are the sums of its workers', or - while
one of those is not known. A stopped supervisor does not hold it up.

JSON (a list of objects) and CSV have these keys, in this order, null or empty where there is nothing to tell:
  name role pid ppid stat nice zombies cpu_percent wait_percent rss_bytes pss_bytes threads sessions
  messages_in messages_out restarts uptime_seconds
  and after them: in_per_second out_per_second state depth stale
messages_in and messages_out count since this incarnation started; stale tells that the supervisor did not answer, so
that sessions, messages, rates and restarts are old or unknown.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from broker.commands.arguments import add_state_dir
from broker.durations import duration
from broker.messages import CHILD_ROLES
from monitor import table
from monitor.sampler import IDLE_STATES, Sampler
from monitor.snapshot import ProcessRow, Snapshot
from monitor.table import Column

KEYS: Final = (
    *("name", "role", "pid", "ppid", "stat", "nice", "zombies", "cpu_percent", "wait_percent", "rss_bytes"),
    *("pss_bytes", "threads", "sessions", "messages_in", "messages_out", "restarts", "uptime_seconds"),
    *("in_per_second", "out_per_second", "state", "depth", "stale"),
)
"""The keys of JSON and CSV: never taken away or renamed; new ones come at the end."""

LOOK_EVERY_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 1.8
"""By then every child has sent another heartbeat: the second may come one and a half seconds after the first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `broker ps`."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects")
    form.add_argument("--csv", action="store_true", help="print comma-separated values with a heading")
    add_state_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; NotRunningError if no broker runs."""
    snapshot = look(arguments.state_dir)
    if arguments.json:
        print(json.dumps([record(row) for row in snapshot.rows], ensure_ascii=False, indent=2))
    elif arguments.csv:
        writer = csv.DictWriter(sys.stdout, KEYS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**record(row), "stale": "true" if row.stale else "false"} for row in snapshot.rows)
    elif sys.stdout.isatty():
        print_in_colour(snapshot, Console(highlight=False))
    else:
        print("\n".join(plain_lines(snapshot)))
    complaint = stale_complaint(snapshot)
    if complaint:
        sys.stdout.flush()
        print(f"broker: {complaint}", file=sys.stderr)
    return 0


def look(state_dir: Path) -> Snapshot:
    """Two looks, for what is measured as growth; more of them while somebody's second heartbeat is to come."""
    with Sampler(state_dir) as sampler:
        snapshot = sampler.sample()
        deadline = time.monotonic() + LONGEST_SECONDS
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            snapshot = sampler.sample()
            if is_settled(snapshot) or time.monotonic() >= deadline:
                return snapshot


def is_settled(snapshot: Snapshot) -> bool:
    """Whether nothing more is to be learnt by waiting for a heartbeat."""
    if snapshot.status_age_seconds != 0:
        return True
    beating = (row for row in snapshot.rows if row.role in CHILD_ROLES and row.state == "ready" and row.pid)
    return all(row.in_per_second is not None or row.stat.startswith(IDLE_STATES) for row in beating)


def record(row: ProcessRow) -> dict[str, Any]:
    """One process as JSON and CSV have it."""
    values = ((key, getattr(row, key)) for key in KEYS)
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in values}


def plain_lines(snapshot: Snapshot) -> list[str]:
    """The table with all its columns, without colours."""
    texts = table.cells(snapshot.rows)
    columns = table.COLUMNS
    widths = table.widths(texts)
    lines = [[column.heading for column in columns], *texts]
    return [_line(cells, columns, widths).rstrip() for cells in lines]


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    gap = " " * table.GAP
    return gap.join(
        table.pad(cell, width, column.justify) for cell, width, column in zip(cells, widths, columns, strict=True)
    )


def print_in_colour(snapshot: Snapshot, console: Console) -> None:
    """The table with the columns that fit the terminal; zombies red, stale figures dimmed."""
    all_widths = table.widths(table.cells(snapshot.rows))
    needed = {column.key: width for column, width in zip(table.COLUMNS, all_widths, strict=True)}
    columns = table.columns_that_fit(console.width, needed)
    widths = [needed[column.key] for column in columns]
    heading = Text(_line([column.heading for column in columns], columns, widths), style="bold")
    lines = [heading]
    for row, cells in zip(snapshot.rows, table.cells(snapshot.rows, columns), strict=True):
        line = Text()
        for cell, width, column in zip(cells, widths, columns, strict=True):
            if line:
                line.append(" " * table.GAP)
            line.append(table.pad(cell, width, column.justify), style=_style(row, column))
        lines.append(line)
    for line in lines:
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ellipsis")


def _style(row: ProcessRow, column: Column) -> str:
    if row.stat.startswith("Z") or (column.key == "zombies" and row.zombies):
        return "bold red"
    return "dim" if row.stale and column.supervised else ""


def stale_complaint(snapshot: Snapshot) -> str | None:
    """What to say about a supervisor that does not answer; None if it did."""
    if snapshot.status_age_seconds == 0:
        return None
    headings = ", ".join(column.heading for column in table.COLUMNS if column.supervised)
    age = snapshot.status_age_seconds
    old = "unknown" if age is None else f"{duration(age)} old"
    stat = snapshot.rows[0].stat
    return (
        f"the supervisor (PID {snapshot.supervisor_pid}, STAT {stat}) does not answer: {headings} are {old}; "
        "everything else comes from /proc"
    )
