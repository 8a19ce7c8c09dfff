"""Measure whether cost grows with work only: the same work beside more and more sessions, and in more and more rooms.

Three tables. `sessions`: deliveries per CPU second, so many messages a second in all, in rooms of ten, by the number of
all sessions. `rooms`: the same among the most sessions, by the number of rooms in which anybody says something.
`operations`: CPU time of the broker for registering, JOIN, PART, NICK and QUIT in rooms of ten, by the number of all
other sessions. The rate is fixed, and low enough for the broker to have most of its time left: with senders that wait
for each other, more of them at a time would make larger merges and cheaper deliveries, and hide what is looked for.
Each figure stands beside its ratio to the first row's of the same round. Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from benchmarks import cpu
from benchmarks.command import parser_of, run_command
from benchmarks.conductor import Server, crowd, measure
from benchmarks.errors import LoadError
from benchmarks.fresh_broker import fresh_broker
from benchmarks.operations import OPERATIONS, REGISTER, Company
from benchmarks.plan import Load
from benchmarks.protocols import PROTOCOLS
from benchmarks.spread import ratios, shown, spread
from benchmarks.tables import as_table
from broker.errors import UsageError
from broker.linux import raise_descriptor_limit
from broker.urls import parse_listener_url

TABLES: Final = ("sessions", "rooms", "operations")
SIZES: Final = (100, 1_000, 10_000)
MEMBERS: Final = 10
_TALKING: Final = (1, 10, 100, 1_000)
_SENDERS: Final = 2
_ACTING_ROOMS: Final = 20
_DESCRIPTORS: Final = 64
"""Of a load process, beside those of its clients."""

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Column:
    """A figure, by its key, and how it is shown; it is compared with the first row's unless it only explains."""

    key: str
    title: str
    scale: float
    digits: int
    compared: bool = True


@dataclass(slots=True)
class Run:
    """What one turn of one row came to."""

    figures: dict[str, float]
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One table: how each row, named by its number, is measured once."""

    name: str
    title: str
    heading: str
    columns: tuple[Column, ...]
    rows: dict[int, Callable[[], Run]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 fine, 1 something was lost or failed, 2 usage, 130 interrupted."""
    return run_command("scaling", _run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("scaling", __doc__)
    parser.add_argument("--table", choices=TABLES, action="append", help="only this one; repeatable")
    parser.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), default="chat",
        help="of the first two tables (%(default)s); the third is of IRC",
    )  # fmt: skip
    parser.add_argument(
        "--sessions", metavar="N", type=int, action="append",
        help=f"so many, in rooms of {MEMBERS} (default: {', '.join(map(str, SIZES))}); repeatable, the least is first",
    )  # fmt: skip
    parser.add_argument(
        "--rate", metavar="R", type=float, default=500.0, help="messages per second of all together (%(default)g)"
    )
    parser.add_argument("--seconds", metavar="S", type=float, default=8.0, help="measured in a turn (%(default)g)")
    parser.add_argument(
        "--cycles", metavar="N", type=int, default=5,
        help=f"how often each of the {_ACTING_ROOMS * MEMBERS} people who come and go does so in a turn (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="turns of each row (%(default)s)")
    parser.add_argument("--workers", metavar="N", type=int, help="of the broker (default: as it likes)")
    parser.add_argument(
        "--broker-option", metavar="OPTION", action="append", default=[],
        help="further option of `broker start`, as in --broker-option=--durability --broker-option=none; repeatable",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    sizes = sorted(set(arguments.sessions or SIZES))
    if arguments.rounds < 1 or arguments.cycles < 1:
        raise UsageError("--rounds and --cycles are at least 1")
    if sizes[0] < MEMBERS or any(size % MEMBERS for size in sizes):
        raise UsageError(f"--sessions: whole rooms of {MEMBERS}")
    limit = raise_descriptor_limit()
    if sizes[-1] + _DESCRIPTORS > limit:
        raise UsageError(f"--sessions {sizes[-1]}: the hard limit on open descriptors is {limit} (ulimit -Hn)")
    tables = []
    for experiment in experiments(arguments, sizes):
        rounds = [one_round(experiment, number) for number in range(arguments.rounds)]
        tables.append((experiment, rounds))
        if not arguments.json:
            print(as_text(experiment, rounds), flush=True)
    if arguments.json:
        print(json.dumps([as_json(experiment, rounds) for experiment, rounds in tables], indent=2))
    return int(any(run.faults for _, rounds in tables for runs in rounds for run in runs.values()))


def one_round(experiment: Experiment, number: int) -> dict[int, Run]:
    """Every row once, in an order that turns from round to round, so that none is always first."""
    rows = list(experiment.rows)
    first = number % len(rows)
    return {row: experiment.rows[row]() for row in (*rows[first:], *rows[:first])}


def experiments(arguments: argparse.Namespace, sizes: Sequence[int]) -> list[Experiment]:
    """Those that are wanted."""
    most = sizes[-1]
    load = Load(most, most // MEMBERS, _SENDERS, rate=arguments.rate, seconds=arguments.seconds)
    told = f"{arguments.protocol}, {arguments.rate:g} messages/s in rooms of {MEMBERS}"
    delivery = (
        Column("deliveries_per_cpu_second", "k deliveries/CPU s", 1e-3, 1),
        Column("p99_seconds", "p99 ms", 1e3, 2, compared=False),
        Column("server_cores", "broker CPU %", 100, 0, compared=False),
    )
    talking = [rooms for rooms in _TALKING if rooms <= load.rooms]

    def sized(size: int, **more: Any) -> Load:
        return Load(**{**asdict(load), "clients": size, "rooms": size // MEMBERS, **more})

    everything = [
        Experiment(
            "sessions", f"{told}, by all sessions", "sessions", delivery,
            {size: partial(_deliveries, arguments, sized(size)) for size in sizes},
        ),
        Experiment(
            "rooms", f"{told}, by rooms with anybody who talks, among {most:,} sessions", "rooms", delivery,
            {rooms: partial(_deliveries, arguments, sized(most, talking=rooms)) for rooms in talking},
        ),
        Experiment(
            "operations", f"irc, CPU time of an operation in a room of {MEMBERS}, by all other sessions", "sessions",
            tuple(Column(what, f"{what} us", 1e6, 0) for what in (REGISTER, *OPERATIONS)),
            {size: partial(_operations, arguments, sized(size)) for size in sizes},
        ),
    ]  # fmt: skip
    return [experiment for experiment in everything if experiment.name in (arguments.table or TABLES)]


def _deliveries(arguments: argparse.Namespace, load: Load) -> Run:
    with fresh_broker(f"{arguments.protocol}://127.0.0.1:0", arguments.workers, arguments.broker_option) as status:
        run = measure(load, _server(status))
    assert run.server is not None, "a fresh broker's PID is known"
    seconds = sum(process.seconds for process in run.server)
    if not seconds:
        raise LoadError(
            f"in {run.seconds:g} s the broker used too little CPU to be measured: take more, or a higher rate"
        )
    figures = {"deliveries_per_cpu_second": run.deliveries / seconds, "server_cores": seconds / run.seconds}
    if run.latency is not None:
        figures["p99_seconds"] = run.latency.p99
    return Run(figures, run.verdict.problems)


def _operations(arguments: argparse.Namespace, load: Load) -> Run:
    with fresh_broker("irc://127.0.0.1:0", arguments.workers, arguments.broker_option) as status:
        server = _server(status)
        with crowd(load, server):
            company = Company(server.url, cpu.tree(status["pid"]), _ACTING_ROOMS, MEMBERS)
            try:
                company.enter()
                for _ in range(arguments.cycles):
                    company.act()
            finally:
                company.leave()
    return Run(company.per_operation())


def _server(status: Mapping[str, Any]) -> Server:
    return Server(parse_listener_url(status["listeners"][0]), status["pid"], "supervisor")


def as_text(experiment: Experiment, rounds: Sequence[Mapping[int, Run]]) -> str:
    """The table for a person: medians, ranges, and ratios to the first row."""
    first = next(iter(experiment.rows))
    headings = [experiment.heading]
    for column in experiment.columns:
        headings += [column.title, f"of {first:,}'s"] if column.compared else [column.title]
    lines = []
    for row in experiment.rows:
        line = [f"{row:,}"]
        for column in experiment.columns:
            values = _values(rounds, row, column)
            line.append(shown(spread(values) if values else None, column.scale, column.digits))
            if column.compared:
                line.append("" if row == first else shown(ratios(values, _values(rounds, first, column)), 1, 2))
        lines.append(line)
    faults = [f"  {row:,} FAILED: {fault}" for runs in rounds for row, run in runs.items() for fault in run.faults]
    return "\n".join([as_table(experiment.title, headings, lines), *faults])


def as_json(experiment: Experiment, rounds: Sequence[Mapping[int, Run]]) -> dict[str, Any]:
    """All figures of all runs; units are in the keys, operations are in CPU seconds."""
    first = next(iter(experiment.rows))
    rows = []
    for row in experiment.rows:
        compared = [column for column in experiment.columns if column.compared]
        rows.append({
            experiment.heading: row,
            "runs": [asdict(runs[row]) for runs in rounds],
            "ratios": {
                column.key: asdict(ratios(_values(rounds, row, column), _values(rounds, first, column)))
                for column in compared
            },
        })  # fmt: skip
    return {"table": experiment.name, "title": experiment.title, "rows": rows}


def _values(rounds: Sequence[Mapping[int, Run]], row: int, column: Column) -> list[float]:
    return [runs[row].figures[column.key] for runs in rounds if column.key in runs[row].figures]


if __name__ == "__main__":
    sys.exit(main())
