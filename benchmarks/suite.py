"""Measure the broker side by side with other chat servers, under loads that saturate, trickle or rest.

Every server takes its turn in every round, each time freshly started on this machine. Prints for each load the median
and the range of each figure, and its ratio to the broker's within the same round. Whoever is installed takes part:
InspIRCd, ngIRCd, Ergo if its program is named, and benchmarks/limit.c if there is a C compiler. Exit status 1 if any
client of the broker got anything but what it should.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import comparison, picture, report
from benchmarks.command import parser_of, run_command
from benchmarks.comparison import Run, Table
from benchmarks.conductor import measure, measure_rest
from benchmarks.contestants import BROKERS, Contestant, contestants
from benchmarks.errors import LoadError
from benchmarks.loads import LOADS, NamedLoad, quick
from broker.errors import UsageError
from broker.linux import raise_descriptor_limit

_ROUNDS: Final = 5
_DESCRIPTORS: Final = 64
"""Beside those of the clients."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 fine, 1 something was lost or failed, 2 usage, 130 interrupted."""
    return run_command("bench", _run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("suite", __doc__)
    parser.add_argument(
        "--load", metavar="NAME", action="append", default=[],
        help=f"one of these, repeatable (default: all): {', '.join(LOADS)}",
    )  # fmt: skip
    parser.add_argument(
        "--server", metavar="NAME", action="append", default=[],
        help="one of those that are found, repeatable (default: all); ratios are to the first",
    )  # fmt: skip
    parser.add_argument("--ergo", metavar="PROGRAM", help="Ergo's program, to measure it too")
    parser.add_argument("--rounds", metavar="N", type=int, help=f"turns of every server (default: {_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="one round of a second each: a look, not a measurement")
    parser.add_argument("--processes", metavar="N", type=int, default=1, help="of the load generator (%(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures of all runs there")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw them there")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    loads = _loads(arguments)
    rounds = (1 if arguments.quick else _ROUNDS) if arguments.rounds is None else arguments.rounds
    if rounds < 1 or arguments.processes < 1:
        raise UsageError("--rounds and --processes are at least 1")
    limit = raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="broker-benchmark-") as directory:
        servers, absent = contestants(Path(directory), arguments.ergo, tuple(arguments.server))
        print(_machine(), *absent, sep="\n", flush=True)
        tables, records = [], []
        for load in loads:
            if load.load.clients + _DESCRIPTORS > limit:
                print(f"\n{load.title}: left out, the hard limit on open descriptors is {limit} (ulimit -Hn)")
                continue
            able = [server for server in servers if load.load.clients <= server.most_clients]
            if not able:
                print(f"\n{load.title}: left out, it is too much for {' and for '.join(arguments.server)}")
                continue
            runs = _rounds(load, able, rounds, arguments.processes)
            tables.append(comparison.compare(load, runs, able[0].name))
            records.append(_record(load, runs, tables[-1]))
            print(f"\n{comparison.as_text(tables[-1])}", flush=True)
    if arguments.json:
        _write(arguments.json, json.dumps({"machine": _machine(), "loads": records}, indent=2))
    if arguments.svg:
        try:
            picture.save(tables, _machine(), arguments.svg)
        except OSError as error:
            raise LoadError(f"cannot write {arguments.svg}: {error.strerror}") from None
    return int(any(row.faults for table in tables for row in table.rows if row.server in BROKERS))


def _loads(arguments: argparse.Namespace) -> list[NamedLoad]:
    for name in arguments.load:
        if name not in LOADS:
            raise UsageError(f"--load {name}: there is none of that name; choose of {', '.join(LOADS)}")
    loads = [LOADS[name] for name in arguments.load or LOADS]
    return [quick(load) for load in loads] if arguments.quick else loads


def _rounds(load: NamedLoad, servers: Sequence[Contestant], rounds: int, processes: int) -> list[dict[str, Run]]:
    """Every server once a round, in an order that turns, so that nobody is always first."""
    results = []
    for number in range(rounds):
        first = number % len(servers)
        runs = {}
        for server in (*servers[first:], *servers[:first]):
            _progress(f"{load.title}: round {number + 1} of {rounds}, {server.name}")
            try:
                runs[server.name] = _one(load, server, processes)
            except LoadError as error:
                raise LoadError(f"{server.name}, {load.title}: {error}") from None
        results.append({server.name: runs[server.name] for server in servers})
    _progress("")
    return results


def _one(load: NamedLoad, server: Contestant, processes: int) -> Run:
    shared = replace(load.load, processes=processes)
    with server.running() as place:
        return measure_rest(shared, place) if load.kind == "rest" else measure(shared, place)


def _record(load: NamedLoad, runs: Sequence[dict[str, Run]], table: Table) -> dict[str, Any]:
    return {
        "name": load.name,
        "title": load.title,
        "load": asdict(load.load),
        "reference": table.reference,
        "servers": [
            {
                "server": row.server,
                "figures": {key: asdict(spread) for key, spread in row.values.items()},
                "ratios": {key: asdict(spread) for key, spread in row.ratios.items()},
                "faults": row.faults,
                "runs": [_run_as_json(round_[row.server]) for round_ in runs],
            }
            for row in table.rows
        ],
    }


def _run_as_json(run: Run) -> dict[str, Any]:
    return asdict(run) if isinstance(run, report.Rest) else report.as_json(run)


def _machine() -> str:
    day = time.strftime("%Y-%m-%d")
    cpus = len(os.sched_getaffinity(0))
    return f"{day}, {cpus} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise LoadError(f"cannot write {path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
