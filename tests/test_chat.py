"""The chat core: its inputs and its operations, one rule at a time (test_chat_model.py has them all at once)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.chat import Chat, ChatConfig
from broker.errors import ConfigError, LocalProtocolError
from broker.messages import (
    ADD,
    ARRIVED,
    ATTACHED,
    CLOSE,
    ENDED,
    LINES,
    OVERLONG,
    PUBLISH,
    REMOVE,
    SEND,
    Event,
    Operation,
)
from broker.sessions import Session, Step, WireFormat
from tests.chat_stage import Person, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


# Input: every byte once.


def test_input_that_came_before_is_ignored(stage: Stage) -> None:
    ann, bob = stage.join("ann"), stage.join("bob")
    start = ann.sent
    stage.send(ann, b"one\n")
    stage.apply(0, (LINES, ann.number, start, b"one\ntwo\n"))
    stage.apply(0, (LINES, ann.number, start, b"one\n"))
    stage.apply(0, (LINES, ann.number, start + 4, b"two\nthree\n"))
    assert stage.read(bob) == "ann说: one\nann说: two\nann说: three\n"


def test_a_line_refused_already_stays_refused_however_it_comes_again(stage: Stage) -> None:
    ann, bob = stage.join("ann"), stage.join("bob")
    start = ann.sent
    stage.apply(0, (OVERLONG, ann.number, start, 5000), (OVERLONG, ann.number, start, 5000))
    stage.apply(0, (OVERLONG, ann.number, start, 6000))
    stage.apply(0, (LINES, ann.number, start, b"x" * 6500 + b"\nnext\n"))
    assert stage.read(ann) == "* 这一行太长了，最多 4096 字节，没有发出去。\n"
    assert stage.read(bob) == "ann说: next\n"


def test_the_rest_of_a_refused_line_may_be_its_end_alone(stage: Stage) -> None:
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.send_overlong(ann, 4097)
    stage.send(ann, b"\n")
    stage.send(ann, b"next\n")
    stage.send_overlong(ann, 4097)
    assert stage.read(ann) == "* 这一行太长了，最多 4096 字节，没有发出去。\n" * 2
    assert stage.read(bob) == "ann说: next\n"


@pytest.mark.parametrize(
    "event",
    [
        (LINES, 1, 100, b"after a gap\n"),
        (OVERLONG, 1, 100, 5000),
        (LINES, 1, 0, b"unfinished"),
        (LINES, 1, 0, b""),
        (ATTACHED, 1, 0, "again"),
        (99, 1),
        (ADD, 1, 1),
    ],
)
def test_a_worker_that_breaks_the_rules(stage: Stage, event: Event) -> None:
    stage.connect()
    with pytest.raises(LocalProtocolError):
        stage.apply(0, event)


@pytest.mark.parametrize(
    "event", [(LINES, 7, 0, b"x\n"), (OVERLONG, 7, 0, 5000), (ENDED, 7, "eof")], ids=["lines", "overlong", "ended"]
)
def test_events_of_nobody_are_ignored(stage: Stage, event: Event) -> None:
    stage.chat.apply(0.0, 0, event)
    assert stage.chat.take_operations() == {}


def test_nothing_is_heard_after_the_end(stage: Stage) -> None:
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.type(ann, "bye", "/quit", "ghost")
    stage.type(ann, "ghost")
    stage.hang_up(ann)
    assert stage.read(bob) == "ann说: bye\nann 退出了聊天室\n"


def test_every_end_is_answered(stage: Stage) -> None:
    ann, nameless = stage.join("ann"), stage.connect()
    for person, operations in ((ann, [(REMOVE, 1, 1), (CLOSE, 1)]), (nameless, [(CLOSE, 2)])):
        stage.chat.apply(0.0, 0, (ENDED, person.number, "reset"))
        assert stage.chat.take_operations() == {0: operations}
    assert stage.chat.session_count == 0
    assert stage.chat.next_deadline() is None


@pytest.mark.parametrize(
    ("cause", "last_words"),
    [("eof", ""), ("reset", ""), ("slow", "* You did not read for too long; closing the connection.\n")],
)
def test_last_words_for_those_who_can_still_read_them(stage: Stage, cause: str, last_words: str) -> None:
    eve, bob = stage.join("eve", language="en"), stage.join("bob")
    stage.hang_up(eve, cause)
    assert stage.read(eve) == last_words
    assert eve.closed
    assert stage.read(bob) == "eve 退出了聊天室\n"


def test_lines_before_the_end_are_heard_before_it(stage: Stage) -> None:
    bob = stage.join("bob", 1)
    events: list[Event] = [(ATTACHED, 9, 0, "x"), (LINES, 9, 0, b"ann\nhi\n"), (ENDED, 9, "eof")]
    stage.people[9] = Person(9, 0)
    stage.apply(0, *events)
    assert stage.read(bob) == "ann 进入了聊天室\nann说: hi\nann 退出了聊天室\n"


def test_an_unknown_listener_speaks_the_first_protocol(stage: Stage) -> None:
    assert stage.read(stage.connect(listener=7)) == stage.read(stage.connect(listener=-1)) == "请输入姓名: "


# Inputs that are not lines.


def test_a_session_that_goes_to_another_worker(stage: Stage) -> None:
    ann, nameless, bob, eve = stage.join("ann"), stage.connect(), stage.join("bob", language="en"), stage.join("eve", 1)
    stage.read(nameless)
    for person in (ann, nameless, bob):
        stage.move(person, 1)
        assert not stage.chat.sessions_of(0) or person is not bob
    stage.type(nameless, "dan")
    stage.type(eve, "hi")
    assert stage.read(ann) == "dan 进入了聊天室\neve说: hi\n"
    assert stage.read(bob) == "dan joined the room\neve: hi\n"
    assert stage.read(nameless).endswith("eve说: hi\n")
    assert sorted(stage.chat.memberships(1))[0] == (1, ann.number)
    assert not any(True for _ in stage.chat.memberships(0))


def test_lines_that_the_former_worker_had_under_way_count(stage: Stage) -> None:
    ann, eve = stage.join("ann"), stage.join("eve", 1)
    stage.move(ann, 1)
    stage.apply(0, (LINES, ann.number, ann.sent, b"one\n"))
    stage.apply(1, (LINES, ann.number, ann.sent, b"one\ntwo\n"))
    assert stage.read(eve) == "ann说: one\nann说: two\n"


def test_a_session_that_is_on_its_way_is_known_as_such(stage: Stage) -> None:
    ann = stage.join("ann")
    (session,) = stage.chat.sessions_of(0)
    stage.chat.move_session(session, 1)
    assert session.awaited and session.worker == 1
    stage.chat.apply(0.0, 1, (ARRIVED, ann.number))
    stage.chat.apply(0.0, 1, (ARRIVED, 4711))
    assert not session.awaited


def test_an_expelled_session(stage: Stage) -> None:
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.chat.expel(0.0, ann.number)
    stage.chat.expel(0.0, 4711)
    stage.pump()
    assert ann.closed and stage.read(bob) == "ann 退出了聊天室\n"


def test_shutdown(stage: Stage) -> None:
    people = [stage.join("ann"), stage.connect(), stage.join("bob", 1, "en")]
    stage.read(people[1])
    stage.type(people[2], "/join kernel")
    for person in people:
        stage.read(person)
    stage.chat.shutdown(0.0)
    stage.pump()
    assert [stage.read(person) for person in people] == [
        "* 聊天室要关门了，再见！\n",
        "* 聊天室要关门了，再见！\n",
        "* The chat is closing. Goodbye!\n",
    ]
    assert all(person.closed for person in people)
    assert (stage.chat.session_count, stage.chat.room_count) == (0, 1)
    assert stage.groups == {0: {}, 1: {}}
    late = stage.connect()  # it was on its way
    assert stage.read(late) == "* 聊天室要关门了，再见！\n"
    assert late.closed


def test_kick(stage: Stage) -> None:
    ann, bob, eve = stage.join("Ann"), stage.join("bob"), stage.join("eve", 1, "en")
    assert stage.chat.kick(0.0, " aNN", "spam\x1b[2J\n") == "Ann"
    assert stage.chat.kick(0.0, "ann", "again") is None
    assert stage.chat.kick(0.0, "b o b", "no such name") is None
    stage.pump()
    assert stage.read(ann) == "* 你被请出了聊天室：spam[2J\n"
    assert stage.read(bob) == "Ann 退出了聊天室\n"
    assert stage.read(eve) == "Ann left the room\n"
    assert stage.chat.kick(0.0, "eve", "") == "eve"
    stage.pump()
    assert stage.read(eve) == "* You were removed from the chat.\n"
    assert ann.closed
    assert eve.closed


def test_name_deadlines() -> None:
    stage = Stage(ChatConfig(name_timeout_seconds=10.0))
    assert stage.chat.next_deadline() is None
    first = stage.connect()
    stage.wait(3.0)
    second, third = stage.connect(), stage.connect()
    assert stage.chat.next_deadline() == 1010.0
    stage.type(second, "bob")
    stage.hang_up(first)
    assert stage.chat.next_deadline() == 1013.0
    stage.wait(9.0)
    assert stage.chat.next_deadline() == 1013.0
    stage.wait(1.0)
    assert stage.chat.next_deadline() is None
    assert third.closed
    assert not second.closed


# Operations.


def take(stage: Stage) -> dict[int, list[Operation]]:
    return stage.chat.take_operations()


def test_a_message_costs_one_operation_for_each_worker_and_format(stage: Stage) -> None:
    for number in range(30):
        stage.join(f"p{number}", worker=number % 3, language="en" if number % 3 == 2 else "zh")
    assert take(stage) == {}
    speaker = stage.people[1]
    stage.chat.apply(0.0, 0, (LINES, 1, speaker.sent, b"hi\n"))
    taken = take(stage)
    assert {worker: len(operations) for worker, operations in taken.items()} == {0: 1, 1: 1, 2: 1}
    (zero,), (one,), (two,) = taken[0], taken[1], taken[2]
    assert zero[0] == one[0] == two[0] == PUBLISH
    assert zero[2] is one[2], "rendered once, shared"
    assert (zero[2], two[2]) == ("p0说: hi\n".encode(), b"p0: hi\n")
    assert zero[1] == one[1] != two[1]
    assert zero[3] == one[3] == two[3] == 1


def test_talking_to_oneself_costs_nothing(stage: Stage) -> None:
    ann = stage.join("ann")
    stage.chat.apply(0.0, 0, (LINES, ann.number, ann.sent, b"hello?\n"))
    assert take(stage) == {}


def test_groups_come_and_go_and_their_numbers_do_not_come_again(stage: Stage) -> None:
    ann = stage.join("ann")
    seen = [*stage.groups[0]]
    for language in ("en", "zh", "en"):
        stage.type(ann, f"/lang {language}")
        seen += stage.groups[0]
    stage.type(ann, "/join kernel")
    seen += stage.groups[0]
    stage.type(ann, "/part")
    assert stage.groups[0] == {}
    assert seen == [1, 2, 3, 4, 5]
    assert stage.chat.room_count == 1


def test_counters(stage: Stage) -> None:
    ann, bob, eve = stage.join("ann"), stage.join("bob", 1), stage.join("eve", 1, "en")
    before_in, before_out = stage.chat.messages_in, stage.chat.messages_out
    stage.type(ann, "hi", "", "/me waves")
    assert stage.chat.messages_in - before_in == 3
    assert stage.chat.messages_out - before_out == 4
    stage.type(bob, "/msg ann x")
    assert stage.chat.messages_out - before_out == 6
    stage.type(eve, "/join kernel")
    assert stage.chat.messages_out - before_out == 9
    assert (stage.chat.session_count, stage.chat.room_count) == (3, 2)


def test_a_session_that_is_gone_takes_no_step() -> None:
    session = Session(1, 0, WireFormat("chat", "zh"))
    session.step("ended")
    steps: tuple[Step, ...] = ("named", "ended")
    for step in steps:
        with pytest.raises(LocalProtocolError):
            session.step(step)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"language": "fr"}, "zh, en"),
        ({"listener_protocols": ("chat", "gopher")}, "choose one of chat"),
        ({"listener_protocols": ()}, "at least one"),
        ({"default_room": "a b"}, "a b"),
    ],
)
def test_a_configuration_without_sense(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ChatConfig(**settings)  # type: ignore[arg-type]


# However lines are cut into events and frames, everybody gets the same bytes.

SCRIPT = [
    (1, b"ann\n"), (2, b"bob\r\n"), (1, b"hi\n"), (3, b"\n"), (3, b"BOB\n"), (3, "张三\n".encode()), (2, b"/lang en\n"),
    (1, b"one\n"), (1, b"x" * 4097 + b"\n"), (1, b"two\n"), (3, b"/join kernel\n"), (2, b"/join kernel\n"), (3, b"a\n"),
    (3, b"/nick eve\n"), (2, b"/msg ann psst\n"), (1, b"/join kernel\n"), (1, b"b\n"), (2, b"c\n"), (2, b"/quit\n"),
    (1, b"d\n"), (3, b"/part\n"), (3, b"e\n"),
]  # fmt: skip


def play(frames: list[list[Event]]) -> list[bytes]:
    stage = Stage()
    people = [stage.connect(), stage.connect(), stage.connect()]
    for frame in frames:
        stage.apply(0, *frame)
    return [bytes(person.received) for person in people]


def lines_one_by_one() -> list[list[Event]]:
    sent = {1: 0, 2: 0, 3: 0}
    frames: list[list[Event]] = []
    for number, data in SCRIPT:
        frames.append([(LINES, number, sent[number], data)])
        sent[number] += len(data)
    return frames


@given(st.data())
def test_how_input_is_cut_does_not_matter(data: st.DataObject) -> None:
    frames: list[list[Event]] = [[]]
    for (event,) in lines_one_by_one():
        _, number, offset, text = event
        last = frames[-1][-1] if frames[-1] else None
        if last and last[0] == LINES and last[1] == number and data.draw(st.booleans(), "join to the event before"):
            frames[-1][-1] = (LINES, number, last[2], last[3] + text)
        elif len(text) > 4096 and data.draw(st.booleans(), "as overlong"):
            cut = data.draw(st.integers(4097, len(text) - 1), "cut")
            frames[-1] += [(OVERLONG, number, offset, cut), (LINES, number, offset + cut, text[cut:])]
        else:
            frames[-1].append(event)
        if data.draw(st.booleans(), "new frame"):
            frames.append([])
    assert play(frames) == play(lines_one_by_one())


# Whatever comes, nothing is raised, and all operations make sense (the stage checks them).

hostile_lines = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"ann", b"/join x", b"/part", b"/lang en", b"/lang zh", b"/nick bob", b"/who", b"/quit"]),
    st.builds(lambda word, rest: b"/" + word + b" " + rest, st.sampled_from(
        [b"join", b"msg ann", b"me", b"nick", b"who", b"lang", b"help", b"part", b""]), st.binary(max_size=20)),
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(hostile_lines, st.just(None)), st.integers(0, 9)), max_size=60))
def test_no_input_raises(steps: list[tuple[int, bytes | None, int]]) -> None:
    stage = Stage(ChatConfig(max_line_bytes=32, name_timeout_seconds=20.0))
    people = [stage.connect(worker=index % 2) for index in range(4)]
    for index, line, chance in steps:
        person = people[index]
        if person.closed:
            people[index] = stage.connect(worker=index % 2)
        elif line is None:
            stage.hang_up(person)
        elif chance == 0:
            stage.send_overlong(person, 40)
        elif chance == 1:
            stage.wait(7.0)
        else:
            stage.send(person, line.replace(b"\n", b"") + b"\n")
    for person in stage.people.values():
        person.received.decode()


def test_everybody_in_a_room_hears_the_same_order(stage: Stage) -> None:
    people = [stage.join(f"p{number}", worker=number % 2) for number in range(4)]
    for number in range(40):
        stage.type(people[number * 7 % 4], f"m{number}")
    for person in people:
        numbers = [int(line.rpartition("m")[2]) for line in stage.read(person).splitlines()]
        assert len(numbers) == 30
        assert all(one < other for one, other in pairwise(numbers))


def test_operations_are_taken_once() -> None:
    chat = Chat(ChatConfig())
    chat.apply(0.0, 3, (ATTACHED, 1, 0, "x"))
    assert chat.take_operations() == {3: [(SEND, 1, "请输入姓名: ".encode())]}
    assert chat.take_operations() == {}
