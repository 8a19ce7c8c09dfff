"""`python -m benchmarks.pause`: a small run, of a process whose death nobody has to notice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.pause import Case, as_json, as_text, measure
from broker.chaos.cast import Load


def test_every_client_and_every_kill_is_in_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.pause._WARM_UP_SECONDS", 0.3)
    case = Case("acceptor", clients=12, rooms=2, workers=1)
    outcome = measure(case, Load(case.clients, case.rooms, rate=100), kills=2, between_seconds=0.3)
    assert outcome.faults == []
    assert len(outcome.worst) == 2 and len(outcome.everybody) >= 20 and len(outcome.quiet) >= 10
    assert max(outcome.worst) == max(outcome.everybody) > 0
    figures = as_json(outcome)
    assert figures["kills"] == 2
    for name in ("pause_of_kill_seconds", "pause_of_client_seconds", "without_a_kill_seconds"):
        assert figures[name]["p50"] <= figures[name]["p99"] <= figures[name]["max"]
    text = as_text(outcome, 100)
    assert text.startswith("acceptor killed 2 times") and text.endswith("  exact")


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--kills", "0"), "--kills"), (("--clients", "3"), "--clients 3"), (("--case", "x"), "case")],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.pause", *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2
    assert words in result.stderr and result.stdout == ""
