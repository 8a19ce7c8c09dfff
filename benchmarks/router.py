"""Measure how many messages the router can take: what one costs it, and how many workers it takes to get there.

Prints two tables. The first is of a real broker whose workers bring the router all that a few people in each of many
rooms can say: messages and deliveries per second, how much of a CPU the router used, what a message cost it, and how
many a second would fill one CPU at that. The second is of the router's state machine alone, for senders who get
1, 2, 4 or 8 lines in at a time. Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from benchmarks.command import parser_of, run_command
from benchmarks.conductor import Server, measure
from benchmarks.fresh_broker import fresh_broker
from benchmarks.plan import Load, plan
from benchmarks.protocols import PROTOCOLS
from benchmarks.report import Measurement
from benchmarks.state_machine import Cost, Script, cost_of
from benchmarks.tables import as_table
from broker.errors import UsageError
from broker.linux import raise_descriptor_limit
from broker.urls import parse_listener_url

PARTS: Final = ("process", "state")
_ROUNDS: Final = 3
_MESSAGES: Final = 20_000
_RUNS: Final = (1, 2, 4, 8)
_SHAPES: Final = ((20, 10), (1, 200))
"""Rooms, and members of each."""


@dataclass(frozen=True, slots=True)
class Row:
    """The router among so many workers; medians of all rounds. `messages_per_cpu` is what would fill one."""

    workers: int
    messages_per_second: float
    deliveries_per_second: float
    router_cores: float
    router_seconds_per_message: float
    faults: list[str]

    @property
    def messages_per_cpu(self) -> float:
        """Messages a second that would keep it busy all the time, if each cost what it did."""
        return 1 / self.router_seconds_per_message


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 fine, 1 something was lost or failed, 2 usage, 130 interrupted."""
    return run_command("router", _run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("router", __doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this table; repeatable")
    parser.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), action="append", help="only this one (default: both); repeatable"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, action="append", help="so many (default: 1, 2 and 4); repeatable"
    )
    parser.add_argument("--clients", metavar="N", type=int, default=200, help="in all (%(default)s)")
    parser.add_argument("--rooms", metavar="N", type=int, default=20, help="each with its share (%(default)s)")
    parser.add_argument("--senders", metavar="N", type=int, default=4, help="in each room (%(default)s)")
    parser.add_argument(
        "--window", metavar="N", type=int, default=8, help="messages that each sender keeps in flight (%(default)s)"
    )
    parser.add_argument("--seconds", metavar="S", type=float, default=3.0, help="measured in a turn (%(default)g)")
    parser.add_argument("--rounds", metavar="N", type=int, default=_ROUNDS, help="turns of each (%(default)s)")
    parser.add_argument("--processes", metavar="N", type=int, default=1, help="of the load generator (%(default)s)")
    parser.add_argument(
        "--messages", metavar="N", type=int, default=_MESSAGES,
        help="to the state machine in a turn, of which the cheapest counts (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.rounds < 1 or arguments.messages < 1 or min(arguments.workers or [1]) < 1:
        raise UsageError("--rounds, --messages and --workers are at least 1")
    load = Load(
        arguments.clients, arguments.rooms, arguments.senders, arguments.window,
        seconds=arguments.seconds, processes=arguments.processes,
    )  # fmt: skip
    plan(load)  # what makes no sense is said before a broker is started for it
    raise_descriptor_limit()
    figures: list[dict[str, Any]] = []
    lost = False
    for protocol in arguments.protocol or PROTOCOLS:
        if "process" in (arguments.part or PARTS):
            rows = process(protocol, load, arguments.workers or (1, 2, 4), arguments.rounds)
            lost = lost or any(row.faults for row in rows)
            figures.append({"part": "process", "protocol": protocol, "load": asdict(load), "rows": _as_json(rows)})
            if not arguments.json:
                print(process_table(protocol, load, rows), flush=True)
        if "state" in (arguments.part or PARTS):
            costs = state(protocol, arguments.messages, arguments.rounds)
            figures.append({"part": "state", "protocol": protocol, "rows": _costs_as_json(costs)})
            if not arguments.json:
                print(state_table(protocol, costs), flush=True)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    return int(lost)


def process(protocol: str, load: Load, workers: Sequence[int], rounds: int) -> list[Row]:
    """A row for each number of workers; they take turns, each on a fresh broker."""
    runs: dict[int, list[Measurement]] = {number: [] for number in workers}
    for _ in range(rounds):
        for number in runs:
            with fresh_broker(f"{protocol}://127.0.0.1:0", number, ()) as status:
                server = Server(parse_listener_url(status["listeners"][0]), status["pid"], "supervisor")
                runs[number].append(measure(load, server))
    return [row_of(number, measurements) for number, measurements in runs.items()]


def row_of(workers: int, measurements: Sequence[Measurement]) -> Row:
    """The medians of some runs."""
    cpu = [_router_seconds(run) for run in measurements]
    return Row(
        workers=workers,
        messages_per_second=median(run.messages / run.seconds for run in measurements),
        deliveries_per_second=median(run.deliveries_per_second for run in measurements),
        router_cores=median(used / run.seconds for used, run in zip(cpu, measurements, strict=True)),
        router_seconds_per_message=median(used / run.messages for used, run in zip(cpu, measurements, strict=True)),
        faults=[fault for run in measurements for fault in run.verdict.problems],
    )


def _router_seconds(run: Measurement) -> float:
    assert run.server is not None, "a fresh broker's PID is known"
    return sum(each.seconds for each in run.server if each.name == "router")


def state(protocol: str, messages: int, rounds: int) -> dict[Script, Cost]:
    """The cost of a message in the state machine alone, for each shape and run: the least of all rounds."""
    scripts = [Script(protocol, rooms, members, 4, run) for rooms, members in _SHAPES for run in _RUNS]
    costs: dict[Script, list[Cost]] = {script: [] for script in scripts}
    for _ in range(rounds):
        for script, found in costs.items():
            found.append(cost_of(script, messages))
    return {script: min(found, key=lambda cost: cost.seconds) for script, found in costs.items()}


def process_table(protocol: str, load: Load, rows: Sequence[Row]) -> str:
    """The first table, for a person."""
    lines = [
        [
            str(row.workers), f"{row.messages_per_second:,.0f}", f"{row.deliveries_per_second:,.0f}",
            f"{row.router_cores * 100:.0f}", f"{row.router_seconds_per_message * 1e6:.2f}",
            f"{row.messages_per_cpu:,.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    headings = ["workers", "messages/s", "deliveries/s", "router CPU %", "router us/message", "messages/s for a CPU"]
    title = (
        f"{protocol}, the router and its workers: {load.clients} clients in {load.rooms} rooms, {load.senders} senders "
        f"a room, window {load.window}"
    )
    faults = [f"FAILED with {row.workers} workers: {fault}" for row in rows for fault in row.faults]
    return "\n".join([as_table(title, headings, lines), *(f"  {fault}" for fault in faults)])


def state_table(protocol: str, costs: dict[Script, Cost]) -> str:
    """The second table, for a person."""
    headings = ["rooms", "members", *(f"{run} at a time, us" for run in _RUNS), "bytes out"]
    lines = []
    for rooms, members in _SHAPES:
        found = [cost for script, cost in costs.items() if (script.rooms, script.members) == (rooms, members)]
        lines.append([
            str(rooms), str(members), *(f"{cost.seconds * 1e6:.2f}" for cost in found), f"{found[0].bytes:.0f}",
        ])  # fmt: skip
    return as_table(f"{protocol}, the state machine alone: CPU time of a message, 4 senders a room", headings, lines)


def _as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{**asdict(row), "messages_per_cpu": row.messages_per_cpu} for row in rows]


def _costs_as_json(costs: dict[Script, Cost]) -> list[dict[str, Any]]:
    return [
        {**asdict(script), "seconds_per_message": cost.seconds, "bytes_per_message": cost.bytes}
        for script, cost in costs.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
