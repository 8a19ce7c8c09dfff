"""Measure fan-out: many clients in rooms, a few of whom talk as fast as the server delivers, or at a given rate.

Prints deliveries per second, latency, and the CPU time of the server's processes and of the load generator's own. Every
byte that every client receives is checked: exit status 1 if anything is lost, doubled, damaged or out of order.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.command import parser_of, run_command
from benchmarks.conductor import Server, measure
from benchmarks.fresh_broker import fresh_broker
from benchmarks.plan import Load, plan
from benchmarks.protocols import PROTOCOLS
from benchmarks.report import Measurement, as_json, as_text, median
from broker.commands.arguments import add_state_dir
from broker.control_client import ask
from broker.errors import BrokerError, UsageError
from broker.linux import raise_descriptor_limit
from broker.urls import ALLOWED, ListenerURL, parse_listener_url

_DESCRIPTORS_BESIDE_CLIENTS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 fine, 1 something was lost or failed, 2 usage, 130 interrupted."""
    return run_command("fanout", _run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    default = Load()
    parser = parser_of("fanout", __doc__)
    server = parser.add_argument_group("the server")
    server.add_argument(
        "--connect", metavar="URL", type=str, help=f"one that runs: {ALLOWED}; of any make, if it speaks IRC"
    )
    server.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), default="chat", help="what is spoken with a fresh broker (%(default)s)"
    )
    server.add_argument(
        "--fresh", action="store_true", help="a broker of its own, stopped afterwards (default without --connect)"
    )
    server.add_argument("--listen", metavar="URL", help="of the fresh broker (default: PROTOCOL://127.0.0.1:0)")
    server.add_argument("--workers", metavar="N", type=int, help="of the fresh one (default: as it likes)")
    server.add_argument(
        "--broker-option", metavar="OPTION", action="append", default=[],
        help="further option of the fresh broker's `broker start`, as in --broker-option=--log-level=debug; repeatable",
    )  # fmt: skip
    server.add_argument(
        "--server-pid", metavar="PID", type=int,
        help="process whose CPU time, with its descendants', is the server's (default: what the broker on --state-dir "
        "says, if it listens on the URL)",
    )  # fmt: skip
    add_state_dir(parser)
    load = parser.add_argument_group("the load")
    load.add_argument("--clients", metavar="N", type=int, default=default.clients, help="in all (%(default)s)")
    load.add_argument("--rooms", metavar="N", type=int, default=default.rooms, help="each with its share (%(default)s)")
    load.add_argument("--senders", metavar="N", type=int, default=default.senders, help="in each room (%(default)s)")
    load.add_argument(
        "--window", metavar="N", type=int, default=default.window,
        help="messages that each sender keeps in flight (%(default)s)",
    )  # fmt: skip
    load.add_argument(
        "--rate", metavar="R", type=float, default=default.rate,
        help="messages per second of all senders together, whatever comes back, instead of the window",
    )  # fmt: skip
    load.add_argument(
        "--size", metavar="BYTES", type=int, default=default.size_bytes, help="length of a text (%(default)s)"
    )
    load.add_argument("--seconds", metavar="S", type=float, default=default.seconds, help="measured (%(default)g)")
    load.add_argument(
        "--warm-up", metavar="S", type=float, default=default.warm_up_seconds, help="before that (%(default)g)"
    )
    load.add_argument(
        "--processes", metavar="N", type=int, default=default.processes,
        help="load processes that share the clients: some more if there are cores to spare (%(default)s)",
    )  # fmt: skip
    load.add_argument(
        "--patience", metavar="S", type=float, default=default.patience_seconds,
        help="what has not come when nothing came for so long is lost (%(default)g)",
    )  # fmt: skip
    output = parser.add_argument_group("the output")
    output.add_argument(
        "--repeat", metavar="N", type=int, default=1,
        help="runs, each on a fresh broker if it is one; the one with the median deliveries/s is printed (%(default)s)",
    )  # fmt: skip
    output.add_argument("--json", action="store_true", help="as JSON, with all figures")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    load = Load(
        clients=arguments.clients, rooms=arguments.rooms, senders=arguments.senders, window=arguments.window,
        rate=arguments.rate, size_bytes=arguments.size, seconds=arguments.seconds, warm_up_seconds=arguments.warm_up,
        processes=arguments.processes, patience_seconds=arguments.patience,
    )  # fmt: skip
    plan(load)  # what makes no sense is said before a broker is started for it
    _check_limits(arguments, load)
    measurements = []
    for _ in range(arguments.repeat):
        with _server(arguments) as server:
            measurements.append(measure(load, server))
        if arguments.repeat > 1 and not arguments.json:
            print(_short(measurements[-1]), flush=True)
    chosen = median(measurements)
    # A fault in any of the runs is the news, not the median.
    chosen = next((measurement for measurement in measurements if not measurement.verdict.holds), chosen)
    print(json.dumps(as_json(chosen), indent=2) if arguments.json else as_text(chosen))
    return 0 if chosen.verdict.holds else 1


def _check_limits(arguments: argparse.Namespace, load: Load) -> None:
    if arguments.connect is not None and (arguments.fresh or arguments.workers is not None or arguments.broker_option):
        raise UsageError(
            "--connect is for a server that runs: --fresh, --workers and --broker-option do not go with it"
        )
    if arguments.repeat < 1:
        raise UsageError(f"--repeat {arguments.repeat}: at least 1")
    limit = raise_descriptor_limit()
    if load.clients + _DESCRIPTORS_BESIDE_CLIENTS > limit:
        raise UsageError(f"--clients {load.clients}: the hard limit on open descriptors is {limit} (ulimit -Hn)")


@contextmanager
def _server(arguments: argparse.Namespace) -> Iterator[Server]:
    if arguments.connect is not None:
        url = parse_listener_url(arguments.connect)
        if arguments.server_pid is not None:
            yield Server(url, arguments.server_pid)
        else:
            yield _known_server(url, arguments.state_dir)
    else:
        listen = arguments.listen or f"{arguments.protocol}://127.0.0.1:0"
        with fresh_broker(listen, arguments.workers, arguments.broker_option) as status:
            yield Server(parse_listener_url(status["listeners"][0]), status["pid"], "supervisor")


def _known_server(url: ListenerURL, state_dir: Path) -> Server:
    """With its PID, if the broker on the state directory says that it listens there."""
    try:
        status = ask(state_dir, "status")
    except BrokerError:
        return Server(url)
    return Server(url, status["pid"], "supervisor") if str(url) in status["listeners"] else Server(url)


def _short(measurement: Measurement) -> str:
    cpu = as_json(measurement)["server_cpu"]
    cost = "" if cpu is None else f", {cpu['microseconds_per_delivery']:.3f} us/delivery"
    verdict = "complete and in order" if measurement.verdict.holds else "FAILED"
    return f"{measurement.deliveries_per_second:12,.0f} deliveries/s{cost}, {verdict}"


if __name__ == "__main__":
    sys.exit(main())
