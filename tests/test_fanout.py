"""Merging against the definition: a session's byte stream is its operations in order."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import LocalProtocolError
from broker.fanout import Fanout
from broker.messages import ADD, ADOPT, CLOSE, DETACH, PUBLISH, REMOVE, SEND, Operation

SESSIONS, GROUPS = range(1, 6), range(1, 4)
_session, _group, _data = st.sampled_from(SESSIONS), st.sampled_from(GROUPS), st.binary(min_size=1, max_size=3)
OPERATIONS = st.lists(
    st.tuples(st.just(PUBLISH), _group, _data, st.sampled_from([0, *SESSIONS]))
    | st.tuples(st.just(SEND), _session, _data)
    | st.tuples(st.sampled_from([ADD, REMOVE]), _group, _session),
    max_size=40,
)


def legal(operations: list[Operation]) -> list[Operation]:
    """Without what the router never does: adding a member twice, removing one that is none."""
    members: dict[int, set[int]] = defaultdict(set)
    kept = []
    for operation in operations:
        if operation[0] == ADD:
            if operation[2] in members[operation[1]]:
                continue
            members[operation[1]].add(operation[2])
        elif operation[0] == REMOVE:
            if operation[2] not in members[operation[1]]:
                continue
            members[operation[1]].discard(operation[2])
        kept.append(operation)
    return kept


def one_by_one(operations: list[Operation], muted: set[int]) -> dict[int, bytes]:
    """The definition, without any merging."""
    members: dict[int, set[int]] = defaultdict(set)
    streams: dict[int, bytes] = defaultdict(bytes)
    for operation in operations:
        if operation[0] == ADD:
            members[operation[1]].add(operation[2])
        elif operation[0] == REMOVE:
            members[operation[1]].discard(operation[2])
        elif operation[0] == SEND:
            streams[operation[1]] += operation[2]
        else:
            for session in members[operation[1]] - {operation[3]} - muted:
                streams[session] += operation[2]
    return {session: stream for session, stream in streams.items() if stream}


@settings(max_examples=400)
@given(OPERATIONS, st.lists(st.integers(1, 40), min_size=1), st.sets(_session, max_size=2))
def test_any_merge_gives_every_session_its_operations_in_order(
    operations: list[Operation], cuts: list[int], muted: set[int]
) -> None:
    operations = legal(operations)
    fanout: Fanout[int] = Fanout(int)
    for session in SESSIONS:
        fanout.add_session(session, session)
    streams: dict[int, bytes] = defaultdict(bytes)
    position = turn = 0
    while position < len(operations):
        size = cuts[turn % len(cuts)]
        seen: set[int] = set()
        for targets, data, messages in fanout.merge(operations[position : position + size], muted).deliveries:
            for session in targets:
                assert session not in seen, "one send() a session and merge"
                seen.add(session)
                streams[session] += data
                assert messages == data.count(b"\n")
        position, turn = position + size, turn + 1
    assert {s: d for s, d in streams.items() if d} == one_by_one(operations, muted)


def test_members_share_one_object_and_the_sender_is_left_out() -> None:
    fanout: Fanout[int] = Fanout(int)
    for session in (1, 2, 3):
        fanout.add_session(session, session)
    fanout.merge([(ADD, 9, 1), (ADD, 9, 2), (ADD, 9, 3)])
    deliveries = fanout.merge([(PUBLISH, 9, b"a\n", 1), (PUBLISH, 9, b"b\n", 0)]).deliveries
    assert [(list(targets), data) for targets, data, _ in deliveries] == [([1], b"b\n"), ([2, 3], b"a\nb\n")]


def test_closes_are_named_and_a_removed_session_is_ignored() -> None:
    fanout: Fanout[int] = Fanout(int)
    for session in (1, 2):
        fanout.add_session(session, session)
    merged = fanout.merge([(ADD, 9, 1), (ADD, 9, 2), (SEND, 1, b"bye\n"), (CLOSE, 1)])
    assert merged.closes == [1]
    assert [(list(targets), data) for targets, data, _ in merged.deliveries] == [([1], b"bye\n")]
    fanout.remove_session(1)
    assert len(fanout) == 1
    merged = fanout.merge([(SEND, 1, b"x"), (CLOSE, 1), (PUBLISH, 9, b"y", 1)])
    assert merged.closes == []
    assert [(list(targets), data) for targets, data, _ in merged.deliveries] == [([2], b"y")]


def test_an_unknown_operation_is_a_bug() -> None:
    fanout: Fanout[int] = Fanout(int)
    fanout.add_session(1, 1)
    with pytest.raises(LocalProtocolError):
        fanout.merge([(99, 1)])


class MovingTarget:
    """What a session that comes from elsewhere is delivered to."""

    def __init__(self, session: int) -> None:
        self.session = session


@settings(max_examples=200)
@given(OPERATIONS, st.integers(0, 40), st.lists(st.integers(1, 40), min_size=1))
def test_an_adopted_session_gets_what_is_ordered_from_its_adoption_on(
    operations: list[Operation], place: int, cuts: list[int]
) -> None:
    """Whether its target is there is the caller's affair: nothing of it is lost, and the others do not notice."""
    moved = SESSIONS[0]
    later = legal(operations[place:])
    before = [operation for operation in legal(operations[:place]) if moved not in operation[1:]]
    before = [operation for operation in before if operation[0] == PUBLISH]
    fanout: Fanout[MovingTarget] = Fanout(MovingTarget)
    for session in SESSIONS[1:]:
        fanout.add_session(session, MovingTarget(session))
    sequence = [*before, (ADOPT, moved), (ADOPT, moved), *later, (CLOSE, moved)]
    streams: dict[int, bytes] = defaultdict(bytes)
    closes: list[int] = []
    position = turn = 0
    while position < len(sequence):
        merged = fanout.merge(sequence[position : position + cuts[turn % len(cuts)]])
        for targets, data, _ in merged.deliveries:
            for target in targets:
                streams[target.session] += data
        closes += merged.closes
        position, turn = position + cuts[turn % len(cuts)], turn + 1
    assert {s: d for s, d in streams.items() if d} == one_by_one(later, set())
    assert closes == [moved], "closed once, and adopted once"


def test_a_detached_session_is_named_and_gets_what_came_before() -> None:
    fanout: Fanout[int] = Fanout(int)
    for session in (1, 2):
        fanout.add_session(session, session)
    merged = fanout.merge([(ADD, 9, 1), (ADD, 9, 2), (PUBLISH, 9, b"a\n", 0), (REMOVE, 9, 1), (DETACH, 1, 7),
                           (PUBLISH, 9, b"b\n", 0)])  # fmt: skip
    assert merged.detached == [(1, 7)]
    assert {s: data for targets, data, _ in merged.deliveries for s in targets} == {1: b"a\n", 2: b"a\nb\n"}
    assert fanout.has(1), "it is here until its socket is given away"
    fanout.remove_session(1)
    assert fanout.merge([(DETACH, 1, 7)]).detached == []
