"""The loop: handlers, timers, stale events."""

from __future__ import annotations

import os

from broker.loop import READ, Loop


def test_timers_run_in_order_and_once() -> None:
    loop, ran = Loop(), []
    loop.call_later(0.002, lambda: ran.append("second"))
    loop.call_later(0.001, lambda: ran.append("first"))
    cancelled = loop.call_later(0.0015, lambda: ran.append("never"))
    cancelled.cancel()
    loop.call_later(0.003, loop.stop)
    loop.run()
    assert ran == ["first", "second"]


def test_after_wake_up_runs_once_a_turn() -> None:
    loop, turns = Loop(), []
    loop.after_wake_up = lambda: turns.append(1)
    loop.call_later(0, lambda: loop.call_later(0, loop.stop))
    loop.run()
    assert len(turns) == 2


def test_a_handler_may_close_a_descriptor_whose_event_is_in_hand() -> None:
    loop, calls = Loop(), []
    pipes = [os.pipe() for _ in range(2)]
    for _, writer in pipes:
        os.write(writer, b"x")

    def handler(index: int) -> None:
        calls.append(index)
        other = pipes[1 - index][0]
        loop.unregister(other)
        loop.stop()

    for index, (reader, _) in enumerate(pipes):
        loop.register(reader, READ, lambda _events, index=index: handler(index))  # type: ignore[misc]
    loop.run()
    assert len(calls) == 1
    for pipe in pipes:
        for fd in pipe:
            os.close(fd)


def test_a_reused_number_does_not_get_the_event_of_its_predecessor() -> None:
    loop, wrong = Loop(), []
    first, second = os.pipe(), os.pipe()
    os.write(first[1], b"x")
    os.write(second[1], b"x")
    new_ends: list[int] = []

    def replace(other: tuple[int, int]) -> None:
        if new_ends:
            return
        loop.unregister(other[0])
        os.close(other[0])
        new_ends.extend(os.pipe())
        assert new_ends[0] == other[0], "the kernel gives the lowest free number"
        loop.register(new_ends[0], READ, wrong.append)
        loop.stop()

    loop.register(first[0], READ, lambda _events: replace(second))
    loop.register(second[0], READ, lambda _events: replace(first))
    loop.run()
    assert wrong == []
    for fd in {first[0], first[1], second[0], second[1], *new_ends}:
        os.close(fd)
