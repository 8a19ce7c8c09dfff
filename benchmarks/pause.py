"""Measure the pause that clients notice when a process of the broker is killed, one kill at a time.

Two cases, each on a fresh broker: a worker with 1,000 sessions, and the router with 10,000 sessions in 1,000 rooms.
People talk meanwhile by an open-loop schedule; a pause is how long after it was due a line is heard. Every byte is
checked: exit status 1 if the run is not exact, for then there is nothing to measure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.command import parser_of, run_command
from benchmarks.fresh_broker import fresh_broker
from broker.chaos.cast import Load
from broker.chaos.conductor import Conductor
from broker.chaos.killer import Killer
from broker.chaos.ledger import faults, percentile
from broker.chaos.plan import Budget, Strike, Victim
from broker.control_client import ControlClient
from broker.errors import UsageError
from broker.linux import raise_descriptor_limit
from broker.urls import parse_listener_url

_WARM_UP_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.25
_INTENSITY: Final = 1000
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Case:
    """Whom to kill, under what load, on a broker with how many workers."""

    role: str
    clients: int
    rooms: int
    workers: int


CASES: Final = {"worker": Case("worker", 1_000, 50, 1), "router": Case("router", 10_000, 1_000, 2)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`worst` has the longest pause of anybody, one for each kill; `everybody` that of each client and kill; `quiet`
    that of each client in as long a time without a kill; `behind` how far the load's schedule ever was. In seconds.
    `faults` is empty if the run was exact.
    """

    case: Case
    worst: list[float]
    everybody: list[float]
    quiet: list[float]
    behind: float
    faults: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 fine, 1 not exact or failed, 2 usage, 130 interrupted."""
    parser = parser_of("pause", __doc__)
    parser.add_argument("--case", choices=sorted(CASES), action="append", help="only this one; repeatable")
    parser.add_argument("--kills", metavar="N", type=int, default=20, help="in each case (%(default)s)")
    parser.add_argument(
        "--rate", metavar="R", type=float, default=2000.0, help="lines per second of all together (%(default)g)"
    )
    parser.add_argument("--between", metavar="S", type=float, default=2.0, help="seconds after each kill (%(default)g)")
    parser.add_argument("--clients", metavar="N", type=int, help="instead of the case's own number")
    parser.add_argument("--rooms", metavar="N", type=int, help="instead of the case's own number")
    parser.add_argument("--workers", metavar="N", type=int, help="instead of the case's own number")
    parser.add_argument("--processes", metavar="N", type=int, default=1, help="load processes (%(default)s)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return run_command("pause", _run, parser.parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.kills < 1 or arguments.between <= 0:
        raise UsageError("--kills: at least 1; --between: more than 0")
    raise_descriptor_limit()
    given = {name: value for name in ("clients", "rooms", "workers") if (value := getattr(arguments, name)) is not None}
    outcomes = []
    for name in arguments.case or CASES:
        case = replace(CASES[name], **given)
        load = Load(case.clients, case.rooms, arguments.rate, processes=arguments.processes)
        load.check()
        outcome = measure(case, load, arguments.kills, arguments.between)
        outcomes.append(outcome)
        if not arguments.json:
            print(as_text(outcome, arguments.rate), flush=True)
    if arguments.json:
        print(json.dumps([as_json(outcome) for outcome in outcomes], indent=2))
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def measure(case: Case, load: Load, kills: int, between_seconds: float) -> Outcome:
    """Start a broker, put the load on it, and kill so many times."""
    options = ["--restart-intensity", str(_INTENSITY), "--log-level", "error"]
    with fresh_broker("chat://127.0.0.1:0", case.workers, options) as status:
        url = parse_listener_url(status["listeners"][0])
        with ControlClient(Path(status["state_dir"])) as client, Conductor(load, url, None, _SEED) as conductor:
            killer = Killer(client, [case.role], Budget(_INTENSITY, status["restart_period_seconds"]))
            conductor.wait_until_entered()
            conductor.tell("talk")
            conductor.listen(_WARM_UP_SECONDS)
            conductor.pauses()
            conductor.listen(between_seconds)
            outcome = Outcome(case, [], [], conductor.pauses(), 0.0, [])
            for number in range(kills):
                if not killer.strike(
                    Strike(0.0, (Victim(case.role, number % case.workers / case.workers, "SIGKILL"),))
                ):
                    outcome.faults.append(f"there is no {case.role} to kill")
                    break
                conductor.listen(between_seconds)
                pauses = conductor.pauses()
                if not pauses:
                    break  # nobody is left, as the ledger will tell
                outcome.worst.append(max(pauses))
                outcome.everybody.extend(pauses)
            conductor.tell("stop")
            while not conductor.has_outcome():
                conductor.listen(_LOOK_SECONDS)
            conductor.tell("leave")
            outcome.faults.extend(faults(conductor.ledger, kills))
            return replace(outcome, behind=conductor.behind)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The figures; units are in the keys."""
    return {
        "case": asdict(outcome.case),
        "kills": len(outcome.worst),
        "pause_of_kill_seconds": _percentiles(outcome.worst),
        "pause_of_client_seconds": _percentiles(outcome.everybody),
        "without_a_kill_seconds": _percentiles(outcome.quiet),
        "load_late_seconds": outcome.behind,
        "faults": outcome.faults,
    }


def as_text(outcome: Outcome, rate: float) -> str:
    """The figures for a person."""
    case = outcome.case
    lines = [
        f"{case.role} killed {len(outcome.worst)} times: {case.clients:,} clients in {case.rooms:,} rooms, "
        f"{case.workers} workers, {rate:g} lines/s",
        f"  {'pause, ms':34}{'p50':>8}{'p99':>8}{'max':>8}",
    ]
    for name, seconds in (
        ("of a kill: its most patient client", outcome.worst),
        ("of any client at any kill", outcome.everybody),
        ("of any client, nobody killed", outcome.quiet),
    ):
        figures = _percentiles(seconds)
        if figures is not None:
            lines.append(f"  {name:34}" + "".join(f"{figure * 1000:8.1f}" for figure in figures.values()))
    lines.append(f"  the load itself was {outcome.behind * 1000:.1f} ms late at the most")
    lines.append("  exact" if not outcome.faults else f"  NOT EXACT: {', '.join(outcome.faults)}")
    return "\n".join(lines)


def _percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return {"p50": percentile(seconds, 0.5), "p99": percentile(seconds, 0.99), "max": max(seconds)}


if __name__ == "__main__":
    sys.exit(main())
