"""Side by side: medians, ratios within a round, and what is shown of them; a round of real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import picture
from benchmarks.comparison import Run, as_text, cells, compare
from benchmarks.cpu import ProcessCPU
from benchmarks.loads import LOADS
from benchmarks.report import Latency, Measurement, Rest, Verdict

LOAD = LOADS["200-in-1"]


def run(deliveries: int, cpu_seconds: float, faults: tuple[str, ...] = (), received: int = 100) -> Measurement:
    return Measurement(
        load=LOAD.load, url="irc://127.0.0.1:1", seconds=2.0, deliveries=deliveries, messages=deliveries // 10,
        latency=Latency(0.001, 0.002, 0.003, 50), server=[ProcessCPU(1, "it", cpu_seconds)],
        generator=[ProcessCPU(2, "load-0", 1.0)], verdict=Verdict(10, 100, received, list(faults)),
    )  # fmt: skip


# A slow moment of the machine, for both, in the second round.
ROUNDS: list[dict[str, Run]] = [
    {"ours": run(2_000_000, 1.0), "theirs": run(1_000_000, 1.0)},
    {"ours": run(200_000, 0.2), "theirs": run(50_000, 0.1)},
    {"ours": run(3_000_000, 1.5), "theirs": run(1_000_000, 1.0)},
]


def test_ratios_are_of_one_round_and_values_of_all() -> None:
    ours, theirs = compare(LOAD, ROUNDS, "ours").rows
    assert ours.values["deliveries_per_second"].median == 1_000_000
    assert (theirs.values["deliveries_per_second"].least, theirs.values["deliveries_per_second"].greatest) == (
        25_000, 500_000,
    )  # fmt: skip
    speed = theirs.ratios["deliveries_per_second"]
    assert (speed.median, speed.least, speed.greatest) == (pytest.approx(1 / 3), 0.25, 0.5)
    cost = theirs.ratios["server_seconds_per_delivery"]
    assert (cost.least, cost.greatest) == (pytest.approx(2), pytest.approx(2))
    assert "server_cores" not in theirs.ratios


def test_the_table_shows_medians_ranges_and_whose_ratio() -> None:
    table = compare(LOAD, ROUNDS, "ours")
    headings, lines = cells(table)
    assert headings[:3] == ["server", "M deliveries/s", "of ours"]
    assert lines[0][:3] == ["ours", "1.000 (0.100-1.500)", ""]
    assert lines[1][:3] == ["theirs", "0.500 (0.025-0.500)", "0.33 (0.25-0.50)"]
    assert as_text(table).splitlines()[0] == LOAD.title


def test_what_a_server_got_wrong_stands_under_the_table() -> None:
    rounds: list[dict[str, Run]] = [{"ours": run(10, 1.0, ("lost: c1",)), "theirs": run(10, 1.0, received=99)}]
    text = as_text(compare(LOAD, rounds, "ours"))
    assert "ours FAILED: lost: c1" in text
    assert "theirs FAILED: 99 deliveries instead of 100" in text


def test_at_rest_other_figures_count_and_no_wake_up_at_all_makes_no_ratio() -> None:
    def rest(wake_ups: float) -> Rest:
        return Rest(LOAD.load, "irc://h:1", 2.0, [ProcessCPU(1, "it", 1.0)], [], 50_000_000, wake_ups, 0.0)

    ours, theirs = compare(LOADS["rest-5000"], [{"ours": rest(0.0), "theirs": rest(3.0)}], "ours").rows
    assert theirs.values["pss_bytes"].median == 50_000_000
    assert "wake_ups_per_second" not in theirs.ratios and ours.values["wake_ups_per_second"].median == 0


def test_the_picture_has_a_bar_for_each_server(tmp_path: Path) -> None:
    path = tmp_path / "bench.svg"
    picture.save([compare(LOAD, ROUNDS, "ours")], "a machine", path)
    drawing = path.read_text()
    assert drawing.startswith("<svg") and "ours" in drawing and "theirs" in drawing


def suite(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.suite", *options], capture_output=True, text=True, timeout=90, check=False
    )


def test_a_quick_look_prints_the_table_and_writes_all_figures(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    result = suite(
        "--quick", "--load", "200-in-20", "--server", "broker, IRC", "--server", "broker", "--json", str(path)
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "of broker, IRC" in result.stdout
    (load,) = json.loads(path.read_text())["loads"]
    assert [server["server"] for server in load["servers"]] == ["broker, IRC", "broker"]
    for server in load["servers"]:
        (only,) = server["runs"]
        assert only["verdict"]["holds"] and only["deliveries"] > 0
        assert server["figures"]["generator_cores"]["median"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--load", "heavy"), "choose of 200-in-1"),
        (("--server", "apache"), "choose of broker"),
        (("--rounds", "0"), "at least 1"),
    ],
)
def test_a_choice_that_there_is_not_is_answered_with_those_that_there_are(options: tuple[str, str], words: str) -> None:
    result = suite(*options)
    assert result.returncode == 2
    assert words in result.stderr and "Traceback" not in result.stderr
