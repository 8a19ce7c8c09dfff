"""A measurement as values, as JSON and as text for a person. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.cpu import ProcessCPU
from benchmarks.plan import Load

_FAULTS_TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """Of sampled deliveries, in seconds, from before the send to after the receive."""

    p50: float
    p99: float
    max: float
    samples: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether everybody got everything: `said` messages should have made `expected` deliveries over the whole run, with
    the warm-up, and `received` came; `faults` is empty if each was whole, once and in order.
    """

    said: int
    expected: int
    received: int
    faults: list[str]

    @property
    def holds(self) -> bool:
        """All is well."""
        return not self.faults and self.received == self.expected

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; [] if all is well."""
        return [] if self.holds else self.faults or [f"{self.received} deliveries instead of {self.expected}"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run: `deliveries` and `messages` of the measured `seconds`; `server` is None if its PID is unknown."""

    load: Load
    url: str
    seconds: float
    deliveries: int
    messages: int
    latency: Latency | None
    server: list[ProcessCPU] | None
    generator: list[ProcessCPU]
    verdict: Verdict

    @property
    def deliveries_per_second(self) -> float:
        """The figure that runs are compared by."""
        return self.deliveries / self.seconds


@dataclass(frozen=True, slots=True)
class Rest:
    """What clients that say nothing cost: how long all took to connect, register and join, who used how much CPU time
    for that, and then the memory of all processes of the server, how often they woke up, and of how many cores they
    used the time.
    """

    load: Load
    url: str
    enter_seconds: float
    enter_server: list[ProcessCPU]
    enter_generator: list[ProcessCPU]
    pss_bytes: int
    wake_ups_per_second: float
    cores: float


def latency_of(samples_ns: array[int]) -> Latency | None:
    """The percentiles (nearest rank) of some samples; None of none."""
    ordered = sorted(samples_ns)
    if not ordered:
        return None

    def rank(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e9

    return Latency(rank(0.5), rank(0.99), ordered[-1] / 1e9, len(ordered))


def median(measurements: Sequence[Measurement]) -> Measurement:
    """The run with the median of deliveries per second (the lower of two), so that its figures belong together."""
    return sorted(measurements, key=lambda measurement: measurement.deliveries_per_second)[(len(measurements) - 1) // 2]


def as_json(measurement: Measurement) -> dict[str, Any]:
    """The measurement as JSON has it; units are in the keys."""
    latency, verdict = measurement.latency, measurement.verdict
    return {
        "load": asdict(measurement.load),
        "server": measurement.url,
        "seconds": measurement.seconds,
        "deliveries": measurement.deliveries,
        "messages": measurement.messages,
        "deliveries_per_second": measurement.deliveries_per_second,
        "messages_per_second": measurement.messages / measurement.seconds,
        "latency_seconds": None if latency is None else asdict(latency),
        "server_cpu": None if measurement.server is None else _cpu_as_json(measurement, measurement.server),
        "generator_cpu": _cpu_as_json(measurement, measurement.generator),
        "verdict": {**asdict(verdict), "holds": verdict.holds},
    }


def _cpu_as_json(measurement: Measurement, processes: Sequence[ProcessCPU]) -> dict[str, Any]:
    return {
        **_shares(measurement, sum(process.seconds for process in processes)),
        "processes": [
            {"name": process.name, "pid": process.pid, **_shares(measurement, process.seconds)} for process in processes
        ],
    }


def _shares(measurement: Measurement, seconds: float) -> dict[str, float | None]:
    """CPU seconds, those of one core, and what one delivery and one message cost, if there was any."""
    deliveries, messages = measurement.deliveries, measurement.messages
    return {
        "seconds": seconds,
        "cores": seconds / measurement.seconds,
        "microseconds_per_delivery": seconds / deliveries * 1e6 if deliveries else None,
        "microseconds_per_message": seconds / messages * 1e6 if messages else None,
    }


def as_text(measurement: Measurement) -> str:
    """The measurement for a person."""
    figures = as_json(measurement)
    latency, verdict = measurement.latency, measurement.verdict
    lines = [
        describe(measurement.load),
        f"  deliveries/s    {figures['deliveries_per_second']:12,.0f}",
        f"  messages/s      {figures['messages_per_second']:12,.0f}",
    ]
    if latency is None:
        lines.append("  latency          no samples")
    else:
        lines.append(
            f"  latency, ms      p50 {latency.p50 * 1e3:.2f}, p99 {latency.p99 * 1e3:.2f}, max {latency.max * 1e3:.2f} "
            f"({latency.samples:,} samples)"
        )
    lines.append("  CPU              us/delivery  us/message  % of a core")
    if figures["server_cpu"] is None:
        lines.append("    server         unknown: name its PID with --server-pid")
    else:
        lines += _cpu_lines("server", figures["server_cpu"])
    lines += _cpu_lines("load generator", figures["generator_cpu"])
    if verdict.holds:
        lines.append(
            f"  verdict          complete and in order: each of {verdict.said:,} messages once at everybody else in "
            f"its room; {verdict.received:,} deliveries in all"
        )
    else:
        lines.append(
            f"  verdict          FAILED: {verdict.said:,} messages, {verdict.received:,} deliveries, "
            f"{verdict.expected:,} expected"
        )
        lines += [f"    {fault}" for fault in verdict.faults[:_FAULTS_TOLD]]
        if len(verdict.faults) > _FAULTS_TOLD:
            lines.append(f"    and {len(verdict.faults) - _FAULTS_TOLD} more, which --json has")
    return "\n".join(lines)


def describe(load: Load) -> str:
    """The load in a line."""
    demand = f"window {load.window}" if load.rate is None else f"{load.rate:g} messages/s in all"
    talking = "" if load.talking is None else f" ({load.talking:,} of them)"
    return (
        f"{_count(load.clients, 'client')} in {_count(load.rooms, 'room')}, {_count(load.senders, 'sender')} a room"
        f"{talking}, "
        f"{demand}, {load.size_bytes}-byte texts, {load.seconds:g} s after {load.warm_up_seconds:g} s of warm-up"
    )


def _cpu_lines(title: str, cpu: dict[str, Any]) -> list[str]:
    rows = [(f"  {title}", cpu), *((f"    {process['name']}", process) for process in cpu["processes"])]
    return [
        f"  {name:<16.16} {_figure(row['microseconds_per_delivery'], 3)} {_figure(row['microseconds_per_message'], 1)}"
        f"  {row['cores'] * 100:11.0f}"
        for name, row in rows
    ]


def _figure(value: float | None, digits: int) -> str:
    return f"{'-':>11}" if value is None else f"{value:11.{digits}f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
