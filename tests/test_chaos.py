"""`broker chaos`: the plan, the pauses and the ledger by themselves; then real runs, against good servers and bad."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.chaos.cast import Load, Names, Role, cast
from broker.chaos.client import LoadError
from broker.chaos.conductor import Conductor
from broker.chaos.ledger import Counts, Ledger, faults, percentile, total
from broker.chaos.pauses import Kill, Pauses, blamed
from broker.chaos.plan import Budget, Victim, choose, strikes
from broker.chaos.script import Texts, oldest_stamp, stamp_of
from broker.errors import UsageError
from broker.urls import parse_listener_url
from tests.chat_server import ChatServer
from tests.lying_stage import Lie, LyingStage
from tests.running import DEADLINE_SECONDS, Broker, is_gone, running_broker, wait_until

ROLES = ("acceptor", "router", "worker")


# The plan.


@given(st.integers(0, 1 << 32), st.floats(0.1, 50), st.booleans(), st.floats(0, 1))
def test_a_seed_repeats_its_plan_and_the_rate_is_kept(seed: int, rate: float, pairs: bool, stop: float) -> None:
    plan = list(islice(strikes(seed, rate, ROLES, pairs, stop), 100))
    assert plan == list(islice(strikes(seed, rate, ROLES, pairs, stop), 100))
    assert [strike.at_seconds for strike in plan] == sorted(strike.at_seconds for strike in plan)
    kills = 0
    for strike in plan:
        kills += len(strike.victims)
        assert kills - 3 <= strike.at_seconds * rate + 1e-6, "never more than the rate, but for the strike itself"
        assert len(strike.victims) == 1 or (pairs and len(strike.victims) <= 3)
        assert all(victim.role in ROLES and 0 <= victim.lot < 1 for victim in strike.victims)


def test_a_plan_has_everything_that_was_asked_for_and_nothing_else() -> None:
    plan = list(takewhile(lambda strike: strike.at_seconds < 1000, strikes(5, 2, ROLES, True, 0.1)))
    victims = [victim for strike in plan for victim in strike.victims]
    assert 1900 <= len(victims) <= 2003
    assert {victim.role for victim in victims} == set(ROLES)
    assert 0.05 < sum(victim.signal == "SIGSTOP" for victim in victims) / len(victims) < 0.15
    assert {len(strike.victims) for strike in plan} == {1, 2, 3}
    assert any(len({victim.role for victim in strike.victims}) > 1 for strike in plan)
    gaps = [later.at_seconds - strike.at_seconds for strike, later in pairwise(plan)]
    soon = [gap for gap, strike in zip(gaps, plan, strict=False) if gap < 0.1 and len(strike.victims) == 1]
    assert len(soon) > 100, "one dies soon after the other"
    assert {len(strike.victims) for strike in islice(strikes(5, 2, ROLES), 200)} == {1}
    assert list(strikes(5, 0, ROLES)) == []


def test_a_lot_falls_on_one_of_those_there_are() -> None:
    there = {"router": "router", "worker-0": "worker", "worker-1": "worker"}
    assert choose(Victim("worker", 0.0, "SIGKILL"), there) == "worker-0"
    assert choose(Victim("worker", 0.99, "SIGKILL"), there) == "worker-1"
    assert choose(Victim("router", 0.99, "SIGKILL"), there) == "router"
    assert choose(Victim("acceptor", 0.5, "SIGKILL"), there) == "worker-0", "another one rather than none"
    assert choose(Victim("worker", 0.5, "SIGKILL"), {}) is None


def test_a_process_is_not_killed_so_often_that_the_broker_gives_up() -> None:
    budget = Budget(intensity=3, period_seconds=10)
    for at in (0.0, 1.0):
        assert budget.allows("router", at, True)
        budget.spend("router", at, True)
    assert not budget.allows("router", 2.0, True), "one death is left for somebody else"
    assert budget.allows("worker-0", 2.0, True)
    assert budget.allows("router", 10.5, True)
    for number in range(29):
        assert budget.allows("router", 2.0, False), number
        budget.spend("router", 2.0, False)
    assert not budget.allows("router", 2.0, False)


@pytest.mark.parametrize("stop_fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rate", [0.5, 3.0, 20.0])
def test_the_advice_is_enough_for_the_rate(rate: float, stop_fraction: float) -> None:
    advised = Budget(0, 10).advice(rate, stop_fraction).split()
    assert advised[0] == "--restart-intensity"
    assert Budget(int(advised[1]), 10).rate_per_process(stop_fraction) > rate


# The pauses.


@pytest.mark.parametrize(
    ("due", "heard", "index"),
    [
        (0.5, 0.6, None),  # before any kill
        (0.99, 1.3, 0),  # on its way when it came
        (1.2, 1.3, 0),  # due while it was being repaired
        (4.99, 5.2, 1),
        (4.5, 5.2, 0),  # late already
        (9.0, 9.1, 1),
    ],
)
def test_a_late_line_is_owed_to_the_kill_that_it_was_late_for(due: float, heard: float, index: int | None) -> None:
    assert blamed([1.0, 5.0], due, heard) == index


def test_the_pause_of_a_kill_is_the_longest_and_kills_of_one_instant_share_it() -> None:
    pauses = Pauses()
    pauses.killed(Kill(1.0, "router", "router", "SIGKILL"))
    pauses.killed(Kill(5.0, "worker", "worker-0", "SIGKILL"))
    pauses.killed(Kill(5.0, "worker", "worker-1", "SIGSTOP"))
    for due, heard in ((0.1, 0.9), (1.01, 1.5), (1.2, 1.5), (4.99, 5.25)):
        pauses.late(due, heard)
    assert pauses.seconds == pytest.approx([0.49, 0.26, 0.26])
    assert pauses.kinds() == [("router", "SIGKILL"), ("several", "at once")]
    assert pauses.counts() == [("router", "SIGKILL", 1), ("worker", "SIGKILL", 1), ("worker", "SIGSTOP", 1)]
    worst = pauses.summary()
    assert worst is not None and (worst.kills, worst.worst) == (3, pytest.approx(0.49))
    several = pauses.summary("several", "at once")
    assert several is not None and (several.kills, several.median) == (2, pytest.approx(0.26))
    assert pauses.summary("worker", "SIGSTOP") is None, "none was alone"
    assert pauses.summary("acceptor") is None


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float) -> None:
    result = percentile(values, share)
    assert result in values
    assert sum(value <= result for value in values) >= share * len(values) - 1e-9
    assert sum(value < result for value in values) <= share * len(values)


def test_the_oldest_text_that_is_heard_late_counts() -> None:
    texts = Texts(random.Random(1), 0, (1000, 2500))
    notice = b"ann joined the room\n"
    lines = [b"ann: " + texts.text(stamp) + b"\n" for stamp in (5000, 3000, 4000)]
    assert oldest_stamp(notice + b"".join(lines) + lines[0][:-5], 9000, 100) == 3000
    assert oldest_stamp(notice, 9000, 100) == 9000
    assert oldest_stamp(b"".join(lines), 5050, 100) == 5000, "the first is in time, and nobody looks at the others"
    assert stamp_of(notice[:-1]) is None and stamp_of(b"x" * 60) is None


# The ledger.


def test_exact_means_that_nothing_is_missing_and_nothing_is_wrong() -> None:
    fine = Counts(clients=3, sent=5, applied=5, expected=10, delivered=10)
    assert faults(Ledger(fine, Counts()), 0) == []
    for name in ("lost", "doubled", "reordered", "torn", "disconnected", "names_lost"):
        for unix in (False, True):
            counts = Counts(sent=5, applied=5, expected=10, delivered=10)
            setattr(counts, name, 1)
            ledger = Ledger(Counts(), counts) if unix else Ledger(counts, Counts())
            assert any(name.replace("_", " ") in fault or "expected" in fault for fault in faults(ledger, 9)), name
    assert faults(Ledger(Counts(sent=5, applied=4), Counts()), 9) == ["1 of 5 inputs not applied"]
    assert faults(Ledger(Counts(expected=5, delivered=4), Counts()), 9) == ["4 deliveries of 5 expected"]
    missed = Counts(expected=10, delivered=7, lost=3, gaps=2, most_gaps=2)
    assert faults(Ledger(Counts(), missed), 2) == []
    assert faults(Ledger(Counts(), missed), 1) != []


def test_ledgers_add_up() -> None:
    parts = [Ledger(Counts(sent=1, most_gaps=2), Counts(lost=3), ["a"]), Ledger(Counts(sent=4, most_gaps=1), Counts())]
    parts.append(Ledger(examples=["b"] * 100))
    result = total(parts)
    assert (result.tcp.sent, result.tcp.most_gaps, result.unix.lost) == (5, 2, 3)
    assert result.examples[0] == "a" and len(result.examples) < 100


# Who is who.


@given(st.integers(1, 6), st.integers(4, 60), st.floats(0, 1))
def test_every_room_has_witnesses_and_talkers(rooms: int, size: int, unix_fraction: float) -> None:
    people = cast(Load(rooms * size, rooms, unix_fraction=unix_fraction), 2)
    assert [role.number for room in people for role in room] == list(range(rooms * size))
    for room in people:
        assert room[0].witness
        assert sum(role.witness for role in room) >= 2
        assert any(role.talks and role.steady and not role.unix for role in room)
        assert any(role.talks and not role.steady for role in room)
        assert not any(role.unix and (role.slow or not role.steady) for role in room)
        assert {role.variant for role in room} == {0, 1}


def test_names_are_short_and_different() -> None:
    names = Names("abc")
    assert len({names.person(number, times) for number in range(30) for times in range(26)}) == 30 * 26
    assert max(len(names.person(99_999)), len(names.room(99_999))) == 9
    assert Role(1, 0).witness and not Role(1, 0, talks=True).witness


@pytest.mark.parametrize(
    "load",
    [Load(clients=7, rooms=2), Load(rooms=0), Load(rate=0), Load(unix_fraction=2), Load(processes=9), Load(rate=-1)],
    ids=str,
)
def test_a_load_that_makes_no_sense_is_refused(load: Load) -> None:
    with pytest.raises(UsageError):
        load.check()


# Real runs.

SMALL = ("--clients", "30", "--rooms", "3", "--rate", "100", "--seconds", "3")


def chaos(broker: Broker, *options: str) -> dict[str, Any]:
    """The outcome of a run, as JSON, and its exit status."""
    result = broker.run("chaos", "--json", *options, timeout=100)
    assert result.stderr == "", result.stderr
    return {**json.loads(result.stdout), "status": result.returncode}


def test_a_run_without_kills_is_exact(tmp_path: Path) -> None:
    chat_socket = tmp_path / "state" / "chat.sock"
    with running_broker(tmp_path / "state", "--listen", f"chat+unix:{chat_socket}") as broker:
        brief = ("--rate", "200", "--seconds", "1.5")
        outcome = chaos(broker, *SMALL, *brief, "--kill-rate", "0", "--unix-fraction", "0.3", "--processes", "2")
        wait_until(lambda: broker.ask("status")["sessions"] == 0, "nobody of the load is left")
    assert (outcome["status"], outcome["verdict"], outcome["faults"]) == (0, "exact", [])
    tcp, unix = outcome["ledger"]["tcp"], outcome["ledger"]["unix"]
    assert tcp["clients"] + unix["clients"] == 30 and unix["clients"] == 9
    assert tcp["sent"] == tcp["applied"] > 200
    assert tcp["expected"] == tcp["delivered"] > 1000 and unix["expected"] == unix["delivered"] > 200
    assert outcome["kills"] == outcome["pauses"] == []


def test_a_rate_that_the_load_cannot_keep_is_told_and_does_not_keep_it_from_listening(broker: Broker) -> None:
    outcome = chaos(
        broker, "--clients", "8", "--rooms", "1", "--rate", "1000000", "--seconds", "0.5", "--kill-rate", "0"
    )
    assert outcome["verdict"] == "exact"
    assert outcome["load_late_seconds"] > 0.2
    assert outcome["ledger"]["tcp"]["sent"] < 250_000


def test_killing_acceptors_disturbs_nobody_and_kills_nobody_else(broker: Broker) -> None:
    before = broker.pids()
    outcome = chaos(broker, *SMALL, "--kill-rate", "1", "--roles", "acceptor", "--seed", "4")
    assert (outcome["status"], outcome["verdict"]) == (0, "exact")
    died = broker.events("died")
    assert len(died) == len(outcome["kills"]) >= 2
    assert {event["process"] for event in died} == {"acceptor-0"}
    assert {event["signal"] for event in died} == {"SIGKILL"}
    after = broker.pids()
    assert {name: after[name] for name in before if name != "acceptor-0"} == {
        name: before[name] for name in before if name != "acceptor-0"
    }


def test_a_rate_that_the_broker_would_not_live_through_is_refused(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--restart-intensity", "1", "--restart-period-seconds", "60") as broker:
        result = broker.run("chaos", "--kill-rate", "1")
        assert result.returncode == 2 and result.stdout == ""
        assert "too often" in result.stderr and "--restart-intensity" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--roles", "worker,king"), "king"),
        (("--roles", "supervisor"), "supervisor"),
        (("--clients", "3"), "--clients 3"),
        (("--kill-rate", "-1"), "--kill-rate -1"),
        (("--stop-fraction", "2"), "--stop-fraction 2"),
        (("--seconds", "0"), "--seconds"),
        (("--connect", "chat+unix:/tmp/x"), "--connect"),
        (("--unix-fraction", "0.5"), "local socket"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(shared_broker: Broker, options: tuple[str, ...], words: str) -> None:
    result = shared_broker.run("chaos", *options)
    assert result.returncode == 2 and result.stdout == ""
    assert words in result.stderr and len(result.stderr.splitlines()) <= 2


def test_without_a_broker_there_is_nothing_to_kill(tmp_path: Path) -> None:
    result = Broker(tmp_path).run("chaos")
    assert result.returncode == 3 and "no broker runs" in result.stderr


def test_a_run_can_be_ended_early_and_is_judged(shared_broker: Broker) -> None:
    process = subprocess.Popen(
        shared_broker.command("chaos", "--clients", "12", "--rooms", "1", "--kill-rate", "0", "--seconds", "100"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline().startswith("seed ")
        assert "delivered" in output.readline()
        process.send_signal(signal.SIGINT)
        rest = output.read()
    assert process.wait(60) == 0
    assert rest.rstrip().endswith("verdict: exact")


def test_nothing_is_left_of_a_killed_run(shared_broker: Broker) -> None:
    process = subprocess.Popen(
        shared_broker.command("chaos", "--clients", "12", "--rooms", "2", "--kill-rate", "0", "--processes", "2"),
        stdout=subprocess.DEVNULL,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = wait_until(lambda: pids if len(pids := children.read_text().split()) == 2 else None, "load processes")
    process.kill()
    process.wait()
    wait_until(lambda: all(is_gone(int(pid)) for pid in pids), "the load processes are gone")


def test_who_is_cut_off_is_told(broker: Broker) -> None:
    process = subprocess.Popen(
        broker.command("chaos", "--json", *SMALL, "--rate", "300", "--kill-rate", "0", "--seconds", "100"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: broker.ask("status")["messages_in"] > 300, "they talk")
    names = _people(broker)
    broker.ask("kick", name=names[0], reason="chaos")
    wait_until(lambda: broker.events("kicked"), "somebody was kicked")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    outcome = json.loads(output)
    assert process.returncode == 1 and outcome["verdict"] == "not exact"
    assert outcome["ledger"]["tcp"]["disconnected"] == 1
    assert any(names[0] in example for example in outcome["examples"])


def _people(broker: Broker) -> list[str]:
    """Those who are in the first room of the load."""
    client = broker.client("observer")
    client.send("/rooms")
    rooms = re.findall(r"(r\w{3}00000) ", client.line())
    client.send(f"/who {rooms[0]}")
    names = client.line().partition("): ")[2].split(", ")
    client.close()
    return names


# Servers that do not keep their word, over real sockets; tests/test_chaos_checker.py has many more of their lies.

LIES: dict[str, tuple[Lie, str]] = {
    "lost": (lambda first, second: second, "lost"),
    "doubled": (lambda first, second: first + second + second, "doubled"),
    "swapped": (lambda first, second: second + first, "reordered"),
    "cut": (lambda first, second: first[: len(first) // 2] + second, "torn"),
}


def put_load_on(server: ChatServer, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> Ledger:
    """What a load process finds out about the server within so many seconds, or less if that is enough."""
    load = Load(clients=8, rooms=1, rate=100, patience_seconds=0.5)
    # Before the server's thread is there: the load processes are forked.
    with Conductor(load, parse_listener_url(server.url), None, seed=3) as conductor, server:
        conductor.wait_until_entered()
        conductor.tell("talk")
        end = time.monotonic() + seconds
        while time.monotonic() < end and not is_enough():
            conductor.listen(0.1)
        conductor.tell("stop")
        for _ in range(600):
            conductor.listen(0.1)
            if conductor.has_outcome():
                break
        assert conductor.has_outcome()
        conductor.tell("leave")
        return conductor.ledger


def test_a_server_that_keeps_its_word() -> None:
    ledger = put_load_on(ChatServer(), 0.5)
    assert faults(ledger, 0) == [] and ledger.tcp.delivered > 50


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_is_found_out(lie: str) -> None:
    change, column = LIES[lie]
    server = ChatServer()
    server.stage = stage = LyingStage(change, b"lorem", "00001", 10)
    ledger = put_load_on(server, DEADLINE_SECONDS, lambda: stage.told)
    assert stage.told
    assert getattr(ledger.tcp, column) == 1, ledger.examples
    assert any("00001 in r" in example for example in ledger.examples)
    assert faults(ledger, 100)


def test_a_server_that_turns_people_away_is_quoted() -> None:
    with pytest.raises(LoadError, match="come back later"):
        put_load_on(ChatServer(turn_away=b"* full, \x1b[31mcome back later\n"), 1)
