"""What people say over IRC: PRIVMSG, NOTICE, TAGMSG, CTCP, several lines, taking back; clause by clause."""

from __future__ import annotations

import pytest

from broker.protocols.irc.capabilities import MULTILINE_BYTES, MULTILINE_LINES
from tests.irc_stage import SERVER, IrcClient, IrcStage

ALL = ("message-tags", "server-time", "batch", "labeled-response", "echo-message", "draft/multiline",
       "draft/message-redaction")  # fmt: skip


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage()


@pytest.mark.parametrize("command", ["PRIVMSG", "NOTICE"])
def test_messages(stage: IrcStage, command: str) -> None:
    """The clause: "used to send private messages between users, as well as to send messages to channels" (Modern
    IRC, PRIVMSG).
    """
    ann, bob, eve = (stage.irc(nick, channel="#tea") for nick in ("ann", "bob", "eve"))
    ann.read(), bob.read()
    assert ann.ask(f"{command} #TEA :hello  there :) ", f"{command} BOB :psst") == []
    got = bob.read()
    assert [message.source for message in got] == ["ann!ann@127.0.0.1"] * 2
    assert [list(message) for message in got] == [[command, "#tea", "hello  there :) "], [command, "bob", "psst"]]
    assert len(eve.read()) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("PRIVMSG", "411"),  # ERR_NORECIPIENT
        ("PRIVMSG ann", "412"),  # ERR_NOTEXTTOSEND
        ("PRIVMSG ann :", "412"),
        ("PRIVMSG none :x", "401"),  # ERR_NOSUCHNICK
        ("PRIVMSG #none :x", "403"),
        ("PRIVMSG @#none :x", "403"),
        ("PRIVMSG #tea :x", "404"),  # ERR_CANNOTSENDTOCHAN
    ],
)
def test_errors_of_privmsg_and_none_of_notice(stage: IrcStage, line: str, code: str) -> None:
    """The clause: "automatic replies must never be sent in response to a `NOTICE` message. This rule also applies
    to servers" (Modern IRC, NOTICE).
    """
    stage.irc("ann", channel="#tea")
    bob = stage.irc("bob")
    assert bob.commands(line) == [code]
    assert bob.commands(line.replace("PRIVMSG", "NOTICE")) == []


def test_several_targets(stage: IrcStage) -> None:
    """The clause: "the maximum number of targets allowed for commands which accept multiple targets" (Modern IRC,
    TARGMAX).
    """
    people = [stage.irc(f"p{number}") for number in range(5)]
    ann = stage.irc("ann")
    assert ann.commands("PRIVMSG p0,p1,none,p0,p2 :x") == ["401"]
    assert [len(person.read()) for person in people] == [1, 1, 1, 0, 0]
    assert ann.commands("PRIVMSG p0,p1,p2,p3,p4 :x") == ["407"]


def test_for_those_of_a_status(stage: IrcStage) -> None:
    """The clause: "the message will be delivered only to the members of that channel with the given or higher
    status in the channel" (Modern IRC, PRIVMSG).
    """
    ann, bob, eve = (stage.irc(nick, channel="#tea") for nick in ("ann", "bob", "eve"))
    ann.send("MODE #tea +v bob")
    for client in (ann, bob, eve):
        client.read()
    eve.send("PRIVMSG @#tea :operators", "PRIVMSG +#tea :and voices")
    assert [list(got)[1:] for got in ann.read()] == [["@#tea", "operators"], ["+#tea", "and voices"]]
    assert [list(got)[1:] for got in bob.read()] == [["+#tea", "and voices"]]
    assert eve.read() == []


def test_who_is_away_says_so(stage: IrcStage) -> None:
    """The clause: "If `<target>` is a user and that user has been set as away, the server may reply with an
    RPL_AWAY numeric" (Modern IRC, PRIVMSG).
    """
    ann, bob = stage.irc("ann"), stage.irc("bob")
    bob.send("AWAY :lunch")
    assert [list(got) for got in ann.ask("PRIVMSG bob :x")] == [["301", "ann", "bob", "lunch"]]
    assert ann.ask("NOTICE bob :x") == []


def test_ctcp_passes_through(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann"), stage.irc("bob")
    ann.send("PRIVMSG bob :\x01VERSION\x01", "PRIVMSG bob :\x01ACTION waves\x01", "PRIVMSG bob :\x01PING 1")
    assert [got.parameters[1] for got in bob.read()] == ["\x01VERSION\x01", "\x01ACTION waves\x01", "\x01PING 1\x01"]
    bob.send("NOTICE ann :\x01VERSION nc\x01")
    assert list(ann.read()[0]) == ["NOTICE", "ann", "\x01VERSION nc\x01"]


# The length of lines.


@pytest.mark.parametrize("letter", ["a", "é", "字", "🦊"])
@pytest.mark.parametrize("wrap", ["{}", "\x01ACTION {}\x01"])
def test_a_text_too_long_to_be_passed_on_is_cut_where_a_character_ends(stage: IrcStage, letter: str, wrap: str) -> None:
    """The clause: "these messages SHALL NOT exceed 512 characters in length, counting all characters including the
    trailing CR-LF": of what others get, too, so that all of them, and the sender's own copy, are the same (RFC
    2812, 2.3).
    """
    ann, bob = stage.irc("ann", "echo-message"), stage.irc("bob")
    size = 510 - len("PRIVMSG bob :") - len(wrap.format(""))
    text = wrap.format(letter * (size // len(letter.encode())))
    (echo,) = ann.ask(f"PRIVMSG bob :{text}")
    (got,) = bob.read()
    assert got.line == echo.line
    body = got.parameters[1]
    assert text.startswith(body.removesuffix("\x01"))
    assert 505 < len(got.line.encode()) <= 510
    assert body.endswith("\x01") == text.endswith("\x01")


def test_a_line_too_long_is_refused(stage: IrcStage) -> None:
    """The clause: "a given line does not follow the specified size limits (512 bytes for the main section, 4094 or
    8191 bytes for the tag section)" (Modern IRC, ERR_INPUTTOOLONG).
    """
    ann, bob = stage.irc("ann"), stage.irc("bob")
    start = "PRIVMSG bob :"
    assert ann.commands(start + "x" * (510 - len(start))) == []
    assert ann.commands(start + "x" * (511 - len(start))) == ["417"]
    stage.send_overlong(ann.person, 10_000)
    stage.send(ann.person, b"x\nPRIVMSG bob :next\n")
    assert [got.command for got in ann.read()] == ["417"]
    assert bob.read()[-1].parameters[1] == "next"


@pytest.mark.parametrize(("size", "answer"), [(4094, []), (4095, ["417"]), (8192, ["417"])])
def test_tags_have_a_limit_of_their_own(stage: IrcStage, size: int, answer: list[str]) -> None:
    """The clause: "512 bytes for the main section, 4094 or 8191 bytes for the tag section" (Modern IRC,
    ERR_INPUTTOOLONG).
    """
    ann, bob = stage.irc("ann", *ALL), stage.irc("bob", "message-tags")
    key = "+test="
    got = ann.ask(f"@{key}{'x' * (size - len(key))} PRIVMSG bob :{'y' * 300}")
    assert [message.command for message in got if message.command != "PRIVMSG"] == answer
    assert len(bob.read()) == (not answer)


# Bytes that are no text.


def test_what_is_not_utf_8_is_refused(stage: IrcStage) -> None:
    """The clause: "When sent with the `FAIL` command, it indicates that the client's message was rejected because
    it contained invalid UTF-8 data." (IRCv3, utf8-only).
    """
    ann, bob = stage.irc("ann", "labeled-response", "batch"), stage.irc("bob")
    stage.send(ann.person, b"@label=x PRIVMSG bob :caf\xe9\r\n")
    (got,) = ann.read()
    assert got.source == SERVER and got.tags == {"label": "x"}
    assert list(got)[:3] == ["FAIL", "PRIVMSG", "INVALID_UTF8"]
    assert bob.read() == []


def test_carriage_returns_and_nuls_cannot_make_lines(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann"), stage.irc("bob")
    stage.send(ann.person, b"PRIVMSG bob :a\rQUIT :b\0c\r\n")
    assert list(bob.read()[0]) == ["PRIVMSG", "bob", "aQUIT :bc"]


# Tags.


def test_server_time_and_msgid(stage: IrcStage) -> None:
    """The time is YYYY-MM-DDThh:mm:ss.sssZ, and the id of a message is the same for all (IRCv3, server-time,
    message-ids).
    """
    ann, bob = stage.irc("ann", *ALL, channel="#tea"), stage.irc("bob", "message-tags", channel="#tea")
    eve = stage.irc("eve", "server-time", channel="#tea")
    plain = stage.irc("old", channel="#tea")
    for client in (ann, bob, eve):
        client.read()
    (echo,) = ann.ask("PRIVMSG #tea :x")
    (one,), (two,), (three,) = bob.read(), eve.read(), plain.read()
    assert echo.tags["time"] == two.tags["time"] == "2023-11-14T22:13:20.250Z"
    assert echo.tags["msgid"] == one.tags["msgid"]
    assert (one.tags.keys(), two.tags.keys(), three.tags) == ({"msgid"}, {"time"}, {})
    assert ann.one("PRIVMSG #tea :y").tags["msgid"] != echo.tags["msgid"]


def test_client_only_tags_reach_who_understands_tags(stage: IrcStage) -> None:
    """Those whose name begins with a plus sign are relayed, all others are dropped (IRCv3, message-tags)."""
    ann, bob, eve = stage.irc("ann", "message-tags"), stage.irc("bob", "message-tags"), stage.irc("eve")
    ann.send("@+draft/reply=m\\:1;+typing=active;x=y;time=z;+b\\;ad=1;+example.com/k=\\s\\\\ PRIVMSG bob,eve :x")
    (got,) = bob.read()
    assert {key: value for key, value in got.tags.items() if key.startswith("+")} == {
        "+draft/reply": "m\\:1", "+typing": "active", "+example.com/k": "\\s\\\\",
    }  # fmt: skip
    assert got.tags.keys() - {"msgid"} == {"+draft/reply", "+typing", "+example.com/k"}
    assert eve.read()[0].tags == {}


def test_tagmsg(stage: IrcStage) -> None:
    """Only for those who understand tags (IRCv3, message-tags)."""
    ann, bob, eve = (stage.irc(nick, *caps, channel="#tea") for nick, caps in
                     (("ann", ALL), ("bob", ("message-tags",)), ("eve", ())))  # fmt: skip
    ann.read(), bob.read()
    (echo,) = ann.ask("@+typing=active TAGMSG #tea")
    (got,) = bob.read()
    assert list(got) == list(echo) == ["TAGMSG", "#tea"]
    assert got.tags["+typing"] == "active" and got.tags["msgid"] == echo.tags["msgid"]
    assert eve.read() == []
    assert eve.commands("TAGMSG #tea") == ["421"]
    assert ann.commands("TAGMSG", "TAGMSG none") == ["461", "401"]


def test_a_bots_messages_say_so(stage: IrcStage) -> None:
    """The clause: "This tag SHOULD be added by the server to all commands sent by a bot" (IRCv3, bot-mode)."""
    ann, bob = stage.irc("ann"), stage.irc("bob", "message-tags")
    ann.send("MODE ann +B", "PRIVMSG bob :beep")
    assert "bot" in bob.read()[0].tags


# The sender's own copy, and answers with labels.


def test_echo(stage: IrcStage) -> None:
    """The clause: "servers MUST send `PRIVMSG` and `NOTICE` messages back to the client that sent them" (IRCv3,
    echo-message).
    """
    ann, bob = stage.irc("ann", *ALL), stage.irc("bob", "message-tags")
    echo = ann.one("@label=7;+x=y PRIVMSG bob :hi")
    (got,) = bob.read()
    assert echo.source == got.source and list(echo) == list(got)
    assert (echo.tags["label"], echo.tags["+x"], echo.tags["msgid"]) == ("7", "y", got.tags["msgid"])
    assert "label" not in got.tags
    assert ann.commands("PRIVMSG none :x") == ["401"]


def test_writing_to_oneself(stage: IrcStage) -> None:
    """The clause: "the server MUST NOT include the label tag, except for any acknowledgment sent with the
    `echo-message` mechanism" (IRCv3, labeled-response).
    """
    ann = stage.irc("ann", *ALL)
    got = ann.ask("@label=7 PRIVMSG ann :hi")
    assert [list(message) for message in got] == [["PRIVMSG", "ann", "hi"]] * 2
    assert sorted(message.tags.get("label", "") for message in got) == ["", "7"]


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("PING x", ["PONG"]),
        ("PONG x", ["ACK"]),
        ("NONSENSE", ["421"]),
        ("PRIVMSG #tea", ["412"]),
        ("NOTICE none :x", ["ACK"]),
        ("MODE #tea +nt", ["ACK"]),
        ("WHO #tea", ["BATCH", "352", "315", "BATCH"]),
        ("JOIN #other", ["BATCH", "JOIN", "353", "366", "BATCH"]),
    ],
)
def test_labels(stage: IrcStage, line: str, commands: list[str]) -> None:
    """The clause: "Servers MUST include the tag in exactly one logical message." (IRCv3, labeled-response)."""
    ann = stage.irc("ann", "labeled-response", "batch", channel="#tea")
    got = ann.ask(f"@label=l\\:1 {line}")
    assert [message.command for message in got] == commands
    if commands:
        assert got[0].tags == {"label": "l\\:1"}
        assert all("label" not in message.tags for message in got[1:])
    if commands[:1] == ["BATCH"]:
        reference = got[0].parameters[0][1:]
        assert got[0].parameters[1] == "labeled-response"
        assert all(message.tags["batch"] == reference for message in got[1:-1])
        assert got[-1].parameters == [f"-{reference}"] and got[-1].tags == {}
    assert ann.one("PING x").tags == {}


def test_without_the_capability_a_label_is_none(stage: IrcStage) -> None:
    assert stage.irc("ann").one("@label=1 PING x").tags == {}


# Several lines.


@pytest.fixture
def talkers(stage: IrcStage) -> tuple[IrcClient, IrcClient, IrcClient]:
    """One who sends several lines, one who takes them, one who does not."""
    ann, bob, eve = (stage.irc(nick, *caps, channel="#tea") for nick, caps in
                     (("ann", ALL), ("bob", ALL), ("eve", ("message-tags",))))  # fmt: skip
    ann.read(), bob.read()
    return ann, bob, eve


Talkers = tuple[IrcClient, IrcClient, IrcClient]
START = "BATCH +1 draft/multiline #tea"


def test_several_lines(talkers: Talkers) -> None:
    """The clause: "Servers MUST only include a message ID on the first message of a batch when sending a fallback"
    (IRCv3, multiline).
    """
    ann, bob, eve = talkers
    echo = ann.ask(
        f"@label=5;+x=y {START}", "@batch=1 PRIVMSG #tea :one", "@batch=1 PRIVMSG #tea :",
        "@batch=1;draft/multiline-concat PRIVMSG #tea :two", "@batch=1 PRIVMSG #tea :three", "BATCH -1",
    )  # fmt: skip
    got = bob.read()
    assert (
        [list(message)[-1] for message in got[1:-1]]
        == ["one", "", "two", "three"]
        == [list(message)[-1] for message in echo[1:-1]]
    )
    assert got[0].parameters[1:] == ["draft/multiline", "#tea"] and got[0].nick == "ann"
    assert got[0].tags["msgid"] == echo[0].tags["msgid"] and got[0].tags["+x"] == "y"
    assert [sorted(message.tags) for message in got[1:-1]] == [
        ["batch"], ["batch"], ["batch", "draft/multiline-concat"], ["batch"],
    ]  # fmt: skip
    assert echo[0].tags["label"] == "5" and all("label" not in message.tags for message in echo[1:])
    fallback = eve.read()
    assert [list(message)[-1] for message in fallback] == ["one", "two", "three"]
    assert fallback[0].tags["msgid"] == got[0].tags["msgid"]
    assert [message.tags.keys() for message in fallback[1:]] == [set(), set()]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([START, "BATCH -1"], "MULTILINE_INVALID"),
        ([START, "@batch=1 PRIVMSG #tea :", "BATCH -1"], "MULTILINE_INVALID"),
        ([START, "@batch=1;draft/multiline-concat PRIVMSG #tea :"], "MULTILINE_INVALID"),
        ([START, "@batch=1 PRIVMSG #tea :x", "@batch=1 NOTICE #tea :x"], "MULTILINE_INVALID"),
        ([START, "@batch=1 TAGMSG #tea"], "MULTILINE_INVALID"),
        ([START, "@batch=2 PRIVMSG #tea :x"], "MULTILINE_INVALID"),
        ([START, "@batch=1 PRIVMSG bob :x"], "MULTILINE_INVALID_TARGET"),
        ([START, *(["@batch=1 PRIVMSG #tea :x"] * (MULTILINE_LINES + 1))], "MULTILINE_MAX_LINES"),
        ([START, *([f"@batch=1 PRIVMSG #tea :{'x' * 400}"] * (MULTILINE_BYTES // 400 + 1))], "MULTILINE_MAX_BYTES"),
        (["BATCH +1 chathistory #tea"], "UNKNOWN_TYPE"),
        (["BATCH +1 draft/multiline"], "MULTILINE_INVALID"),
        (["BATCH -1"], "INVALID_REF"),
        ([START, "BATCH +2 draft/multiline #tea"], "MULTILINE_INVALID"),
    ],
)  # fmt: skip
def test_several_lines_that_are_wrong(talkers: Talkers, lines: list[str], code: str) -> None:
    ann, bob, _ = talkers
    got = ann.ask(*lines)
    assert [list(message)[:3] for message in got] == [["FAIL", "BATCH", code]]
    ann.send("@batch=1 PRIVMSG #tea :more", "BATCH -1")
    assert [message.command for message in bob.read()] == []
    ann.read()
    assert ann.commands(START, "@batch=1 PRIVMSG #tea :x", "BATCH -1") == ["BATCH", "PRIVMSG", "BATCH"]


def test_other_commands_go_on_during_a_batch(talkers: Talkers) -> None:
    ann, bob, _ = talkers
    assert ann.commands(START, "PING x", "PRIVMSG #tea :between", "@batch=1 PRIVMSG #tea :y", "BATCH -1") == [
        "PONG", "PRIVMSG", "BATCH", "PRIVMSG", "BATCH",
    ]  # fmt: skip
    assert [message.command for message in bob.read()] == ["PRIVMSG", "BATCH", "PRIVMSG", "BATCH"]


# Taking back.


def test_redact(talkers: Talkers) -> None:
    """The clause: "SHOULD forward this `REDACT`, with an appropriate prefix, to the target recipients that have
    negotiated the `draft/message-redaction` capability" (IRCv3, message-redaction).
    """
    ann, bob, eve = talkers
    msgid = bob.one("PRIVMSG #tea :oops").tags["msgid"]
    ann.read(), eve.read()
    assert list(bob.one(f"REDACT #tea {msgid} :typo")) == ["REDACT", "#tea", msgid, "typo"]
    assert list(ann.read()[0]) == ["REDACT", "#tea", msgid, "typo"]
    assert eve.read() == []
    assert list(bob.one(f"REDACT #tea {msgid}"))[:3] == ["FAIL", "REDACT", "UNKNOWN_MSGID"]


def test_who_may_take_back(talkers: Talkers) -> None:
    ann, bob, _ = talkers
    operators = ann.one("PRIVMSG #tea :mine").tags["msgid"]
    members = bob.one("PRIVMSG #tea :mine").tags["msgid"]
    private = bob.one("PRIVMSG ann :psst").tags["msgid"]
    assert list(bob.one(f"REDACT #tea {operators}"))[:3] == ["FAIL", "REDACT", "REDACT_FORBIDDEN"]
    assert ann.one(f"REDACT #tea {members}").command == "REDACT"
    assert list(ann.one(f"REDACT bob {private}"))[:3] == ["FAIL", "REDACT", "REDACT_FORBIDDEN"]
    assert list(bob.one(f"REDACT #tea {private}"))[:3] == ["FAIL", "REDACT", "UNKNOWN_MSGID"]
    assert list(bob.one("REDACT #none x"))[:3] == ["FAIL", "REDACT", "INVALID_TARGET"]
    ann.read()
    assert bob.one(f"REDACT ann {private}").command == "REDACT"
    assert list(ann.read()[0]) == ["REDACT", "ann", private]
