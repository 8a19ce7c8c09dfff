"""`broker experiment fork`: what a forked worker really costs, in time and in memory, against a spawned one.

A stand-in for the supervisor makes a child by fork or by spawn; besides, there is the worker of a real broker. Memory
is looked at right after the start and after a load: what a child shares with its parent it pays for when it writes, and
Python writes when it only reads, since looking at an object changes its reference count. Runs in the process of `broker
experiment fork`.
"""

from __future__ import annotations

import argparse
import re
import time
from typing import Final

from broker.control_client import ask
from monitor import procfs
from monitor.experiments.chat_load import ChatLoad, LoadPlan, full_rooms
from monitor.experiments.design import Arm, Chart, Measure, Slot
from monitor.experiments.experiment import Experiment, Outcome, Preparation, Tick
from monitor.experiments.helpers import Helper
from monitor.experiments.options import number
from monitor.experiments.placement import ExperimentError
from monitor.experiments.result import Caution, Result, Verdict
from monitor.experiments.subject import fresh_broker

_MIB: Final = 1 / (1 << 20)
_READY: Final = re.compile(r"is ready after (\d+\.\d+) s")
_FORK, _UNFROZEN, _SPAWN, _WORKER = "fork", "fork, not frozen", "spawn", "broker's worker"

MEASURES: Final = (
    Measure(
        "startup", "start-up", "ms", "from before the call that makes the child until it is ready", 1e3, 2, "lower"
    ),
    Measure("call", "call", "ms", "of that, until the call is back in the parent", 1e3, 2, "lower"),
    Measure("uss_start", "USS start", "MiB", "memory that nobody else has, after the start", _MIB, 2, "lower"),
    Measure("pss_start", "PSS start", "MiB", "memory, shared pages shared out, after the start", _MIB, 2, "lower"),
    Measure("shared_start", "shared start", "MiB", "memory that somebody else has too, after the start", _MIB, 2),
    Measure("rss_start", "RSS start", "MiB", "all its memory, after the start", _MIB, 2, "lower", False),
    Measure("uss_load", "USS load", "MiB", "memory that nobody else has, after the load", _MIB, 2, "lower"),
    Measure("pss_load", "PSS load", "MiB", "memory, shared pages shared out, after the load", _MIB, 2, "lower"),
    Measure("shared_load", "shared load", "MiB", "memory that somebody else has too, after the load", _MIB, 2),
    Measure("rss_load", "RSS load", "MiB", "all its memory, after the load", _MIB, 2, "lower", False),
)
CHARTS: Final = (
    Chart("startup", "Start-up", logarithmic=True),
    Chart("uss_start", "Memory of its own, right after the start"),
    Chart("uss_load", "Memory of its own, after the load"),
)


class ForkExperiment(Experiment):
    """See the module."""

    name = "fork"
    summary = "what a forked worker costs in time and memory, against a spawned one"
    measures = MEASURES
    charts = CHARTS

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options of `broker experiment fork`."""
        parser.add_argument(
            "--seconds", metavar="S", type=number(0.2, 3600), default=2.0,
            help="how long the broker's worker is under load (default: %(default)g)",
        )  # fmt: skip

    def prepare(self) -> Preparation:
        """Four ways to come by a worker."""
        arms = (
            Arm(_FORK, {"method": "fork", "freezes": True}),
            Arm(_UNFROZEN, {"method": "fork", "freezes": False}),
            Arm(_SPAWN, {"method": "spawn", "freezes": True}),
            Arm(_WORKER, {"method": "broker"}),
        )
        modules = list(self.arguments.supervisor_modules)
        return Preparation(arms, {"modules": modules, "seconds": self.arguments.seconds})

    def trial_seconds(self, arm: Arm) -> float:
        """A broker takes longest."""
        return float(self.arguments.seconds + 3.0) if arm.name == _WORKER else 1.0

    def trial(self, slot: Slot, tick: Tick) -> Outcome:
        """One child."""
        tick()
        if slot.arm.name == _WORKER:
            return self._broker_trial(slot, tick)
        parent = Helper("monitor.experiments.fork_parent", self.arguments.supervisor_modules)
        try:
            parent.expect("here")
            parent.tell("make", [slot.arm.factors["method"], slot.arm.factors["freezes"]])
            told = parent.expect("ready")
            values = {"startup": told["startup_ns"] / 1e9, "call": told["call_ns"] / 1e9}
            values |= _memory(told["pid"], "start")
            parent.tell("go on")
            parent.expect("loaded")
            values |= _memory(told["pid"], "load")
            parent.tell("end")
            parent.expect("ended")
        finally:
            parent.kill()
        return Outcome(values)

    def _broker_trial(self, slot: Slot, tick: Tick) -> Outcome:
        with fresh_broker(("--workers", "1", "--rate-lines-per-second", "0")) as broker:
            pid = broker.pids["worker-0"]
            values = _memory(pid, "start")
            for event in ask(broker.state_dir, "events")["events"]:
                found = _READY.search(event["text"])
                if event["kind"] == "ready" and event["process"] == "worker-0" and found:
                    values["startup"] = float(found[1])
            plan = LoadPlan(100.0, 20, 64, full_rooms(4, 25, 16))
            with ChatLoad(plan, broker, None, slot.seed) as load:
                _, ends = load.begin(0.0, self.arguments.seconds)
                while (left := ends - time.monotonic()) > 0:
                    tick()
                    time.sleep(min(left, 0.1))
                values |= _memory(pid, "load")
        return Outcome(values)

    def conclude(self, result: Result) -> tuple[list[Caution], Verdict]:
        """How much less a fork costs."""
        return [], verdict(result)


def _memory(pid: int, when: str) -> dict[str, float]:
    memory = procfs.memory(pid)
    if memory is None:
        raise ExperimentError(f"PID {pid} ended before it could be looked at")
    return {
        f"rss_{when}": float(memory.rss_bytes),
        f"pss_{when}": float(memory.pss_bytes),
        f"uss_{when}": float(memory.uss_bytes),
        f"shared_{when}": float(memory.shared_bytes),
    }


def verdict(result: Result) -> Verdict:
    """Nothing is predicted; what was found, in a sentence."""
    figures = {
        (arm, key): found.mean
        for arm in (_FORK, _SPAWN)
        for key in ("startup", "uss_start", "uss_load")
        if (found := result.estimate(arm, key))
    }
    if len(figures) < 6:
        return Verdict(None, "fork and spawn could not be compared.")
    return Verdict(
        None,
        f"A forked child is ready {figures[_SPAWN, 'startup'] / figures[_FORK, 'startup']:.0f} times sooner than a "
        f"spawned "
        f"one ({figures[_FORK, 'startup'] * 1e3:.1f} against {figures[_SPAWN, 'startup'] * 1e3:.0f} ms), and has "
        f"{figures[_FORK, 'uss_start'] * _MIB:.1f} MiB of its own right after it against "
        f"{figures[_SPAWN, 'uss_start'] * _MIB:.1f}, after a load {figures[_FORK, 'uss_load'] * _MIB:.1f} against "
        f"{figures[_SPAWN, 'uss_load'] * _MIB:.1f}.",
    )
