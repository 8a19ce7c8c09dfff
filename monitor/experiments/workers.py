"""`broker experiment workers`: throughput, latency and CPU against the number of workers.

Rooms full of people get as much as the broker can deliver, and beside them there is the measured chat. Nothing is
pinned: the scheduler spreads the broker and the load over all CPUs, as it does for everybody. Runs in the process of
`broker experiment workers`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final, cast

from broker.settings import WORKERS_MAX
from monitor.experiments import accounts
from monitor.experiments.chat_load import ChatLoad, LoadPlan, full_rooms
from monitor.experiments.design import Arm, Chart, Measure, Slot
from monitor.experiments.experiment import Experiment, Outcome, Preparation, Tick
from monitor.experiments.options import number, whole, whole_list
from monitor.experiments.placement import choose_cpus
from monitor.experiments.result import Caution, Result, Verdict
from monitor.experiments.statistics import percentile
from monitor.experiments.subject import fresh_broker

ROOMS: Final = 4
WINDOW: Final = 16
_AROUND_SECONDS: Final = 2.5
_MIB: Final = 1 / (1 << 20)
_ROLES: Final = ("worker", "router", "acceptor", "supervisor")

MEASURES: Final = (
    Measure("throughput", "deliveries", "/s", "lines that all clients got", 1.0, 0, "higher"),
    Measure(
        "latency_p50", "p50", "ms", "median latency of the measured chat, since a message was due", 1e3, 2, "lower"
    ),
    Measure("latency_p99", "p99", "ms", "99th percentile of that latency", 1e3, 2, "lower"),
    Measure("cpu_per_delivery", "CPU/delivery", "us", "CPU time of the whole broker a delivery", 1e6, 3, "lower"),
    Measure("cpu_time", "broker CPU", "%", "CPU time of the whole broker, of one CPU", 100.0, 1),
    Measure("cpu_worker", "workers", "%", "CPU time of the workers, of one CPU", 100.0, 1),
    Measure("cpu_router", "router", "%", "CPU time of the router, of one CPU", 100.0, 1),
    Measure("cpu_acceptor", "acceptor", "%", "CPU time of the acceptor, of one CPU", 100.0, 1, None, False),
    Measure("cpu_supervisor", "supervisor", "%", "CPU time of the supervisor, of one CPU", 100.0, 1, None, False),
    Measure("cpu_load", "load CPU", "%", "CPU time of the load processes, of one CPU", 100.0, 1),
    Measure("waiting", "waiting", "%", "time that the broker's processes were ready and waited for a CPU", 100.0, 1),
    Measure("pss", "PSS", "MiB", "memory of the whole broker, shared pages shared out", _MIB, 1, "lower", False),
)
CHARTS: Final = (
    Chart("throughput", "Deliveries per second"),
    Chart("latency_p99", "Chat latency, 99th percentile", logarithmic=True),
    Chart("cpu_per_delivery", "CPU time for each delivery"),
)


class WorkersExperiment(Experiment):
    """See the module."""

    name = "workers"
    summary = "throughput, latency and CPU against the number of workers"
    measures = MEASURES
    charts = CHARTS

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options of `broker experiment workers`."""
        parser.add_argument(
            "--counts", metavar="N,N,…", type=whole_list(1, WORKERS_MAX), default=(1, 2, 4),
            help="how many workers (default: 1,2,4)",
        )  # fmt: skip
        parser.add_argument(
            "--clients", metavar="N", type=whole(8, 10_000), default=200,
            help=f"clients that get all they can, in {ROOMS} rooms (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--rate", metavar="MSGS_PER_S", type=number(0.1, 100_000), default=100.0,
            help="measured chat messages per second beside them (default: %(default)g)",
        )  # fmt: skip
        parser.add_argument(
            "--seconds", metavar="S", type=number(0.2, 3600), default=3.0,
            help="measured seconds of a trial, after one of warm-up (default: %(default)g)",
        )  # fmt: skip

    def prepare(self) -> Preparation:
        """An arm for each number."""
        arguments = self.arguments
        size = max(arguments.clients // ROOMS, 4)
        self.plan = LoadPlan(arguments.rate, 20, 64, full_rooms(ROOMS, size, WINDOW))
        arms = [Arm(arm_name(count), {"workers": count}) for count in arguments.counts]
        cpus = choose_cpus(None)
        parameters = {
            "counts": list(arguments.counts), "clients": ROOMS * size, "rooms": ROOMS, "window": WINDOW,
            "rate": arguments.rate, "seconds": arguments.seconds, "warm_up_seconds": 1.0,
        }  # fmt: skip
        cautions = []
        usable = len(cpus.others | {cpus.measured})
        if usable < max(arguments.counts) + 2:
            text = f"{usable} CPUs for workers, router and load: they compete, and more workers are no more CPUs"
            cautions.append(Caution("few_cpus", text))
        return Preparation(tuple(arms), parameters, cautions)

    def trial_seconds(self, arm: Arm) -> float:
        """Warm-up, window, and what is around them."""
        return float(1.0 + self.arguments.seconds + _AROUND_SECONDS)

    def trial(self, slot: Slot, tick: Tick) -> Outcome:
        """A broker with so many workers."""
        count = cast(int, slot.arm.factors["workers"])
        with ExitStack() as stack:
            broker = stack.enter_context(fresh_broker(("--workers", str(count), "--rate-lines-per-second", "0")))
            cpus = choose_cpus(None)
            load = stack.enter_context(ChatLoad(self.plan, broker, cpus.others | {cpus.measured}, slot.seed))
            begins, ends = load.begin(1.0, self.arguments.seconds)
            _wait_until(begins, tick)
            began = time.monotonic()
            before, load_before = accounts.look(broker.pids.values()), accounts.look(load.pids)
            _wait_until(ends, tick)
            after, load_after = accounts.look(broker.pids.values()), accounts.look(load.pids)
            seconds = time.monotonic() - began
            pss = sum(accounts.pss_bytes(pid) for pid in broker.pids.values())
            heard = load.outcome(tick)
        deliveries = heard.done + heard.delivered
        used = accounts.used(before, after)
        values = {
            "throughput": deliveries / self.arguments.seconds,
            "cpu_time": used.on_cpu / seconds,
            "cpu_load": accounts.used(load_before, load_after).on_cpu / seconds,
            "waiting": used.waiting / seconds,
            "pss": float(pss),
            **_by_role(broker.pids, before, after, seconds),
        }
        if deliveries:
            values["cpu_per_delivery"] = used.on_cpu / seconds * self.arguments.seconds / deliveries
        if heard.latencies:
            values |= {
                "latency_p50": percentile(heard.latencies, 0.5),
                "latency_p99": percentile(heard.latencies, 0.99),
            }
        return Outcome(values, heard.latencies)

    def conclude(self, result: Result) -> tuple[list[Caution], Verdict]:
        """What became of throughput from the fewest workers to the most."""
        return [], verdict(result)


def arm_name(count: int) -> str:
    """The arm of so many workers."""
    return f"{count} worker{'s' * (count > 1)}"


def _by_role(
    pids: Mapping[str, int], before: accounts.Look, after: accounts.Look, seconds: float
) -> dict[str, float]:  # fmt: skip
    found = {}
    for role in _ROLES:
        own = {pid for name, pid in pids.items() if name.startswith(role)}
        used = accounts.used(before, {thread: figures for thread, figures in after.items() if thread[0] in own})
        found[f"cpu_{role}"] = used.on_cpu / seconds
    return found


def _wait_until(moment: float, tick: Tick) -> None:
    while (left := moment - time.monotonic()) > 0:
        tick()
        time.sleep(min(left, 0.1))


def verdict(result: Result) -> Verdict:
    """Nothing is predicted; what was found, in a sentence."""
    measured = [arm for arm in result.arms if result.values(arm.name, "throughput")]
    if len(measured) < 2:
        return Verdict(None, "One number of workers was measured, and compared with nothing.")
    ordered = sorted(measured, key=lambda arm: cast(int, arm.factors["workers"]))
    first, last = ordered[0], ordered[-1]
    best = max(ordered, key=lambda arm: _mean(result, arm.name, "throughput"))
    few, many = result.estimate(first.name, "throughput"), result.estimate(last.name, "throughput")
    assert few is not None and many is not None  # they were chosen for having values
    apart = {True: "intervals overlap", False: "intervals do not overlap", None: "no intervals"}[few.overlaps(many)]
    return Verdict(
        None,
        f"{last.name} deliver {many.mean / few.mean:.2f} times as much as {first.name} ({apart}), at "
        f"{_mean(result, last.name, 'cpu_per_delivery') * 1e6:.2f} us of CPU for each delivery against "
        f"{_mean(result, first.name, 'cpu_per_delivery') * 1e6:.2f}; the most came from {best.name}.",
    )


def _mean(result: Result, arm: str, key: str) -> float:
    found = result.estimate(arm, key)
    return 0.0 if found is None else found.mean
