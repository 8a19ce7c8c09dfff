"""What IRC clients ask of the server, and what its operators may do; clause by clause."""

from __future__ import annotations

from typing import Any

import pytest

from broker.operators import Operator, hashed, is_hash, is_password
from broker.protocols.irc.server import FAILURES_OF_OPER
from tests.irc_stage import SERVER, IrcClient, IrcStage

HASH = hashed("sesame", b"0123456789abcdef")
OPERATORS = (Operator("root", HASH), Operator("far", HASH, ("*!*@192.0.2.*",)), Operator("near", HASH, ("*!*@127.*",)))


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage(operators=OPERATORS, admin="ann@example.org")


def oper(stage: IrcStage, client: IrcClient, line: str = "OPER root sesame") -> list[Any]:
    """Send OPER, have the password checked as somebody else would, and return what the client got."""
    client.read()
    client.send(line)
    for kind, number, password_hash, password in stage.chat.take_requests():
        assert kind == "verify"
        stage.chat.verified(stage.now, number, is_password(password_hash, password))
    stage.pump()
    return client.read()


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("LUSERS", ["251", "252", "253", "254", "255", "265", "266"]),
        ("MOTD", ["422"]),
        ("MOTD nowhere.example", ["402"]),
        ("TIME", ["391"]),
        ("TIME nowhere.example", ["402"]),
        (f"TIME {SERVER}", ["391"]),
        ("INFO", ["371", "371", "374"]),
        ("INFO nowhere.example", ["402"]),
        ("INFO ann", ["371", "371", "374"]),
        ("ADMIN", ["256", "257", "258", "259"]),
        ("ADMIN nowhere.example", ["402"]),
        ("LINKS", ["364", "365"]),
        ("LINKS nowhere.example", ["365"]),
        ("LINKS irc.*", ["364", "365"]),
        ("STATS u", ["242", "219"]),
        ("STATS m", ["212", "219"]),
        ("STATS o", ["219"]),
        ("STATS", ["461"]),
        ("HELP", ["704", "705", "705", "706"]),
        ("HELPOP nonsense", ["524"]),
        ("OPER root", ["461"]),
        ("OPER none sesame", ["464"]),
        ("OPER far sesame", ["491"]),
        ("KILL ann :x", ["481"]),
        ("KILL ann", ["461"]),
        ("KILL", ["461"]),
        ("WALLOPS :x", ["481"]),
        ("REHASH", ["481"]),
        ("PROCESSES", ["481"]),
        ("SQUIT x", ["481"]),
        ("NONSENSE", ["421"]),
        ("ERROR :x", []),
        ("", []),
        (":source", []),
        ("@x=y", []),
    ],
)
def test_answers(stage: IrcStage, line: str, codes: list[str]) -> None:
    assert stage.irc("ann").commands(line) == codes


def test_lusers(stage: IrcStage) -> None:
    """The clause: "There are <u> users and <i> invisible on <s> servers" (Modern IRC, RPL_LUSERCLIENT)."""
    ann = stage.irc("ann", channel="#tea")
    IrcClient(stage)
    stage.irc("bob").send("QUIT")
    stage.join("plain", language="en")
    cid, dan = stage.irc("cid"), stage.irc("dan")
    cid.send("MODE cid +i")
    assert ann.ask("LUSERS")[0].parameters[-1] == "There are 3 users and 1 invisible on 1 servers"
    cid.send("QUIT")
    dan.send("MODE dan +i", "MODE dan -i", "QUIT")
    got = ann.ask("LUSERS")
    assert [list(message)[2:] for message in got] == [
        ["There are 2 users and 0 invisible on 1 servers"],
        ["0", "operator(s) online"],
        ["1", "unknown connection(s)"],
        ["2", "channels formed"],
        ["I have 2 clients and 0 servers"],
        ["2", "4", "Current local users 2, max 4"],
        ["2", "4", "Current global users 2, max 4"],
    ]


def test_time(stage: IrcStage) -> None:
    got = stage.irc("ann").one("TIME")
    assert list(got) == ["391", "ann", SERVER, "1700000000", "0", "Tuesday November 14 2023 -- 22:13:20 UTC"]


@pytest.mark.parametrize("subject", ["", "modes", "CHANNELS"])
def test_help(stage: IrcStage, subject: str) -> None:
    """The clause: "The `<subject>` MUST be the one requested by the client" (Modern IRC, RPL_HELPSTART)."""
    got = stage.irc("ann").ask(f"HELP {subject}".rstrip())
    assert [got[0].command, got[-1].command] == ["704", "706"]
    assert {message.parameters[1] for message in got} == {subject or "*"}


# Operators of the server.


def test_oper(stage: IrcStage) -> None:
    """The clause: "The user will also receive a MODE message indicating their new user modes" (Modern IRC, OPER)."""
    ann = stage.irc("ann")
    got = oper(stage, ann)
    assert [list(message)[:2] for message in got] == [["381", "ann"], ["MODE", "ann"]]
    assert list(ann.one("MODE ann"))[2] == "+o"
    assert "313" in ann.commands("WHOIS ann")
    assert ann.ask("WHO ann")[0].parameters[6] == "H*"
    assert list(ann.one("USERHOST ann"))[2].startswith("ann*=+")
    assert ann.ask("LUSERS")[1].parameters[1] == "1"
    assert ann.commands("STATS o") == ["243", "243", "243", "219"]
    ann.send("MODE ann -o")
    assert ann.commands("REHASH") == ["481"]
    assert ann.ask("LUSERS")[1].parameters[1] == "0"


def test_the_masks_of_an_operator(stage: IrcStage) -> None:
    """The clause: "If the client is not connecting from a valid host for the given name, the server replies with an
    `ERR_NOOPERHOST` message" (Modern IRC, OPER).
    """
    ann = stage.irc("ann")
    assert [message.command for message in oper(stage, ann, "OPER far sesame")] == ["491"]
    assert [message.command for message in oper(stage, ann, "OPER near sesame")] == ["381", "MODE"]


def test_guessing_has_an_end(stage: IrcStage) -> None:
    """The clause: "If the client does not send the correct password for the given name, the server replies with an
    `ERR_PASSWDMISMATCH` message"; each guess costs the machine some work, so there are few (Modern IRC, OPER).
    """
    ann = stage.irc("ann")
    for _ in range(FAILURES_OF_OPER - 1):
        assert [message.command for message in oper(stage, ann, "OPER root guess")] == ["464"]
    assert [message.command for message in oper(stage, ann, "OPER root guess")] == ["464", "ERROR"]
    assert ann.closed


def test_the_answer_comes_later_with_the_label(stage: IrcStage) -> None:
    ann = stage.irc("ann", "labeled-response", "batch")
    assert ann.ask("@label=x OPER root sesame") == []
    assert ann.commands("PING x") == ["PONG"]
    ((_, number, _, password),) = stage.chat.take_requests()
    assert password == "sesame"
    stage.chat.verified(stage.now, number, True)
    stage.pump()
    got = ann.read()
    assert got[0].command == "BATCH" and got[0].tags["label"] == "x"
    stage.chat.verified(stage.now, number, True)  # nobody has asked for that any more
    assert stage.chat.take_operations() == {}


def test_an_answer_for_somebody_who_is_gone(stage: IrcStage) -> None:
    ann = stage.irc("ann")
    ann.send("OPER root sesame", "QUIT")
    ((_, number, *_),) = stage.chat.take_requests()
    stage.chat.verified(stage.now, number, True)
    assert stage.chat.take_operations() == {}


def test_kill(stage: IrcStage) -> None:
    """The clause: "The user being killed and every user sharing a channel with them receives a QUIT message"
    (Modern IRC, KILL).
    """
    ann, bob, eve = (stage.irc(nick, channel="#tea") for nick in ("ann", "bob", "eve"))
    oper(stage, ann)
    eve.read()
    assert ann.commands("KILL none :x") == ["401"]
    assert [got.command for got in ann.ask("KILL bob :spam")] == ["QUIT"]
    assert [got.command for got in bob.read()][-3:] == ["KILL", "QUIT", "ERROR"] and bob.closed
    assert list(eve.read()[0]) == ["QUIT", "Killed (ann (spam))"]
    person = stage.join("plain", language="en")
    ann.send("KILL plain :noise")
    assert person.closed and "noise" in stage.read(person)
    assert ann.commands("KILL ann :enough") == ["ERROR"] and ann.closed


def test_wallops(stage: IrcStage) -> None:
    """The clause: "all currently connected users who have set the 'w' user mode for themselves" (Modern IRC,
    WALLOPS).
    """
    ann, bob, eve = (stage.irc(nick) for nick in ("ann", "bob", "eve"))
    oper(stage, ann)
    bob.send("MODE bob +w")
    bob.read()
    ann.send("WALLOPS :hear, hear")
    (got,) = bob.read()
    assert got.source == "ann!ann@127.0.0.1" and list(got) == ["WALLOPS", "hear, hear"]
    assert eve.read() == []


def test_an_operator_of_the_server_decides_in_every_channel(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann"), stage.irc("bob", channel="#tea")
    oper(stage, ann)
    bob.send("MODE #tea +ik x")
    assert ann.commands("JOIN #tea")[0] == "JOIN"
    assert list(ann.one("MODE #tea +q ann")) == ["MODE", "#tea", "+q", "ann"]
    assert ann.one("MODE #lobby +s").command == "MODE"


def test_rehash_and_processes(stage: IrcStage) -> None:
    """The clause: "Sent to an operator which has just successfully issued a REHASH command." (Modern IRC,
    RPL_REHASHING).
    """
    ann = stage.irc("ann")
    oper(stage, ann)
    assert ann.commands("REHASH") == ["382"]
    ((kind, number, by),) = stage.chat.take_requests()
    assert (kind, by) == ("rehash", "ann")
    stage.chat.rehashed(stage.now, number, "done")
    stage.pump()
    assert list(ann.read()[0]) == ["NOTICE", "ann", "done"]
    assert ann.commands("PROCESSES") == []
    ((kind, number),) = stage.chat.take_requests()
    stage.chat.processes(stage.now, number, ["NAME  PID", "router  7"])
    stage.pump()
    assert [got.parameters[1] for got in ann.read()] == ["NAME  PID", "router  7"]


# Passwords.


def test_passwords() -> None:
    assert is_password(HASH, "sesame")
    assert not is_password(HASH, "sesamE")
    assert hashed("sesame", b"another salt") != HASH
    assert is_hash(HASH)


@pytest.mark.parametrize(
    "text",
    ["", "sesame", "scrypt$14$8$1$$", HASH[:-4], HASH.replace("$14$", "$99$"), HASH.replace("$8$", "$-8$"),
     HASH.replace("scrypt", "bcrypt"), HASH + "$", HASH.replace("$14$8$", "$20$32$"), "scrypt$14$8$1$é$é"],
)  # fmt: skip
def test_what_is_no_hash(text: str) -> None:
    assert not is_hash(text)
    assert not is_password(text, "sesame")
