"""Many runs of many servers as one table: medians, and ratios of runs that were made right after each other. Pure.

Speeds of a shared machine wander by more than servers differ. So a ratio is made within a round, in which every server
had its turn; what is shown is the median of these ratios, with the least and the greatest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.cpu import ProcessCPU
from benchmarks.loads import Kind, NamedLoad
from benchmarks.report import Measurement, Rest
from benchmarks.spread import Spread, shown, spread
from benchmarks.tables import as_table

Run = Measurement | Rest


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: `of` takes it from a run (None: it has none), `scale` and `digits` are for showing it."""

    key: str
    title: str
    of: Callable[[Any], float | None]
    scale: float
    digits: int
    compared: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load: the spread of each figure, and of its ratio to the reference's, by the figure's key.
    `faults` are those of all runs.
    """

    server: str
    values: dict[str, Spread]
    ratios: dict[str, Spread]
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """One load: all servers, compared with the first of them whose name is `reference`."""

    load: NamedLoad
    reference: str
    rows: list[Row]


def _seconds(processes: Sequence[ProcessCPU]) -> float:
    return sum(process.seconds for process in processes)


def _per_delivery(seconds: float, run: Measurement) -> float | None:
    return seconds / run.deliveries if run.deliveries else None


def _server_cost(run: Measurement) -> float | None:
    return None if run.server is None else _per_delivery(_seconds(run.server), run)


def _generator_cores(run: Measurement) -> float:
    return _seconds(run.generator) / run.seconds


def _server_cores(run: Measurement) -> float | None:
    return None if run.server is None else _seconds(run.server) / run.seconds


_P50: Final = Figure("p50_seconds", "p50 ms", lambda run: run.latency and run.latency.p50, 1e3, 2)
_P99: Final = Figure("p99_seconds", "p99 ms", lambda run: run.latency and run.latency.p99, 1e3, 2)
_COST: Final = Figure("server_seconds_per_delivery", "CPU us/delivery", _server_cost, 1e6, 3)
_SERVER: Final = Figure("server_cores", "server CPU %", _server_cores, 100, 0, compared=False)
_GENERATOR: Final = Figure("generator_cores", "load CPU %", _generator_cores, 100, 0, compared=False)

FIGURES: Final[dict[Kind, tuple[Figure, ...]]] = {
    "saturation": (
        Figure("deliveries_per_second", "M deliveries/s", lambda run: run.deliveries_per_second, 1e-6, 3),
        _COST, _P50, _P99, _SERVER, _GENERATOR,
    ),
    "rate": (_P50, _P99, _COST, _SERVER, _GENERATOR),
    "rest": (
        Figure("enter_seconds", "all in, s", lambda run: run.enter_seconds, 1, 2),
        Figure("enter_server_seconds", "server CPU s", lambda run: _seconds(run.enter_server), 1, 2),
        Figure("enter_generator_seconds", "load CPU s", lambda run: _seconds(run.enter_generator), 1, 2, False),
        Figure("pss_bytes", "PSS MB", lambda run: run.pss_bytes, 1e-6, 1),
        Figure("wake_ups_per_second", "wake-ups/s", lambda run: run.wake_ups_per_second, 1, 1),
        Figure("rest_cores", "at rest CPU %", lambda run: run.cores, 100, 2, compared=False),
    ),
}  # fmt: skip


def compare(load: NamedLoad, rounds: Sequence[Mapping[str, Run]], reference: str) -> Table:
    """The table of one load; each round has one run of every server, by its name."""
    rows = []
    for server in rounds[0]:
        values, ratios = {}, {}
        for figure in FIGURES[load.kind]:
            own = [value for runs in rounds if (value := figure.of(runs[server])) is not None]
            if own:
                values[figure.key] = spread(own)
            pairs = [(figure.of(runs[server]), figure.of(runs[reference])) for runs in rounds]
            quotients = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
            if figure.compared and quotients:
                ratios[figure.key] = spread(quotients)
        faults = [fault for runs in rounds for fault in _faults(runs[server])]
        rows.append(Row(server, values, ratios, faults))
    return Table(load, reference, rows)


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """The table's headings and lines; each figure with the range, and its ratio with its own range where compared."""
    figures = FIGURES[table.load.kind]
    headings = ["server"]
    for figure in figures:
        headings += [figure.title, f"of {table.reference}"] if figure.compared else [figure.title]
    lines = []
    for row in table.rows:
        line = [row.server]
        for figure in figures:
            line.append(shown(row.values.get(figure.key), figure.scale, figure.digits))
            if figure.compared:
                ratio = "" if row.server == table.reference else shown(row.ratios.get(figure.key), 1, 2)
                line.append(ratio)
        lines.append(line)
    return headings, lines


def as_text(table: Table) -> str:
    """The table for a person, as wide as it has to be."""
    faults = [f"  {row.server} FAILED: {fault}" for row in table.rows for fault in row.faults]
    return "\n".join([as_table(table.load.title, *cells(table)), *faults])


def _faults(run: Run) -> list[str]:
    return [] if isinstance(run, Rest) else run.verdict.problems
