"""What IRC clients learn of each other, and tell of themselves; clause by clause."""

from __future__ import annotations

import pytest

from broker.protocols.irc.limits import MONITORED
from tests.irc_stage import SERVER, IrcStage


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage()


# NICK.


def test_nick_is_told_to_neighbours_once(stage: IrcStage) -> None:
    """The clause: "to inform other clients about the change of nickname", each of them once (Modern IRC, NICK)."""
    ann, bob, eve = stage.irc("ann"), stage.irc("bob"), stage.irc("eve")
    for client in (ann, bob):
        client.send("JOIN #a,#b,#c")
    stage.irc("kim", channel="#b")
    ann.read(), bob.read()
    (own,) = ann.ask("NICK anna")
    (seen,) = bob.read()
    assert own.source == seen.source == "ann!ann@127.0.0.1" and list(own) == list(seen) == ["NICK", "anna"]
    assert eve.read() == []
    assert ann.ask("NICK anna") == []
    assert list(ann.one("NICK Anna")) == ["NICK", "Anna"]


@pytest.mark.parametrize("rooms", [1, 3])
def test_quit_is_told_once_too(stage: IrcStage, rooms: int) -> None:
    ann, bob, eve = (stage.irc(nick) for nick in ("ann", "bob", "eve"))
    names = ",".join(f"#r{number}" for number in range(rooms))
    for client in (ann, bob):
        client.send(f"JOIN {names}")
    eve.send("JOIN #r0")
    bob.read(), eve.read()
    ann.send("QUIT")
    assert [len(bob.read()), len(eve.read())] == [1, 1]


# WHO, WHOIS, WHOWAS, USERHOST, ISON.


def test_who(stage: IrcStage) -> None:
    """The clause: "<client> <channel> <username> <host> <server> <nick> <flags> :<hopcount> <realname>" (Modern
    IRC, RPL_WHOREPLY).
    """
    stage.irc("ann", channel="#tea")
    bob = stage.irc("bob", channel="#tea")
    bob.send("AWAY :x", "MODE bob +B")
    got = bob.ask("WHO #tea")
    assert [list(message)[1:] for message in got] == [
        ["bob", "#tea", "ann", "127.0.0.1", SERVER, "ann", "H@", "0 Real ann"],
        ["bob", "#tea", "bob", "127.0.0.1", SERVER, "bob", "GB", "0 Real bob"],
        ["bob", "#tea", "End of WHO list"],
    ]


@pytest.mark.parametrize(
    ("mask", "found"),
    [("ann", ["ann"]), ("ANN", ["ann"]), ("an*", ["ann"]), ("*e*", ["ann", "bob", "eve"]), ("0", ["ann", "bob", "eve"]),
     ("*", ["ann", "bob", "eve"]), ("Real?bob", ["bob"]), ("127.*", ["ann", "bob", "eve"]), ("none", []), ("#none", []),
     ("irc.test.*", ["ann", "bob", "eve"])],
)  # fmt: skip
def test_who_by_mask(stage: IrcStage, mask: str, found: list[str]) -> None:
    stage.irc("ann", channel="#tea"), stage.irc("bob")
    got = stage.irc("eve").ask(f"WHO {mask}")
    assert [message.parameters[5] for message in got[:-1]] == found
    assert got[-1].command == "315" and got[-1].parameters[1] == mask


def test_who_is_invisible_shows_to_neighbours_and_to_who_knows_the_nick(stage: IrcStage) -> None:
    """The clause: "they will not show up in commands such as WHO or NAMES unless they share a channel with the user
    that submitted the command" (Modern IRC, Invisible User Mode).
    """
    ann, bob, eve = stage.irc("ann", channel="#tea"), stage.irc("bob", channel="#tea"), stage.irc("eve")
    ann.send("MODE ann +i")
    assert eve.commands("WHO a*") == ["315"]
    assert bob.commands("WHO a*") == eve.commands("WHO ann") == ["352", "315"]
    assert len(eve.ask("WHO #tea")) == 2, "bob only"
    assert eve.ask("NAMES #tea")[0].parameters[-1] == "bob"
    assert "319" not in eve.commands("WHOIS ann")
    assert eve.ask("LUSERS")[0].parameters[1] == "There are 2 users and 1 invisible on 1 servers"


def test_whox(stage: IrcStage) -> None:
    """354 with the fields that were asked for, in the order tcuihsnfdlaor (IRCv3, whox)."""
    stage.irc("ann", channel="#tea")
    bob = stage.irc("bob", channel="#tea")
    stage.now += 5
    (got, _) = bob.ask("WHO ann %rofsnahcitudl,123")
    assert list(got) == [
        "354", "bob", "123", "#tea", "ann", "127.0.0.1", "127.0.0.1", SERVER, "ann", "H@", "0", "5", "0", "n/a",
        "Real ann",
    ]  # fmt: skip
    assert list(bob.ask("WHO ann %tn")[0]) == ["354", "bob", "0", "ann"]
    assert list(bob.ask("WHO ann %tn,12345")[0]) == ["354", "bob", "0", "ann"]
    assert list(bob.ask("WHO ann %")[0]) == ["354", "bob"]
    assert bob.commands("WHO #tea o") == ["315"]


def test_whois(stage: IrcStage) -> None:
    """The clause: "`<nick>` MUST be exactly the `<nick>` parameter sent by the client in its `WHOIS` message."
    (Modern IRC, RPL_ENDOFWHOIS).
    """
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob")
    ann.send("AWAY :lunch", "MODE ann +B", "JOIN #secret", "MODE #secret +s")
    stage.now += 60
    got = bob.ask("WHOIS ANN")
    assert [list(message)[2:] for message in got] == [
        ["ann", "ann", "127.0.0.1", "*", "Real ann"],
        ["ann", "@#tea"],
        ["ann", SERVER, "a group chat made of processes"],
        ["ann", "lunch"],
        ["ann", "is a bot"],
        ["ann", "60", "1700000000", "seconds idle, signon time"],
        ["ANN", "End of /WHOIS list"],
    ]
    assert [message.command for message in got] == ["311", "319", "312", "301", "335", "317", "318"]
    assert {"338", "379"} <= set(ann.commands("WHOIS ann"))
    assert ann.ask("WHOIS ann")[1].parameters[-1] == "@#tea @#secret"


@pytest.mark.parametrize(
    ("line", "codes"),
    [("WHOIS", ["431"]), ("WHOIS :", ["431"]), ("WHOIS none", ["401", "318"]), ("WHOIS nowhere.example ann", ["402"]),
     ("WHOIS none,nobody", ["401", "401", "318"]), ("WHOWAS", ["431"]), ("WHOWAS none", ["406", "369"]),
     ("USERHOST", ["461"]), ("ISON", ["461"])],
)  # fmt: skip
def test_errors_of_queries(stage: IrcStage, line: str, codes: list[str]) -> None:
    assert stage.irc("ann").commands(line) == codes


def test_whois_by_server(stage: IrcStage) -> None:
    ann = stage.irc("ann")
    for target in (SERVER.upper(), "ann", "irc.*"):
        assert ann.commands(f"WHOIS {target} ann")[0] == "311"


def test_whowas(stage: IrcStage) -> None:
    """The clause: "The history is searched backward, returning the most recent entry first." (Modern IRC, WHOWAS)."""
    eve = stage.irc("eve")
    for user in ("one", "two", "three"):
        ann = stage.irc("ann")
        ann.send(f"SETNAME :I am {user}", "QUIT")
    assert [m.parameters[-1] for m in eve.ask("WHOWAS ann") if m.command == "314"] == [
        "I am three",
        "I am two",
        "I am one",
    ]
    assert eve.commands("WHOWAS ann 2").count("314") == 2
    assert eve.commands("WHOWAS ann 0").count("314") == eve.commands("WHOWAS ann -1").count("314") == 3
    eve.send("NICK eva")
    assert eve.commands("WHOWAS eve")[0] == "314", "a change of nick counts, too"


def test_userhost_and_ison(stage: IrcStage) -> None:
    """The clause: "reply = nickname [ isop ] "=" isaway hostname" (Modern IRC, RPL_USERHOST)."""
    stage.irc("bob").send("AWAY :x")
    ann = stage.irc("ann")
    assert list(ann.one("USERHOST Ann none bob")) == ["302", "ann", "ann=+ann@127.0.0.1 bob=-bob@127.0.0.1"]
    assert list(ann.one("ISON BOB none :ann nobody")) == ["303", "ann", "bob ann"]
    assert list(ann.one("ISON none")) == ["303", "ann", ""]


# AWAY, SETNAME and who hears of it.


def test_away(stage: IrcStage) -> None:
    """The clause: "The server acknowledges the change in away status by returning the RPL_NOWAWAY and RPL_UNAWAY
    numerics." (Modern IRC, AWAY).
    """
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob", "away-notify", channel="#tea")
    stage.irc("eve", channel="#tea")
    bob.read()
    assert ann.commands("AWAY :lunch") == ["306"]
    (seen,) = bob.read()
    assert seen.source == "ann!ann@127.0.0.1" and list(seen) == ["AWAY", "lunch"]
    assert ann.commands("AWAY") == ["305"] == ann.commands("AWAY :")
    assert [list(got) for got in bob.read()] == [["AWAY"]]


def test_who_joins_while_away_says_so(stage: IrcStage) -> None:
    """To those in the channel who want to hear of it (IRCv3, away-notify)."""
    bob, ann = stage.irc("bob", "away-notify", channel="#tea"), stage.irc("ann")
    ann.send("AWAY :lunch", "JOIN #tea")
    assert [list(got) for got in bob.read()] == [["JOIN", "#tea"], ["AWAY", "lunch"]]


def test_setname(stage: IrcStage) -> None:
    """To all who have the capability, oneself included (IRCv3, setname)."""
    ann, bob, eve = (stage.irc(nick, *caps, channel="#tea") for nick, caps in
                     (("ann", ("setname",)), ("bob", ("setname",)), ("eve", ())))  # fmt: skip
    ann.read(), bob.read()
    assert list(ann.one("SETNAME :New Ann")) == ["SETNAME", "New Ann"]
    assert list(bob.read()[0]) == ["SETNAME", "New Ann"]
    assert eve.read() == [] == eve.ask("SETNAME :Silent")
    assert bob.ask("WHOIS ann")[0].parameters[-1] == "New Ann"
    for line in ("SETNAME :", "SETNAME :" + "x" * 151):
        assert list(ann.one(line))[:3] == ["FAIL", "SETNAME", "INVALID_REALNAME"]


def test_extended_join(stage: IrcStage) -> None:
    """With the account, or an asterisk, and the real name (IRCv3, extended-join)."""
    ann, bob = stage.irc("ann", "extended-join", channel="#tea"), stage.irc("bob")
    bob.send("JOIN #tea")
    assert list(ann.read()[0]) == ["JOIN", "#tea", "*", "Real bob"]
    bob.read()
    stage.irc("eve").send("JOIN #tea")
    assert list(bob.read()[0]) == ["JOIN", "#tea"]
    assert list(ann.ask("JOIN #other")[0]) == ["JOIN", "#other", "*", "Real ann"]


# MONITOR.


def test_monitor(stage: IrcStage) -> None:
    """The clause: "If any of the targets being added are online, the server will generate `RPL_MONONLINE` numerics
    listing those targets that are online." (IRCv3, monitor).
    """
    ann = stage.irc("ann")
    stage.irc("bob")
    got = ann.ask("MONITOR + BOB,eve")
    assert [list(message) for message in got] == [["730", "ann", "bob!bob@127.0.0.1"], ["731", "ann", "eve"]]
    eve = stage.irc("eve")
    ann.person.read_to = 0
    assert list(ann.read()[-1]) == ["730", "ann", "eve!eve@127.0.0.1"]
    eve.send("NICK Eve")
    assert ann.read() == []
    eve.send("NICK eva")
    assert [list(message)[1:] for message in ann.read()] == [["ann", "Eve"]]
    eve.send("NICK eve", "QUIT")
    assert [message.command for message in ann.read()] == ["730", "731"]
    assert [list(message)[2:] for message in ann.ask("MONITOR L")] == [["BOB,eve"], ["End of MONITOR list"]]
    assert ann.commands("MONITOR S") == ["730", "731"]
    ann.send("MONITOR - bob")
    stage.irc("zed").send("NICK bob2")
    assert ann.ask("MONITOR L")[0].parameters[1] == "eve"
    ann.send("MONITOR C")
    assert ann.commands("MONITOR L") == ["733"]
    assert ann.commands("MONITOR", "MONITOR +", "MONITOR X y") == ["461", "461", "421"]


def test_monitor_is_limited(stage: IrcStage) -> None:
    """The clause: "the `<targets>` parameter is the list of targets, as the client sent them, that cannot be added"
    (IRCv3, monitor).
    """
    ann = stage.irc("ann")
    for number in range(0, MONITORED, 20):
        ann.send("MONITOR + " + ",".join(f"n{index}" for index in range(number, number + 20)))
    got = ann.ask("MONITOR + n1,more,less")
    assert list(got[0])[:4] == ["734", "ann", str(MONITORED), "more,less"]
    assert list(got[1]) == ["731", "ann", "n1"]


def test_extended_monitor(stage: IrcStage) -> None:
    """The clause: "If `away-notify` is also enabled, the client will get AWAY notifications for monitored nicks."
    (IRCv3, extended-monitor).
    """
    caps = ("extended-monitor", "away-notify", "setname")
    bob, kim = stage.irc("bob", *caps, channel="#tea"), stage.irc("kim", "away-notify")
    eve = stage.irc("eve", *caps)
    ann = stage.irc("ann", channel="#tea")
    for client in (bob, kim, eve):
        client.send("MONITOR + ann")
        client.read()
    ann.send("AWAY :x", "SETNAME :New")
    assert [got.command for got in eve.read()] == ["AWAY", "SETNAME"]
    assert [got.command for got in bob.read()] == ["AWAY", "SETNAME"], "once, though they share a channel"
    assert kim.read() == []


# MARKREAD.


def test_read_markers(stage: IrcStage) -> None:
    """The clause: "The command MUST be sent before the `RPL_ENDOFNAMES` reply for that channel following the
    `JOIN`." (IRCv3, read-marker).
    """
    ann = stage.irc("ann", "draft/read-marker")
    assert [list(got)[:2] for got in ann.ask("JOIN #tea")][1] == ["MARKREAD", "#tea"]
    assert list(ann.one("MARKREAD #tea")) == ["MARKREAD", "#tea", "*"]
    late, early = "timestamp=2023-11-14T22:13:20.250Z", "timestamp=2022-01-01T00:00:00.000Z"
    assert list(ann.one(f"MARKREAD #TEA {late}"))[2] == late
    assert list(ann.one(f"MARKREAD #tea {early}"))[2] == late
    assert list(ann.one("MARKREAD nobody"))[2] == "*"
    assert list(ann.one("MARKREAD"))[:3] == ["FAIL", "MARKREAD", "NEED_MORE_PARAMS"]
    assert list(ann.one("MARKREAD #tea yesterday"))[:3] == ["FAIL", "MARKREAD", "INVALID_PARAMS"]
