"""No delivery gets dearer unnoticed: counts of calls on a fixed load, which no other load of the machine changes.

See `tests.delivery_cost`: `python -m tests.delivery_cost --renew` writes the counts of today. Calls to the kernel,
frames, batches and stores may not be more than those by a single one, calls of functions by MARGIN of them. Other
versions of Python compile some things in other ways, and are given MARGIN_OF_OTHERS.
"""

from __future__ import annotations

import json
import sys

import pytest

from tests import delivery_cost
from tests.delivery_cost import FILE, LOADS, count, dearer

MARGIN = 0.03
MARGIN_OF_OTHERS = 0.15
RECORDED = json.loads(FILE.read_text())
ALLOWED: dict[str, dict[str, int]] = RECORDED["counts"]
SAME_PYTHON = RECORDED["python"] == list(sys.version_info[:2])


@pytest.mark.parametrize("name", LOADS)
def test_a_delivery_costs_no_more_than_it_did(name: str) -> None:
    found = dearer(count(LOADS[name]), ALLOWED[name], MARGIN if SAME_PYTHON else MARGIN_OF_OTHERS)
    assert not found, f"{name}: {'; '.join(found)}; if it is worth that, run python -m tests.delivery_cost --renew"


def test_what_is_recorded_is_what_is_counted() -> None:
    assert list(ALLOWED) == list(LOADS)


def test_counts_are_the_same_every_time() -> None:
    load = LOADS["irc: 5 rooms of 10, 8 lines"]
    assert count(load) == count(load)


@pytest.mark.parametrize("run", ["1 line", "8 lines"])
def test_a_member_costs_one_send_and_one_store_for_all_that_is_merged(run: str) -> None:
    counts = count(LOADS[f"chat: 5 rooms of 10, {run}"])
    assert counts["worker: send"] == counts["worker: store"] == 5 * 10 * delivery_cost.ROUNDS


def test_calls_of_functions_have_a_margin_and_nothing_else_has() -> None:
    allowed = {"worker: send": 100, "worker: functions": 100}
    assert dearer({"worker: send": 100, "worker: functions": 103}, allowed, 0.03) == []
    assert dearer({"worker: send": 101, "worker: fork": 1}, allowed, 0.03) == [
        "worker: send: 101 instead of 100", "worker: fork: 1 instead of 0",
    ]  # fmt: skip
    assert dearer({"worker: functions": 104}, allowed, 0.03)


def test_a_frame_too_many_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.worker._UNTOLD_BATCHES", 1)
    name = "chat: 1 room of 100, 1 line"
    found = dearer(count(LOADS[name]), ALLOWED[name], MARGIN)
    assert {"frames", "router: pipe recv", "router: journal append"} <= {line.rpartition(": ")[0] for line in found}
