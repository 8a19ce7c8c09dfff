"""Flows: whoever goes on talking is heard as if each line of theirs were the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delivery import Delivery
from broker.errors import LocalProtocolError
from broker.messages import LINES
from broker.protocols import irc, plain
from broker.router_state import RouterState, load
from tests.chat_stage import Person
from tests.irc_stage import IrcStage

TALK = {"plain": "{}\n", "irc": "PRIVMSG #lobby :{}\r\n"}
WORDS = [
    "hello",
    "你好",
    "a  b",
    "x" * 300,
    "/help",
    " ",
    "",
    "\x02bold",
    "\x01ACTION nods\x01",
    "a\rb",
    "PRIVMSG #lobby :",
]
BROKEN = [b"", b"x", b"PRIVMSG #lobby :a\nQUIT x", b"a\nb"]
"""No whole lines."""
PLAIN_CHANGES = ["/nick bobby", "/nick bob", "/join tea", "/join lobby", "/lang zh", "/lang en", "/me waves", "/who"]
IRC_CHANGES = [
    "NICK evelyn", "NICK eve", "PART #lobby", "JOIN #lobby", "JOIN #tea", "MODE #lobby +m", "MODE #lobby -m",
    "MODE #lobby +b bob!*@*", "MODE #lobby -b bob!*@*", "KICK #lobby bob", "MODE #lobby -v bob", "MODE #lobby +v bob",
    "CAP REQ echo-message", "CAP REQ -echo-message", "CAP REQ server-time", "CAP REQ -server-time", "AWAY :tea",
    "MODE eve +B", "PING x", "RENAME #lobby #hall", "privmsg #lobby :hi", "NOTICE #lobby :hi", "PRIVMSG #tea :tea?",
]  # fmt: skip


class Room:
    """Two of each protocol in the lobby, one of each on another worker, of whom the first may talk or do other things.

    With `mixed`, all are in one room; otherwise those of IRC have it for themselves, and so each is of one format.
    """

    def __init__(self, mixed: bool) -> None:
        stage = self.stage = IrcStage()
        self.plain: Person | None = None
        if mixed:
            self.plain = stage.join("bob", language="en")
            stage.join("dan", worker=1, language="en")
        self.eve = stage.irc("eve", channel="#lobby")
        self.ann = stage.irc("ann", channel="#lobby", worker=1)
        self.eve.send("MODE #lobby +o eve")

    def talker(self, protocol: str) -> Person:
        return self.eve.person if protocol == "irc" or self.plain is None else self.plain


def say(room: Room, protocol: str, words: list[str]) -> None:
    """Also of somebody who has been put out: their worker may not have heard of it."""
    person = room.talker(protocol)
    form = TALK["irc" if person is room.eve.person else "plain"]
    room.stage.send(person, "".join(form.format(word) for word in words).encode())


def change(room: Room, protocol: str, command: str) -> None:
    person = room.talker(protocol)
    if not person.closed:
        room.stage.send(person, f"{command}\n".encode())


def move(room: Room, protocol: str, worker: int) -> None:
    person = room.talker(protocol)
    if not person.closed and person.worker != worker:
        room.stage.move(person, worker)


def kick(room: Room, protocol: str, name: str) -> None:
    """The operator of the broker puts somebody out."""
    room.stage.chat.kick(room.stage.now, name, "")
    room.stage.pump()


def come_and_go(room: Room, protocol: str, stays: bool) -> None:
    """Somebody of the other format, so that the room has two for a while, or for good."""
    visitor = room.stage.connect()
    room.stage.type(visitor, f"guest{visitor.number}")
    if not stays:
        room.stage.hang_up(visitor)


def overlong(room: Room, protocol: str, length: int) -> None:
    room.stage.send_overlong(room.talker(protocol), length)


def break_off(room: Room, protocol: str, data: bytes) -> None:
    """What no worker sends: it is refused, and nothing comes of it."""
    person = room.talker(protocol)
    known = room.stage.chat._sessions.get(person.number)
    before = None if known is None else known.consumed
    with pytest.raises(LocalProtocolError) if known is not None else nullcontext():
        room.stage.apply(person.worker, (LINES, person.number, person.sent, data))
    assert known is None or known.consumed == before


def configure(room: Room, protocol: str, _argument: object) -> None:
    room.stage.chat.configured(room.stage.now)
    room.stage.pump()


def tick(room: Room, protocol: str, seconds: int) -> None:
    room.stage.now += seconds
    room.stage.chat.tick(room.stage.now)
    room.stage.pump()


def wait(room: Room, protocol: str, seconds: int) -> None:
    room.stage.now += seconds


protocols = st.sampled_from(["plain", "irc"])
steps = st.one_of(
    st.tuples(st.just(say), protocols, st.lists(st.sampled_from(["hello", "你好"]), min_size=1, max_size=3)),
    st.tuples(st.just(say), protocols, st.lists(st.sampled_from(["hello", "你好"]), min_size=1, max_size=3)),
    st.tuples(st.just(say), protocols, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)),
    st.tuples(st.just(change), st.just("plain"), st.sampled_from(PLAIN_CHANGES)),
    st.tuples(st.just(change), st.just("irc"), st.sampled_from(IRC_CHANGES)),
    st.tuples(st.just(move), protocols, st.integers(0, 1)),
    st.tuples(st.just(kick), protocols, st.sampled_from(["bob", "eve", "ann", "dan"])),
    st.tuples(st.just(come_and_go), protocols, st.booleans()),
    st.tuples(st.just(overlong), protocols, st.integers(600, 700)),
    st.tuples(st.just(break_off), protocols, st.sampled_from(BROKEN)),
    st.tuples(st.just(configure), protocols, st.none()),
    st.tuples(st.just(tick), protocols, st.sampled_from([1, 100, 200])),
    st.tuples(st.just(wait), protocols, st.integers(0, 2)),
)


@contextmanager
def without_flows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Delivery, "keep_flow", lambda *_: None)
        yield


def play(mixed: bool, script: list[tuple[Callable[..., None], str, object]]) -> tuple[list[str], int, int]:
    room = Room(mixed)
    for step, protocol, argument in script:
        step(room, protocol, argument)
    chat = room.stage.chat
    return [room.stage.read(person) for person in room.stage.people.values()], chat.messages_in, chat.messages_out


@given(st.booleans(), st.lists(steps, max_size=25))
def test_everybody_hears_the_same_as_without(
    mixed: bool, script: list[tuple[Callable[..., None], str, object]]
) -> None:
    heard = play(mixed, script)
    with without_flows():
        assert play(mixed, script) == heard


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("talker", ["plain", "irc"])
def test_whatever_happens_between_two_things_that_somebody_says(talker: str, mixed: bool) -> None:
    between: list[tuple[Callable[..., None], str, object]] = [
        *((change, "plain", command) for command in PLAIN_CHANGES),
        *((change, "irc", command) for command in IRC_CHANGES),
        *((kick, "", name) for name in ("bob", "eve", "ann", "dan")),
        *((move, protocol, 1) for protocol in ("plain", "irc")),
        *((come_and_go, "", stays) for stays in (False, True)),
        *((overlong, protocol, 600) for protocol in ("plain", "irc")),
        *((break_off, protocol, data) for protocol in ("plain", "irc") for data in BROKEN),
        *((tick, "", seconds) for seconds in (1, 200)),
        (configure, "", None),
    ]
    for step in between:
        script = [(say, talker, ["hello"]), step, (say, talker, ["hello", "you"])]
        heard = play(mixed, script)
        with without_flows():
            assert play(mixed, script) == heard, step


@pytest.mark.parametrize("protocol", ["plain", "irc"])
def test_a_flow_is_what_is_used(protocol: str) -> None:
    """Or the test above would compare one way with itself."""
    stage = IrcStage()
    if protocol == "irc":
        talker = stage.irc("eve", channel="#tea").person
        other = stage.irc("ann", channel="#tea").person
        line, told = "PRIVMSG #tea :hello\r\n", ":eve!eve@127.0.0.1 PRIVMSG #tea :hello\r\n"
    else:
        talker, other = stage.join("bob"), stage.join("cid")
        line, told = "hello\n", "bob: hello\n"
    stage.send(talker, line.encode())
    with pytest.MonkeyPatch.context() as patch:
        for module in (plain, irc):
            patch.setattr(module, "monologue", lambda *_: pytest.fail("it was not gone on with"))
        stage.read(other)
        stage.send(talker, line.encode() * 2)
    assert stage.read(other) == told * 2


def test_a_snapshot_has_none() -> None:
    stage = IrcStage()
    state = RouterState(stage.chat.config)
    state.chat = stage.chat
    bob = stage.join("bob")
    stage.join("cid")
    stage.type(bob, "hello")
    assert stage.chat._flows
    assert not load(state.dump(), stage.chat.config).chat._flows


def test_who_answers_a_ping_by_talking_is_not_silent() -> None:
    stage = IrcStage()
    eve, ann = stage.irc("eve", channel="#tea"), stage.irc("ann", channel="#tea")

    def wait_for_ping() -> None:
        stage.now += stage.chat.config.ping_seconds + 1
        stage.chat.tick(stage.now)
        stage.pump()

    for _ in range(5):
        ann.send("PONG :x")
        eve.read()
        wait_for_ping()
        assert [got.command for got in eve.read()] == ["PING"]
        stage.now += 1
        eve.send("PRIVMSG #tea :one")
        eve.send("PRIVMSG #tea :two")  # a flow by now
    wait_for_ping()
    wait_for_ping()
    assert eve.closed
