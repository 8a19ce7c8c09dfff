"""The parts of `broker chat` that need no terminal, most of them against the real chat (`tests.chat_stage`)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem

from broker import phrases
from broker.chat import ChatConfig
from broker.client import conversation as conversation_module
from broker.client.completion import Vocabulary, candidates
from broker.client.connection import LAST_BACKOFF_SECONDS, ConnectError, backoff_delays
from broker.client.conversation import MAX_LINE_BYTES, NAME_RETRY_SECONDS, Conversation, Ending, Phase
from broker.client.finding import at_url, on_state_dir
from broker.client.lines import MAX_LINE_BYTES as MAX_SHOWN_BYTES
from broker.client.lines import Kind, Line, LineDecoder
from broker.client.painter import MAX_NAME_CELLS, NAME_COLORS, Painter, name_style
from broker.client.people import People
from broker.client.recogniser import REPLY_PREFIX, recognise
from broker.errors import ConfigError, NotRunningError
from broker.names import Name, parse_name
from broker.phrases import LANGUAGES, Phrase
from broker.text import UNWANTED
from tests.chat_server import ChatServer
from tests.chat_stage import Stage

NAMES = st.text(min_size=1, max_size=12).filter(lambda text: isinstance(parse_name(text, 32), Name)).map(str.strip)
TEXTS = st.text(max_size=60).map(lambda text: UNWANTED.sub("", text))


# Recognising the broker's sentences.


def sentence(phrase: Phrase, language: str, **values: object) -> str:
    """A phrase as it goes over the wire."""
    prefix = "" if phrase in IN_ROOM else REPLY_PREFIX
    return prefix + phrase.fill(language, **values)


IN_ROOM = (phrases.SAID, phrases.JOINED, phrases.LEFT, phrases.ACTED, phrases.RENAMED, phrases.WHISPERED)


@pytest.mark.parametrize("language", LANGUAGES)
@given(name=NAMES, other=NAMES, text=TEXTS, count=st.integers(1, 99))
def test_every_sentence_that_the_client_acts_upon_is_recognised(
    language: str, name: str, other: str, text: str, count: int
) -> None:
    values: dict[str, object] = {
        "name": name, "old": name, "new": other, "room": other, "text": text, "reason": text,
        "names": f"{name}, {other}", "rooms": f"{name} (1), {other} (2)", "count": count, "total": count,
        "limit": count, "seconds": count, "anywhere": ",*?!@:", "first": "$#&+~%/",
    }  # fmt: skip
    for phrase in conversation_module._HANDLERS:
        if phrase is phrases.LANGUAGE_SET:
            continue
        recognised = recognise(sentence(phrase, language, **values), language)
        assert recognised is not None, phrase
        assert recognised.phrase is phrase
        assert recognised.values == {key: str(values[key]) for key in recognised.values}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_reply_to_lang_is_recognised_in_whatever_language(language: str) -> None:
    for chosen in LANGUAGES:
        recognised = recognise(REPLY_PREFIX + phrases.LANGUAGE_SET.fill(chosen), language)
        assert recognised is not None
        assert recognised.values == {"language": chosen}


@pytest.mark.parametrize("language", LANGUAGES)
@given(name=NAMES, text=TEXTS)
def test_nobody_can_say_something_that_is_taken_for_anything_else(language: str, name: str, text: str) -> None:
    """chat-protocol.md: "the first word tells what a line is, and nobody can write one that looks like another"."""
    for forged in (text, phrases.LEFT.fill(language, name="bob"), REPLY_PREFIX + phrases.GOODBYE.fill(language)):
        recognised = recognise(phrases.SAID.fill(language, name=name, text=forged), language)
        assert recognised == (phrases.SAID, {"name": name, "text": forged})


# Cutting bytes into lines.


def test_lines_are_cut_wherever_the_bytes_are() -> None:
    data = "请输入姓名: ann说: 你好\r\nbob\tx\x1b[31m\x07说: 换\n* 未完".encode()
    decoder = LineDecoder()
    lines = [line for index in range(len(data)) for line in decoder.feed(data[index : index + 1])]
    assert lines == ["请输入姓名: ann说: 你好", "bob x[31m说: 换"]
    assert decoder.rest == "* 未完"
    decoder.drop_rest()
    assert decoder.feed(b"\xff\n") == ["\ufffd"]


def test_a_line_without_end_is_not_gathered_for_ever() -> None:
    decoder = LineDecoder()
    shown = sum(len(line) for _ in range(100) for line in decoder.feed(b"x" * 10_000))
    assert shown + len(decoder.rest) == 1_000_000
    assert len(decoder.rest) <= MAX_SHOWN_BYTES


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
        assert phrases.WELCOME.fill(language, name="ann") in talk.texts()


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
    assert talk.phase() is Phase.PRESENT
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
    talk.say("look:\r\n/usr/bin\n\n//x\n/quit")
    assert stage.read(bob) == "ann: look:\nann: /usr/bin\nann: //x\nann: /quit\n"


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
        (lambda stage: stage.chat.retire_worker(stage.now, 0), Ending.WORKER_RETIRED),
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
    late.conversation.give_name("late")
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


# Completion.


def test_completion_offers_what_fits() -> None:
    words = Vocabulary(["/me", "/msg"], ["Ann", "anton", "王小明"], {"/msg": ["Ann", "anton"], "/join": ["lobby"]})
    assert candidates("/m", words) == ("/m", ["/me ", "/msg "])
    assert candidates("/msg a", words) == ("a", ["Ann ", "anton "])
    assert candidates("/join ", words) == ("", ["lobby "])
    assert candidates("ａn", words) == ("ａn", ["Ann: ", "anton: "])
    assert candidates("hi ant", words) == ("ant", ["anton"])
    assert candidates("王", words) == ("王", ["王小明: "])
    assert candidates("/msg ann wh", words) == ("wh", [])
    assert candidates("hi ", words) == ("", [])
    assert candidates("", words) == ("", [])


def test_the_vocabulary_grows_with_what_is_heard(stage: Stage) -> None:
    stage.join("bob", language="en")
    stage.type(stage.join("cy", language="en"), "/join dev")
    talk = Talk(stage)
    talk.say("/rooms")
    talk.say("/who dev")
    words = talk.conversation.vocabulary()
    assert list(words.names) == ["bob", "cy"]
    assert list(words.arguments["/join"]) == ["lobby", "dev"]
    assert "/quit" in words.commands


# Painting.


def luminance(color: int) -> float:
    """Relative luminance (WCAG 2.2) of a colour of the 256-colour palette."""

    def linear(value: int) -> float:
        part = value / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = Color.from_ansi(color).get_truecolor()
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


def test_colours_are_readable_on_black_and_on_white() -> None:
    for color in NAME_COLORS:
        against_black = (luminance(color) + 0.05) / 0.05
        against_white = 1.05 / (luminance(color) + 0.05)
        assert min(against_black, against_white) >= 3.6, color


def test_colours_stick_to_names_however_they_are_spelled() -> None:
    assert name_style("Ann") == name_style("ann") == name_style("Ａｎｎ")
    assert len({str(name_style(f"name{number}")) for number in range(200)}) == len(NAME_COLORS)


def said(name: str, text: str) -> Line:
    return Line(Kind.SAID, text, name)


def test_names_align_by_their_width_on_the_screen() -> None:
    painter = Painter(None)
    painted = [painter.paint(said(name, "x"), "12:00", 80) for name in ("a_long_name", "ann", "王小明", "é")]
    assert len({cell_len(line.partition("|")[0]) for line in painted}) == 1
    assert painter.paint(said("n" * (MAX_NAME_CELLS + 1), "x"), "12:00", 80).endswith(f" {'n' * 21} | x\n")
    assert painter.paint(said("ann", "x"), "12:00", 80) == painted[1]


@given(TEXTS, st.integers(20, 120))
def test_painted_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    painted = Painter(None).paint(said("ann", text), "12:00", width)
    first, *others = painted.removesuffix("\n").split("\n")
    bodies = [line.partition("| ")[2] for line in (first, *others)]
    assert "".join("".join(bodies).split()) == "".join(text.split())
    if others:
        assert all(cell_len(line) <= width for line in (first, *others))


def test_markup_and_escape_sequences_of_others_are_not_obeyed() -> None:
    painted = Painter(ColorSystem.EIGHT_BIT).paint(said("[red]", "[bold]x[/] :smile: [link=file:///]y"), "12:00", 80)
    assert "[bold]x[/] :smile: [link=file:///]y" in painted
    assert "[red]" in painted


def test_what_is_dimmed_and_what_is_not() -> None:
    painter = Painter(ColorSystem.EIGHT_BIT)
    dim, bold = "\x1b[2m", "\x1b[1m"
    for kind in (Kind.ENTERED, Kind.LEFT, Kind.NOTICE):
        assert f"{dim}text" in painter.paint(Line(kind, "text"), "12:00", 80)
    assert f"{bold}text" in painter.paint(Line(Kind.SAID, "text", "bob", to_me=True), "12:00", 80)
    assert painter.paint(said("bob", "text"), "12:00", 80).endswith(" | text\n")
    assert "\x1b" not in Painter(None).paint(Line(Kind.SAID, "text", "bob", to_me=True), "12:00", 80)


# Finding the broker.


def test_the_delays_grow_and_stay_bounded() -> None:
    delays = list(islice(backoff_delays(), 12))
    assert delays[0] < 0.3
    assert delays[5] > delays[2] > delays[0]
    assert max(delays) <= LAST_BACKOFF_SECONDS * 1.2
    assert min(delays[-3:]) >= LAST_BACKOFF_SECONDS * 0.8


def found_url(find: object) -> str:
    async def look() -> str:
        connection = await find()  # type: ignore[operator]
        connection.close()
        return str(connection.url)

    return asyncio.run(look())


@pytest.fixture
def control_socket(tmp_path: Path) -> Iterator[list[str]]:
    """A control socket on `tmp_path` that answers `status` with the listeners in the list."""
    listeners: list[str] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                request = json.loads(stream.readline())
                result = {"listeners": listeners}
                stream.write(
                    json.dumps({"version": 1, "id": request["id"], "ok": True, "result": result}).encode() + b"\n"
                )

    thread = threading.Thread(target=answer)
    thread.start()
    yield listeners
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def test_the_chat_socket_is_tried_first(tmp_path: Path, control_socket: list[str]) -> None:
    with ChatServer(tmp_path / "chat.sock") as server, ChatServer() as other:
        control_socket.append(other.url)
        assert found_url(on_state_dir(tmp_path)) == server.url


def test_else_the_supervisor_is_asked(tmp_path: Path, control_socket: list[str]) -> None:
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "chat.sock"))  # a stale one
    with ChatServer() as server:
        control_socket += ["irc://127.0.0.1:6667", "chat+unix:/nonexistent/socket", server.url]
        assert found_url(on_state_dir(tmp_path)) == server.url


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no broker runs on"):
        found_url(on_state_dir(tmp_path))
    with ChatServer() as server:
        url = server.url
    with pytest.raises(ConnectError, match="Connection refused"):
        found_url(at_url(url))
    with pytest.raises(ConfigError, match="bad URL"):
        at_url("http://127.0.0.1:80")


# Between pipes.


def chat_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "broker", "chat", *arguments]


def pipe_through(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `broker chat` with `text` on its standard input."""
    return subprocess.run(
        chat_command(*arguments), input=text, capture_output=True, text=True, encoding="utf-8", timeout=30, check=False
    )


def test_piped_lines_are_said_and_answers_read_to_the_end() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        done = pipe_through("hello\n/who\nno end of line", "--connect", server.url, "--name", "ann")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "* Welcome, ann! Just type to talk; /help lists the commands.",
            "* You are in lobby. Also here: bob",
            "* lobby (2): bob, ann",
        ]
        assert server.heard("bob") == ["ann joined the room", "ann: hello", "ann: no end of line", "ann left the room"]


def test_many_piped_lines_arrive_all_and_in_order() -> None:
    count = 20_000
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        text = "".join(f"line {number}\n" for number in range(count))
        done = pipe_through(text, "--connect", server.url, "--name", "ann")
        assert done.returncode == 0
        assert server.heard("bob")[1:-1] == [f"ann: line {number}" for number in range(count)]


def test_the_login_name_is_taken_where_nobody_can_be_asked() -> None:
    with ChatServer(language="en") as server:
        environment = {**os.environ, "LOGNAME": "carol"}
        command = chat_command("--connect", server.url)
        done = subprocess.run(command, input=b"", capture_output=True, env=environment, timeout=30, check=False)
        assert b"Welcome, carol!" in done.stdout


def test_a_taken_name_is_an_error_where_nobody_can_be_asked() -> None:
    with ChatServer(language="en") as server:
        server.say("ann", "here already")
        done = pipe_through("not a name\n", "--connect", server.url, "--name", "ann")
        assert done.returncode == 1
        assert done.stderr == "broker: That name is in use; please take another.\n"
        assert server.names() == ["ann"]


def test_a_room_that_cannot_be_entered_is_an_error() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        done = pipe_through("secret\n", "--connect", server.url, "--name", "ann", "--room", "a b")
        assert done.returncode == 1
        assert "spaces" in done.stderr
        assert not any("secret" in line for line in server.heard("bob"))


def test_a_line_that_is_too_long_is_told_and_the_others_are_sent() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        done = pipe_through(f"a\n{'x' * 5000}\nb\n", "--connect", server.url, "--name", "ann")
        assert done.returncode == 1
        assert "That line has 5000 bytes" in done.stderr
        assert server.heard("bob")[1:-1] == ["ann: a", "ann: b"]


def test_turned_away() -> None:
    full = b"* The chat is full (2 connections); please try again later.\n"
    with ChatServer(turn_away=full) as server:
        done = pipe_through("", "--connect", server.url, "--name", "ann")
        assert done.returncode == 1
        assert "The chat is full" in done.stderr


def test_exit_statuses_of_the_command_line(tmp_path: Path) -> None:
    assert pipe_through("", "--state-dir", str(tmp_path)).returncode == 3
    assert pipe_through("", "--connect", "nonsense").returncode == 2
    with ChatServer() as server:
        url = server.url
    refused = pipe_through("", "--connect", url)
    assert (refused.returncode, refused.stderr) == (1, f"broker: cannot connect to {url}: Connection refused\n")


def test_a_piped_client_comes_back_to_its_room_and_goes_on() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "/join dev")
        client = subprocess.Popen(
            chat_command("--connect", server.url, "--name", "ann", "--room", "dev"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert client.stdin is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        server.wait_until(lambda: "ann: one" in server.heard("bob"))
        server.cut()
        server.wait_until(lambda: server.heard("bob")[-2:] == ["ann left the room", "ann joined the room"])
        _, errors = client.communicate(b"two\n", timeout=30)
        assert client.returncode == 0
        assert server.heard("bob")[-2:] == ["ann: two", "ann left the room"]
        assert b"connection was lost" in errors


def test_without_reconnect_a_lost_connection_is_the_end() -> None:
    with ChatServer(language="en") as server:
        client = subprocess.Popen(
            chat_command("--connect", server.url, "--name", "ann", "--no-reconnect"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        server.wait_until(lambda: server.names() == ["ann"])
        server.shut_down()
        assert client.wait(timeout=30) == 1  # with its input still open: the end of that would be an orderly end
        output, errors = client.communicate()
        assert output.endswith(b"* The chat is closing. Goodbye!\n")
        assert errors == b"broker: the broker ended the connection: The chat is closing. Goodbye!\n"
