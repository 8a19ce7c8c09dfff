"""How the acceptor learns that people talk: from a worker's heartbeat, by way of the custodian, with TAKEN."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from broker.custodian import Custodian
from broker.custody import Descriptors
from broker.messages import TAKE, TAKEN
from tests.delivery_cost import CountedWorld, Load
from workers.worker import WorkerProcess


class Staff:
    """Two workers, whose last heartbeats a test makes up, and what the acceptor is told."""

    def __init__(self) -> None:
        self.workers: list[Any] = [SimpleNamespace(counters={}), SimpleNamespace(counters={})]
        self.told: list[tuple[Any, ...]] = []

    def of_role(self, role: str) -> Iterator[Any]:
        assert role == "worker"
        return iter(self.workers)

    def tell(self, _child: Any, message: tuple[Any, ...], descriptors: list[int] | None = None) -> None:
        self.told.append(message)


@pytest.mark.parametrize(
    ("beats", "expected"),
    [
        ([{}, {}], False),
        ([{"talking": False}, {}], False),
        ([{"talking": False}, {"talking": True}], True),
        ([{"talking": True}, {"talking": True}], True),
    ],
)
def test_the_custodian_says_so_if_any_worker_does(beats: list[dict[str, bool]], expected: bool) -> None:
    staff = Staff()
    custodian = Custodian(
        staff, [], 8, SimpleNamespace(), lambda workers: None, Descriptors(), lambda seconds, callback: None
    )  # type: ignore[arg-type]
    for worker, counters in zip(staff.workers, beats, strict=True):
        worker.counters = counters
    custodian.apply(SimpleNamespace(), (TAKE, 0, 0))  # type: ignore[arg-type]
    assert staff.told == [(TAKEN, 0, [], None, expected)]
    staff.workers.clear()
    custodian.apply(SimpleNamespace(), (TAKE, 0, 0))  # type: ignore[arg-type]
    assert staff.told[-1][-1] is False


def test_a_worker_says_so_in_its_heartbeat() -> None:
    world = CountedWorld(Load("chat", rooms=1, members=6, senders=1, run=1))
    workers = [child.process for child in world.of_role("worker")]

    def talking() -> list[Any]:
        assert all(isinstance(worker, WorkerProcess) for worker in workers)
        return [worker.counters()["talking"] for worker in workers if worker is not None]

    assert talking() == [False, False, False]
    world.count(1)
    assert talking() == [True, False, False]
    world.now += 2.0
    assert talking() == [False, False, False]
