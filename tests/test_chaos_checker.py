"""The checker of `broker chaos`, without a broker: what is exact is found exact, and what is not is found out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.chaos.cast import Load
from broker.chaos.ledger import faults
from broker.messages import PUBLISH, Operation
from broker.occasions import Quit
from tests.chat_stage import Stage
from tests.rehearsal import Rehearsal

LOAD = Load(clients=24, rooms=2)
WITNESS, TALKER, SLOW = 1, 2, 4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), turns=st.integers(0, 300), unix=st.sampled_from([0.0, 0.4]))
def test_a_chat_without_faults_is_exact(seed: int, turns: int, unix: float) -> None:
    rehearsal = Rehearsal(seed, Load(clients=30, rooms=2, unix_fraction=unix))
    rehearsal.talk(turns)
    ledger = rehearsal.conclude()
    assert faults(ledger, 0) == [] and ledger.examples == []
    assert ledger.tcp.sent > 30 and ledger.tcp.expected > 100
    assert bool(ledger.unix.clients) == bool(unix)


def test_everything_that_people_do_is_in_the_mix() -> None:
    """So that the test above is about all of it."""
    rehearsal = Rehearsal(1, LOAD)
    seen = set()
    for _ in range(1500):
        rehearsal.talk(1)
        for client in rehearsal.company.talkers:
            seen |= {given.kind for given in client.person.follower.pending}
            seen |= {client.person.changing.kind} if client.person.changing else set()
    assert seen >= {"say", "act", "whisper", "rename", "variant", "join", "part", "quit", "end"}


class Once:
    """Tampers once, with the nth piece that has at least two lines said in the room."""

    def __init__(self, change: Callable[[list[bytes]], list[bytes]], after: int) -> None:
        self._change = change
        self._after = after
        self.done = False

    def __call__(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        if self.done or len(lines) < 2 or any(line.startswith((b"* ", b"\xe8\xaf\xb7", b"Please")) for line in lines):
            return data
        self._after -= 1
        if self._after >= 0:
            return data
        self.done = True
        return b"".join(self._change(lines))


TAMPERINGS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "lost": (lambda lines: lines[1:], "lost"),
    "doubled": (lambda lines: [lines[0], *lines], "doubled"),
    "doubled later": (lambda lines: [*lines, lines[0]], "doubled"),
    "swapped": (lambda lines: [lines[1], lines[0], *lines[2:]], "reordered"),
    "cut at its end": (lambda lines: [lines[0][: len(lines[0]) // 2] + b"\n", *lines[1:]], "torn"),
    "cut, and the next glued on": (lambda lines: [lines[0][: len(lines[0]) // 2], *lines[1:]], "torn"),
    "damaged": (lambda lines: [lines[0][:-3] + b"#" + lines[0][-2:], *lines[1:]], "torn"),
    "joined by a stranger": (lambda lines: [b"stranger: hello\n", *lines], "torn"),
}


@pytest.mark.parametrize("victim", [WITNESS, TALKER, SLOW], ids=["witness", "talker", "late reader"])
@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_what_is_wrong_at_one_client_is_found_and_named(tampering: str, victim: int) -> None:
    change, column = TAMPERINGS[tampering]
    tamper = Once(change, after=3)
    rehearsal = Rehearsal(7, LOAD, {victim: tamper})
    while not tamper.done:
        rehearsal.talk(20)
    rehearsal.talk(50)
    ledger = rehearsal.conclude()
    assert faults(ledger, 100)
    assert getattr(ledger.tcp, column) >= 1, ledger.examples
    assert ledger.tcp.lost + ledger.tcp.doubled + ledger.tcp.reordered + ledger.tcp.torn <= 4, "and nothing else"
    assert ledger.tcp.disconnected == 0


@settings(max_examples=40, deadline=None)
@example(seed=7955, victim=0, tampering="doubled later", after=1)  # somebody leaves who had seemed to leave before
@given(
    seed=st.integers(0, 1 << 32),
    victim=st.integers(0, LOAD.clients - 1),
    tampering=st.sampled_from(sorted(TAMPERINGS)),
    after=st.integers(0, 10),
)
def test_whoever_it_happens_to_it_is_found(seed: int, victim: int, tampering: str, after: int) -> None:
    tamper = Once(TAMPERINGS[tampering][0], after)
    rehearsal = Rehearsal(seed, LOAD, {victim: tamper})
    rehearsal.talk(150)
    ledger = rehearsal.conclude()
    assert bool(faults(ledger, 100)) == tamper.done, ledger.examples


@pytest.mark.parametrize(("tampering", "column"), [("lost", "lost"), ("doubled", "doubled")])
def test_an_answer_that_is_lost_or_doubled_is_found(tampering: str, column: str) -> None:
    done = []

    def tamper(data: bytes) -> bytes:
        if done or not data.startswith("* 你悄悄对".encode()) or data.count(b"\n") != 1:
            return data
        done.append(data)
        return b"" if tampering == "lost" else data + data

    rehearsal = Rehearsal(3, LOAD, dict.fromkeys(range(LOAD.clients), tamper))
    while not done:
        rehearsal.talk(20)
    ledger = rehearsal.conclude()
    assert getattr(ledger.tcp, column) == 1, ledger.examples
    assert faults(ledger, 100)


class OneOperation(Stage):
    """Does something else, once, instead of what the router orders for a whole group."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.done: bytes = b""
        self._waits_for = 40

    def interpret(self, worker: int, operation: Operation) -> None:
        if operation[0] == PUBLISH and b"lorem" in operation[2] and not self.done:
            self._waits_for -= 1
            if self._waits_for < 0:
                self.done = operation[2]
                for _ in range(self.times):
                    super().interpret(worker, operation)
                return
        super().interpret(worker, operation)


@pytest.mark.parametrize(("times", "column"), [(0, "lost"), (2, "doubled")])
def test_what_goes_wrong_for_a_whole_group_is_found(times: int, column: str) -> None:
    stage = OneOperation(times)
    rehearsal = Rehearsal(5, LOAD, stage=stage)
    while not stage.done:
        rehearsal.talk(20)
    rehearsal.talk(50)
    ledger = rehearsal.conclude()
    assert getattr(ledger.tcp, column) >= 2, ledger.examples
    assert faults(ledger, 100)


def test_an_input_that_is_never_applied_is_found() -> None:
    rehearsal = Rehearsal(5, LOAD)
    rehearsal.talk(30)
    talker = next(client for client in rehearsal.company.steady)
    talker.person.say(b"never sent.")  # and everybody was told to expect it
    rehearsal.talk(30)
    ledger = rehearsal.conclude()
    assert ledger.tcp.sent - ledger.tcp.applied >= 1
    assert any("not applied" in fault for fault in faults(ledger, 100))


@pytest.mark.parametrize("victim", [WITNESS, TALKER, SLOW], ids=["witness", "talker", "late reader"])
def test_who_is_cut_off_is_found_and_the_others_go_on(victim: int) -> None:
    rehearsal = Rehearsal(5, LOAD)
    rehearsal.talk(30)
    rehearsal.stage.hang_up(rehearsal.actors[victim].visitor)
    rehearsal.talk(60)
    ledger = rehearsal.conclude()
    assert ledger.tcp.disconnected == 1
    assert (ledger.tcp.doubled, ledger.tcp.reordered, ledger.tcp.torn, ledger.tcp.names_lost) == (0, 0, 0, 0)
    assert faults(ledger, 100)


def test_who_is_said_to_have_left_and_has_not_is_found() -> None:
    rehearsal = Rehearsal(5, LOAD)
    rehearsal.talk(30)
    victim, room = rehearsal.actors[WITNESS], rehearsal.actors[WITNESS].person.room
    session = rehearsal.stage.chat.find_person(victim.person.name)
    assert session is not None
    chat = rehearsal.stage.chat
    for key in session.rooms:
        chat.publish(chat._rooms[key], Quit(session.source), session.number)
    rehearsal.stage.pump()
    rehearsal.talk(30)
    ledger = rehearsal.conclude()
    assert ledger.tcp.names_lost >= 1, ledger.examples
    assert room is not None and victim.person.owner in room.missed


def test_a_name_that_is_refused_is_found() -> None:
    rehearsal = Rehearsal(5, LOAD)
    rehearsal.stage.join("zombie")
    roamer = next(client for client in rehearsal.company.talkers if not client.person.steady)
    rehearsal.actors[roamer.person.number].send(roamer.person.quit())
    rehearsal.settle()
    roamer.person.begin_again("zombie")  # whose name was not freed
    rehearsal._come(rehearsal.actors[roamer.person.number], 0)
    rehearsal.talk(10)
    assert rehearsal.conclude().tcp.names_lost == 1


@pytest.mark.parametrize("tampering", ["lost", "doubled", "swapped"])
def test_a_local_socket_may_lose_what_was_under_way_and_no_more(tampering: str) -> None:
    load = Load(clients=24, rooms=2, unix_fraction=0.3)
    tamper = Once(TAMPERINGS[tampering][0], after=3)
    rehearsal = Rehearsal(7, load, {11: tamper})
    assert rehearsal.actors[11].person.unix
    while not tamper.done:
        rehearsal.talk(20)
    rehearsal.talk(50)
    ledger = rehearsal.conclude()
    assert ledger.tcp.lost + ledger.tcp.doubled + ledger.tcp.reordered == 0
    if tampering == "lost":
        assert (ledger.unix.lost, ledger.unix.gaps, ledger.unix.most_gaps) == (1, 1, 1)
        assert faults(ledger, 1) == []
        assert any("gaps" in fault for fault in faults(ledger, 0)), "nobody was killed"
    else:
        assert getattr(ledger.unix, {"doubled": "doubled", "swapped": "reordered"}[tampering]) == 1
        assert faults(ledger, 100)
