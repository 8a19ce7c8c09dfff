"""The router's state: its inputs replayed make the same batches; what is kept, what waits, and who is where."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import defaultdict, namedtuple
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import router_state
from broker.chat import ChatConfig
from broker.framing import HEADER_BYTES, decode, encode
from broker.messages import (
    ADD,
    ADOPT,
    ARRIVED,
    ATTACHED,
    CLOSE,
    DETACH,
    ENDED,
    KICK,
    KICKED,
    LINES,
    MOVE,
    OVERLONG,
    REMOVE,
    SHUTDOWN,
    Event,
)
from broker.occasions import Source, Stamp
from broker.rooms import ListedMask, Topic
from broker.router_state import BEGIN, FRAME, GO_ON, RENUMBER, TICK, Outcome, RouterState, load
from broker.sessions import WireFormat

ROOT = Path(__file__).parent.parent
CONFIG = ChatConfig(listener_protocols=("chat", "irc"), max_line_bytes=64, name_timeout_seconds=30.0)
WORKERS = 3
RUN = b"the run!"
WORDS = [
    "/join tea", "/join lobby", "/part", "/who", "/rooms", "/lang en", "/lang zh", "/msg n1 psst", "/me waves", "/help",
    "/nick n2", "/quit", "hi", "x" * 70,
]  # fmt: skip
IRC_WORDS = ["JOIN #tea", "PART #tea", "PRIVMSG #lobby :hi", "NAMES #tea", "WHO #lobby", "LIST", "NICK n3", "PING :x"]

Record = tuple[float, list[tuple[Any, ...]]]

REPLAY = """
import pickle, sys
from tests.test_router_state import CONFIG, decoded, small_batches
from broker.router_state import RouterState, load
small_batches()
snapshot, records = pickle.load(sys.stdin.buffer)
state = RouterState(CONFIG) if snapshot is None else load(snapshot, CONFIG)
sys.stdout.buffer.write(repr([decoded(state.apply(*record)) for record in records]).encode())
"""


def small_batches() -> None:
    """So that a short run cuts batches and tries somebody's patience."""
    router_state.BATCH_BYTES, router_state.PATIENCE_BYTES = 500, 1000  # type: ignore[misc]


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_state, "BATCH_BYTES", 500)
    monkeypatch.setattr(router_state, "PATIENCE_BYTES", 1000)


def frame_of(number: int, acknowledged: int, *events: Any) -> bytes:
    """The body of a worker's frame."""
    return encode((number, acknowledged, list(events)))[HEADER_BYTES:]


def batch_in(frame: bytes) -> tuple[int, int, list[Any]]:
    """Number, acknowledged frame and operations."""
    batch: tuple[int, int, list[Any]] = decode(frame[HEADER_BYTES:])
    return batch


def decoded(outcome: Outcome) -> Any:
    """An outcome by value: the bytes of a marshalled frame tell of reference counts as well."""
    frames = [(worker, batch_in(frame)) for worker, frame in outcome.frames]
    return frames, outcome.replies, outcome.requests, outcome.broken, outcome.bugs


class Recording:
    """A random run of a router, as its journal has it, with workers who answer, acknowledge and lag."""

    def __init__(self, seed: int, length: int) -> None:
        self.random = random = Random(seed)
        self.state = RouterState(CONFIG)
        self.records: list[Record] = []
        self.outcomes: list[Any] = []
        self.snapshots: list[bytes] = []  # before each record
        self.now, self.sessions = 1000.0, 0
        self.sent: dict[int, tuple[int, int, int]] = {}  # session: worker, bytes, listener
        self.frames: defaultdict[int, int] = defaultdict(int)
        self.arriving: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        self.put((BEGIN, RUN))
        for _ in range(length):
            self.now += random.choice([0.0, 0.01, 0.5])
            self.put(*[self.input() for _ in range(random.choice([1, 1, 2, 3]))])
        self.put((SHUTDOWN,))

    def put(self, *inputs: tuple[Any, ...]) -> None:
        self.snapshots.append(self.state.dump())
        self.records.append((self.now, list(inputs)))
        outcome = self.state.apply(self.now, inputs)
        self.outcomes.append(decoded(outcome))
        for worker, frame in outcome.frames:
            for operation in batch_in(frame)[2]:
                if operation[0] == DETACH and operation[1] in self.sent:  # else it has ended where it was sent
                    self.arriving[operation[2]].append((operation[1], *self.sent.pop(operation[1])))
                elif operation[0] == CLOSE:
                    self.sent.pop(operation[1], None)
            assert worker in range(WORKERS)

    def input(self) -> tuple[Any, ...]:
        random = self.random
        chance = random.random()
        worker = random.randrange(WORKERS)
        if chance < 0.8:
            self.frames[worker] += 1
            view = self.state.view(worker)
            acknowledged = random.randint(view.acknowledged, view.batch)
            events = [self.event(worker) for _ in range(random.choice([0, 1, 2, 5]))]
            return (FRAME, worker, frame_of(self.frames[worker], acknowledged, *events), random.random() < 0.1)
        if chance < 0.88:
            return (GO_ON, worker)
        if chance < 0.91:
            return (KICK, random.randrange(100), f"n{random.randrange(6)}", random.choice(["", "spam"]))
        if chance < 0.96:
            return (MOVE, worker, {other: random.randint(1, 3) for other in range(WORKERS) if other != worker})
        return (TICK,)

    def event(self, worker: int) -> Event:
        random = self.random
        if self.arriving[worker]:
            number, source, sent, listener = self.arriving[worker][-1]
            if not self.state.view(source).waiting:  # what it has said must have been applied before it is given away
                self.arriving[worker].pop()
                self.sent[number] = (worker, sent, listener)
                return (ARRIVED, number)
        mine = [number for number, (owner, _, _) in self.sent.items() if owner == worker]
        if not mine or random.random() < 0.1:
            self.sessions += 1
            listener = random.choice([0, 0, 1])
            self.sent[self.sessions] = (worker, 0, listener)
            return (ATTACHED, self.sessions, listener, "127.0.0.1:1")
        number = random.choice(mine)
        _, sent, listener = self.sent[number]
        if random.random() < 0.04:
            return (ENDED, number, random.choice(["eof", "reset", "slow"]))
        if random.random() < 0.05:
            self.sent[number] = (worker, sent + 70, listener)
            return (OVERLONG, number, sent, 70)
        first = [f"n{random.randrange(6)}"] if listener == 0 else [f"NICK n{random.randrange(6)}", "USER u 0 * :u"]
        words = first if not sent else random.choices(IRC_WORDS if listener else WORDS, k=random.choice([1, 2, 4]))
        data = "".join(f"{word}\n" for word in words).encode()
        again = random.choice([0, 0, 0, sent])  # a replacement forwards what its predecessor has forwarded
        self.sent[number] = (worker, max(sent, sent - again + len(data)), listener)
        return (LINES, number, sent - again, data)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    before = router_state.BATCH_BYTES, router_state.PATIENCE_BYTES
    small_batches()
    try:
        return [Recording(seed, 500) for seed in (1, 2)]
    finally:
        router_state.BATCH_BYTES, router_state.PATIENCE_BYTES = before  # type: ignore[misc]


@pytest.mark.parametrize(("start", "hash_seed"), [(0, "0"), (133, "4711"), (349, "1")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_replay_in_another_process_makes_the_same_batches(
    recordings: list[Recording], which: int, start: int, hash_seed: str
) -> None:
    run = recordings[which]
    replayed = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input=pickle.dumps((run.snapshots[start] if start else None, run.records[start:])),
        stdout=subprocess.PIPE, timeout=100, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
    ).stdout  # fmt: skip
    assert replayed == repr(run.outcomes[start:]).encode()


@pytest.mark.usefixtures("_small")
def test_a_snapshot_taken_anywhere_goes_on_with_the_same_batches(recordings: list[Recording]) -> None:
    for run in recordings:
        state = RouterState(CONFIG)
        for number, record in enumerate(run.records):
            if number % 7 == 0:
                state = load(state.dump(), CONFIG)
            assert decoded(state.apply(*record)) == run.outcomes[number], number


def test_the_runs_are_worth_replaying(recordings: list[Recording]) -> None:
    for run in recordings:
        operations = [operation for outcome in run.outcomes for _, batch in outcome[0] for operation in batch[2]]
        assert {operation[0] for operation in operations} >= {ADD, REMOVE, CLOSE, ADOPT, DETACH}
        assert len(operations) > 1000
        assert not any(outcome[4] for outcome in run.outcomes), "no bugs"
        assert not any(outcome[3] for outcome in run.outcomes), "nobody broke a rule"
        assert any(load(dump, CONFIG).view(0).waiting for dump in run.snapshots), "somebody had to wait"


def test_batches_are_numbered_without_a_gap_and_kept_until_they_are_acknowledged(recordings: list[Recording]) -> None:
    for run in recordings:
        made: dict[int, list[int]] = defaultdict(list)
        for outcome in run.outcomes:
            for worker, batch in outcome[0]:
                made[worker].append(batch[0])
        for worker, view in run.state.views.items():
            assert made[worker] == list(range(1, view.batch + 1))
            assert [number for number, _ in view.retained] == list(range(view.acknowledged + 1, view.batch + 1))
            assert view.retained_bytes == sum(len(frame) for _, frame in view.retained)


@pytest.mark.usefixtures("_small")
def test_what_a_replacement_is_told_and_sent_gives_it_the_groups_that_there_are(recordings: list[Recording]) -> None:
    for run in recordings:
        for dump in run.snapshots[::9]:
            state = load(dump, CONFIG)
            for worker in list(state.views):
                acknowledged, last, groups, known = state.resume(worker)
                members = {group: set(sessions) for group, sessions in groups.items()}
                batches = [batch_in(frame) for _, frame in state.view(worker).retained]
                assert [batch[0] for batch in batches] == list(range(acknowledged + 1, last + 1))
                for operation in (operation for batch in batches for operation in batch[2]):
                    if operation[0] == ADD:
                        members.setdefault(operation[1], set()).add(operation[2])
                    elif operation[0] == REMOVE:
                        members[operation[1]].remove(operation[2])
                now: dict[int, set[int]] = defaultdict(set)
                for group, session in state.chat.memberships(worker):
                    now[group].add(session)
                assert {group: sessions for group, sessions in members.items() if sessions} == now
                assert known.keys() >= {session.number for session in state.chat.sessions_of(worker)}


# What waits, and what is acknowledged when.


def state_with(*events: Any) -> RouterState:
    state = RouterState(CONFIG)
    state.apply(1.0, [(BEGIN, RUN), (FRAME, 0, frame_of(1, 0, *events), False)])
    return state


def test_a_held_frame_waits_for_its_go_on_and_is_acknowledged_then() -> None:
    state = state_with((ATTACHED, 1, 0, "p"), (LINES, 1, 0, b"ann\n"))
    assert state.apply(2.0, [(FRAME, 0, frame_of(2, 0, (LINES, 1, 4, b"/who\n")), True)]).frames == []
    assert state.apply(3.0, [(FRAME, 0, frame_of(3, 0), True)]).frames == []
    ((worker, frame),) = state.apply(4.0, [(GO_ON, 0)]).frames
    assert (worker, batch_in(frame)[1]) == (0, 3)
    assert not state.view(0).waiting


@pytest.mark.usefixtures("_small")
def test_the_last_event_of_a_frame_is_acknowledged_when_it_fills_a_batch() -> None:
    state = state_with((ATTACHED, 1, 0, "p"), (LINES, 1, 0, b"ann\n"))
    frames = state.apply(2.0, [(FRAME, 0, frame_of(2, 0, (LINES, 1, 4, b"/help\n")), False)]).frames
    assert len(frames) > 1, "it has to fill one"
    assert batch_in(frames[-1][1])[1] == 2


@pytest.mark.usefixtures("_small")
def test_patience_ends_and_nothing_is_lost_or_applied_twice() -> None:
    state = state_with((ATTACHED, 1, 0, "p"), (LINES, 1, 0, b"ann\n"))
    before, sent = state.chat.messages_in, 4
    events = []
    for _ in range(10):
        events.append((LINES, 1, sent, b"/help\n"))
        sent += 6
    rounds, frames = 1, state.apply(2.0, [(FRAME, 0, frame_of(2, 0, *events), False)]).frames
    while state.view(0).waiting:
        assert sum(len(frame) for _, frame in frames) < 1000 + 2 * 4096
        rounds, frames = rounds + 1, state.apply(2.0, [(GO_ON, 0)]).frames
    assert rounds > 2
    assert state.chat.messages_in == before + 10
    assert batch_in(frames[-1][1])[1] == 2


def test_a_replacement_need_not_attach_a_session_whose_attachment_waits() -> None:
    state = state_with((ATTACHED, 1, 0, "p"))
    state.apply(2.0, [(FRAME, 0, frame_of(2, 0, (ATTACHED, 2, 0, "p")), True)])
    assert state.resume(0)[3] == {1: (False, 0), 2: (False, 0)}


# What the supervisor asks again.


def test_a_kick_is_carried_out_once_however_often_it_is_asked_for() -> None:
    state = state_with((ATTACHED, 1, 0, "p"), (LINES, 1, 0, b"Ann\n"))
    assert state.apply(2.0, [(KICK, 7, "ann", "")]).replies == [(KICKED, 7, "Ann")]
    state.apply(3.0, [(FRAME, 0, frame_of(2, 0, (ATTACHED, 2, 0, "p"), (LINES, 2, 0, b"ann\n")), False)])
    again = load(state.dump(), CONFIG).apply(4.0, [(KICK, 7, "ann", "")])
    assert again.replies == [(KICKED, 7, "Ann")] and not again.frames, "the one who has the name now stays"
    for number in range(8, 8 + 2000):
        state.apply(5.0, [(KICK, number, "nobody", "")])
    assert len(state.kicked) == 1000


# Code of another day.


@pytest.mark.parametrize("kind", [Source, Stamp, ListedMask, Topic, WireFormat])
def test_a_tuple_of_the_state_may_get_one_more_field_with_a_default(
    monkeypatch: pytest.MonkeyPatch, kind: type[NamedTuple]
) -> None:
    old = tuple(range(len(kind._fields)))
    data = pickle.dumps(kind(*old), pickle.HIGHEST_PROTOCOL)
    longer = namedtuple(kind.__name__, [*kind._fields, "more"], defaults=["of today"])  # type: ignore[misc]
    monkeypatch.setattr(sys.modules[kind.__module__], kind.__name__, longer)
    loaded = pickle.loads(data)
    assert type(loaded) is longer and loaded == (*old, "of today")


# Code that was taken back.


def test_numbers_go_on_behind_batches_that_only_other_code_has_made() -> None:
    state = state_with((ATTACHED, 1, 0, "p"))
    assert state.view(0).batch == 1
    outcome = state.apply(2.0, [(FRAME, 0, frame_of(2, 3, (LINES, 1, 0, b"ann\n")), False)])
    assert not outcome.broken
    assert [batch_in(frame)[0] for _, frame in outcome.frames] == [4]
    assert [number for number, _ in state.view(0).retained] == [4]
    outcome = state.apply(3.0, [(RENUMBER, 0, 7)])
    assert [batch_in(frame)[:2] for _, frame in outcome.frames] == [(8, 2)], "the frame's acknowledgement may be lost"
    outcome = state.apply(4.0, [(FRAME, 0, frame_of(3, 8, (LINES, 1, 4, b"/help\n")), False)])
    assert [batch_in(frame)[0] for _, frame in outcome.frames] == [9]
    state.apply(5.0, [(RENUMBER, 0, 5)])
    assert state.view(0).batch == 10, "they never go back"


def test_people_are_counted_who_came_before_there_was_a_count() -> None:
    state = state_with((ATTACHED, 1, 0, "p"), (LINES, 1, 0, b"ann\n"))
    session = state.chat.find_person("ann")
    assert session is not None
    session.modes, session.operator = "io", "root"
    del state.chat.invisible, state.chat.operators
    chat = load(state.dump(), ChatConfig()).chat
    assert (list(chat.invisible), list(chat.operators)) == ([1], [1])


# Moves.


def test_a_session_is_moved_again_only_when_the_last_move_is_over() -> None:
    state = state_with((ATTACHED, 1, 0, "p"), (LINES, 1, 0, b"ann\n"))
    frames = dict(state.apply(2.0, [(MOVE, 0, {1: 1})]).frames)
    assert (DETACH, 1, 1) in batch_in(frames[0])[2]
    assert batch_in(frames[1])[2][0] == (ADOPT, 1)
    assert state.view(0).gives_away
    assert state.apply(3.0, [(MOVE, 1, {2: 1})]).frames == [], "it has not arrived"
    state.apply(4.0, [(FRAME, 1, frame_of(1, 1, (ARRIVED, 1)), False)])
    assert state.apply(5.0, [(MOVE, 1, {0: 1})]).frames == [], "worker 0 has not acknowledged that it gave it away"
    state.apply(6.0, [(FRAME, 0, frame_of(2, state.view(0).batch), False)])
    assert not state.view(0).gives_away
    assert dict(state.apply(7.0, [(MOVE, 1, {0: 1})]).frames).keys() == {0, 1}


def test_an_arrival_that_is_told_twice_does_not_count_for_the_next_move() -> None:
    state = state_with((ATTACHED, 1, 0, "p"))
    state.apply(2.0, [(MOVE, 0, {1: 1})])
    state.apply(3.0, [(FRAME, 1, frame_of(1, 0, (ARRIVED, 1)), False)])
    state.apply(4.0, [(MOVE, 1, {2: 1})])
    state.apply(5.0, [(FRAME, 1, frame_of(2, 0, (ARRIVED, 1)), False)])
    assert state.resume(2)[3] == {1: (True, 0)}


# Nothing raises.


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\x00", encode(5)[HEADER_BYTES:], encode((1, 2))[HEADER_BYTES:], frame_of(3, 0), frame_of(1, 0),
        encode((2, 0, 5))[HEADER_BYTES:], encode((2, "x", []))[HEADER_BYTES:],
    ],
)  # fmt: skip
def test_a_frame_that_breaks_the_rules_is_told_and_changes_nothing(body: bytes) -> None:
    state = state_with((ATTACHED, 1, 0, "p"))
    outcome = state.apply(2.0, [(FRAME, 0, body, False)])
    assert 0 in outcome.broken and not outcome.frames
    assert (state.view(0).received, state.view(0).acknowledged) == (1, 0)
    assert not state.apply(3.0, [(FRAME, 0, frame_of(2, 1), False)]).broken, "the next one counts as if it had not been"


@settings(max_examples=100)
@given(st.lists(st.recursive(st.integers(0, 20) | st.binary(max_size=5) | st.none(), lambda inner: st.tuples(inner) |
                             st.tuples(inner, inner) | st.tuples(st.integers(1, 5), inner, inner, inner)),
                min_size=1, max_size=5))  # fmt: skip
def test_no_event_raises_and_the_others_are_heard(events: list[Any]) -> None:
    state = state_with((ATTACHED, 1, 0, "p"))
    outcome = state.apply(2.0, [(FRAME, 0, frame_of(2, 0, *events), False), (99,), (KICK,), (MOVE, 0, 5)])
    assert outcome.broken or outcome.bugs
    assert not state.view(0).waiting
    state.apply(3.0, [(FRAME, 1, frame_of(1, 0, (ATTACHED, 1000, 0, "p"), (LINES, 1000, 0, b"bob\n")), False)])
    assert state.chat.find_person("bob") is not None
