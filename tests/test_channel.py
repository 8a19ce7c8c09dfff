"""Channels over real Pipes: messages and descriptors in order, nothing blocks, every overflow has its outcome."""

from __future__ import annotations

import os
import select

import pytest

from broker.channel import Channel, ChannelClosed, ChannelOverflow, DescriptorChannel, pipe_pair
from broker.child import CONTEXT
from broker.errors import LocalProtocolError


def channels(kind: type[Channel] = Channel, limit: int = 1 << 20) -> tuple[Channel, Channel]:
    left, right = pipe_pair(CONTEXT)
    return kind(left, limit), kind(right, limit)


def receive_all(channel: Channel, count: int) -> list[object]:
    messages: list[object] = []
    while len(messages) < count:
        assert select.select([channel], [], [], 5)[0], "no message within 5 s"
        messages += channel.receive()
    return messages


def test_messages_arrive_in_order_both_ways() -> None:
    left, right = channels()
    for number in range(100):
        left.send((number, b"x" * number))
        right.send(("back", number))
    assert receive_all(right, 100) == [(number, b"x" * number) for number in range(100)]
    assert receive_all(left, 100) == [("back", number) for number in range(100)]
    assert left.receive() == []
    left.close()
    right.close()


def test_two_peers_that_only_send_do_not_deadlock() -> None:
    left, right = channels(limit=64 << 20)
    block = b"x" * 100_000
    for _ in range(50):
        left.send(block)
        right.send(block)
    assert left.wants_write
    assert right.wants_write
    arrived = 0
    while arrived < 50:
        left.flush()
        arrived += len(right.receive())
    assert not left.wants_write
    left.close()
    right.close()


def test_a_full_outbox_is_an_error_and_closes_what_was_to_be_sent() -> None:
    left, right = channels(DescriptorChannel, limit=300_000)
    reader, writer = os.pipe()
    with pytest.raises(ChannelOverflow):
        for _ in range(100):
            left.send(b"x" * 100_000, [os.dup(writer)])
    left.close()
    right.close()
    os.close(writer)
    # Every duplicate of the writing end was closed, in the outbox or in flight.
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_descriptors_come_with_their_messages() -> None:
    left, right = channels(DescriptorChannel)
    pipes = [os.pipe() for _ in range(40)]
    for number, (reader, _) in enumerate(pipes):
        left.send(("plain", number))
        left.send(("with", number), [os.dup(reader)])
    for message in receive_all(right, 80):
        assert isinstance(message, tuple)
        kind, number = message
        if kind == "with":
            received = right.take_descriptor()
            os.write(pipes[number][1], b"%d" % number)
            assert os.read(received, 10) == b"%d" % number
            os.close(received)
    for pipe in pipes:
        for fd in pipe:
            os.close(fd)
    left.close()
    right.close()


def test_a_broken_channel_stays_broken_and_closes_what_is_to_be_sent() -> None:
    left, right = channels(DescriptorChannel)
    right.close()
    reader, writer = os.pipe()
    for _ in range(3):  # the second time nothing is tried any more
        with pytest.raises(ChannelClosed):
            left.send("x", [os.dup(writer)])
    assert left.broken
    os.close(writer)
    left.close()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_message_without_its_descriptor_is_a_broken_rule() -> None:
    left, right = channels(DescriptorChannel)
    left.send("no descriptor")
    assert receive_all(right, 1) == ["no descriptor"]
    with pytest.raises(LocalProtocolError):
        right.take_descriptor()
    left.close()
    right.close()


def test_what_was_said_before_the_end_is_heard() -> None:
    left, right = channels()
    left.send("last words")
    left.close()
    assert right.receive() == ["last words"]
    with pytest.raises(ChannelClosed):
        right.receive()
    with pytest.raises(ChannelClosed):
        right.send("too late")
    right.close()
