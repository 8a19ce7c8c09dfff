"""Kill the running broker's processes at random while clients of its own chat, and prove that none notices more than a
pause: every byte that each client receives is checked.

Prints a live ledger and a verdict: exact, or what was not. docs/chaos.md tells how to read it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from broker.chaos.cast import Load
from broker.chaos.conductor import Conductor
from broker.chaos.dialect import PROTOCOLS
from broker.chaos.killer import Killer
from broker.chaos.plan import Budget
from broker.chaos.report import Report, as_json, as_line, as_text
from broker.chaos.run import Run, Wish
from broker.commands.arguments import add_state_dir
from broker.control_client import ControlClient
from broker.errors import UsageError
from broker.linux import raise_descriptor_limit
from broker.urls import ListenerURL, parse_listener_url

_DESCRIPTORS_BESIDE_CLIENTS = 64
_LINE_SECONDS = 2.0
_ANSWER_SECONDS = 20.0
"""A supervisor that is busy with what we do to it may take its time."""
_DEFAULT_INTENSITY = (12, 10.0)
_SEEDS = 1_000_000
_LOAD = Load()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is killed, the load, the output."""
    add_state_dir(parser)
    parser.add_argument(
        "--connect", metavar="URL", help="where the clients connect (default: what the broker listens on)"
    )
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, help="what the clients speak (default: that of --connect, or chat)"
    )
    killing = parser.add_argument_group("the killing")
    killing.add_argument(
        "--kill-rate",
        metavar="RATE",
        type=float,
        default=1.0,
        help="kills per second, 0 for none (default: %(default)g)",
    )
    killing.add_argument(
        "--roles",
        metavar="ROLE,…",
        default="",
        help="whose processes: router, worker, acceptor (default: all children)",
    )
    killing.add_argument(
        "--pairs", action="store_true", help="half of the time, two or three at once, or soon after each other"
    )
    killing.add_argument(
        "--stop-fraction", metavar="F", type=float, default=0.0,
        help="share of them that get SIGSTOP, and stay stopped until the broker replaces them (default: %(default)g)",
    )  # fmt: skip
    killing.add_argument(
        "--seconds", metavar="S", type=float, default=30.0, help="how long (default: %(default)g); Ctrl-C ends it early"
    )
    killing.add_argument("--seed", metavar="N", type=int, help="repeat the plan of an earlier run")
    load = parser.add_argument_group("the load")
    load.add_argument("--clients", metavar="N", type=int, default=_LOAD.clients, help="(default: %(default)s)")
    load.add_argument("--rooms", metavar="N", type=int, default=_LOAD.rooms, help="(default: %(default)s)")
    load.add_argument(
        "--rate", metavar="R", type=float, default=_LOAD.rate,
        help="lines per second that all clients together send, come what may (default: %(default)g)",
    )  # fmt: skip
    load.add_argument(
        "--unix-fraction", metavar="F", type=float, default=_LOAD.unix_fraction,
        help="share of the clients that come by the local socket, and are counted apart (default: %(default)g)",
    )  # fmt: skip
    load.add_argument(
        "--processes", metavar="N", type=int, default=_LOAD.processes, help="load processes (default: %(default)s)"
    )
    load.add_argument(
        "--patience", metavar="S", type=float, default=_LOAD.patience_seconds,
        help="what has not come when nothing came for so long is lost (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Run, print, and return 0 if everything was exact, 1 if not."""
    load = Load(arguments.clients, arguments.rooms, arguments.rate, arguments.unix_fraction, arguments.processes,
                arguments.patience)  # fmt: skip
    load.check()
    _check(arguments)
    seed = arguments.seed if arguments.seed is not None else random.randrange(_SEEDS)
    wish = Wish(seed, arguments.seconds, arguments.kill_rate, arguments.pairs, arguments.stop_fraction)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ControlClient(arguments.state_dir, _ANSWER_SECONDS) as client:
        status = client.request("status")
        budget = Budget(
            status.get("restart_intensity", _DEFAULT_INTENSITY[0]),
            status.get("restart_period_seconds", _DEFAULT_INTENSITY[1]),
        )
        killer = Killer(client, [role for role in arguments.roles.split(",") if role], budget)
        _check_rate(wish, killer, budget)
        url, unix_url = _urls(arguments, status["listeners"], bool(load.unix_fraction))
        with Conductor(load, url, unix_url, seed) as conductor, _display(arguments.json) as show:
            if not arguments.json:
                print(_heading(load, wish, killer), flush=True)
            conductor.wait_until_entered()
            report = Run(conductor, killer, wish, show).carry_out()
    print(json.dumps(as_json(report), indent=2) if arguments.json else as_text(report))
    return 1 if report.faults else 0


def _check(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.kill_rate <= 1000:
        raise UsageError(f"--kill-rate {arguments.kill_rate:g}: 0 to 1000 per second")
    if not 0 <= arguments.stop_fraction <= 1:
        raise UsageError(f"--stop-fraction {arguments.stop_fraction:g}: 0 to 1")
    if arguments.seconds <= 0 or arguments.patience <= 0:
        raise UsageError("--seconds and --patience: more than 0")
    limit = raise_descriptor_limit()
    if arguments.clients + _DESCRIPTORS_BESIDE_CLIENTS > limit:
        raise UsageError(f"--clients {arguments.clients}: the hard limit on open descriptors is {limit} (ulimit -Hn)")


def _check_rate(wish: Wish, killer: Killer, budget: Budget) -> None:
    most = len(killer.children) * budget.rate_per_process(wish.stop_fraction)
    if wish.rate > most:
        raise UsageError(
            f"--kill-rate {wish.rate:g}: the broker gives up when one process has to be replaced too often, so its "
            f"{len(killer.children)} processes stand {most:.1f} kills/s (restart_intensity {budget.intensity} within "
            f"{budget.period_seconds:g} s)\n"
            f"kill fewer, or start it with {budget.advice(wish.rate, wish.stop_fraction)}"
        )


def _urls(
    arguments: argparse.Namespace, listeners: list[str], needs_unix: bool
) -> tuple[ListenerURL, ListenerURL | None]:
    """Where TCP clients connect, and those of the local socket."""
    given = None if arguments.connect is None else parse_listener_url(arguments.connect)
    protocol = arguments.protocol or ("chat" if given is None else given.protocol)
    if given is not None:
        if given.path is not None:
            raise UsageError("--connect: a TCP address; --unix-fraction is for the local socket")
        if given.protocol not in PROTOCOLS:
            raise UsageError(f"--connect {arguments.connect}: chaos speaks {', '.join(PROTOCOLS)}")
        if given.protocol != protocol:
            raise UsageError(f"--connect {arguments.connect}: that is not --protocol {protocol}; give one of the two")
    if needs_unix and protocol != "chat":
        raise UsageError(f"--unix-fraction: only with --protocol chat; --protocol {protocol} comes by TCP alone")
    speaks = [url for url in map(parse_listener_url, listeners) if url.protocol == protocol]
    unix = next((url for url in speaks if url.path is not None), None)
    if needs_unix and unix is None:
        raise UsageError("--unix-fraction: the broker listens on no local socket")
    if given is not None:
        return given, unix
    tcp = next((url for url in speaks if url.path is None), None)
    if tcp is None:
        example = {"chat": "chat://127.0.0.1:8888", "irc": "irc://127.0.0.1:6667"}[protocol]
        raise UsageError(
            f"the broker listens on no TCP address for --protocol {protocol}; start it with --listen {example}"
        )
    return _reachable(tcp), unix


def _reachable(url: ListenerURL) -> ListenerURL:
    """The loopback's address instead of that of all interfaces."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(url.host or "")
    return url if loopback is None else ListenerURL(url.scheme, url.protocol, loopback, url.port)


def _heading(load: Load, wish: Wish, killer: Killer) -> str:
    killing = "no kills"
    if wish.rate:
        killing = f"{wish.rate:g} kills/s of {', '.join(killer.children)}"
        killing += ", pairs too" if wish.pairs else ""
        killing += f", {wish.stop_fraction:.0%} by SIGSTOP" if wish.stop_fraction else ""
    return (
        f"seed {wish.seed} · {load.clients:,} clients in {load.rooms:,} rooms, {load.rate:g} lines/s · {killing} · "
        f"{wish.seconds:g} s"
    )


@contextmanager
def _display(as_json_only: bool) -> Iterator[Callable[[Report], None]]:
    """What shows the reports: nothing, a line now and then, or a live page on a terminal."""
    if as_json_only:
        yield lambda report: None
    elif sys.stdout.isatty():
        from broker.chaos.live import live_page  # rich is for those who look only

        with live_page() as show:
            yield show
    else:
        last: list[Any] = [time.monotonic()]

        def show_line(report: Report) -> None:
            now = time.monotonic()
            if now - last[0] >= _LINE_SECONDS:
                last[0] = now
                print(as_line(report), flush=True)

        yield show_line
