"""Who is read when: people who talk, newcomers, and those who are gone; with a clock and sockets of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker.ledger import Ledger
from broker.loop import READ
from broker.messages import ATTACHED, ENDED, LINES
from broker.settings import resolve
from workers.reader import (
    _IN_FLIGHT_LIMIT_BYTES,
    _LATE_EVENTS,
    _LATE_EVENTS_BESIDE_TALK,
    _LATE_SHARE,
    _TALK_SECONDS,
    Reader,
)
from workers.session import Session

HANGUP = 0x2000  # EPOLLRDHUP


class Desk:
    """A reader, its sessions, and a router that acknowledges when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.frame = 0
        self.settings = resolve({}, {"HOME": "/"}).settings
        self.reader = Reader(self.settings, 8192, lambda _seconds, _callback: None, lambda: self.now)
        self.ledger = Ledger(1000)
        self.sessions: dict[int, Session] = {}

    def come(self, number: int, data: bytes = b"") -> Session:
        """Somebody connects and has said something already."""
        session = self.sessions[number] = Session(number, self.ledger)
        session.peer = f"127.0.0.1:{number}"
        waiting = SimpleNamespace(data=data)

        def recv(limit: int, _flags: int) -> bytes:
            if not waiting.data and not session.hangup:
                raise BlockingIOError
            return bytes(waiting.data[:limit])

        def recv_into(_buffer: Any, limit: int, _flags: int) -> int:
            taken = min(limit, len(waiting.data))
            waiting.data = waiting.data[taken:]
            return taken

        session.socket = SimpleNamespace(recv=recv, recv_into=recv_into, waiting=waiting)  # type: ignore[assignment]
        self.reader.announce(session)
        return session

    def say(self, session: Session, data: bytes) -> None:
        session.socket.waiting.data += data  # type: ignore[union-attr]
        self.reader.on_events(session, READ)

    def turn(self) -> list[tuple[int, int]]:
        """One wake-up: kinds and sessions of the events of the frame."""
        self.reader.read()
        self.frame += 1
        return [(event[0], event[1]) for event in self.reader.take_frame(self.frame)]

    def acknowledge(self) -> None:
        self.reader.consume(self.frame)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def settled(desk: Desk, *numbers: int) -> list[Session]:
    """People who have been there for a while."""
    sessions = [desk.come(number, b"hello\n") for number in numbers]
    while desk.turn():
        desk.acknowledge()
    desk.now += 60.0
    return sessions


def test_newcomers_are_announced_once_and_so_many_at_a_time(desk: Desk) -> None:
    for number in range(1, 101):
        desk.come(number, b"name\n")
    seen: list[tuple[int, int]] = []
    while events := desk.turn():
        assert len(events) <= _LATE_EVENTS + 1
        assert desk.turn() == [], "nothing more before the router has those"
        seen += events
        desk.acknowledge()
    assert seen == [(kind, number) for number in range(1, 101) for kind in (ATTACHED, LINES)]


def test_beside_people_who_talk_newcomers_are_announced_a_few_at_a_time(desk: Desk) -> None:
    (ann,) = settled(desk, 1)
    desk.say(ann, b"hi\n")
    for number in range(2, 102):
        desk.come(number, b"name\n")
    events = desk.turn()
    assert events[0] == (LINES, 1) and len(events) == 1 + _LATE_EVENTS_BESIDE_TALK
    desk.acknowledge()
    desk.now += _TALK_SECONDS / 2
    assert len(desk.turn()) == _LATE_EVENTS_BESIDE_TALK
    desk.acknowledge()
    desk.now += _TALK_SECONDS
    assert len(desk.turn()) == _LATE_EVENTS, "nobody has said anything for a while"


def test_who_only_might_have_something_to_say_does_not_talk(desk: Desk) -> None:
    (ann,) = settled(desk, 1)
    desk.reader.on_events(ann, READ)
    assert desk.turn() == [] and not desk.reader.talking(desk.now)
    desk.say(ann, b"half a line")
    assert desk.turn() == [] and not desk.reader.talking(desk.now)


def test_newcomers_do_not_make_it_talk(desk: Desk) -> None:
    assert not desk.reader.talking(desk.now)
    newcomer = desk.come(1, b"name\n")
    desk.turn()
    desk.acknowledge()
    desk.say(newcomer, b"hello\n")
    assert desk.turn() == [(LINES, 1)] and not desk.reader.talking(desk.now)
    desk.acknowledge()
    desk.now += 60.0
    desk.say(newcomer, b"still here\n")
    assert desk.turn() == [(LINES, 1)] and desk.reader.talking(desk.now)


def test_people_who_talk_do_not_wait_for_newcomers(desk: Desk) -> None:
    (ann,) = settled(desk, 1)
    for number in range(2, 100):
        desk.come(number, b"name\n")
    desk.turn()
    desk.say(ann, b"hi\n")
    assert desk.turn() == [(LINES, 1)]


def test_who_came_a_while_ago_is_no_newcomer_though_it_has_never_spoken_since(desk: Desk) -> None:
    (ann,) = settled(desk, 1)
    for number in range(2, 100):
        desk.come(number, b"name\n")
    desk.say(ann, b"hi\n")
    assert desk.turn()[0] == (LINES, 1)


def test_people_who_talk_without_a_pause_keep_nobody_out(desk: Desk) -> None:
    """Though they have in flight all that there may be."""
    talkers = settled(desk, *range(1, 101))
    late = desk.come(500, b"name\n")
    gone = talkers.pop()
    gone.hangup = True
    desk.reader.on_events(gone, READ | HANGUP)
    seen: list[tuple[int, int]] = []
    for _ in range(3):
        for talker in talkers:
            if not talker.in_flight:
                desk.say(talker, b"x" * 16000 + b"\n")
        seen += desk.turn()
        assert desk.reader._in_flight_bytes >= _IN_FLIGHT_LIMIT_BYTES
        desk.acknowledge()
    assert {(ATTACHED, late.number), (LINES, late.number), (ENDED, gone.number)} <= set(seen)


def test_who_waits_for_long_to_be_announced_is_still_read_once(desk: Desk) -> None:
    """It had two turns, as a newcomer and as somebody who has come a while ago: what it said went twice, and when both
    were consumed that took something with it that nobody had read.
    """
    (ann,) = settled(desk, 1)
    late = desk.come(2, b"name\n")
    desk.say(ann, b"hi\n")
    for number in range(3, 100):
        desk.come(number)
    desk.reader._late[2] = desk.reader._late.pop(2)  # behind all of them
    seen: list[tuple[int, int]] = []
    while not any(kind == LINES and number == 2 for kind, number in seen):
        desk.say(ann, b"hi\n")
        desk.now += 0.5
        desk.reader.on_events(late, READ)
        seen += desk.turn()
        if (LINES, 2) not in seen:
            desk.acknowledge()
    desk.say(late, b"more\n")
    for _ in range(3):
        desk.acknowledge()
        seen += desk.turn()
    assert [event for event in seen if event[1] == 2] == [(ATTACHED, 2), (LINES, 2), (LINES, 2)]
    assert late.consumed == len(b"name\nmore\n") and late.socket.waiting.data == b""  # type: ignore[union-attr]


def test_who_ends_before_its_turn_is_announced_first(desk: Desk) -> None:
    session = desk.come(1)
    desk.reader.end(session, "reset")
    assert desk.turn() == [(ATTACHED, 1), (ENDED, 1)]
    desk.acknowledge()
    assert desk.turn() == []


def test_the_more_wait_the_more_are_let_in(desk: Desk) -> None:
    for number in range(1, 6 * _LATE_SHARE + 1):
        desk.come(number, b"name\n")
    assert _LATE_EVENTS + 6 <= len(desk.turn()) <= _LATE_EVENTS + 7


def test_nothing_is_owed_by_a_router_that_has_lost_everything(desk: Desk) -> None:
    desk.come(1, b"name\n")
    desk.turn()
    desk.reader.abandon()
    desk.come(2, b"name\n")
    assert desk.turn() == [(ATTACHED, 2), (LINES, 2)]
