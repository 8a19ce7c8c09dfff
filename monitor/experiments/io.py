"""`broker experiment io`: select, poll and epoll on the broker's own loop, against the number of connections.

A few connections are active, all others silent, as in a chat. What is to be seen is what the silent ones cost. Runs in
the process of `broker experiment io`; server and clients are processes of their own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from typing import Final, cast

from broker.errors import UsageError
from broker.linux import raise_descriptor_limit
from monitor.experiments.design import Arm, Chart, Measure, Slot
from monitor.experiments.experiment import Experiment, Outcome, Preparation, Tick
from monitor.experiments.helpers import Helper
from monitor.experiments.multiplexers import MULTIPLEXERS, why_not
from monitor.experiments.options import amount, number, whole_list, word_list
from monitor.experiments.placement import ExperimentError, choose_cpus
from monitor.experiments.result import Caution, Result, Verdict
from monitor.experiments.statistics import percentile

_DESCRIPTORS_BESIDE: Final = 16
"""The server's and the clients' own, beside the connections."""
_AROUND_SECONDS: Final = 0.7
_ACCEPT_SECONDS: Final = 30.0

MEASURES: Final = (
    Measure(
        "cpu_per_event", "CPU/event", "us", "CPU time of the server for each event that it served", 1e6, 2, "lower"
    ),
    Measure("wake_ups", "wake-ups", "/s", "turns of the server's loop", 1.0, 0),
    Measure("events", "events", "/s", "events served: one byte in, one byte out", 1.0, 0, "higher"),
    Measure("events_per_wake_up", "events/wake-up", "", "events in one turn of the loop", 1.0, 2),
    Measure("system_share", "in the kernel", "%", "of the server's CPU time, what it spent in the kernel", 100.0, 0),
    Measure("latency_p50", "p50", "ms", "median of the time from sending a byte until it is back", 1e3, 3, "lower"),
    Measure("latency_p99", "p99", "ms", "99th percentile of that time", 1e3, 3, "lower"),
    Measure("cpu_time", "CPU", "%", "CPU time of the server, of the window", 100.0, 1, None, False),
)
CHARTS: Final = (
    Chart("cpu_per_event", "CPU time of the server for each event", logarithmic=True),
    Chart("events", "Events served", logarithmic=True),
)


class IOExperiment(Experiment):
    """See the module."""

    name = "io"
    summary = "select, poll and epoll on the broker's loop, against the number of connections"
    measures = MEASURES
    charts = CHARTS

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options of `broker experiment io`."""
        parser.add_argument(
            "--multiplexer", metavar="NAME,NAME,…", type=word_list(*MULTIPLEXERS), default=tuple(MULTIPLEXERS),
            help="which to try: select, poll, epoll (default: all)",
        )  # fmt: skip
        parser.add_argument(
            "--connections", metavar="N,N,…", type=whole_list(1, 100_000), default=(10, 100, 1000, 10_000),
            help="how many connections (default: 10,100,1000,10000)",
        )  # fmt: skip
        parser.add_argument(
            "--active", metavar="F", type=amount, default=8.0,
            help="how many of them are active, or which share: 8, 0.1, 10%% (default: 8)",
        )  # fmt: skip
        parser.add_argument(
            "--seconds", metavar="S", type=number(0.1, 3600), default=1.0,
            help="measured seconds of a trial (default: %(default)g)",
        )  # fmt: skip

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.cpus = choose_cpus(None)
        for count in arguments.connections:
            if self._active(count) > count:
                raise UsageError(f"--active {arguments.active:g} of --connections {count}: there are not so many")

    def _active(self, connections: int) -> int:
        share = self.arguments.active
        return max(round(share * connections), 1) if share < 1 else int(share)

    def prepare(self) -> Preparation:
        """Try of each multiplexer whether it takes so many descriptors."""
        raise_descriptor_limit()
        arms = []
        for count in self.arguments.connections:
            for name in self.arguments.multiplexer:
                reason = why_not(name, count + _DESCRIPTORS_BESIDE)
                skipped = (
                    None if reason is None else f"{name} with descriptors up to {count + _DESCRIPTORS_BESIDE}: {reason}"
                )
                arms.append(Arm(arm_name(name, count), {"multiplexer": name, "connections": count}, {}, skipped))
        parameters = {
            "multiplexers": list(self.arguments.multiplexer), "connections": list(self.arguments.connections),
            "active": self.arguments.active, "seconds": self.arguments.seconds, "server_cpu": self.cpus.measured,
            "client_cpus": sorted(self.cpus.others),
        }  # fmt: skip
        cautions = []
        if self.cpus.is_shared:
            cautions.append(Caution("shared_cpu", "server and clients share the only CPU"))
        return Preparation(tuple(arms), parameters, cautions)

    def trial_seconds(self, arm: Arm) -> float:
        """The window, and the connecting."""
        return float(self.arguments.seconds + _AROUND_SECONDS + cast(int, arm.factors["connections"]) * 3e-4)

    def trial(self, slot: Slot, tick: Tick) -> Outcome:
        """One multiplexer, one number of connections."""
        name, count = str(slot.arm.factors["multiplexer"]), cast(int, slot.arm.factors["connections"])
        with ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-experiment-"))
            path = os.path.join(directory, "echo.sock")
            server = Helper("monitor.experiments.io_server", [name, path], {self.cpus.measured})
            stack.callback(server.kill)
            server.expect("listening")
            arguments = [path, str(count), str(self._active(count))]
            clients = Helper("monitor.experiments.io_clients", arguments, self.cpus.others)
            stack.callback(clients.kill)
            clients.expect("connected")
            deadline = time.monotonic() + _ACCEPT_SECONDS
            while _figures(server)["connections"] < count:
                if time.monotonic() > deadline:
                    raise ExperimentError(f"the server did not get {count} connections")
                tick()
            clients.tell("latencies")
            clients.expect("latencies")
            before = _figures(server)
            ends = time.monotonic() + self.arguments.seconds
            while (left := ends - time.monotonic()) > 0:
                tick()
                time.sleep(min(left, 0.1))
            after = _figures(server)
            clients.tell("latencies")
            latencies = [value / 1e9 for value in clients.expect("latencies")]
        return Outcome(_values(before, after, latencies), latencies)

    def conclude(self, result: Result) -> tuple[list[Caution], Verdict]:
        """Whether epoll costs less than the others, with the most connections that both took."""
        return [], verdict(result)


def arm_name(multiplexer: str, connections: int) -> str:
    """The arm of one multiplexer with so many connections."""
    return f"{multiplexer} {connections}"


def _figures(server: Helper) -> dict[str, float]:
    server.tell("figures")
    figures: dict[str, float] = server.expect("figures")
    return figures


def _values(before: dict[str, float], after: dict[str, float], latencies: list[float]) -> dict[str, float]:
    change = {key: after[key] - before[key] for key in after}
    if not change["events"]:
        raise ExperimentError("the server served nothing; give it more --seconds")
    values = {
        "cpu_per_event": change["cpu"] / change["events"],
        "wake_ups": change["wake_ups"] / change["at"],
        "events": change["events"] / change["at"],
        "events_per_wake_up": change["events"] / max(change["wake_ups"], 1.0),
        "cpu_time": change["cpu"] / change["at"],
    }
    if change["user"] + change["system"] > 0:
        values["system_share"] = change["system"] / (change["user"] + change["system"])
    if latencies:
        values |= {"latency_p50": percentile(latencies, 0.5), "latency_p99": percentile(latencies, 0.99)}
    return values


def verdict(result: Result) -> Verdict:
    """The course note says that epoll is more efficient than poll and select: is it, where there are many
    connections?"""
    found = []
    outcomes = []
    for other in ("poll", "select"):
        counts = [
            cast(int, arm.factors["connections"])
            for arm in result.arms
            if arm.factors["multiplexer"] == other and result.values(arm.name, "cpu_per_event")
        ]
        for count in sorted(counts, reverse=True)[:1]:
            theirs = result.estimate(arm_name(other, count), "cpu_per_event")
            ours = result.estimate(arm_name("epoll", count), "cpu_per_event")
            if theirs is None or ours is None:
                continue
            outcomes.append(ours.mean < theirs.mean and ours.overlaps(theirs) is False)
            apart = {True: "intervals overlap", False: "intervals do not overlap", None: "no intervals"}
            found.append(
                f"with {count:,} connections an event costs {ours.mean * 1e6:.1f} us with epoll and "
                f"{theirs.mean * 1e6:.1f} us with {other} ({apart[ours.overlaps(theirs)]})"
            )
    if not found:
        return Verdict(None, "epoll was compared with nothing.")
    begins = "epoll costs less" if all(outcomes) else "It is not shown that epoll costs less"
    return Verdict(all(outcomes), f"{begins}: {'; '.join(found)}.")
