"""Words of the ledger and counters of the kernel: packing, arithmetic modulo, and what FIN and RST do to them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.stream_position import (
    BATCH_MODULUS,
    DUE_MODULUS,
    NO_BATCH,
    PROGRESS_MODULUS,
    TCP_INFO_BYTES,
    UNDER_WAY_LIMIT,
    TCPCounters,
    latest_batch,
    pack_output,
    pack_progress,
    parse_tcp_info,
    tcp_position,
    unpack_output,
    unpack_progress,
    unsent,
)

BATCHES = st.integers(0, 1 << 40) | st.integers(BATCH_MODULUS - 3, BATCH_MODULUS + 3)
DUE = st.integers(0, 1 << 50) | st.integers(DUE_MODULUS - 3, DUE_MODULUS + 3)
ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING = 1, 4, 5, 6, 7, 8, 9, 11


@given(BATCHES, DUE, st.booleans())
def test_an_output_word_is_64_bits_and_says_what_was_put_in(batch: int, due: int, muted: bool) -> None:
    word = pack_output(batch, due, muted)
    assert 0 <= word < 1 << 64
    assert unpack_output(word) == (batch % BATCH_MODULUS, due % DUE_MODULUS, muted)


@given(DUE, st.booleans())
def test_a_word_of_no_batch_is_never_one_of_a_batch(due: int, muted: bool) -> None:
    assert unpack_output(pack_output(NO_BATCH, due, muted)) == (NO_BATCH, due % DUE_MODULUS, muted)
    assert unpack_output(0) == (NO_BATCH, 0, False), "the word of a new session"


@given(BATCHES, BATCHES)
def test_batch_and_due_can_be_stored_apart(batch: int, due: int) -> None:
    """The writer packs the batch once for all sessions, and adds each one's bytes."""
    assert pack_output(batch, 0) | due % DUE_MODULUS == pack_output(batch, due)


@given(BATCHES, st.integers(0, BATCH_MODULUS - 1))
def test_the_latest_batch_is_found_again_as_long_as_it_is_not_older_than_the_modulus(last: int, age: int) -> None:
    batch = last - age
    if batch >= 0:
        assert latest_batch(unpack_output(pack_output(batch, 0)).batch, last) == batch


@given(st.integers(0, BATCH_MODULUS - 1), st.integers(0, 1 << 40))
def test_the_latest_batch_is_the_largest_one_up_to_the_last(low_bits: int, last: int) -> None:
    found = latest_batch(low_bits, last)
    assert found % BATCH_MODULUS == low_bits
    assert found <= last < found + BATCH_MODULUS


@given(DUE, st.integers(0, DUE_MODULUS - 1))
def test_unsent_is_the_difference_whatever_is_wrapped(due: int, missing: int) -> None:
    written = due - missing
    assert unsent(due, written) == unsent(due % DUE_MODULUS, written) == missing


@given(st.integers(0, 1 << 45), st.integers(0, UNDER_WAY_LIMIT))
def test_a_progress_word_is_64_bits_and_says_what_was_put_in(position: int, under_way: int) -> None:
    word = pack_progress(position, under_way)
    assert 0 <= word < 1 << 64
    assert unpack_progress(word) == (position % PROGRESS_MODULUS, under_way)


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 62), st.integers(0, 11))
def test_the_counters_are_where_the_kernel_has_them(acknowledged: int, received: int, state: int) -> None:
    """linux/tcp.h: tcpi_state is the first byte, tcpi_bytes_acked and tcpi_bytes_received are at 120 and 128."""
    data = bytes([state]).ljust(120, b"\xff") + struct.pack("=QQ", acknowledged, received)
    assert len(data) == TCP_INFO_BYTES
    assert parse_tcp_info(data) == (state, acknowledged, received)
    with pytest.raises(struct.error):
        parse_tcp_info(data[:-1])


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20), st.integers(0, 1 << 40), st.integers(0, 1 << 20))
@pytest.mark.parametrize(
    ("state", "fin", "ended", "shut_down"),
    [
        (ESTABLISHED, 0, False, False),
        (CLOSE_WAIT, 1, False, False),
        (FIN_WAIT1, 0, False, True),
        (FIN_WAIT2, 0, False, True),
        (LAST_ACK, 1, False, True),
        (CLOSING, 1, False, True),
        (TIME_WAIT, 1, False, True),
        (CLOSE, 0, True, True),
    ],
)
def test_positions_are_what_a_process_has_read_and_written(
    state: int, fin: int, ended: bool, shut_down: bool, read: int, unread: int, acknowledged: int, unacknowledged: int
) -> None:
    """A FIN is counted as received, like a byte, and is in no queue."""
    counters = TCPCounters(state, acknowledged, read + unread + fin)
    position = tcp_position(counters, unread, unacknowledged)
    assert position == (read, acknowledged + unacknowledged, ended, shut_down)
