"""Frames: whatever the cut, the same messages come out, and a wrong length is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LocalProtocolError
from broker.framing import MAX_FRAME_BYTES, FrameReader, decode, encode

MESSAGES = st.recursive(
    st.none() | st.integers() | st.binary(max_size=50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(st.lists(MESSAGES, max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_messages_survive_any_cut(messages: list[object], cuts: list[int]) -> None:
    data = b"".join(encode(message) for message in messages)
    reader = FrameReader()
    received = []
    position = turn = 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        received += reader.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert [decode(body) for body in received] == messages


def test_a_body_that_cannot_be_ours_is_refused() -> None:
    for body in (b"", b"\xff", b"s\xff\xff\xff\x7f", b"0"):
        with pytest.raises(LocalProtocolError, match="not one of ours"):
            decode(body)


def test_a_length_that_cannot_be_ours_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="announces"):
        FrameReader().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "little"))
