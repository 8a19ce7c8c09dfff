"""How fast the acceptor lets people in, with a loop and a supervisor of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from broker.framing import encode
from broker.loop import Timer
from broker.messages import ASSIGN, REFUSE, TAKE, TAKEN, WORKERS
from broker.settings import resolve
from broker.urls import parse_listener_url
from workers.acceptor import (
    _CONNECTIONS_AT_ONCE,
    _CONNECTIONS_AT_ONCE_BESIDE_TALK,
    _CONNECTIONS_PER_SECOND_BESIDE_TALK,
    _TROUBLE_PAUSE_SECONDS,
    AcceptorProcess,
)

CONTROL = 70
LISTENERS = (71, 72)
BESIDE_TALK = _CONNECTIONS_AT_ONCE_BESIDE_TALK
RATE = _CONNECTIONS_PER_SECOND_BESIDE_TALK


class Door:
    """An acceptor, two listeners, at which somebody always waits, and what it says to the supervisor."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: list[Timer] = []
        self.said: list[tuple[Any, ...]] = []
        self.logged: list[str] = []
        self.came = 0
        loop = SimpleNamespace(
            register=lambda fd, _events, handler: self.handlers.update({fd: handler}), unregister=self.handlers.pop,
            call_later=self._call_later,
        )  # fmt: skip
        control = SimpleNamespace(
            fileno=lambda: CONTROL, send=lambda message, _descriptors: self.said.append(message), wants_write=False,
            watched_for_write=False, broken=False,
        )  # fmt: skip
        birth = SimpleNamespace(
            settings=replace(resolve({}, {"HOME": "/"}).settings, max_connections_per_address=100), control_fd=CONTROL,
            listeners=[SimpleNamespace(url=parse_listener_url("chat://127.0.0.1:8888"), fd=fd) for fd in LISTENERS],
            platform=SimpleNamespace(loop=lambda: loop, control_pipe=lambda _fd: control, monotonic=lambda: self.now),
            reports=SimpleNamespace(put_nowait=lambda report: self.logged.append(report["text"])),
        )  # fmt: skip
        self.acceptor = AcceptorProcess(birth)  # type: ignore[arg-type]
        self.tell(WORKERS, [0])

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.timers = [timer for timer in self.timers if timer.callback is not None]
        self.timers.append(Timer(self.now + seconds, callback))
        return self.timers[-1]

    def tell(self, *message: Any) -> None:
        encode(message)  # it could come through a Pipe
        self.acceptor.on_message(message)
        self.acceptor.after_wake_up()

    def knock(self, listener: int = 0) -> int:
        """Somebody waits: how many are asked for, 0 if the listener is not being watched."""
        handler = self.handlers.get(LISTENERS[listener])
        if handler is None:
            return 0
        handler(1)
        self.acceptor.after_wake_up()
        code, where, number = self.said.pop()
        assert (code, where) == (TAKE, listener) and LISTENERS[listener] not in self.handlers, "it waits for the answer"
        return int(number)

    def come(self, number: int, talking: bool, trouble: str | None = None, listener: int = 0, by: str = "") -> None:
        """So many have been accepted, each from an address of its own, if not `by` one."""
        connections = [(self.came + index, by or f"10.0.0.{self.came + index}") for index in range(number)]
        self.came += number
        self.tell(TAKEN, listener, connections, trouble, talking)

    def wait(self) -> float:
        """Until the next timer; after how many seconds that was."""
        before, timer = self.now, self.timers.pop(0)
        self.now = timer.when
        assert timer.callback is not None
        timer.callback()
        self.acceptor.after_wake_up()
        return self.now - before


@pytest.fixture
def door() -> Door:
    return Door()


def test_where_nobody_talks_nobody_is_held_up(door: Door) -> None:
    for _ in range(3):
        assert door.knock() == _CONNECTIONS_AT_ONCE
        door.come(_CONNECTIONS_AT_ONCE, talking=False)
        code, assigned = door.said.pop()
        assert code == ASSIGN and len(assigned) == _CONNECTIONS_AT_ONCE
    assert door.timers == []


def test_beside_people_who_talk_a_crowd_is_let_in_at_a_rate(door: Door) -> None:
    assert door.knock() == _CONNECTIONS_AT_ONCE
    door.come(30, talking=True)
    assert door.knock() == 0
    assert door.wait() == pytest.approx(30 / RATE)
    for _ in range(3):
        assert door.knock() == BESIDE_TALK
        door.come(BESIDE_TALK, talking=True)
        assert door.knock() == 0
        assert door.wait() == pytest.approx(BESIDE_TALK / RATE)
    assert door.knock() == BESIDE_TALK
    door.come(1, talking=False)
    assert door.knock() == _CONNECTIONS_AT_ONCE, "they have fallen silent"


def test_it_is_the_rate_of_all_listeners_together(door: Door) -> None:
    began, came = door.now, door.came
    door.knock(0)
    door.knock(1)
    for _ in range(50):
        for listener in (0, 1):
            door.come(BESIDE_TALK, talking=True, listener=listener)
        while not door.knock(0):
            door.wait()
        door.knock(1)
    assert (door.came - came) / (door.now - began) == pytest.approx(RATE)


def test_who_is_turned_away_keeps_nobody_out(door: Door) -> None:
    door.knock()
    door.come(100, talking=False, by="10.1.1.1")
    door.knock()
    door.come(BESIDE_TALK, talking=True, by="10.1.1.1")
    assert [message[0] for message in door.said[-BESIDE_TALK:]] == [REFUSE] * BESIDE_TALK
    assert door.timers == [] and door.knock() == BESIDE_TALK


def test_nobody_is_waited_for_who_has_not_come(door: Door) -> None:
    door.knock()
    door.come(0, talking=True)  # it has gone again
    assert door.timers == [] and door.knock() == BESIDE_TALK


def test_trouble_makes_the_pause_longer(door: Door) -> None:
    door.knock()
    door.come(1, talking=True, trouble="Too many open files")
    assert "Too many open files" in door.logged[0]
    assert door.knock() == 0
    assert door.wait() == pytest.approx(_TROUBLE_PAUSE_SECONDS + 1 / RATE)
    assert door.knock() == BESIDE_TALK
