"""Measure whether some can spoil it for others: latencies of quiet people beside those who misbehave.

The quiet ones are in rooms of five, and say little. In turn they are left alone; a process uses a CPU and has nothing
to do with the broker; one client floods its room, with the default limits, and without any; a room is busy; one is busy
and somebody in it never reads; thousands connect, register, join and leave again and again. Prints p50 and p99 of the
quiet people's deliveries, and the ratio of each p99 to that of being left alone in the same round. The misbehaving are
on the same machine: what the first two rows differ by is what any busy program there does. Exit status 1 if anything
of the quiet ones was lost. With --peer another server is measured, by IRC, with its limits on rates off: all but the
case that is about a setting of the broker.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks import abusers
from benchmarks.abusers import Doings, abuser
from benchmarks.command import parser_of, run_command
from benchmarks.conductor import Server, measure
from benchmarks.errors import LoadError
from benchmarks.fresh_broker import fresh_broker
from benchmarks.peers.program import INSPIRCD, NGIRCD
from benchmarks.plan import Load, plan
from benchmarks.protocols import PROTOCOLS
from benchmarks.report import describe
from benchmarks.spread import Spread, ratios, shown, spread
from benchmarks.tables import as_table
from broker.errors import UsageError
from broker.linux import raise_descriptor_limit
from broker.urls import parse_listener_url

ALONE: Final = "alone"
PEERS: Final = {peer.name: peer for peer in (INSPIRCD, NGIRCD)}
_MEMBERS: Final = 5
_DESCRIPTORS: Final = 1_000
"""Of a process, beside those of the clients; of the broker, too."""


@dataclass(frozen=True, slots=True)
class Case:
    """Who does what meanwhile, nobody if None, and options of the broker for it."""

    title: str
    abuse: Callable[[Doings], None] | None
    options: tuple[str, ...] = ()


CASES: Final = {
    ALONE: Case("left alone", None),
    "busy-cpu": Case("beside a process that uses a CPU", abusers.burn),
    "flood": Case("beside a flooding sender", abusers.flood),
    "flood-unlimited": Case("the same, no limit on rates", abusers.flood, ("--rate-lines-per-second", "0")),
    "busy-room": Case("beside a busy room", abusers.talk),
    "deaf": Case("the same, and one there never reads", abusers.ignore),
    "storm": Case("in a storm of connections", abusers.storm),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one case; `abuse_per_second` counts lines, or connections."""

    p50_seconds: float
    p99_seconds: float
    server_cores: float
    abuse_per_second: float
    faults: list[str]


_FIGURES: Final = ("p50_seconds", "p99_seconds", "server_cores", "abuse_per_second")
Round = Mapping[str, Run]
"""By the name of the case."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 fine, 1 something was lost or failed, 2 usage, 130 interrupted."""
    return run_command("abuse", _run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("abuse", __doc__)
    parser.add_argument("--case", choices=tuple(CASES), action="append", help=f"only this one, and {ALONE}; repeatable")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="of everybody, on the broker (chat)")
    parser.add_argument(
        "--clients", metavar="N", type=int, default=100, help=f"quiet people, in rooms of {_MEMBERS} (%(default)s)"
    )
    parser.add_argument(
        "--rate", metavar="R", type=float, default=100.0, help="their messages per second, all together (%(default)g)"
    )
    parser.add_argument("--storm", metavar="N", type=int, default=10_000, help="connections in one (%(default)s)")
    parser.add_argument("--seconds", metavar="S", type=float, default=5.0, help="measured in a turn (%(default)g)")
    parser.add_argument(
        "--warm-up", metavar="S", type=float, default=3.0, help="before that, with the abuse (%(default)g)"
    )
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="turns of each case (%(default)s)")
    parser.add_argument("--workers", metavar="N", type=int, help="of the broker (default: as it likes)")
    parser.add_argument(
        "--peer", choices=tuple(PEERS), help="put all this on another server of IRC, if it is installed"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.rounds < 1:
        raise UsageError("--rounds: at least 1")
    if arguments.storm < 30:
        raise UsageError("--storm: at least 30 connections")
    load = Load(
        arguments.clients, max(1, arguments.clients // _MEMBERS), senders=2, rate=arguments.rate,
        seconds=arguments.seconds, warm_up_seconds=arguments.warm_up,
    )  # fmt: skip
    plan(load)  # what makes no sense is said before a broker is started for it
    _check_peer(arguments)
    limit = raise_descriptor_limit()
    if arguments.storm + _DESCRIPTORS > limit:
        raise UsageError(f"--storm {arguments.storm}: the hard limit on open descriptors is {limit} (ulimit -Hn)")
    # Those of one storm are still leaving when the next one comes.
    most = str(min(2 * arguments.storm + arguments.clients, limit - _DESCRIPTORS))
    options = ("--max-connections", most, "--max-connections-per-address", most)
    wanted = [name for name in CASES if arguments.case is None or name == ALONE or name in arguments.case]
    names = [name for name in wanted if arguments.peer is None or not CASES[name].options]
    rounds = []
    for number in range(arguments.rounds):
        first = number % len(names)
        order = (*names[first:], *names[:first])
        runs = {name: _one(CASES[name], load, arguments, options) for name in order}
        rounds.append({name: runs[name] for name in names})
    server = arguments.peer or f"broker, {arguments.protocol or 'chat'}"
    if arguments.json:
        print(json.dumps(as_json(load, rounds, server), indent=2))
    else:
        print(as_text(load, rounds, server))
    return int(any(run.faults for runs in rounds for run in runs.values()))


def _check_peer(arguments: argparse.Namespace) -> None:
    """UsageError if what is asked for makes no sense on another server."""
    if arguments.peer is None:
        return
    for given, option in ((arguments.protocol, "--protocol"), (arguments.workers, "--workers")):
        if given is not None:
            raise UsageError(f"{option} is about the broker: leave it out, or --peer")
    for name in arguments.case or ():
        if CASES[name].options:
            raise UsageError(f"--case {name} is about a setting of the broker: leave it out, or --peer")
    most = PEERS[arguments.peer].most_clients
    stormy = arguments.case is None or "storm" in arguments.case
    if stormy and arguments.storm + arguments.clients > most:
        raise UsageError(f"--storm {arguments.storm}: {arguments.peer} is for at most {most} clients in all")


def _one(case: Case, load: Load, arguments: argparse.Namespace, options: tuple[str, ...]) -> Run:
    """One turn, on a fresh server."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server(arguments, (*options, *case.options)))
        counters = stack.enter_context(abuser(case.abuse, server.url, arguments.storm)) if case.abuse else None
        began = time.monotonic()
        run = measure(load, server)
        done = 0 if counters is None else counters.total()[1]
        seconds = time.monotonic() - began
    if run.latency is None:
        raise LoadError(f"{case.title}: nothing was delivered in {load.seconds:g} s")
    assert run.server is not None, "a fresh server's PID is known"
    cores = sum(process.seconds for process in run.server) / run.seconds
    return Run(run.latency.p50, run.latency.p99, cores, done / seconds, run.verdict.problems)


@contextlib.contextmanager
def _server(arguments: argparse.Namespace, options: tuple[str, ...]) -> Iterator[Server]:
    if arguments.peer is not None:
        peer = PEERS[arguments.peer]
        path = peer.find()
        if path is None:
            raise UsageError(
                f"--peer {arguments.peer}: there is no program {peer.program}; install it, or leave this out"
            )
        with peer.running(path) as server:
            yield server
        return
    listen = f"{arguments.protocol or 'chat'}://127.0.0.1:0"
    with fresh_broker(listen, arguments.workers, options) as status:
        yield Server(parse_listener_url(status["listeners"][0]), status["pid"], "supervisor")


def as_text(load: Load, rounds: Sequence[Round], server: str) -> str:
    """The table for a person: medians, ranges, and ratios to being left alone."""
    lines = []
    for name in rounds[0]:
        p50, p99, cores, abuse = (spread(_values(rounds, name, key)) for key in _FIGURES)
        lines.append([
            CASES[name].title,
            shown(p50, 1e3, 2),
            shown(p99, 1e3, 2),
            "" if name == ALONE else shown(_ratios(rounds, name), 1, 2),
            shown(cores, 100, 0),
            shown(abuse, 1, 0) if abuse.greatest else "",
        ])  # fmt: skip
    headings = ["quiet people", "p50 ms", "p99 ms", "p99 of alone", "server CPU %", "abuse/s"]
    faults = [f"  {name} FAILED: {fault}" for runs in rounds for name, run in runs.items() for fault in run.faults]
    return "\n".join([as_table(f"{server}: {describe(load)}", headings, lines), *faults])


def as_json(load: Load, rounds: Sequence[Round], server: str) -> dict[str, Any]:
    """All figures of all runs; units are in the keys."""
    cases = {
        name: {
            "title": CASES[name].title,
            "p99_of_alone": asdict(_ratios(rounds, name)),
            "runs": [asdict(runs[name]) for runs in rounds],
        }
        for name in rounds[0]
    }
    return {"server": server, "load": asdict(load), "cases": cases}


def _values(rounds: Sequence[Round], name: str, key: str) -> list[float]:
    return [getattr(runs[name], key) for runs in rounds]


def _ratios(rounds: Sequence[Round], name: str) -> Spread:
    return ratios(_values(rounds, name, "p99_seconds"), _values(rounds, ALONE, "p99_seconds"))


if __name__ == "__main__":
    sys.exit(main())
