"""A model of the chat: what everybody must have heard, worked out in the plainest way, against what they did hear.

Random people do random things; after each, everybody's whole stream must be the model's to the line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.chat_stage import Person, Stage

NAMES = {"ann": "a", "Ann": "a", "ａｎｎ": "a", "bob": "b", "BOB": "b", "张三": "z", "eve": "e", "kim": "k", "lee": "l"}
ROOMS = {"lobby": "lobby", "LOBBY": "lobby", "Kernel": "kernel", "#kernel": "kernel", "空": "空"}
SENTENCES = {
    "zh": {"said": "{}说: {}", "acted": "** {} {}", "in": "{} 进入了聊天室", "out": "{} 退出了聊天室",
           "renamed": "{} 改名为 {}", "whispered": "{} 悄悄对你说: {}"},
    "en": {"said": "{}: {}", "acted": "** {} {}", "in": "{} joined the room", "out": "{} left the room",
           "renamed": "{} is now known as {}", "whispered": "{} whispers to you: {}"},
}  # fmt: skip


@dataclass(eq=False)
class Actor:
    person: Person
    name: str | None = None
    room: str | None = None
    language: str = "zh"
    heard: list[str] = field(default_factory=list)


class ChatMachine(RuleBasedStateMachine):
    """Random people do random things; after each, everybody's stream is compared with the model's."""

    @initialize()
    def start(self) -> None:
        self.stage = Stage()
        self.actors: list[Actor] = []
        self.texts = 0

    def pick(self, index: int) -> Actor:
        return self.actors[index % len(self.actors)]

    def tell_room(self, room: str | None, besides: Actor, sentence: str, *values: str) -> None:
        for actor in self.actors:
            if room is not None and actor.room == room and actor is not besides:
                actor.heard.append(SENTENCES[actor.language][sentence].format(*values))

    def gone(self, *actors: Actor) -> None:
        for actor in actors:
            self.actors.remove(actor)
        for actor in actors:
            if actor.name:
                self.tell_room(actor.room, actor, "out", actor.name)
            self.check(actor)

    def heard_by(self, actor: Actor) -> list[str]:
        text = actor.person.received.decode()
        for prompt in ("请输入姓名: ", "Please enter your name: "):
            text = text.replace(prompt, "")
        return [line for line in text.splitlines() if line and not line.startswith("* ")]

    def check(self, actor: Actor) -> None:
        assert self.heard_by(actor) == actor.heard

    @rule(worker=st.integers(0, 2))
    def connect(self, worker: int) -> None:
        if len(self.actors) < 8:
            self.actors.append(Actor(self.stage.connect(worker)))

    @precondition(lambda self: self.actors)
    @rule(index=st.integers(0, 7), name=st.sampled_from(sorted(NAMES)))
    def take_a_name(self, index: int, name: str) -> None:
        actor = self.pick(index)
        taken = any(other.name and NAMES[other.name] == NAMES[name] for other in self.actors if other is not actor)
        if actor.name is None:
            self.stage.type(actor.person, name)
            if not taken:
                actor.name, actor.room = name, "lobby"
                self.tell_room("lobby", actor, "in", name)
        else:
            self.stage.type(actor.person, f"/nick {name}")
            if not taken and name != actor.name:
                self.tell_room(actor.room, actor, "renamed", actor.name, name)
                actor.name = name

    @precondition(lambda self: any(actor.name for actor in self.actors))
    @rule(index=st.integers(0, 7), count=st.integers(1, 3), verb=st.sampled_from(["said", "acted"]))
    def talk(self, index: int, count: int, verb: str) -> None:
        actor = self.pick(index)
        if actor.name is None:
            return
        texts = [f"text {self.texts + number}" for number in range(count)]
        self.texts += count
        self.stage.type(actor.person, *[text if verb == "said" else f"/me {text}" for text in texts])
        for text in texts:
            self.tell_room(actor.room, actor, verb, actor.name, text)

    @precondition(lambda self: any(actor.name for actor in self.actors))
    @rule(index=st.integers(0, 7), other=st.integers(0, 7))
    def whisper(self, index: int, other: int) -> None:
        actor, recipient = self.pick(index), self.pick(other)
        if actor.name and recipient.name:
            self.texts += 1
            self.stage.type(actor.person, f"/msg {recipient.name} text {self.texts}")
            sentence = SENTENCES[recipient.language]["whispered"]
            recipient.heard.append(sentence.format(actor.name, f"text {self.texts}"))

    @precondition(lambda self: any(actor.name for actor in self.actors))
    @rule(index=st.integers(0, 7), room=st.sampled_from(sorted(ROOMS)))
    def move(self, index: int, room: str) -> None:
        actor = self.pick(index)
        if actor.name is None:
            return
        self.stage.type(actor.person, f"/join {room}")
        if actor.room != ROOMS[room]:
            self.tell_room(actor.room, actor, "out", actor.name)
            actor.room = ROOMS[room]
            self.tell_room(actor.room, actor, "in", actor.name)

    @precondition(lambda self: any(actor.name for actor in self.actors))
    @rule(index=st.integers(0, 7))
    def part(self, index: int) -> None:
        actor = self.pick(index)
        if actor.name is not None:
            self.stage.type(actor.person, "/part")
            self.tell_room(actor.room, actor, "out", actor.name)
            actor.room = None

    @precondition(lambda self: self.actors)
    @rule(index=st.integers(0, 7), language=st.sampled_from(["zh", "en"]))
    def change_language(self, index: int, language: str) -> None:
        actor = self.pick(index)
        self.stage.type(actor.person, f"/lang {language}")
        actor.language = language

    @precondition(lambda self: self.actors)
    @rule(index=st.integers(0, 7), how=st.sampled_from(["quit", "eof", "reset", "slow", "kick"]))
    def leave(self, index: int, how: str) -> None:
        actor = self.pick(index)
        if how == "quit":
            self.stage.type(actor.person, "/quit", "no more")
        elif how != "kick":
            self.stage.hang_up(actor.person, how)
        elif actor.name:
            assert self.stage.chat.kick(self.stage.now, actor.name.swapcase(), "out") == actor.name
            self.stage.pump()
        else:
            return
        assert actor.person.closed
        self.gone(actor)

    @precondition(lambda self: self.actors)
    @rule(index=st.integers(0, 7), worker=st.integers(0, 2))
    def give_away(self, index: int, worker: int) -> None:
        person = self.pick(index).person
        if person.worker != worker:
            self.stage.move(person, worker)

    @rule()
    def wait(self) -> None:
        self.stage.wait(61.0)
        self.gone(*[actor for actor in self.actors if actor.name is None])

    @invariant()
    def everybody_heard_exactly_that(self) -> None:
        for actor in self.actors:
            assert not actor.person.closed
            self.check(actor)

    @invariant()
    def the_books_are_right(self) -> None:
        chat = self.stage.chat
        assert chat.session_count == len(self.actors)
        assert chat.room_count == len({"lobby"} | {actor.room for actor in self.actors if actor.room})
        for name, key in NAMES.items():
            owners = [actor.person.number for actor in self.actors if actor.name and NAMES[actor.name] == key]
            found = chat.find_person(name)
            assert owners == ([] if found is None else [found.number])
        formats = {(actor.room, actor.language, actor.person.worker) for actor in self.actors if actor.room}
        assert sum(map(len, self.stage.groups.values())) == len(formats)


ChatMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChatModel = ChatMachine.TestCase
