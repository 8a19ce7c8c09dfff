"""Kill anything: no client notices more than a pause. The broker under `broker chaos`, whose verdict must be exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.running import running_broker

OFTEN_KILLED = ("--restart-intensity", "1000")
QUICKLY_MISSED = ("--heartbeat-seconds", "0.2", "--hang-seconds", "1")


def chaos(tmp_path: Path, *options: str, settings: tuple[str, ...] = (), timeout: float = 100) -> dict[str, Any]:
    """The outcome of a run against a broker of its own."""
    state_dir = tmp_path / "state"
    listen = ("--listen", f"chat+unix:{state_dir}/chat.sock")
    with running_broker(state_dir, *listen, *OFTEN_KILLED, *settings) as broker:
        result = broker.run("chaos", "--json", *options, timeout=timeout)
        assert result.stderr == "", result.stderr
        outcome: dict[str, Any] = json.loads(result.stdout)
        assert broker.ask("status")["state"] == "running"
    told = {key: outcome[key] for key in ("seed", "faults", "examples", "ledger")}
    assert outcome["verdict"] == "exact", json.dumps(told, indent=1, ensure_ascii=False)
    assert result.returncode == 0
    return outcome


def test_twenty_kills_of_anything_also_at_once(tmp_path: Path) -> None:
    outcome = chaos(
        tmp_path, "--clients", "40", "--rooms", "4", "--rate", "150", "--kill-rate", "4", "--pairs",
        "--seconds", "7", "--unix-fraction", "0.2",
    )  # fmt: skip
    assert len(outcome["kills"]) >= 20
    assert {kill["role"] for kill in outcome["kills"]} == {"acceptor", "router", "worker"}
    assert outcome["ledger"]["tcp"]["delivered"] > 5000


def test_stopped_is_as_good_as_killed(tmp_path: Path) -> None:
    outcome = chaos(
        tmp_path, "--clients", "20", "--rooms", "2", "--rate", "50", "--kill-rate", "0.6", "--stop-fraction", "1",
        "--seconds", "6", settings=QUICKLY_MISSED,
    )  # fmt: skip
    assert {kill["signal"] for kill in outcome["kills"]} == {"SIGSTOP"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_hundred_kills(tmp_path: Path) -> None:
    outcome = chaos(
        tmp_path, "--clients", "200", "--rooms", "10", "--rate", "300", "--kill-rate", "2.5", "--pairs",
        "--stop-fraction", "0.05", "--seconds", "110", "--unix-fraction", "0.1", settings=QUICKLY_MISSED, timeout=300,
    )  # fmt: skip
    assert len(outcome["kills"]) >= 200
    assert outcome["ledger"]["tcp"]["delivered"] > 200_000
