"""Whether cost grows with work only: the table, what is counted as an operation, and a short run of the command."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks import scaling as scaling_benchmark
from benchmarks.cpu import settled_seconds, tree
from benchmarks.errors import LoadError
from benchmarks.fresh_broker import fresh_broker
from benchmarks.operations import OPERATIONS, REGISTER, Company
from benchmarks.scaling import Column, Experiment, Run, as_json, as_text, one_round
from benchmarks.spread import Spread, ratios, shown, spread
from broker.urls import parse_listener_url

COLUMNS = (Column("cost", "us", 1e6, 0), Column("cores", "CPU %", 100, 0, compared=False))


def experiment(rows: dict[int, float]) -> Experiment:
    return Experiment(
        "sizes", "by size", "size", COLUMNS,
        {row: lambda cost=cost: Run({"cost": cost, "cores": 0.5}) for row, cost in rows.items()},
    )  # fmt: skip


def test_ratios_are_of_one_round() -> None:
    """A slow moment of the machine, for both, in the second one."""
    assert ratios([2.0, 20.0], [1.0, 10.0]) == Spread(2.0, 2.0, 2.0)
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert (shown(spread([0.5]), 100, 0), shown(spread([1.0, 2.0, 3.0]), 1, 1)) == ("50", "2.0 (1.0-3.0)")
    assert shown(None, 1, 0) == "-"


def test_each_row_stands_beside_its_ratio_to_the_first_one() -> None:
    sizes = experiment({100: 0.001, 1_000: 0.0011})
    rounds = [one_round(sizes, number) for number in range(2)]
    assert as_text(sizes, rounds).splitlines() == [
        "by size",
        "  size      us  of 100's  CPU %",
        "  100    1,000               50",
        "  1,000  1,100      1.10     50",
    ]
    first, second = as_json(sizes, rounds)["rows"]
    assert first["size"] == 100 and first["ratios"]["cost"]["median"] == 1
    assert second["ratios"] == {"cost": {"median": pytest.approx(1.1), "least": pytest.approx(1.1), "greatest": 1.1}}
    assert [run["figures"]["cost"] for run in second["runs"]] == [0.0011, 0.0011]


def test_no_row_is_always_the_first() -> None:
    sizes = experiment({1: 1.0, 2: 1.0, 3: 1.0})
    assert [list(one_round(sizes, number)) for number in range(4)] == [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]


def test_what_was_lost_stands_under_the_table() -> None:
    run = Run({"cost": 1.0}, ["room r1: lost"])
    assert as_text(experiment({10: 1.0}), [{10: run}]).endswith("  10 FAILED: room r1: lost")


def test_what_comes_and_goes_costs_the_broker_time() -> None:
    with fresh_broker("irc://127.0.0.1:0", 2, ()) as status:
        company = Company(parse_listener_url(status["listeners"][0]), tree(status["pid"]), rooms=2, members=3)
        company.enter()
        assert not any(company.costs.values())
        company.act()
        assert {what: len(costs) for what, costs in company.costs.items()} == {
            REGISTER: 3, "part": 3, "join": 6, "nick": 3, "quit": 3,
        }  # fmt: skip
        assert set(company.per_operation()) == {REGISTER, *OPERATIONS}
        assert all(0 < cost < 1 for cost in company.per_operation().values())
        company.leave()


def test_a_server_that_never_rests_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.cpu._SETTLE_SECONDS", 0.01)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with pytest.raises(LoadError, match="did not come to rest"):
            while True:  # it may not have been on a CPU yet
                settled_seconds([busy.pid])
    finally:
        busy.kill()
        busy.wait()


def scaling(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *options], capture_output=True, text=True, timeout=90, check=False
    )


def test_a_short_run_has_all_figures() -> None:
    result = scaling(
        "--sessions", "20", "--sessions", "40", "--seconds", "0.5", "--rate", "1000", "--rounds", "1", "--cycles", "1",
        "--workers", "2", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    sessions, rooms, operations = json.loads(result.stdout)
    assert [row["sessions"] for row in sessions["rows"]] == [20, 40]
    assert [row["rooms"] for row in rooms["rows"]] == [1]
    for row in (*sessions["rows"], *rooms["rows"]):
        assert row["runs"][0]["faults"] == [] and row["runs"][0]["figures"]["deliveries_per_cpu_second"] > 0
    assert [row["sessions"] for row in operations["rows"]] == [20, 40]
    assert set(operations["rows"][1]["ratios"]) == {REGISTER, *OPERATIONS}


def test_too_little_cpu_to_be_measured_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clock ticks of 10 ms are what /proc counts in."""
    monkeypatch.setattr(scaling_benchmark, "measure", lambda *_: SimpleNamespace(server=[], seconds=0.1))
    status = {"listeners": ["irc://127.0.0.1:1"], "pid": 1}
    monkeypatch.setattr(scaling_benchmark, "fresh_broker", lambda *_: contextlib.nullcontext(status))
    assert scaling_benchmark.main(["--table", "sessions", "--sessions", "20", "--rounds", "1"]) == 1
    assert "too little CPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rounds", "0"), "at least 1"),
        (("--sessions", "15"), "rooms of 10"),
        (("--sessions", "10000000"), "descriptors"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, str], words: str) -> None:
    result = scaling(*options)
    assert result.returncode == 2
    assert words in result.stderr and result.stdout == ""
