"""What the router can take: medians of runs, the state machine alone, and a short run of the command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import state_machine
from benchmarks.cpu import ProcessCPU
from benchmarks.errors import LoadError
from benchmarks.plan import Load
from benchmarks.protocols import PROTOCOLS
from benchmarks.report import Measurement, Verdict
from benchmarks.router import process_table, row_of, state, state_table
from benchmarks.state_machine import Rehearsal, Script, cost_of
from benchmarks.tables import as_table
from broker.framing import HEADER_BYTES, decode
from broker.messages import PUBLISH


def run(messages: int, router_seconds: float, received: int = 90) -> Measurement:
    return Measurement(
        load=Load(), url="chat://127.0.0.1:1", seconds=2.0, deliveries=messages * 9, messages=messages, latency=None,
        server=[ProcessCPU(1, "supervisor", 9.0), ProcessCPU(2, "router", router_seconds)], generator=[],
        verdict=Verdict(10, 90, received, []),
    )  # fmt: skip


def test_a_row_has_medians_of_the_router_alone() -> None:
    row = row_of(2, [run(1000, 0.5), run(4000, 1.0), run(2000, 0.8)])
    assert (row.messages_per_second, row.deliveries_per_second) == (1000, 9000)
    assert (row.router_cores, row.router_seconds_per_message) == (0.4, 0.0004)
    assert row.messages_per_cpu == pytest.approx(2500)
    assert row.faults == []
    assert process_table("chat", Load(), [row]).splitlines()[2].split() == [
        "2", "1,000", "9,000", "40", "400.00", "2,500",
    ]  # fmt: skip


def test_what_was_lost_stands_under_the_table() -> None:
    row = row_of(4, [run(1000, 0.5), run(1000, 0.5, received=89)])
    assert process_table("chat", Load(), [row]).endswith("FAILED with 4 workers: 89 deliveries instead of 90")


def test_a_table_is_as_wide_as_it_has_to_be() -> None:
    assert as_table("title", ["what", "n"], [["a", "100"], ["bcdef", "2"]]) == (
        "title\n  what     n\n  a      100\n  bcdef    2"
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_everybody_in_the_room_gets_what_is_said(protocol: str) -> None:
    script = Script(protocol, rooms=2, members=4, senders=1, run=3)
    rehearsal = Rehearsal(script)
    outcome = rehearsal.state.apply(state_machine._BEGAN + 1, rehearsal.record())
    published = [
        operation
        for _, frame in outcome.frames
        for operation in decode(frame[HEADER_BYTES:])[2]
        if operation[0] == PUBLISH
    ]
    assert sum(operation[2].count(b"\n") for operation in published) == script.messages * script.workers
    assert all(b"x" * 64 in operation[2] for operation in published)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_message_costs_time_and_bytes(protocol: str) -> None:
    cost = cost_of(Script(protocol, rooms=3, members=5, senders=2, run=2), messages=100)
    assert 0 < cost.seconds < 1
    assert 2 * 64 < cost.bytes < 2 * 200  # once for each worker


def test_a_message_that_is_not_heard_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script("chat", rooms=1, members=3, senders=1, run=1)
    monkeypatch.setattr(Rehearsal, "record", lambda _: [])
    with pytest.raises(LoadError, match="0 of 10 messages"):
        cost_of(script, messages=10)


def test_the_second_table_has_a_row_for_each_shape() -> None:
    lines = state_table("irc", state("irc", messages=80, rounds=1)).splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["20", "10"], ["1", "200"]]


def router(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.router", *options], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_short_run_has_all_figures() -> None:
    result = router(
        "--protocol", "irc", "--workers", "1", "--workers", "2", "--clients", "20", "--rooms", "2", "--seconds", "0.5",
        "--rounds", "1", "--messages", "100", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    process, state = json.loads(result.stdout)
    assert [row["workers"] for row in process["rows"]] == [1, 2]
    for row in process["rows"]:
        assert row["faults"] == [] and row["messages_per_second"] > 0
        assert row["deliveries_per_second"] / row["messages_per_second"] == pytest.approx(9, rel=0.2)
    assert len(state["rows"]) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--rounds", "0"), "--rounds"), (("--workers", "0"), "at least 1"), (("--clients", "3"), "--clients 3")],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, str], words: str) -> None:
    result = router(*options)
    assert result.returncode == 2
    assert words in result.stderr and result.stdout == ""
