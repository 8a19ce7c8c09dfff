"""Schedules with kills at every step of router and workers: nobody may be able to tell them from quiet ones.

See `tests.simulation`. A failure prints the command that repeats it.
"""

from __future__ import annotations

import pytest

import workers.session
import workers.takeover
from tests.simulation.disk import SimulatedJournal
from tests.simulation.scenarios import SCENARIOS, run
from workers.worker import WorkerProcess
from workers.writer import Writer

SHORT = {
    "quiet": 10, "kills": 100, "many kills": 30, "small limits": 40, "paced": 20, "not reading": 30, "goodbye": 20,
}  # fmt: skip
"""Schedules in a short run; a long one has so many times more."""
LONGER = 25


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nobody_notices_a_kill(scenario: str) -> None:
    kills = sum(run(scenario, seed).kills for seed in range(SHORT[scenario]))
    if scenario == "quiet":
        assert not kills
    else:
        assert kills > 5 * SHORT[scenario], "a schedule without kills would show nothing"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nobody_notices_a_kill_in_thousands_of_schedules(scenario: str, part: int) -> None:
    count = SHORT[scenario] * LONGER
    for seed in range(1000 + part * count // 4, 1000 + (part + 1) * count // 4):
        run(scenario, seed)


@pytest.mark.parametrize(
    ("scenario", "seed"), [("kills", 88), ("many kills", 6), ("paced", 88), ("paced", 93), ("goodbye", 84)]
)
def test_a_heartbeat_in_the_turn_in_which_a_session_is_closed(
    monkeypatch: pytest.MonkeyPatch, scenario: str, seed: int
) -> None:
    """It acknowledged a close that was still to be done: to the next worker that session was a new one."""
    on_batches = WorkerProcess._on_batches

    def and_beat(self: WorkerProcess, bodies: list[bytes]) -> None:
        on_batches(self, bodies)
        self.beat()

    monkeypatch.setattr(WorkerProcess, "_on_batches", and_beat)
    run(scenario, seed)


def die_at_every(stride: int, seed: int, turns: int) -> int:
    """One schedule again and again, with a death at another step each time; says how many there were."""
    steps = run("quiet", seed, turns).fate.steps
    places = range(1 + seed % stride, steps, stride)
    for place in places:
        # A second one follows soon, and mostly finds a recovery of the first under way.
        run("quiet", seed, turns, strikes=(place, place + 1 + place % 40))
    return len(places)


@pytest.mark.parametrize("seed", [2, 3])
def test_a_death_at_one_step_in_many(seed: int) -> None:
    assert die_at_every(40, seed, turns=150) > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_death_at_each_step(seed: int) -> None:
    assert die_at_every(1, seed, turns=150) > 500


def test_a_seed_repeats_its_schedule() -> None:
    one, other = run("kills", 7), run("kills", 7)
    assert one.disk.history == other.disk.history
    assert (one.kills, one.turns, one.fate.steps) == (other.kills, other.turns, other.fate.steps)
    assert [client.connection.received for client in one.clients] == [
        client.connection.received for client in other.clients
    ]


class TestTheVerdictNotices:
    """Broken on purpose, one rule at a time, the broker must be found out."""

    def found_out(self, scenario: str = "kills") -> None:
        with pytest.raises(AssertionError):
            for seed in range(400):  # one mistake shows in one schedule of a hundred
                run(scenario, seed)

    def test_output_that_is_sent_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers.takeover, "to_send", lambda counted, fresh, due, written: counted + fresh)
        self.found_out()

    def test_output_that_is_not_sent_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers.takeover, "to_send", lambda counted, fresh, due, written: fresh)
        self.found_out()

    def test_a_batch_that_is_acknowledged_too_early(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Writer, "acknowledged", lambda writer: writer.batch)
        self.found_out()

    def test_an_input_that_is_applied_before_it_is_in_the_journal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        append = SimulatedJournal.append

        def sometimes(journal: SimulatedJournal, payload: bytes) -> None:
            if journal._life.random.random() < 0.9:
                append(journal, payload)

        monkeypatch.setattr(SimulatedJournal, "append", sometimes)
        self.found_out()

    def test_a_local_input_that_is_consumed_without_a_trace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers.session, "set_peek_offset", lambda sock, offset: None)
        with pytest.raises(AssertionError):  # few moments tell, so few random ones do
            die_at_every(3, 1, turns=150)
