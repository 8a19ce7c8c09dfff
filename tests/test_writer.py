"""Who is too slow, and who is not: the output half of a worker with a clock of its own, and real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from broker.custody import Held
from broker.ledger import Ledger
from broker.messages import ADD, PUBLISH, SEND, EndCause, Operation
from broker.settings import resolve
from workers.session import Session
from workers.writer import HELD_LIMIT_BYTES, Writer

MiB = 1024 * 1024
ROOM = 7
LINE = b"x" * 1023 + b"\n"


class Stage:
    """A writer, its clock, and sessions in one room whose clients read when they are told to."""

    def __init__(self, workers: int = 2) -> None:
        self.now = 1000.0
        self.ended: list[int] = []
        self.batch = 0
        self.ledger = Ledger(8)
        settings = replace(resolve({}, {"HOME": "/"}).settings, workers=workers)
        self.writer = Writer(
            settings, self.ledger, lambda number: Session(number, self.ledger), self._end, lambda session: None,
            lambda level, text: None, lambda: self.now,
        )  # fmt: skip
        self.sockets: dict[int, socket.socket] = {}
        self.sessions: dict[int, Session] = {}

    def _end(self, session: Session, cause: EndCause) -> None:
        assert cause == "slow"
        self.ended.append(session.number)

    def enter(self, *numbers: int) -> None:
        for number in numbers:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            session = self.sessions[number] = Session(number, self.ledger)
            session.take(Held(number, number, ours.fileno(), 0, "somebody", "::1", False), ours)
            self.sockets[number] = theirs
            self.writer.fanout.add_session(number, session)
            self.deliver((ADD, ROOM, number))

    def deliver(self, *operations: Operation, size: int = 0) -> None:
        self.batch += 1
        self.writer.deliver(operations, self.batch, size)

    def publish(self, size: int) -> None:
        """So many bytes for everybody, as one batch."""
        self.deliver((PUBLISH, ROOM, LINE * (size // len(LINE)), 0), size=size)

    def read(self, number: int) -> None:
        """All that there is for it, as its worker writes it."""
        session = self.sessions[number]
        while True:
            try:
                while self.sockets[number].recv(MiB):
                    pass
            except BlockingIOError:
                if not session.pending:
                    return
                self.writer.flush(session)

    def wait(self, seconds: int, *readers: int) -> None:
        """A second after another, as the worker looks at those who are behind."""
        for _ in range(seconds):
            self.now += 1.0
            for number in readers:
                self.read(number)
            self.writer.check_behind()

    def close(self) -> None:
        for sock in (*self.sockets.values(), *(each.socket for each in self.sessions.values() if each.socket)):
            sock.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def test_much_at_once_is_no_reason_but_not_reading_it_for_five_seconds_is(stage: Stage) -> None:
    stage.enter(1, 2)
    stage.publish(5 * MiB)
    assert {*stage.writer.behind} == {1, 2}
    stage.wait(4, 1)
    assert stage.ended == [] and {*stage.writer.behind} == {2}
    stage.wait(1)
    assert stage.ended == [2]


def test_little_may_wait_for_half_a_minute(stage: Stage) -> None:
    stage.enter(1)
    stage.publish(MiB)
    assert 0 < stage.sessions[1].pending_bytes <= MiB
    stage.wait(30)
    assert stage.ended == []
    stage.wait(1)
    assert stage.ended == [1]


def test_the_seconds_count_from_the_oldest_byte_that_waits(stage: Stage) -> None:
    stage.enter(1)
    for _ in range(10):
        stage.publish(2 * MiB)
        stage.wait(2, 1)
    assert stage.ended == []


@pytest.mark.parametrize("size", [MiB, 5 * MiB])
def test_time_in_which_the_worker_stood_still_does_not_count(stage: Stage, size: int) -> None:
    stage.enter(1, 2)
    stage.publish(size)
    stage.wait(1)
    stage.now += 100.0  # stopped
    stage.publish(size)
    assert stage.ended == []
    stage.wait(3, 1)
    assert stage.ended == []
    stage.wait(31, 1)
    assert stage.ended == [2], "the time in which it works does"


def test_time_in_which_nobody_was_behind_is_no_stall(stage: Stage) -> None:
    stage.enter(1)
    stage.publish(MiB)
    stage.read(1)
    stage.now += 100.0
    stage.publish(2 * MiB)
    stage.wait(5)
    assert stage.ended == [1]


def test_what_is_kept_for_their_sake_is_bounded_whatever_the_seconds_are(stage: Stage) -> None:
    stage.enter(1, 2)
    stage.publish(HELD_LIMIT_BYTES)
    stage.publish(MiB)
    assert stage.ended == [], "they have had no time at all"
    stage.wait(1, 2)
    assert stage.ended == [1]
    assert stage.writer.acknowledged() == stage.batch
    stage.publish(2 * HELD_LIMIT_BYTES + MiB)
    assert stage.ended == [1, 2], "no time can be given for so much"


def test_all_workers_together_have_no_more_kept_than_the_router_can_bear() -> None:
    stage = Stage(workers=16)
    try:
        stage.enter(1)
        stage.publish(5 * MiB)
        stage.wait(1)
        assert stage.ended == [1]
    finally:
        stage.close()


def test_bytes_that_many_sessions_do_not_share_are_bounded_together(stage: Stage) -> None:
    stage.enter(1, 2, 3)
    for _ in range(5):
        for number in (1, 2, 3):
            stage.deliver((SEND, number, LINE * (3 * MiB // len(LINE))))
    assert stage.ended
    assert sum(session.pending_bytes for session in stage.sessions.values()) <= HELD_LIMIT_BYTES


def test_those_who_have_read_what_was_theirs_alone_make_room_for_others(stage: Stage) -> None:
    stage.enter(1, 2, 3)
    for _ in range(20):
        for number in (1, 2, 3):
            stage.deliver((SEND, number, LINE * (3 * MiB // len(LINE))))
            stage.read(number)
    assert stage.ended == []
