"""`broker experiment nice`: what a nice value does to a process of the broker, and to the chat.

The target and its rivals, which do nothing but run, share one CPU; everything else runs elsewhere. In each trial the
target has one nice value, the rivals have 0. What the kernel's weights predict is held against its own accounts.
Runs in the process of `broker experiment nice`; the conclusions are in `monitor.experiments.nice_verdict`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, cast

from broker.errors import UsageError
from broker.linux import lowest_nice_allowed
from monitor import procfs
from monitor.experiments import accounts, subject
from monitor.experiments.attachment import Attachment
from monitor.experiments.chat_load import ChatLoad, LoadPlan, lines_in_flight, typing_people
from monitor.experiments.design import Arm, Chart, Measure, Slot
from monitor.experiments.experiment import Experiment, Outcome, Preparation, Tick
from monitor.experiments.nice_verdict import ALONE, arm_name, conclude
from monitor.experiments.options import number, whole, whole_list
from monitor.experiments.placement import ExperimentError, choose_cpus, pin, set_nice
from monitor.experiments.result import Caution, Result, Verdict
from monitor.experiments.rival import Rivals
from monitor.experiments.statistics import percentile
from monitor.experiments.subject import Subject, fresh_broker
from monitor.experiments.weights import predicted_share
from monitor.renice import scope_reader

LEVELS: Final = (-10, 0, 5, 10, 15, 19)
TEXT_BYTES: Final = 64
LINES_FOR_EACH: Final = 200
"""A router takes so many lines to have as much to do as a worker has with somebody who types."""
_MAX_RIVALS: Final = 64
_AROUND_SECONDS: Final = 2.5
"""What a trial takes beside its warm-up and its window: a broker, its clients, the last deliveries."""

_LATENCY: Final = "from the moment that a message was due until a client has read it; over all deliveries of a trial"
MEASURES: Final = (
    Measure("cpu_share", "CPU share", "%", "time on the CPU of the target, of that of target and rivals", 100.0),
    Measure("run_delay", "waiting", "%", "time that the target was ready and waited for the CPU, of the window", 100.0),
    Measure("run_delay_per_slice", "wait/slice", "ms", "that time, for each time that it got the CPU", 1e3, 2, "lower"),
    Measure("switches", "switches", "/s", "context switches of the target, both kinds", 1.0, 0),
    Measure("involuntary_switches", "preempted", "/s", "those of them that the scheduler made", 1.0, 0, None, False),
    Measure("latency_p50", "p50", "ms", f"median latency, {_LATENCY}", 1e3, 2, "lower"),
    Measure("latency_p90", "p90", "ms", f"90th percentile, {_LATENCY}", 1e3, 2, "lower", False),
    Measure("latency_p99", "p99", "ms", f"99th percentile, {_LATENCY}", 1e3, 2, "lower"),
    Measure("latency_p999", "p99.9", "ms", f"99.9th percentile, {_LATENCY}", 1e3, 2, "lower"),
    Measure("latency_max", "max", "ms", f"the longest, {_LATENCY}", 1e3, 2, "lower"),
    Measure("throughput", "throughput", "/s", "messages of the measured chat that were delivered", 1.0, 0, "higher"),
    Measure(
        "pressure", "pressure", "/s", "bytes that were typed (lines, for the router) beside it", 1.0, 0, None, False
    ),
    Measure("cpu_time", "CPU", "%", "time on the CPU of the target, of the window", 100.0, 1, None, False),
    Measure(
        "demand",
        "demand",
        "%",
        "time that the target ran or was ready, of the window; all of it, if it never slept",
        100.0,
        1,
        None,
        False,
    ),
    Measure(
        "others", "others", "%", "of the CPU's time, what neither parties nor idleness took", 100.0, 1, "lower", False
    ),
    Measure("stolen", "stolen", "%", "of the CPU's time, what the hypervisor kept", 100.0, 1, "lower", False),
    Measure("idle", "idle", "%", "of the CPU's time, what nobody used", 100.0, 1, None, False),
    Measure(
        "lateness_p99",
        "lateness",
        "ms",
        "how late the load sent, 99th percentile; in the latencies",
        1e3,
        2,
        "lower",
        False,
    ),
    Measure("missing", "missing", "", "deliveries that had not come 20 s after the window", 1.0, 0, "lower", False),
    Measure("samples", "deliveries", "", "latencies measured", 1.0, 0, None, False),
)
CHARTS: Final = (
    Chart("cpu_share", "Share of the CPU: measured, and predicted by the kernel's weights"),
    Chart("latency_p99", "Chat latency, 99th percentile", logarithmic=True),
)


class NiceExperiment(Experiment):
    """See the module."""

    name = "nice"
    summary = "CPU share, waiting and chat latency against the nice value"
    measures = MEASURES
    charts = CHARTS

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options of `broker experiment nice`."""
        parser.add_argument(
            "--target", metavar="NAME", default="worker-0",
            help="whom to renice: worker-0, workers, router, acceptor (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--levels", metavar="N,N,…", type=whole_list(-20, 19), default=LEVELS,
            help="nice values to try; 0 and an arm without rivals are always among the arms "
            "(default: -10,0,5,10,15,19)",
        )  # fmt: skip
        parser.add_argument(
            "--rivals", metavar="N", type=whole(1, _MAX_RIVALS), default=1,
            help="processes that want the same CPU all the time, at nice 0 (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument("--cpu", metavar="C", type=whole(0, 4095), help="the CPU to share (default: the last one)")
        parser.add_argument(
            "--rate", metavar="MSGS_PER_S", type=number(0.1, 100_000), default=100.0,
            help="measured chat messages per second, on schedule whatever happens (default: %(default)g)",
        )  # fmt: skip
        parser.add_argument(
            "--clients", metavar="N", type=whole(2, 5000), default=20,
            help="clients in the room of the measured chat (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--pressure", metavar="N", type=whole(0, 10_000), default=60,
            help="people who type all the time, so that a worker has work; for the router, 200 N lines in flight; "
            "0: none (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--seconds", metavar="S", type=number(0.2, 3600), default=3.0,
            help="measured seconds of a trial (default: %(default)g)",
        )  # fmt: skip
        parser.add_argument(
            "--warm-up", metavar="S", type=number(0, 3600), default=1.0,
            help="seconds of load before them (default: %(default)g)",
        )  # fmt: skip
        parser.add_argument(
            "--separate-sessions", action="store_true",
            help="put rivals and load into sessions of their own, to see what autogroup makes of nice",
        )  # fmt: skip
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--fresh", action="store_true", help="a new broker of its own for each trial (this is the default)"
        )
        where.add_argument(
            "--attach", action="store_true",
            help="use the running broker of --state-dir, and put back nice values and affinities afterwards",
        )  # fmt: skip

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.cpus = choose_cpus(arguments.cpu)
        self.role = arguments.target.rstrip("0123456789").removesuffix("-").removesuffix("s")
        if self.role not in ("worker", "router", "acceptor"):
            raise UsageError(f"--target {arguments.target}: it is worker-N, workers, router or acceptor")
        pressure = {
            "worker": typing_people(arguments.pressure),
            "router": lines_in_flight(arguments.pressure * LINES_FOR_EACH),
            "acceptor": None,
        }[self.role]
        self.plan = LoadPlan(arguments.rate, arguments.clients, TEXT_BYTES, pressure)
        self.attachment: Attachment | None = None
        self.separation: str | None = None
        self.policies: set[int] = set()
        self.interference: dict[str, float] = {}

    def prepare(self) -> Preparation:
        """Which levels can be had, and what speaks against the figures already."""
        arguments = self.arguments
        own = os.getpriority(os.PRIO_PROCESS, 0)
        lowest = lowest_nice_allowed()
        if own != 0 and lowest > 0:
            raise ExperimentError(
                f"this shell has nice {own}, and without CAP_SYS_NICE nothing that it starts can have the rivals' 0; "
                "start the experiment from a shell with nice 0"
            )
        if arguments.attach:
            self.attachment = Attachment(arguments.state_dir, arguments.target, self.cpus, arguments.levels)
            lowest = self.attachment.lowest_nice
        arms = [Arm(ALONE, {"level": 0, "rivals": 0})]
        for level in sorted({0, *arguments.levels}):
            skipped = None
            if level < lowest:
                skipped = f"no permission for nice {level}: without CAP_SYS_NICE the lowest allowed here is {lowest}"
            elif self.attachment is not None:
                skipped = self.attachment.why_not(level)
            share = predicted_share(level, arguments.rivals, self._targets())
            arms.append(
                Arm(arm_name(level), {"level": level, "rivals": arguments.rivals}, {"cpu_share": share}, skipped)
            )
        parameters = {
            "target": arguments.target, "levels": list(arguments.levels), "rivals": arguments.rivals,
            "cpu": self.cpus.measured, "other_cpus": sorted(self.cpus.others), "rate": arguments.rate,
            "clients": arguments.clients, "text_bytes": TEXT_BYTES, "pressure": arguments.pressure,
            "seconds": arguments.seconds, "warm_up_seconds": arguments.warm_up,
            "broker": "attached" if arguments.attach else "fresh", "separate_sessions": arguments.separate_sessions,
        }  # fmt: skip
        return Preparation(tuple(arms), parameters, self._first_cautions())

    def _targets(self) -> int:
        """How many processes the target is."""
        if self.attachment is not None:
            return len(self.attachment.targets)
        return 2 if self.arguments.target == "workers" else 1

    def _first_cautions(self) -> list[Caution]:
        found = []
        if self.cpus.is_shared:
            text = f"there is no other CPU than {self.cpus.measured}: the load competes with what it loads"
            found.append(Caution("shared_cpu", text, is_void=True))
        if self.role == "acceptor":
            text = "the acceptor has nothing to do while people chat: its nice value shows when they connect"
            found.append(Caution("idle_target", text))
        return found

    def trial_seconds(self, arm: Arm) -> float:
        """Warm-up, window, and what is around them."""
        return float(self.arguments.warm_up + self.arguments.seconds + _AROUND_SECONDS)

    def trial(self, slot: Slot, tick: Tick) -> Outcome:
        """One level, or the target alone at 0."""
        level, rivals = cast(int, slot.arm.factors["level"]), cast(int, slot.arm.factors["rivals"])
        with ExitStack() as stack:
            broker = stack.enter_context(self._broker())
            targets = broker.chosen(self.arguments.target)
            if not targets:
                raise ExperimentError(f"the broker has no process {self.arguments.target}")
            for pid in targets:
                set_nice(pid, 0)
            holders = targets if self.role == "worker" and self.attachment is not None else ()
            workers = len(broker.chosen("workers"))
            separate = self.arguments.separate_sessions
            load = stack.enter_context(
                ChatLoad(self.plan, broker, self.cpus.others, slot.seed, holders, workers, separate)
            )
            for pid in targets:
                pin(pid, {self.cpus.measured})
                set_nice(pid, level)
            crowd = stack.enter_context(Rivals(rivals, self.cpus.measured, 0, separate_sessions=separate))
            self._note_scopes(targets, crowd.pids)
            outcome = self._measure(load, targets, crowd.pids, tick)
            if subject.has_changed(broker, targets):
                raise ExperimentError(f"{self.arguments.target} ended during the trial; `broker events` may tell why")
        return outcome

    @contextmanager
    def _broker(self) -> Iterator[Subject]:
        if self.attachment is not None:
            yield self.attachment.subject()
            return
        workers = "2" if self.arguments.target == "workers" else str(self._last_worker() + 1)
        # Patience: a process that gets 1 % of a CPU misses heartbeats, and is to be measured, not replaced.
        options = ("--workers", workers, "--rate-lines-per-second", "0", "--hang-seconds", "3600")
        with fresh_broker(options, self.cpus.others) as broker:
            yield broker

    def _last_worker(self) -> int:
        digits = self.arguments.target.rpartition("-")[2]
        return int(digits) if self.role == "worker" and digits.isdecimal() else 0

    def _measure(self, load: ChatLoad, targets: Sequence[int], rivals: Sequence[int], tick: Tick) -> Outcome:
        watch = accounts.CPUWatch(self.cpus.measured, [*targets, *rivals])
        begins, ends = load.begin(self.arguments.warm_up, self.arguments.seconds)
        _wait_until(begins, tick)
        watch.begin()
        began, before, rivals_before = time.monotonic(), accounts.look(targets), accounts.look(rivals)
        _wait_until(ends, tick, watch.poll)
        after, rivals_after = accounts.look(targets), accounts.look(rivals)
        seconds = time.monotonic() - began
        own, others = accounts.used(before, after), accounts.used(rivals_before, rivals_after)
        main = accounts.used(before, {thread: account for thread, account in after.items() if thread[0] == thread[1]})
        interference = watch.end(own + others)
        heard = load.outcome(tick)
        for name, share in interference.names.items():
            self.interference[name] = max(self.interference.get(name, 0.0), share)
        values = {
            "run_delay": main.waiting / seconds / len(targets),
            "run_delay_per_slice": main.waiting / main.slices if main.slices else 0.0,
            "switches": (main.voluntary_switches + main.involuntary_switches) / seconds,
            "involuntary_switches": main.involuntary_switches / seconds,
            "throughput": heard.delivered / self.arguments.seconds,
            "pressure": heard.done / self.arguments.seconds,
            "cpu_time": own.on_cpu / seconds,
            "demand": _demand(main, seconds * len(targets)),
            "others": interference.others,
            "stolen": interference.stolen,
            "idle": interference.idle,
            "lateness_p99": percentile(heard.lateness, 0.99) if heard.lateness else 0.0,
            "missing": float(heard.expected - len(heard.latencies)),
            "samples": float(len(heard.latencies)),
        }
        if own.on_cpu + others.on_cpu > 0:
            values["cpu_share"] = own.on_cpu / (own.on_cpu + others.on_cpu)
        if heard.latencies:
            values |= {
                f"latency_{key}": percentile(heard.latencies, share)
                for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
            }
        return Outcome(values, heard.latencies, tuple(_named(interference.names)))

    def _note_scopes(self, targets: Sequence[int], rivals: Sequence[int]) -> None:
        """Whether nice values of the two are weighed against each other at all."""
        scope_of = scope_reader()
        for pid in (*targets, *rivals):
            process = procfs.process_stat(pid)
            if process is not None:
                self.policies.add(process.policy)
        apart = [(scope_of(target), scope_of(rival)) for target in targets for rival in rivals]
        for mine, theirs in apart:
            if mine != theirs:
                self.separation = f"the target in {mine}, the rivals in {theirs}"

    def conclude(self, result: Result) -> tuple[list[Caution], Verdict]:
        """See `monitor.experiments.nice_verdict`."""
        return conclude(result, self.separation, sorted(self.policies), self.interference)

    def close(self) -> None:
        """Put the running broker back as it was."""
        if self.attachment is not None:
            self.attachment.restore()


def _named(shares: dict[str, float] | object) -> Iterator[str]:
    """Who else was seen on the CPU, from 1 % on."""
    if isinstance(shares, dict):
        for name, share in sorted(shares.items(), key=lambda item: -item[1]):
            if share >= 0.01:
                yield f"{name} was seen on the CPU, up to {share:.0%}"


def _demand(main: accounts.Accounts, seconds: float) -> float:
    """The part of the time for which the target ran or was ready.

    A wait is only in the accounts when it is over, which counts for much where a wait takes a quarter of a second: but
    a thread that has run and never went to sleep was ready all the time.
    """
    if main.on_cpu > 0 and main.voluntary_switches == 0:
        return 1.0
    return min((main.on_cpu + main.waiting) / seconds, 1.0)


def _wait_until(moment: float, tick: Tick, also: Tick = lambda: None) -> None:
    while (left := moment - time.monotonic()) > 0:
        tick()
        also()
        time.sleep(min(left, 0.1))
