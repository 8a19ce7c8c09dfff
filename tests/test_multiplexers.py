"""select, poll and epoll behind one interface, and the loop on each of them."""

from __future__ import annotations

import os
import select

import pytest

from broker.loop import READ, WRITE, Loop
from monitor.experiments.multiplexers import MULTIPLEXERS, why_not

EACH = pytest.mark.parametrize("name", MULTIPLEXERS)


@EACH
def test_readiness(name: str) -> None:
    multiplexer = MULTIPLEXERS[name]()
    reader, writer = os.pipe()
    try:
        multiplexer.register(reader, READ)
        assert multiplexer.poll(0) == []
        assert multiplexer.poll(0.001) == []
        multiplexer.register(writer, WRITE)
        assert multiplexer.poll(-1) == [(writer, WRITE)]
        multiplexer.modify(writer, READ)
        assert multiplexer.poll(0) == []
        os.write(writer, b"x")
        assert multiplexer.poll(1) == [(reader, READ)]
        multiplexer.unregister(reader)
        assert multiplexer.poll(0) == []
    finally:
        os.close(reader)
        os.close(writer)


@EACH
def test_the_loop_runs_on_it(name: str) -> None:
    loop, heard = Loop(MULTIPLEXERS[name]()), []
    reader, writer = os.pipe()

    def hear(events: int) -> None:
        assert events & READ
        heard.append(os.read(reader, 10))
        if len(heard) == 2:
            loop.unregister(reader)
            loop.call_later(0, loop.stop)
        else:
            os.write(writer, b"two")

    loop.register(reader, READ, hear)
    loop.call_later(0.001, lambda: os.write(writer, b"one"))
    loop.run()
    assert heard == [b"one", b"two"]
    os.close(reader)
    os.close(writer)


def test_the_loop_waits_with_epoll_unless_told_otherwise() -> None:
    loop = Loop()
    assert isinstance(loop._epoll, select.epoll)


@pytest.mark.parametrize(
    ("name", "fd", "refused"),
    [("select", 1023, False), ("select", 1024, True), ("poll", 1024, False), ("epoll", 1024, False)],
)
def test_which_descriptors_they_take(name: str, fd: int, refused: bool) -> None:
    reason = why_not(name, fd)
    assert (reason is not None) is refused
    if refused:
        assert "out of range" in str(reason)


def test_a_descriptor_beyond_the_limit() -> None:
    assert "cannot be had" in str(why_not("epoll", 1 << 30))
