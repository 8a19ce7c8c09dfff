"""Several lines said in one go: everybody gets the same bytes as if they had been taken one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.phrases import LANGUAGES
from broker.protocols import irc, plain
from broker.protocols.plain_render import _SAID
from tests.chat_stage import Person
from tests.irc_stage import IrcStage

TAGGED = ("message-tags", "server-time", "account-tag")
NAMED = re.compile(r"msgid=[^; ]+")

texts = st.one_of(
    st.sampled_from(
        ["hello", "/help", "//slash", "/me waves", "", " ", "  x", "say: what", "\tx", "\x02bold\x02", "你好"]
    ),
    st.sampled_from(["\x01ACTION nods\x01", "a\rb", "a\0b", "ünï©ode", "é" * 250, "x" * 400, "x" * 490, "x" * 600]),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20),
)
ends = st.sampled_from(["\n", "\r\n"])
plain_lines = st.tuples(texts, ends).map(lambda line: (line[0] + line[1]).encode())
starts = st.sampled_from(
    [
        "PRIVMSG #lobby :",
        "PRIVMSG #lobby :",
        "PRIVMSG #lobby :",
        "privmsg #lobby :",
        "PRIVMSG #Lobby :",
        "PRIVMSG #tea :",
        "PRIVMSG #none :",
        "PRIVMSG #lobby ",
        "@+typing=done PRIVMSG #lobby :",
        "NOTICE #lobby :",
        "PRIVMSG ann :",
        "",
        " ",
    ]
)
irc_lines = st.tuples(starts, texts, ends).map(lambda line: "".join(line).encode())
broken = st.binary(max_size=8).map(lambda data: data.replace(b"\n", b"") + b"\n")


def mostly(lines: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Lines that are often much alike, and seldom broken."""
    alike = st.tuples(lines, st.integers(1, 5)).map(lambda each: [each[0]] * each[1])
    groups = st.lists(st.one_of(alike, st.lists(lines, max_size=4), broken.map(lambda line: [line])), max_size=4)
    return groups.map(lambda found: [line for group in found for line in group])


@contextmanager
def one_by_one() -> Iterator[None]:
    """Nothing is taken in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "monologue", lambda *_: 0)
        patch.setattr(irc, "monologue", lambda *_: 0)
        yield


class Gathering:
    """People of every kind in the lobby, one of whom speaks."""

    def __init__(self, speaker: str, tagged: bool, modes: str) -> None:
        stage = self.stage = IrcStage()
        self.bob, self.cid = stage.join("bob", language="en"), stage.join("cid", worker=1)
        stage.type(self.cid, "/lang zh")
        ann = stage.irc("ann", channel="#lobby")
        ann.send("JOIN #tea")
        if tagged:
            stage.irc("tag", *TAGGED, channel="#lobby", worker=1)
        self.eve = stage.irc("eve", *(("echo-message",) if speaker == "echo" else ()), channel="#lobby")
        self.ann = ann.person
        if modes:
            stage.chat.default_room.modes = modes
        self.speaker: Person = self.bob if speaker == "plain" else self.eve.person

    def heard(self) -> list[str]:
        """What each has got, with the names of messages by the order of their first appearance."""
        found = []
        for person in self.stage.people.values():
            data = self.stage.read(person)
            names: dict[str, int] = {}
            found.append(NAMED.sub(lambda match: f"msgid={names.setdefault(match[0], len(names))}", data))  # noqa: B023
        return found


def compare(lines: list[bytes], speaker: str, tagged: bool, modes: str) -> None:
    together, apart = Gathering(speaker, tagged, modes), Gathering(speaker, tagged, modes)
    if lines:
        together.stage.send(together.speaker, b"".join(lines))
    with one_by_one():
        for line in lines:
            if not apart.speaker.closed:
                apart.stage.send(apart.speaker, line)
    assert together.heard() == apart.heard()
    for counter in ("messages_in", "messages_out"):
        assert getattr(together.stage.chat, counter) == getattr(apart.stage.chat, counter)


modes = st.sampled_from(["nt", "", "mnt", "nst", "Cnt"])


@given(mostly(plain_lines), st.booleans(), modes)
def test_people_of_the_plain_protocol(lines: list[bytes], tagged: bool, modes: str) -> None:
    compare(lines, "plain", tagged, modes)


@given(mostly(irc_lines), st.sampled_from(["irc", "echo"]), st.booleans(), modes)
def test_people_of_irc(lines: list[bytes], speaker: str, tagged: bool, modes: str) -> None:
    compare(lines, speaker, tagged, modes)


@pytest.mark.parametrize("speaker", ["plain", "irc"])
@pytest.mark.parametrize("tagged", [False, True])
def test_what_people_mostly_say_is_taken_in_one_go(speaker: str, tagged: bool) -> None:
    """Or the tests above would compare one way with itself."""
    here = Gathering(speaker, tagged, "")
    here.heard()
    lines = ["hello", "你好 world", "as you say"]
    said = "".join(f"PRIVMSG #lobby :{line}\r\n" if speaker == "irc" else f"{line}\n" for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        for module in (plain, irc):
            patch.setattr(module, "line", lambda *_: pytest.fail("it was taken alone"))
        here.stage.send(here.speaker, said.encode())
    name = "eve" if speaker == "irc" else "bob"
    assert here.heard()[1] == "".join(f"{name}说: {line}\n" for line in lines)


def test_every_message_of_a_monologue_can_be_taken_back() -> None:
    stage = IrcStage()
    ann = stage.irc("ann", *TAGGED, "draft/message-redaction", channel="#tea")
    eve = stage.irc("eve", *TAGGED, "draft/message-redaction", channel="#tea")
    ann.read()
    eve.send("PRIVMSG #tea :one", "PRIVMSG #tea :two")
    names = [got.tags["msgid"] for got in ann.read()]
    assert len(set(names)) == 2
    for name in names:
        assert [got.command for got in eve.ask(f"REDACT #tea {name}")] == ["REDACT"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_comes_last_in_its_line(language: str) -> None:
    """So that what stands before it is all that has to be put between lines."""
    assert _SAID[language].endswith("{1}\n") and _SAID[language].count("{") == 2
