"""Whatever bytes IRC clients send: nothing raises, every operation makes sense, and views of a channel agree."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.operators import Operator, hashed
from broker.protocols.irc import COMMANDS
from broker.protocols.irc.capabilities import CAPABILITIES
from broker.protocols.irc.limits import STATUS_OF_SIGN
from broker.protocols.irc.message import LONGEST_LINE_BYTES, cut, escape, parse, pieces, tag, unescape
from tests.irc_stage import Got, IrcClient, IrcStage

# The grammar.


@given(st.text())
def test_a_tags_value_comes_back(value: str) -> None:
    """'Escaping values' (message-tags)."""
    assert unescape(escape(value)) == value
    assert not set(escape(value)) & set("; \r\n")


@given(st.binary(max_size=600))
def test_every_line_has_a_message_or_none(data: bytes) -> None:
    message = parse(data.decode("utf-8", "replace"))
    if message is not None:
        assert message.command and " " not in message.command
        assert all(" " not in parameter and parameter for parameter in message.parameters[:-1])
        assert not {"\r", "\0"} & set("".join(message.parameters))


words = st.text(st.characters(exclude_characters=" \r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda word: not word.startswith(":")
)


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=5).filter(lambda x: "\0" not in x)),
    st.sampled_from(["PRIVMSG", "001", "join"]),
    st.lists(words, max_size=5),
    st.one_of(st.none(), st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)),
    st.booleans(),
)
def test_what_is_written_is_read(
    tags: dict[str, str], command: str, middle: list[str], last: str | None, with_source: bool
) -> None:
    line = " ".join([*([":some!body@there"] if with_source else []), command, *middle])
    if last is not None:
        line += f" :{last}"
    if tags:
        line = f"@{';'.join(tag(key, value) for key, value in tags.items())} {line}"
    message = parse(line)
    assert message is not None
    assert message == (tags, command.upper(), [*middle, *([] if last is None else [last])])


@given(st.text(), st.integers(4, 40))
def test_pieces_lose_nothing_and_are_short(text: str, length: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    found = pieces(text, length)
    assert "".join(found) == text
    assert all(len(piece.encode()) <= max(length, 4) for piece in found)
    assert text.encode().startswith(cut(text.encode(), length))


# Nothing raises.

targets = st.sampled_from(
    ["#a", "#b", "#lobby", "ann", "bob", "eve", "@#a", "+#b", "#", "*", "", "0", "#a,#b,ann", "张三"]
)
parameters = st.one_of(
    targets,
    st.sampled_from(
        ["+o", "-o", "+b", "+beI", "-v+hq", "+imnstCRT", "+kl", "%tcuihsnfdlaor,1", "LS", "REQ", "END", "LIST", "302",
        "+", "-", "C",
         "L", "S", "+1", "-1", "draft/multiline", "5", "x", "~m:bob", "sesame", "timestamp=2023-11-14T22:13:20.250Z"]),
    st.text(max_size=12),
)  # fmt: skip
commands = st.sampled_from([*COMMANDS, "NONSENSE", "privmsg"])
tag_sections = st.sampled_from(
    ["", "", "", "@label=1 ", "@batch=1 ", "@+typing=active ", "@batch=1;draft/multiline-concat ", "@;=; ", "@+a=\\ "]
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60)).replace(b"\n", b"")
    words = [draw(commands), *draw(st.lists(parameters, max_size=4))]
    if draw(st.booleans()) and len(words) > 1:
        words[-1] = ":" + words[-1]
    text = draw(tag_sections) + " ".join(words)
    return text.encode("utf-8", "replace").replace(b"\n", b"")


def registered(stage: IrcStage, nick: str, capabilities: str, worker: int) -> IrcClient:
    client = IrcClient(stage, worker)
    client.send(f"CAP REQ :{capabilities}", f"NICK {nick}", f"USER {nick} 0 * :R", "CAP END", "JOIN #a")
    return client


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), lines(), st.integers(0, 40)), max_size=50))
def test_no_input_raises(steps: list[tuple[int, bytes, int]]) -> None:
    stage = IrcStage(ping_seconds=30.0, name_timeout_seconds=20.0, operators=(Operator("ann", hashed("sesame", b"s")),))
    everything = " ".join(CAPABILITIES)
    clients = [registered(stage, "ann", everything, 0), registered(stage, "bob", "", 1), IrcClient(stage)]
    people = [*(client.person for client in clients), stage.join("eve", language="en")]
    for index, line, chance in steps:
        person = people[index]
        if person.closed:
            people[index] = stage.connect(worker=index % 2, listener=index % 2)
        elif chance == 0:
            stage.hang_up(person)
        elif chance == 1:
            stage.send_overlong(person, LONGEST_LINE_BYTES + 1)
        elif chance == 2:
            stage.wait(11.0)
        elif chance == 3:
            stage.move(person, 1 - person.worker)
        elif chance == 4:
            stage.chat = pickle.loads(pickle.dumps(stage.chat))
        else:
            stage.send(person, line + b"\r\n")
        for kind, number, *_ in stage.chat.take_requests():
            if kind == "verify":
                stage.chat.verified(stage.now, number, chance % 2 == 0)
            elif kind == "processes":
                stage.chat.processes(stage.now, number, ["a", "b"])
            else:
                stage.chat.rehashed(stage.now, number, "done")
            stage.pump()
    for person in stage.people.values():
        text = bytes(person.received).decode()
        assert "\0" not in text
    for client in clients:
        client.read()


# Views of a channel agree.

CHANNELS = ["#a", "#b"]


@dataclass
class View:
    """What a client makes of what it gets, as clients do: who is in which channel with which status, topics, modes."""

    client: IrcClient
    nick: str
    channels: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)
    modes: dict[str, set[str]] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    heard: list[tuple[str, str]] = field(default_factory=list)
    """What it should have heard: channel and text."""

    def update(self) -> None:
        for got in self.client.read():
            getattr(self, f"on_{got.command.lower()}", lambda _: None)(got)

    def on_join(self, got: Got) -> None:
        channel = got.parameters[0]
        if got.nick == self.nick:
            self.channels[channel], self.topics[channel], self.modes[channel] = {}, "", set()
        else:
            self.channels[channel][got.nick] = set()

    def on_353(self, got: Got) -> None:
        for word in got.parameters[-1].split():
            nick = word.lstrip("~@%+")
            self.channels[got.parameters[2]][nick] = {STATUS_OF_SIGN[sign] for sign in word[: len(word) - len(nick)]}

    def on_332(self, got: Got) -> None:
        self.topics[got.parameters[1]] = got.parameters[2]

    def on_324(self, got: Got) -> None:
        self.modes[got.parameters[1]] = set(got.parameters[2][1:])

    def on_part(self, got: Got) -> None:
        self.gone(got.parameters[0], got.nick)

    def on_kick(self, got: Got) -> None:
        self.gone(got.parameters[0], got.parameters[1])

    def gone(self, channel: str, nick: str) -> None:
        if nick == self.nick:
            del self.channels[channel], self.topics[channel], self.modes[channel]
        else:
            del self.channels[channel][nick]

    def on_quit(self, got: Got) -> None:
        assert any(members.pop(got.nick, None) is not None for members in list(self.channels.values())), (
            "told for nothing"
        )
        for members in self.channels.values():
            members.pop(got.nick, None)

    def on_nick(self, got: Got) -> None:
        if got.nick == self.nick:
            self.nick = got.parameters[0]
        for members in self.channels.values():
            if got.nick in members:
                members[got.parameters[0]] = members.pop(got.nick)

    def on_topic(self, got: Got) -> None:
        self.topics[got.parameters[0]] = got.parameters[1]

    def on_mode(self, got: Got) -> None:
        channel, changes, *arguments = got.parameters
        given = True
        for letter in changes:
            if letter in "+-":
                given = letter == "+"
            elif letter in "qohv":
                (set.add if given else set.discard)(self.channels[channel][arguments.pop(0)], letter)
            else:
                (set.add if given else set.discard)(self.modes[channel], letter)

    def on_privmsg(self, got: Got) -> None:
        self.said.append((got.parameters[0], got.parameters[1]))


class ViewMachine(RuleBasedStateMachine):
    """Random people on two channels; after each step, what each client believes is what each other one does, and
    true."""

    @initialize()
    def start(self) -> None:
        self.stage = IrcStage()
        self.views: list[View] = []
        self.texts = 0

    def view(self, index: int) -> View | None:
        return self.views[index % len(self.views)] if self.views else None

    def send(self, index: int, line: str) -> None:
        view = self.view(index)
        if view is not None:
            view.client.send(line)

    @rule(
        worker=st.integers(0, 1),
        capabilities=st.sampled_from(["multi-prefix", "multi-prefix message-tags server-time batch"]),
    )
    def connect(self, worker: int, capabilities: str) -> None:
        if len(self.views) < 4:
            nick = f"n{len(self.stage.people)}"
            client = IrcClient(self.stage, worker)
            client.send(f"CAP REQ :{capabilities} echo-message", f"NICK {nick}", f"USER {nick} 0 * :R", "CAP END")
            self.views.append(View(client, nick))

    @rule(index=st.integers(0, 3), channel=st.sampled_from(CHANNELS))
    def join(self, index: int, channel: str) -> None:
        self.send(index, f"JOIN {channel}")
        self.send(index, f"MODE {channel}")

    @rule(
        index=st.integers(0, 3),
        channel=st.sampled_from(CHANNELS),
        other=st.integers(0, 3),
        line=st.sampled_from(["PART {0}", "KICK {0} {1}", "TOPIC {0} :{2}", "JOIN 0", "NICK x{2}", "QUIT :bye"]),
    )
    def act(self, index: int, channel: str, other: int, line: str) -> None:
        target = self.view(other)
        self.texts += 1
        if target is not None:
            self.send(index, line.format(channel, target.nick, self.texts))

    @rule(
        index=st.integers(0, 3),
        channel=st.sampled_from(CHANNELS),
        other=st.integers(0, 3),
        mode=st.sampled_from(["+o {0}", "-o {0}", "+hv {0} {0}", "-v {0}", "+ms", "-t", "+t-m", "-ovs+v {0} {0} {0}"]),
    )
    def change(self, index: int, channel: str, other: int, mode: str) -> None:
        target = self.view(other)
        if target is not None:
            self.send(index, f"MODE {channel} {mode.format(target.nick)}")

    @rule(index=st.integers(0, 3), channel=st.sampled_from(CHANNELS))
    def talk(self, index: int, channel: str) -> None:
        self.texts += 1
        view = self.view(index)
        if view is None:
            return
        view.update()
        if channel in view.channels and ("m" not in view.modes[channel] or view.channels[channel][view.nick]):
            for other in self.views:
                other.update()
                if channel in other.channels:
                    other.heard.append((channel, f"t{self.texts}"))
        view.client.send(f"PRIVMSG {channel} :t{self.texts}")

    @rule(index=st.integers(0, 3), worker=st.integers(0, 1))
    def move(self, index: int, worker: int) -> None:
        view = self.view(index)
        if view is not None and view.client.person.worker != worker and not view.client.closed:
            self.stage.move(view.client.person, worker)

    @invariant()
    def everybody_believes_the_same_and_it_is_true(self) -> None:
        for view in self.views:
            view.update()
        self.views = [view for view in self.views if not view.client.closed]
        chat = self.stage.chat
        for view in self.views:
            session = chat.find_person(view.nick)
            assert session is not None and session.number == view.client.person.number
            assert view.channels.keys() == {f"#{room.name.display}" for room in chat.rooms_of(session)}
            for room in chat.rooms_of(session):
                name = f"#{room.name.display}"
                members = zip(chat.members_of(room), room.members.values(), strict=True)
                assert view.channels[name] == {member.name: set(status) for member, status in members}
                assert view.topics[name] == room.topic.text
                assert view.modes[name] == set(room.modes)
            assert view.said == view.heard, "everything that was said while it was there, once, in order"


ViewMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestViews = ViewMachine.TestCase
