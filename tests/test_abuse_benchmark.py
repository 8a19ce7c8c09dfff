"""Whether some can spoil it for others: that they do what they are there for, and are gone afterwards; the table."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import abusers
from benchmarks.abuse import ALONE, Run, as_json, as_text, main
from benchmarks.abusers import Doings, abuser
from benchmarks.cpu import tree
from benchmarks.errors import LoadError
from benchmarks.peers.program import Peer
from benchmarks.plan import Load
from broker.urls import ListenerURL, parse_listener_url
from tests.running import Broker, is_gone, running_broker, wait_until

ABUSES = (abusers.burn, abusers.flood, abusers.talk, abusers.ignore, abusers.storm)


def url_of(broker: Broker) -> ListenerURL:
    return parse_listener_url(broker.ask("status")["listeners"][0])


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_they_do_what_they_are_there_for_and_are_gone_afterwards(
    abuse: Callable[[Doings], None], broker: Broker
) -> None:
    with abuser(abuse, url_of(broker), storm=40) as counters:
        wait_until(lambda: counters.total()[1] > 100, "it has done something")
        (family,) = [pids for pids in map(tree, _children()) if pids[0] not in tree(broker.pid)]
    wait_until(lambda: all(map(is_gone, family)), "nothing is left")


def _children() -> list[int]:
    """Of this process, without threads' ones."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


def test_one_who_never_reads_is_closed_and_another_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abusers, "_BUSY_LINES_PER_SECOND", 9000.0)
    monkeypatch.setattr(abusers, "_DEAF_SECONDS", 3.0)
    impatient = running_broker(tmp_path / "state", "--max-behind-seconds", "1")
    with impatient as broker, abuser(abusers.ignore, url_of(broker), storm=0):
        wait_until(lambda: any("does not read" in event["text"] for event in broker.events("log")), "it is closed")
        came = abusers._BUSY_MEMBERS + 1
        wait_until(lambda: broker.processes()["acceptor-0"]["counters"]["messages_in"] > came, "another comes")


def test_an_abuser_that_cannot_begin_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = parse_listener_url(f"chat://127.0.0.1:{nobody.getsockname()[1]}")
    with pytest.raises(LoadError, match="refused"), abuser(abusers.flood, url, storm=0):
        pytest.fail("nobody is there to be flooded")


def test_an_abuser_that_is_stopped_by_the_server_is_no_measurement(broker: Broker) -> None:
    with pytest.raises(LoadError, match="closed the connection"), abuser(abusers.talk, url_of(broker), storm=0):
        broker.run("stop")


def run(p99: float, faults: tuple[str, ...] = (), abuse: float = 0.0) -> Run:
    return Run(p99 / 2, p99, 0.25, abuse, list(faults))


def test_ratios_are_of_one_round() -> None:
    rounds = [{ALONE: run(0.001), "flood": run(0.0015, abuse=5000.0)}, {ALONE: run(0.010), "flood": run(0.015)}]
    lines = as_text(Load(), rounds, "broker, chat").splitlines()
    assert lines[2].split("  ")[1:2] == ["left alone"]
    assert lines[3].split() == [
        "beside", "a", "flooding", "sender", "4.12", "(0.75-7.50)", "8.25", "(1.50-15.00)", "1.50", "25",
        "2,500", "(0-5,000)",
    ]  # fmt: skip
    assert as_json(Load(), rounds, "broker, chat")["cases"]["flood"]["p99_of_alone"]["median"] == pytest.approx(1.5)


def test_what_was_lost_stands_under_the_table() -> None:
    assert as_text(Load(), [{ALONE: run(0.001, ("lost",))}], "InspIRCd").endswith("  alone FAILED: lost")


def abuse(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.abuse", *options], capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.parametrize("protocol", ["chat", "irc"])
def test_a_short_run_has_all_figures(protocol: str) -> None:
    result = abuse(
        "--case", "flood-unlimited", "--case", "storm", "--storm", "100", "--clients", "20", "--seconds", "0.5",
        "--warm-up", "0.2", "--rounds", "1", "--workers", "2", "--protocol", protocol, "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    cases = json.loads(result.stdout)["cases"]
    assert list(cases) == [ALONE, "flood-unlimited", "storm"]
    for case in cases.values():
        (only,) = case["runs"]
        assert only["faults"] == [] and 0 < only["p50_seconds"] <= only["p99_seconds"]
    assert cases[ALONE]["p99_of_alone"]["median"] == 1


def test_a_peer_that_is_not_installed_is_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Peer, "find", lambda _: None)
    assert main(["--peer", "InspIRCd", "--rounds", "1"]) == 2
    assert "there is no program inspircd; install it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rounds", "0"), "at least 1"),
        (("--storm", "3"), "--storm"),
        (("--storm", "10000000"), "descriptors"),
        (("--clients", "2"), "--clients 2"),
        (("--peer", "InspIRCd", "--case", "flood-unlimited"), "a setting of the broker"),
        (("--peer", "InspIRCd", "--protocol", "chat"), "--protocol is about the broker"),
        (("--peer", "ngIRCd"), "at most 2500 clients"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, str], words: str) -> None:
    result = abuse(*options)
    assert result.returncode == 2
    assert words in result.stderr and result.stdout == ""
