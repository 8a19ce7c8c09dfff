"""The ledger live on a terminal: draws `broker.chaos.report` with rich. Runs in `broker chaos`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from broker.chaos.report import COLUMNS, Report, kills_in_words, pause_rows, rows

_LATEST_KILLS = 5


@contextmanager
def live_page() -> Iterator[Callable[[Report], None]]:
    """While the context lasts, the latest report is on the terminal; afterwards nothing of it is."""
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        yield lambda report: live.update(page(report), refresh=True)


def page(report: Report) -> RenderableType:
    """The report as a page that is read from the top: the ledger, the pauses, the latest kills."""
    return Group(_ledger(report), _pauses(report), _kills(report), _state(report))


def _ledger(report: Report) -> Table:
    """Upright, so that it fits any terminal: one line for each column of the ledger."""
    table = Table(box=None, pad_edge=False)
    table.add_column("ledger")
    shown = rows(report.ledger)
    for name, _ in shown:
        table.add_column(name, justify="right")
    for index, column in enumerate(("clients", *COLUMNS)):
        figures = []
        for _, counts in shown:
            number = getattr(counts, column)
            is_fault = index > 4 and number and not (counts is report.ledger.unix and column == "lost")
            figures.append(Text(f"{number:,}", style="bold red" if is_fault else ""))
        table.add_row(column.replace("_", " "), *figures)
    return table


def _pauses(report: Report) -> RenderableType:
    if not report.pauses.kills:
        return Text("no kills yet")
    table = Table(box=None, pad_edge=False)
    for heading in ("killed", "by"):
        table.add_column(heading)
    for heading in ("kills", "pause p50", "p99", "worst"):
        table.add_column(heading, justify="right")
    for role, signal, pause in pause_rows(report.pauses):
        figures = (f"{seconds * 1000:.0f} ms" for seconds in (pause.median, pause.p99, pause.worst))
        table.add_row(role, signal, f"{pause.kills:,}", *figures)
    return table


def _kills(report: Report) -> Text:
    kills, pauses = report.pauses.kills, report.pauses.seconds
    latest = [
        f"{kill.name} {kill.signal} {pause * 1000:.0f} ms"
        for kill, pause in zip(kills[-_LATEST_KILLS:], pauses[-_LATEST_KILLS:], strict=True)
    ]
    if not latest:
        return Text("")
    return Text(f"kills: {kills_in_words(report.pauses)}\nlatest: " + " · ".join(latest))


def _state(report: Report) -> Text:
    words = f"seed {report.seed} · {report.seconds:.0f} s · "
    return Text(words + ("exact so far" if not report.is_troubled else report.verdict))
