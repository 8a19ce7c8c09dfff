"""`broker chat` without terminal and socket: the conversation, against the real chat (`tests.chat_stage`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import phrases
from broker.chat import ChatConfig
from broker.client.conversation import MAX_LINE_BYTES, NAME_RETRY_SECONDS, Conversation, Ending, Phase
from broker.client.lines import Kind, Line
from broker.client.people import People
from broker.messages import ENDED
from broker.phrases import LANGUAGES
from broker.text import UNWANTED
from tests.chat_stage import Stage

# The conversation.


class Talk:
    """A Conversation that talks to a Stage, without a socket and one byte at a time."""

    def __init__(self, stage: Stage, name: str = "ann", room: str = "", language: str | None = None) -> None:
        self.stage = stage
        self.conversation = Conversation(name, room, "en", language)
        self.shown: list[Line] = []
        self.connect()

    def connect(self) -> None:
        self.person = self.stage.connect()
        self.conversation.connected()
        self.go_on()

    def lose(self, noticed: bool = True) -> None:
        """The connection breaks; unless `noticed`, the broker does not know yet."""
        self.conversation.disconnected()
        if noticed:
            self.stage.hang_up(self.person)

    def go_on(self) -> None:
        """Read what there is and send what there is, until nothing moves."""
        while (data := self.stage.read(self.person).encode()) or self.conversation.outgoing:
            for index in range(len(data)):
                self.shown += self.conversation.received(data[index : index + 1])
            lines = list(self.conversation.outgoing)
            self.conversation.outgoing.clear()
            if lines and not self.person.closed:
                self.stage.type(self.person, *lines)

    def say(self, text: str) -> bool:
        taken, lines = self.conversation.say(text)
        self.shown += lines
        self.go_on()
        return taken

    def phase(self) -> Phase:
        return self.conversation.phase

    def asks_name(self) -> bool:
        return self.conversation.asks_name

    def texts(self) -> list[str]:
        """What was shown since the last look."""
        self.go_on()
        shown, self.shown = self.shown, []
        return [line.text for line in shown]


@pytest.fixture
def stage() -> Stage:
    return Stage(ChatConfig(language="en"))


def test_entering(stage: Stage) -> None:
    stage.join("bob", language="en")
    talk = Talk(stage)
    conversation = talk.conversation
    assert (talk.phase(), conversation.name, conversation.room) == (Phase.PRESENT, "ann", "lobby")
    assert conversation.people.names() == ["bob"]
    assert talk.texts() == [
        "Welcome, ann! Just type to talk; /help lists the commands.",
        "You are in lobby. Also here: bob",
    ]


def test_the_name_is_shown_as_the_broker_spells_it(stage: Stage) -> None:
    assert Talk(stage, " e\u0301va ").conversation.name == "éva"


def test_without_a_name_the_person_is_asked_and_again_if_it_is_refused(stage: Stage) -> None:
    stage.join("bob", language="en")
    talk = Talk(stage, "")
    conversation = talk.conversation
    assert talk.phase() is Phase.ASKING
    for refused, reason in [
        ("Bob", "That name is in use"),
        ("a b", "A name cannot have spaces"),
        ("", "cannot be empty"),
    ]:
        conversation.give_name(refused)
        talk.go_on()
        assert talk.phase() is Phase.ASKING
        assert reason in conversation.refusal
        assert reason in talk.texts()[-1]
    conversation.give_name("/help")
    assert "said in the room" in talk.texts()[0]
    assert talk.phase() is Phase.ASKING
    conversation.give_name("ann")
    talk.go_on()
    assert talk.phase() is Phase.PRESENT


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_wanted_language_is_asked_for_before_the_name(language: str) -> None:
    for brokers in LANGUAGES:
        talk = Talk(Stage(ChatConfig(language=brokers)), language=language)
        assert talk.conversation.language == language
        texts = talk.texts()
        assert texts[0] == phrases.WELCOME.fill(language, name="ann")
        assert phrases.LANGUAGE_SET.fill(language) not in texts  # nobody had typed that
        talk.say(f"/lang {brokers}")
        assert talk.texts() == [phrases.LANGUAGE_SET.fill(brokers)]
        assert talk.conversation.language == brokers


def test_the_language_is_the_brokers_if_none_is_wanted() -> None:
    assert Talk(Stage(ChatConfig(language="zh"))).conversation.language == "zh"


def test_going_to_a_room(stage: Stage) -> None:
    talk = Talk(stage, room="#Dev")
    assert (talk.phase(), talk.conversation.room) == (Phase.PRESENT, "Dev")
    same = Talk(stage, "bob", room="LOBBY")
    assert same.conversation.room == "lobby"
    assert "You are in lobby already." not in same.texts()


def test_a_room_that_is_refused(stage: Stage) -> None:
    talk = Talk(stage, room="a b")
    assert (talk.phase(), talk.conversation.room) == (Phase.PRESENT, "lobby")
    assert "spaces" in talk.conversation.refusal


def test_one_comes_back_under_the_same_name_to_the_same_room_in_the_same_language() -> None:
    stage = Stage(ChatConfig(language="zh"))
    talk = Talk(stage)
    for command in ("/join dev", "/nick anna", "/lang en"):
        talk.say(command)
    talk.lose()
    assert talk.conversation.ending is Ending.LOST
    talk.connect()
    conversation = talk.conversation
    assert (talk.phase(), conversation.name, conversation.room) == (Phase.PRESENT, "anna", "dev")
    assert conversation.language == "en"


def test_a_name_that_the_lost_connection_still_holds_is_tried_again(stage: Stage) -> None:
    talk = Talk(stage)
    lost = talk.person
    talk.lose(noticed=False)
    talk.texts()
    talk.connect()
    conversation = talk.conversation
    assert talk.phase() is Phase.WAITING
    assert conversation.retry_seconds == NAME_RETRY_SECONDS[0]
    conversation.name_again()
    talk.go_on()
    assert talk.phase() is Phase.WAITING
    assert conversation.retry_seconds == NAME_RETRY_SECONDS[1]
    stage.hang_up(lost)
    conversation.name_again()
    talk.go_on()
    assert (talk.phase(), conversation.refusal) == (Phase.PRESENT, "")
    assert [text for text in talk.texts() if "holds" in text or "in use" in text] == [
        "The lost connection still holds the name ann; trying again shortly."
    ]


def test_a_name_that_stays_taken_is_asked_for(stage: Stage) -> None:
    talk = Talk(stage)
    talk.lose(noticed=False)
    talk.connect()
    waited = []
    while talk.phase() is Phase.WAITING:
        waited.append(talk.conversation.retry_seconds)
        talk.conversation.name_again()
        talk.go_on()
    assert tuple(waited) == NAME_RETRY_SECONDS
    assert talk.phase() is Phase.ASKING
    assert "That name is in use; please take another." in talk.texts()
    talk.conversation.give_name("ann2")
    talk.go_on()
    assert talk.conversation.name == "ann2"


def test_what_one_says_is_shown_to_oneself_as_others_see_it(stage: Stage) -> None:
    bob = stage.join("bob", language="en")
    talk = Talk(stage)
    talk.texts()
    stage.read(bob)
    for line in ("hello", "//etc", "/me  waves ", "/who", "   ", "tab\there\x1b"):
        assert talk.say(line)
    mine = [(line.kind, line.text, line.name) for line in talk.shown if line.mine]
    assert mine == [
        (Kind.SAID, "hello", "ann"),
        (Kind.SAID, "/etc", "ann"),
        (Kind.ACTION, "waves", "ann"),
        (Kind.SAID, "tab here", "ann"),
    ]
    assert stage.read(bob) == "ann: hello\nann: /etc\n** ann waves\nann: tab here\n"


def test_in_no_room_nothing_is_shown_as_said(stage: Stage) -> None:
    talk = Talk(stage)
    talk.say("/part")
    talk.texts()
    talk.say("is anybody there?")
    talk.say("/me shouts")
    assert talk.texts() == [phrases.ROOM_NONE.en] * 2
    assert talk.conversation.room == ""


def test_only_the_first_of_several_lines_can_be_a_command(stage: Stage) -> None:
    bob = stage.join("bob", language="en")
    talk = Talk(stage)
    stage.read(bob)
    talk.say("look:\r\n/usr/bin\r\n\n//x\n/quit\vno line end")
    assert stage.read(bob) == "ann: look:\nann: /usr/bin\nann: //x\nann: /quitno line end\n"


def test_a_line_that_is_too_long_is_not_taken(stage: Stage) -> None:
    bob = stage.join("bob", language="en")
    talk = Talk(stage)
    stage.read(bob)
    longest = "汉" * (MAX_LINE_BYTES // 3) + "x" * (MAX_LINE_BYTES % 3)
    assert talk.say(longest)
    assert stage.read(bob) == f"ann: {longest}\n"
    talk.texts()
    assert not talk.say(f"short\n{longest}x")
    assert stage.read(bob) == ""
    assert talk.texts() == ["That line has 4097 bytes, 4096 at most; it was not sent."]


def test_without_a_connection_nothing_is_taken(stage: Stage) -> None:
    talk = Talk(stage)
    talk.lose()
    taken, shown = talk.conversation.say("hello")
    assert not taken
    assert [line.kind for line in shown] == [Kind.WARNING]
    assert talk.conversation.outgoing == []


def test_what_others_do(stage: Stage) -> None:
    talk = Talk(stage)
    bob = stage.connect()
    stage.type(bob, "bob", "hi Ann", "annals", "/me waves", "/msg ann psst", "/nick rob", "/quit")
    talk.go_on()
    shown = [(line.kind, line.name, line.text, line.to_me) for line in talk.shown if line.kind is not Kind.NOTICE]
    assert shown == [
        (Kind.ENTERED, "", "bob joined the room", False),
        (Kind.SAID, "bob", "hi Ann", True),
        (Kind.SAID, "bob", "annals", False),
        (Kind.ACTION, "bob", "waves", False),
        (Kind.SAID, "bob", "(to you only) psst", True),
        (Kind.LEFT, "", "rob left the room", False),
    ]
    raw = [line.raw for line in talk.shown]
    assert raw[-4:] == ["** bob waves", "bob whispers to you: psst", "bob is now known as rob", "rob left the room"]
    assert all(raw)


def test_whispering(stage: Stage) -> None:
    stage.join("bob", language="en")
    talk = Talk(stage)
    talk.texts()
    talk.say("/msg bob psst: hm")
    assert [(line.name, line.text, line.mine) for line in talk.shown] == [("ann", "(to bob only) psst: hm", True)]


@pytest.mark.parametrize(
    ("act", "ending"),
    [
        (lambda stage: stage.chat.shutdown(stage.now), Ending.CLOSING),
        (lambda stage: stage.chat.kick(stage.now, "ann", ""), Ending.KICKED),
        (lambda stage: stage.chat.kick(stage.now, "ann", "spam"), Ending.KICKED),
        (lambda stage: stage.chat.apply(stage.now, 0, (ENDED, 1, "slow")), Ending.FELL_BEHIND),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_why_it_ended(language: str, act: object, ending: Ending) -> None:
    stage = Stage(ChatConfig(language=language))
    talk = Talk(stage)
    act(stage)  # type: ignore[operator]
    stage.pump()
    talk.go_on()
    assert talk.person.closed
    assert talk.conversation.ending is ending
    assert talk.conversation.last_words == talk.texts()[-1]


def test_quitting_and_naming_too_late(stage: Stage) -> None:
    talk = Talk(stage)
    talk.say("/quit")
    assert talk.conversation.ending is Ending.QUIT
    late = Talk(stage, "")
    stage.wait(60)
    late.go_on()
    assert late.conversation.ending is Ending.NAME_TIMED_OUT
    late.conversation.disconnected()
    assert late.asks_name()
    late.conversation.give_name("late")
    assert not late.asks_name()
    late.connect()
    assert late.phase() is Phase.PRESENT


@given(st.lists(st.binary(max_size=80) | st.sampled_from([*phrases.ASK_NAME]).map(str.encode), max_size=8))
def test_whatever_comes_nothing_breaks_and_nothing_dangerous_is_shown(chunks: list[bytes]) -> None:
    conversation = Conversation("ann", "", "en", None)
    conversation.connected()
    shown = [line for chunk in chunks for line in conversation.received(chunk)]
    for line in shown:
        assert not UNWANTED.search(f"{line.name}{line.text}{line.raw}")


@given(st.lists(st.sampled_from(["ann", "bob", "Ann", "王"]), max_size=12), st.integers(0, 3))
def test_the_head_count_is_never_negative(names: list[str], unnamed: int) -> None:
    people = People()
    people.found(["ann"], unnamed)
    for index, name in enumerate(names):
        (people.left, people.spoke, people.entered)[index % 3](name)
    assert people.count >= len(people.names()) >= 0


def test_people_who_were_only_counted_are_not_counted_twice() -> None:
    people = People()
    people.found(["ann", "bob"], 2)
    people.spoke("cy")
    people.left("dan")
    assert (people.count, people.names()) == (3, ["ann", "bob", "cy"])
    people.renamed("bob", "Bobby")
    people.met(["eve", "ANN"])
    assert people.names() == ["ann", "cy", "Bobby", "eve"]


def test_the_vocabulary_grows_with_what_is_heard(stage: Stage) -> None:
    stage.join("bob", language="en")
    stage.type(stage.join("cy", language="en"), "/join dev")
    talk = Talk(stage)
    talk.say("/rooms")
    talk.say("/who dev")
    talk.say("/who")
    assert talk.conversation.people.count == 1
    words = talk.conversation.vocabulary()
    assert list(words.names) == ["bob", "cy"]
    assert list(words.arguments["/join"]) == ["lobby", "dev"]
    assert "/quit" in words.commands
