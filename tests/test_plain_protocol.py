"""The plain protocol as people see it; docs/chat-protocol.md is quoted and played."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import phrases
from broker.chat import ChatConfig
from broker.names import SYMBOLS_ANYWHERE, Name, parse_name
from broker.occasions import Acted, Joined, Occasion, Parted, Quit, Removed, Renamed, Said, Source
from broker.phrases import LANGUAGES, Phrase
from broker.protocols import plain, plain_commands
from broker.sessions import WireFormat
from broker.text import UNWANTED, clean, decode
from tests.chat_stage import Person, Stage

DOCUMENT = (Path(__file__).parent.parent / "docs" / "chat-protocol.md").read_text()
PROMPT = "请输入姓名: "


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_transcript_in_the_documentation(stage: Stage) -> None:
    transcript = DOCUMENT.partition("```chat\n")[2].partition("```")[0]
    people: dict[str, Person] = {}
    for entry in transcript.splitlines():
        name, arrow, text = entry.split(" ", 2)
        if name not in people:
            people[name] = stage.connect(worker=len(people))
        person = people[name]
        if arrow == "→":
            stage.type(person, text)
        else:
            text = text if text == PROMPT else f"{text}\n"
            received = person.received.decode()[person.read_to :]
            assert received.startswith(text), entry
            person.read_to += len(text)
    assert [person.received.decode()[person.read_to :] for person in people.values()] == ["", ""]
    assert people["bob"].closed


def by(name: str) -> Source:
    return Source(name, "chat", "127.0.0.1")


def rendered(occasion: Occasion, language: str) -> bytes:
    return plain.render(occasion, WireFormat("chat", language))


# "Exactly these bytes, one line each."


@pytest.mark.parametrize(
    ("occasion", "zh", "en"),
    [
        (Joined(by("张三"), "lobby"), "张三 进入了聊天室\n", "张三 joined the room\n"),
        (Said(by("张三"), "#lobby", "你好"), "张三说: 你好\n", "张三: 你好\n"),
        (Parted(by("张三"), "lobby", "bye"), "张三 退出了聊天室\n", "张三 left the room\n"),
        (Quit(by("张三"), "bye"), "张三 退出了聊天室\n", "张三 left the room\n"),
        (Removed(by("ann"), "lobby", "张三", "spam"), "张三 退出了聊天室\n", "张三 left the room\n"),
        (Acted(by("ann"), "#lobby", "waves"), "** ann waves\n", "** ann waves\n"),
        (Renamed(by("ann"), "anna"), "ann 改名为 anna\n", "ann is now known as anna\n"),
        (Said(by("ann"), "bob", "hi", private=True), "ann 悄悄对你说: hi\n", "ann whispers to you: hi\n"),
        (Said(by("{name}"), "#lobby", "{text} %s"), "{name}说: {text} %s\n", "{name}: {text} %s\n"),
    ],
)
def test_fixed_lines(occasion: Occasion, zh: str, en: str) -> None:
    assert rendered(occasion, "zh") == zh.encode()
    assert rendered(occasion, "en") == en.encode()


def test_the_documentation_has_the_fixed_lines() -> None:
    for phrase in (phrases.JOINED, phrases.LEFT, phrases.SAID, phrases.ACTED, phrases.RENAMED, phrases.WHISPERED):
        for text in phrase:
            assert f"`{re.sub('{(.*?)}', lambda match: match[1].upper(), text)}`" in DOCUMENT
    for text in phrases.ASK_NAME:
        assert f"`{text}`" in DOCUMENT


def test_every_command_is_documented() -> None:
    for command in plain_commands.COMMANDS.values():
        assert f"| `{command.usage.en.replace('|', chr(92) + '|')}` |" in DOCUMENT
    assert " ".join(f"{symbol}" for symbol in SYMBOLS_ANYWHERE) in DOCUMENT


# Naming.


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "名字不能为空。"),
        ("   ", "名字不能为空。"),
        ("x" * 33, "名字太长了，最多 32 个字符。"),
        ("a\x1b[2J", "名字里有看不见的字符，换一个吧。"),
        ("\x1b/quit", "名字里有看不见的字符，换一个吧。"),
        ("a b", "名字里不能有空格。"),
        ("a*", "名字里不能有 ,*?!@: 这些符号，也不能以 $#&+~%/ 开头。"),
        ("ＡNN", "这个名字已经有人在用了，换一个吧。"),
        ("/join x", "先告诉我你的名字吧。"),
    ],
)
def test_a_wrong_name_is_refused_with_the_reason_and_asked_again(stage: Stage, line: str, reason: str) -> None:
    stage.join("ann")
    person = stage.connect()
    assert stage.read(person) == PROMPT
    stage.type(person, line)
    assert stage.read(person) == f"* {reason}\n{PROMPT}"
    stage.type(person, "bob")
    assert stage.read(person).startswith("* 欢迎你，bob！")


def test_before_naming_one_may_choose_the_language_ask_for_help_and_go(stage: Stage) -> None:
    person = stage.connect()
    stage.type(person, "/lang en")
    assert stage.read(person) == f"{PROMPT}* Fine, English from here on.\nPlease enter your name: "
    stage.type(person, "/help")
    assert stage.read(person).endswith("Please enter your name: ")
    stage.type(person, "/quit")
    assert stage.read(person) == "* Goodbye!\n"
    assert person.closed


def test_no_name_in_time(stage: Stage) -> None:
    named = stage.join("ann")
    person = stage.connect()
    stage.wait(59.9)
    assert stage.read(person) == PROMPT
    stage.wait(0.1)
    assert stage.read(person) == "\n* 60 秒内没有等到名字，连接关闭了。\n"
    assert person.closed
    assert not named.closed


def test_the_newcomer_sees_at_most_twenty_names(stage: Stage) -> None:
    for number in range(20):
        stage.join(f"p{number}")
    twenty = ", ".join(f"p{number}" for number in range(20))
    person = stage.connect()
    stage.type(person, "u21")
    assert f"* 你在聊天室 lobby。在场的还有：{twenty}\n" in stage.read(person)
    person = stage.connect()
    stage.type(person, "/lang en", "u22")
    assert f"* You are in lobby. Also here: {twenty} and 1 more\n" in stage.read(person)


# Talking.


def test_everybody_reads_in_their_own_language(stage: Stage) -> None:
    ann, bob, eve = stage.join("ann"), stage.join("bob", 1), stage.join("eve", 1, "en")
    stage.type(ann, "hi", "/me waves", "/nick Anna", "/quit")
    assert stage.read(bob) == "ann说: hi\n** ann waves\nann 改名为 Anna\nAnna 退出了聊天室\n"
    assert stage.read(eve) == "ann: hi\n** ann waves\nann is now known as Anna\nAnna left the room\n"
    assert stage.read(ann) == "* 好，你现在叫 Anna。\n* 再见！\n"


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        ("hello\r", "ann: hello"),
        ("  spaces  ", "ann:   spaces  "),
        ("//help", "ann: /help"),
        ("///", "ann: //"),
        ("//", "ann: /"),
        (" /quit", "ann:  /quit"),
        ("\x1b/quit", "ann: /quit"),  # what removing makes of it is still no command
        ("\ufeff/quit", "ann: /quit"),
        ("* 再见！", "ann: * 再见！"),
        ("a\tb\x07", "ann: a b"),
        ("", None),
        ("\r", None),
        ("  \t ", None),
        ("\x1b\u202e", None),
        ("/me", None),
        ("/me \x1b", None),
        ("/ME  jumps ", "** ann jumps"),
        ("/me jumps\x1b[31m", "** ann jumps[31m"),
        ("/msg eve hi\x1b[31m", "ann whispers to you: hi[31m"),
        ("/me\u3000jumps", "** ann jumps"),
    ],
)
def test_what_others_hear(stage: Stage, line: str, heard: str | None) -> None:
    ann, eve = stage.join("ann"), stage.join("eve", language="en")
    stage.type(ann, line)
    assert stage.read(eve) == ("" if heard is None else f"{heard}\n")
    assert not ann.closed


def test_bad_bytes(stage: Stage) -> None:
    ann, eve = stage.join("ann"), stage.join("eve", language="en")
    stage.send(ann, b"a\xff\x00b\r\n")
    assert stage.read(eve) == "ann: a\ufffdb\n"


def test_a_line_that_is_too_long_is_refused_and_the_session_goes_on() -> None:
    stage = Stage(ChatConfig(max_line_bytes=10))
    ann, eve = stage.join("ann"), stage.join("eve", language="en")
    stage.send(ann, b"0123456789\r\n0123456789a\nnext\n")
    assert stage.read(ann) == "* 这一行太长了，最多 10 字节，没有发出去。\n"
    assert stage.read(eve) == "ann: 0123456789\nann: next\n"


def test_too_long_while_naming(stage: Stage) -> None:
    person = stage.connect()
    stage.send_overlong(person, 5000)
    stage.send_overlong(person, 5000)
    assert stage.read(person) == f"{PROMPT}* 这一行太长了，最多 4096 字节，没有发出去。\n{PROMPT}"
    stage.send(person, b"rest\nann\n")
    assert stage.read(person).startswith("* 欢迎你，ann！")


def test_private_words(stage: Stage) -> None:
    ann, bob, eve = stage.join("ann"), stage.join("bob", 1), stage.join("eve", language="en")
    stage.type(bob, "/join elsewhere")
    for person in (ann, bob, eve):
        stage.read(person)
    stage.type(ann, "/msg BOB see  you ", "/msg nobody\x07 hi", "/msg bob", "/msg bob \x1b", "/MSG eve x")
    assert stage.read(bob) == "ann 悄悄对你说: see  you\n"
    assert stage.read(eve) == "ann whispers to you: x\n"
    assert stage.read(ann) == (
        "* 你悄悄对 bob 说: see  you\n* 这里没有叫 nobody 的人。\n* 用法：/msg 姓名 内容\n* 用法：/msg 姓名 内容\n"
        "* 你悄悄对 eve 说: x\n"
    )


# Rooms.


def test_moving_between_rooms(stage: Stage) -> None:
    ann, bob, eve = stage.join("ann"), stage.join("bob"), stage.join("eve", 1, "en")
    stage.type(bob, "/join #Kernel")
    assert stage.read(bob) == "* 你在聊天室 Kernel，这里暂时只有你一个人。\n"
    assert stage.read(ann) == "bob 退出了聊天室\n"
    assert stage.read(eve) == "bob left the room\n"
    stage.type(eve, "/join ｋernel")
    assert stage.read(eve) == "* You are in Kernel. Also here: bob\n"
    assert stage.read(bob) == "eve 进入了聊天室\n"
    stage.type(eve, "hi", "/join kernel", "/join a b")
    assert stage.read(bob) == "eve说: hi\n"
    assert stage.read(eve) == "* You are in Kernel already.\n* A name cannot have spaces in it.\n"
    assert stage.read(ann) == "eve 退出了聊天室\n"
    stage.type(ann, "anybody?")
    assert stage.read(bob) == ""


def test_in_no_room(stage: Stage) -> None:
    ann, eve = stage.join("ann"), stage.join("eve", language="en")
    stage.type(eve, "/part")
    assert stage.read(eve) == "* You left lobby. /join enters a room.\n"
    assert stage.read(ann) == "eve 退出了聊天室\n"
    stage.type(eve, "hello?", "/me waits", "/part", "/who", "/nick Eve", "/lang zh", "/lang en")
    nobody = "* You are in no room, so nobody can hear you. /join enters one.\n"
    assert stage.read(eve) == nobody * 4 + (
        "* You are now known as Eve.\n* 好，现在说中文。\n* Fine, English from here on.\n"
    )
    stage.type(ann, "quiet", "/msg eve here")
    assert stage.read(eve) == "ann whispers to you: here\n"
    stage.type(eve, "/quit")
    assert stage.read(ann) == "* 你悄悄对 Eve 说: here\n"


def test_rooms_and_who(stage: Stage) -> None:
    ann, eve = stage.join("ann"), stage.join("eve", language="en")
    stage.type(ann, "/join Kernel", "/rooms", "/who", "/who lobby", "/who nowhere\x1b", "/who a*")
    assert stage.read(ann).splitlines()[1:] == [
        "* 聊天室：lobby (1), Kernel (1)",
        "* Kernel (1): ann",
        "* lobby (1): eve",
        "* 没有 nowhere 这个聊天室。/rooms 列出全部。",
        "* 没有 a* 这个聊天室。/rooms 列出全部。",
    ]
    stage.type(eve, "/join kernel", "/who #LOBBY", "/rooms")
    assert stage.read(eve).splitlines()[2:] == ["* Nobody is in lobby.", "* Rooms: lobby (0), Kernel (2)"]
    stage.type(ann, "/join lobby")
    stage.type(eve, "/part", "/rooms")
    assert stage.read(eve).endswith("* Rooms: lobby (1)\n")


def test_lists_are_bounded(stage: Stage) -> None:
    for number in range(60):
        stage.type(stage.connect(), f"p{number}", f"/join r{number}")
    for number in range(60, 120):
        stage.type(stage.connect(), f"p{number}")
    ann = stage.join("ann", language="en")
    stage.type(ann, "/rooms", "/who")
    rooms, who = stage.read(ann).splitlines()
    assert rooms.startswith("* Rooms: lobby (61), r0 (1), r1 (1), ")
    assert rooms.endswith("r48 (1) and 11 more")
    assert who.startswith("* lobby (61): p60, p61, ")
    assert who.endswith(", p109 and 11 more")


# Names, languages, mistakes.


def test_changing_the_name(stage: Stage) -> None:
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.type(ann, "/nick BOB", "/nick ann", "/nick Ａnn", "/nick an\x1bn", "/nick a b", "/nick")
    assert stage.read(ann) == (
        "* 这个名字已经有人在用了，换一个吧。\n* 你本来就叫 ann。\n* 好，你现在叫 Ａnn。\n"
        "* 名字里有看不见的字符，换一个吧。\n* 名字里不能有空格。\n* 用法：/nick 姓名\n"
    )
    assert stage.read(bob) == "ann 改名为 Ａnn\n"
    stage.type(ann, "/nick carl")
    stage.type(bob, "/nick ann")
    assert stage.read(ann) == "* 好，你现在叫 carl。\nbob 改名为 ann\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/joni x", "There is no command /joni; did you mean /join? /help lists them."),
        ("/JOIM x", "There is no command /JOIM; did you mean /join? /help lists them."),
        ("/xyzzy", "There is no command /xyzzy. /help lists them."),
        ("/", "There is no command /. /help lists them."),
        ("/ help", "There is no command /. /help lists them."),
        ("/\x1b[2J", "There is no command /[2J. /help lists them."),
        ("/" + "z" * 4000, "There is no command /" + "z" * 40 + "…. /help lists them."),
        ("/{name}", "There is no command /{name}. /help lists them."),
        ("/join", "Usage: /join ROOM"),
        ("/lang", "Usage: /lang zh|en"),
        ("/lang fr", "Languages: zh, en"),
    ],
)
def test_mistakes(stage: Stage, line: str, answer: str) -> None:
    eve = stage.join("eve", language="en")
    stage.type(eve, line)
    assert stage.read(eve) == f"* {answer}\n"


def test_help_names_every_command_in_both_languages(stage: Stage) -> None:
    ann, eve = stage.join("ann"), stage.join("eve", language="en")
    stage.type(ann, "/help")
    stage.type(eve, "/help")
    zh, en = stage.read(ann).splitlines(), stage.read(eve).splitlines()
    assert len(zh) == len(en) == len(plain_commands.COMMANDS) + 2
    for name, command in plain_commands.COMMANDS.items():
        assert command.usage.zh.split()[0] == command.usage.en.split()[0] == f"/{name}"
        assert any(line.startswith(f"* {command.usage.zh} - ") for line in zh)
        assert any(line.startswith(f"* {command.usage.en} - ") for line in en)


# What cannot be forged.

clean_texts = st.text().map(clean).filter(lambda text: text and not text.isspace())
names = st.text(min_size=1, max_size=8).filter(lambda text: isinstance(parse_name(text, 32), Name)).map(str.strip)


@given(names, clean_texts, st.sampled_from(LANGUAGES))
def test_the_first_word_tells_what_a_line_is(name: str, text: str, language: str) -> None:
    def first_word(line: bytes) -> str:
        assert line.count(b"\n") == 1
        return line.decode().split(" ")[0]

    assert first_word(rendered(Said(by(name), "#lobby", text), language)).endswith(":")
    assert first_word(rendered(Acted(by(name), "#lobby", text), language)) == "**"
    notices: tuple[Occasion, ...] = (
        Joined(by(name), "lobby"), Quit(by(name)), Renamed(by(name), "x"), Said(by(name), "x", text, private=True)
    )  # fmt: skip
    for occasion in notices:
        word = first_word(rendered(occasion, language))
        assert word == name
        assert not word.endswith(":")
        assert word not in ("*", "**")


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"") + b"\n"), max_size=8))
def test_nobody_gets_what_could_harm_a_terminal(lines: list[bytes]) -> None:
    stage = Stage()
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.send(ann, b"".join(lines)) if lines else None
    for person in (ann, bob):
        for line in stage.read(person).split("\n"):
            assert UNWANTED.search(line) is None


def test_decoding_is_the_only_expansion(stage: Stage) -> None:
    """ "A line that you receive has at most 16 KiB." """
    ann, bob = stage.join("a" * 32), stage.join("bob")
    stage.send(ann, b"\xff" * 4096 + b"\n")
    assert stage.read(bob) == f"{'a' * 32}说: {decode(bytes([255])) * 4096}\n"
    assert len(bob.received) < 16384


# The table of phrases.


def test_every_phrase_has_the_same_placeholders_in_each_language() -> None:
    table = {name: phrase for name, phrase in vars(phrases).items() if isinstance(phrase, Phrase)}
    assert len(table) > 50
    for name, phrase in table.items():
        fields = [{field for _, field, _, _ in Formatter().parse(text) if field is not None} for text in phrase]
        assert all(each == fields[0] for each in fields), name
        assert all(text.strip() and "\n" not in text for text in phrase), name
