"""How fast the acceptor lets people in, with a loop and a supervisor of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from broker.framing import encode
from broker.messages import ASSIGN, TAKE, TAKEN, WORKERS
from broker.settings import resolve
from broker.urls import parse_listener_url
from workers.acceptor import (
    _CONNECTIONS_AT_ONCE,
    _CONNECTIONS_AT_ONCE_BESIDE_TALK,
    _CONNECTIONS_PER_SECOND_BESIDE_TALK,
    _TROUBLE_PAUSE_SECONDS,
    AcceptorProcess,
)

LISTENER, CONTROL = 70, 71


class Door:
    """An acceptor, its one listener, at which somebody always waits, and what it says to the supervisor."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.said: list[tuple[Any, ...]] = []
        self.logged: list[str] = []
        self.came = 0
        loop = SimpleNamespace(
            register=lambda fd, _events, handler: self.handlers.update({fd: handler}), unregister=self.handlers.pop,
            call_later=lambda seconds, callback: self.timers.append((seconds, callback)), stop=lambda: None,
        )  # fmt: skip
        control = SimpleNamespace(
            fileno=lambda: CONTROL, send=lambda message, _descriptors: self.said.append(message), wants_write=False,
            watched_for_write=False, broken=False,
        )  # fmt: skip
        birth = SimpleNamespace(
            settings=resolve({}, {"HOME": "/"}).settings, control_fd=CONTROL, name="acceptor-0",
            listeners=(SimpleNamespace(url=parse_listener_url("chat://127.0.0.1:8888"), fd=LISTENER),),
            platform=SimpleNamespace(loop=lambda: loop, control_pipe=lambda _fd: control),
            reports=SimpleNamespace(put_nowait=lambda report: self.logged.append(report["text"])),
        )  # fmt: skip
        self.acceptor = AcceptorProcess(birth)  # type: ignore[arg-type]
        self.tell(WORKERS, [0])

    def tell(self, *message: Any) -> None:
        encode(message)  # it could come through a Pipe
        self.acceptor.on_message(message)
        self.acceptor.after_wake_up()

    def knock(self) -> int:
        """Somebody waits: how many are asked for, 0 if the listener is not being watched."""
        handler = self.handlers.get(LISTENER)
        if handler is None:
            return 0
        handler(1)
        self.acceptor.after_wake_up()
        code, listener, number = self.said.pop()
        assert (code, listener) == (TAKE, 0) and LISTENER not in self.handlers, "it waits for the answer"
        return int(number)

    def come(self, number: int, talking: bool, trouble: str | None = None) -> None:
        """So many have been accepted; they are assigned at once, whatever comes then."""
        connections = [(self.came + index, "::1") for index in range(number)]
        self.came += number
        self.tell(TAKEN, 0, connections, trouble, talking)
        if connections:
            assert self.said.pop() == (ASSIGN, [(session, 0) for session, _ in connections])

    def wait(self) -> float:
        """Until the next timer; after how many seconds that was."""
        seconds, callback = self.timers.pop(0)
        callback()
        self.acceptor.after_wake_up()
        return seconds


@pytest.fixture
def door() -> Door:
    return Door()


def test_where_nobody_talks_nobody_is_held_up(door: Door) -> None:
    for _ in range(3):
        assert door.knock() == _CONNECTIONS_AT_ONCE
        door.come(_CONNECTIONS_AT_ONCE, talking=False)
    assert door.timers == []


def test_beside_people_who_talk_a_crowd_is_let_in_at_a_rate(door: Door) -> None:
    assert door.knock() == _CONNECTIONS_AT_ONCE
    door.come(30, talking=True)
    assert door.knock() == 0
    assert door.wait() == 30 / _CONNECTIONS_PER_SECOND_BESIDE_TALK
    for _ in range(3):
        assert door.knock() == _CONNECTIONS_AT_ONCE_BESIDE_TALK
        door.come(_CONNECTIONS_AT_ONCE_BESIDE_TALK, talking=True)
        assert door.knock() == 0
        assert door.wait() == _CONNECTIONS_AT_ONCE_BESIDE_TALK / _CONNECTIONS_PER_SECOND_BESIDE_TALK
    assert door.knock() == _CONNECTIONS_AT_ONCE_BESIDE_TALK
    door.come(1, talking=False)
    assert door.knock() == _CONNECTIONS_AT_ONCE, "they have fallen silent"


def test_nobody_is_waited_for_who_has_not_come(door: Door) -> None:
    door.knock()
    door.come(0, talking=True)  # it has gone again
    assert door.timers == [] and door.knock() == _CONNECTIONS_AT_ONCE_BESIDE_TALK


def test_trouble_pauses_for_longer_and_neither_pause_ends_the_other(door: Door) -> None:
    door.knock()
    door.come(1, talking=True, trouble="Too many open files")
    assert "Too many open files" in door.logged[0]
    assert {seconds for seconds, _ in door.timers} == {
        _TROUBLE_PAUSE_SECONDS, 1 / _CONNECTIONS_PER_SECOND_BESIDE_TALK,
    }  # fmt: skip
    door.wait()
    assert door.knock() == 0
    door.wait()
    assert door.knock() == _CONNECTIONS_AT_ONCE_BESIDE_TALK
