"""What a replacement has still to send, and who was in which group, against what happened one operation at a time."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LocalProtocolError
from broker.messages import ADD, CLOSE, PUBLISH, REMOVE, SEND, Operation
from broker.replay import boundaries, rewound, to_send
from broker.stream_position import DUE_MODULUS

CHANGES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), max_size=40)


def members_after(changes: list[tuple[int, int]]) -> tuple[dict[int, set[int]], list[Operation]]:
    """Each (group, session) is added if it is not there, and removed if it is; other operations are in between."""
    members: dict[int, set[int]] = defaultdict(set)
    operations: list[Operation] = []
    for group, session in changes:
        code = REMOVE if session in members[group] else ADD
        (members[group].discard if code == REMOVE else members[group].add)(session)
        operations += [(code, group, session), (PUBLISH, group, b"x\n", session), (SEND, session, b"y\n")]
    return {group: sessions for group, sessions in members.items() if sessions}, [*operations, (CLOSE, 9)]


@given(CHANGES, st.integers(0, 40))
def test_rewound_groups_are_those_before_the_operations(changes: list[tuple[int, int]], cut: int) -> None:
    before, _ = members_after(changes[:cut])
    after, operations = members_after(changes)
    later = operations[3 * len(changes[:cut]) :]
    found = rewound({group: sorted(sessions) for group, sessions in after.items()}, later)
    assert {group: set(sessions) for group, sessions in found.items()} == before
    assert all(len(set(sessions)) == len(sessions) for sessions in found.values())


@given(st.lists(st.integers(-5, 60), max_size=20), st.integers(0, 40), st.integers(1, 20))
def test_boundaries_cut_wherever_a_counted_part_ends(counted: list[int], acknowledged: int, more: int) -> None:
    last = acknowledged + more
    found = boundaries(counted, acknowledged, last)
    assert found[-1] == last
    assert all(one < other for one, other in pairwise(found))
    assert set(found) - {last} == {number for number in counted if acknowledged < number < last}


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=12), st.data())
def test_what_is_to_be_sent_completes_the_stream_exactly(batches: list[bytes], data: st.DataObject) -> None:
    """Whatever was acknowledged, counted and written when the predecessor died, the client gets each byte once."""
    stream = b"".join(batches)
    start = data.draw(st.sampled_from([0, DUE_MODULUS - 5, 3 * DUE_MODULUS - 1]), "bytes before the first of these")
    counted_up_to = data.draw(st.integers(0, len(batches)), "batches that the word counts")
    due = len(b"".join(batches[:counted_up_to]))
    written = data.draw(st.integers(0, due), "bytes of these in the kernel")
    whole = [n for n in range(len(batches) + 1) if len(b"".join(batches[:n])) <= written and n <= counted_up_to]
    acknowledged = data.draw(st.sampled_from(whole), "batches that were acknowledged")
    counted = b"".join(batches[acknowledged:counted_up_to])
    fresh = b"".join(batches[counted_up_to:])
    rest = to_send(counted, fresh, (start + due) % DUE_MODULUS, start + written)
    assert stream[:written] + rest == stream


@pytest.mark.parametrize(("due", "written"), [(10, 3), (10, 11)])
def test_what_cannot_have_happened_is_not_sent(due: int, written: int) -> None:
    """The kernel lacks more than is known, or has more than was ever due."""
    with pytest.raises(LocalProtocolError):
        to_send(b"123456", b"fresh", due, written)
