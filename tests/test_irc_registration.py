"""Registration and capability negotiation of IRC clients, clause by clause."""

from __future__ import annotations

import re

import pytest

from broker.messages import ATTACHED, LINES
from broker.protocols.irc.capabilities import CAPABILITIES, VALUES
from broker.protocols.irc.limits import tokens
from tests.chat_stage import Person
from tests.irc_stage import SERVER, IrcClient, IrcStage


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage()


def test_the_burst(stage: IrcStage) -> None:
    """The clause: "the server MUST send, in this order, the RPL_WELCOME, RPL_YOURHOST, RPL_CREATED, RPL_MYINFO, and
    at least one RPL_ISUPPORT numeric to the client. The server SHOULD then respond as though the client sent the
    LUSERS command" (Modern IRC, Connection Registration).
    """
    client = IrcClient(stage)
    got = client.ask("NICK ann", "USER ann 0 * :Ann Other")
    codes = [message.command for message in got]
    assert codes[:4] == ["001", "002", "003", "004"]
    assert [code for code in codes[4:] if code != "005"] == ["251", "252", "253", "254", "255", "265", "266", "422"]
    assert all(message.source == SERVER and message.parameters[0] == "ann" for message in got)
    assert got[0].parameters[1] == "Welcome to the Test Network, ann!ann@127.0.0.1"
    assert got[3].parameters[1] == SERVER


@pytest.mark.parametrize("order", [("NICK ann", "USER ann 0 * :A"), ("USER ann 0 * :A", "NICK ann")])
def test_nick_and_user_in_any_order(stage: IrcStage, order: tuple[str, str]) -> None:
    client = IrcClient(stage)
    assert client.commands(order[0]) == []
    assert client.commands(order[1])[0] == "001"


def test_a_byte_at_a_time_is_the_workers_business_but_several_lines_at_once_are_not(stage: IrcStage) -> None:
    client = IrcClient(stage)
    stage.send(client.person, b"NICK ann\nUSER ann 0 * :A\r\nPING x\n")
    assert [message.command for message in client.read()][-1] == "PONG"


def test_isupport_is_complete_and_true(stage: IrcStage) -> None:
    """The clause: "the maximum number of `RPL_ISUPPORT` tokens that can be advertised is 13" (Modern IRC,
    RPL_ISUPPORT).
    """
    client = IrcClient(stage)
    client.send("NICK ann", "USER ann 0 * :A")
    lines = [got for got in client.read() if got.command == "005"]
    found = [token for got in lines for token in got.parameters[1:-1]]
    assert all(len(got.parameters) <= 15 and got.parameters[-1] == "are supported by this server" for got in lines)
    assert found == tokens(stage.chat.config)
    table = dict(token.partition("=")[::2] for token in found)
    assert re.fullmatch(r"\(([a-z]+)\)([~&@%+]+)", table["PREFIX"])
    assert table["CHANMODES"] == "beI,k,l,imnstCRT"
    assert table["CASEMAPPING"] == "ascii" and table["NETWORK"] == "Test"
    assert {"UTF8ONLY", "WHOX", "SAFELIST"} <= table.keys()
    assert client.one("VERSION x.invalid").command == "402"
    assert {"351", "005"} == set(client.commands("VERSION"))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NICK", "431"),  # ERR_NONICKNAMEGIVEN
        ("NICK :", "431"),
        ("NICK :a b", "432"),  # ERR_ERRONEUSNICKNAME
        ("NICK a!b", "432"),
        ("NICK *", "432"),
        ("NICK #a", "432"),
        ("NICK " + "a" * 33, "432"),
        ("NICK \u200b", "432"),
        ("USER a 0 *", "461"),  # ERR_NEEDMOREPARAMS
        ("USER : 0 * :Real", "461"),
        ("USER a 0 * :", "461"),
        ("JOIN #a", "451"),  # ERR_NOTREGISTERED
        ("NONSENSE", "451"),
        ("CAP", "461"),
        ("CAP NONSENSE", "410"),  # ERR_INVALIDCAPCMD
        ("PING", "461"),
        ("PING :", "409"),  # ERR_NOORIGIN
        ("PASS", "461"),
    ],
)
def test_errors_before_registration(stage: IrcStage, line: str, code: str) -> None:
    """Who has no nick yet is an asterisk in a numeric (Modern IRC, Numerics)."""
    got = IrcClient(stage).one(line)
    assert (got.command, got.parameters[0]) == (code, "*")


@pytest.mark.parametrize("line", ["PING x", "PONG x", "CAP LIST", "QUIT"])
def test_what_is_allowed_before_registration(stage: IrcStage, line: str) -> None:
    assert "451" not in IrcClient(stage).commands(line)


def test_a_nick_in_use(stage: IrcStage) -> None:
    """The clause: "it should issue an `ERR_NICKNAMEINUSE` numeric and ignore the `NICK` command" (Modern IRC,
    NICK).
    """
    stage.irc("Ann")
    client = IrcClient(stage)
    got = client.one("NICK ＡＮＮ")
    assert list(got)[:3] == ["433", "*", "ＡＮＮ"]
    assert client.commands("NICK bob", "USER b 0 * :B")[0] == "001"
    assert client.one("NICK ann").command == "433"


def test_who_completes_first_has_the_nick(stage: IrcStage) -> None:
    slow, quick = IrcClient(stage), IrcClient(stage)
    assert slow.commands("NICK ann") == []
    assert quick.commands("NICK ann", "USER a 0 * :A")[0] == "001"
    assert slow.commands("USER a 0 * :A") == ["433"]
    assert slow.commands("NICK ann2")[0] == "001"


def test_unicode_nicks_are_as_in_the_plain_protocol(stage: IrcStage) -> None:
    got = stage.irc("张三").one("NICK zoë")
    assert (got.source, list(got)) == ("张三!user@127.0.0.1", ["NICK", "zoë"])


def test_the_user_name_has_no_sign_that_a_mask_would_misread(stage: IrcStage) -> None:
    client = IrcClient(stage)
    client.send("NICK ann", "USER a!b@c*d\u00e9" + "x" * 40 + " 0 * :A")
    assert client.read()[0].parameters[1].endswith("ann!abcd" + "x" * 16 + "@127.0.0.1")


def test_registering_twice(stage: IrcStage) -> None:
    """The clause: "the `ERR_ALREADYREGISTERED` reply should be sent and the attempt should fail" (Modern IRC,
    USER).
    """
    ann = stage.irc("ann")
    assert ann.commands("USER a 0 * :A", "PASS x") == ["462", "462"]


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (("PASS sesame", "NICK a", "USER a 0 * :A"), "422"),
        (("NICK a", "USER a 0 * :A"), "ERROR"),
        (("PASS wrong", "NICK a", "USER a 0 * :A"), "ERROR"),
        (("NICK a", "PASS sesame", "USER a 0 * :A"), "422"),
    ],
)
def test_the_password(lines: tuple[str, ...], last: str) -> None:
    """The clause: "The password supplied must match the one defined in the server configuration." (Modern IRC,
    PASS).
    """
    client = IrcClient(IrcStage(password="sesame"))
    codes = client.commands(*lines)
    assert codes[-1] == last
    assert ("464" in codes) == client.closed == (last == "ERROR")


def test_who_does_not_register_in_time_is_closed() -> None:
    stage = IrcStage(name_timeout_seconds=10.0)
    client = IrcClient(stage)
    stage.wait(10.0)
    assert client.read()[-1].command == "ERROR" and client.closed


def test_the_message_of_the_day() -> None:
    """The clause: "one `RPL_MOTDSTART` numeric is returned, followed by one or more `RPL_MOTD` numeric, then one
    `RPL_ENDOFMOTD` numeric" (Modern IRC, MOTD).
    """
    ann = IrcStage(motd=("Hello", "", "World")).irc("ann")
    got = ann.ask("MOTD")
    assert [message.command for message in got] == ["375", "372", "372", "372", "376"]
    assert got[1].parameters[1] == "- Hello"


# Capability negotiation.


def test_ls_suspends_registration_until_end(stage: IrcStage) -> None:
    """The clause: "Once capability negotiation has ended the registration process will continue." (Modern IRC,
    Capability Negotiation).
    """
    client = IrcClient(stage)
    (ls,) = client.ask("CAP LS 302")
    assert ls.parameters[:2] == ["*", "LS"]
    assert set(ls.parameters[2].split()) == {
        f"{name}={VALUES[name]}" if name in VALUES else name for name in CAPABILITIES
    }
    assert client.commands("NICK ann", "USER a 0 * :A") == []
    assert client.commands("CAP END")[0] == "001"


def test_req_alone_suspends_too(stage: IrcStage) -> None:
    client = IrcClient(stage)
    assert client.commands("CAP REQ :server-time", "NICK ann", "USER a 0 * :A") == ["CAP"]
    assert client.commands("CAP END")[0] == "001"


def test_values_are_for_version_302(stage: IrcStage) -> None:
    """Values are for those only who speak version 302, and who has said so once does (IRCv3,
    capability-negotiation).
    """
    client = IrcClient(stage)
    assert "=" not in client.one("CAP LS").parameters[2]
    assert "=" not in client.one("CAP LS 301").parameters[2]
    assert "draft/multiline=" in client.one("CAP LS 302").parameters[2]
    assert "draft/multiline=" in client.one("CAP LS").parameters[2], "'MUST NOT downgrade'"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("server-time", "ACK"),
        ("multi-prefix server-time", "ACK"),
        ("-server-time", "ACK"),
        ("nonsense", "NAK"),
        ("server-time nonsense", "NAK"),  # 'all or none'
        ("-nonsense", "NAK"),
        ("", "ACK"),
    ],
)
def test_req(stage: IrcStage, asked: str, answer: str) -> None:
    """All or none; the answer repeats what was asked for (IRCv3, capability-negotiation)."""
    client = IrcClient(stage)
    assert client.one(f"CAP REQ :{asked}").parameters == ["*", answer, asked]


def test_a_refused_list_changes_nothing(stage: IrcStage) -> None:
    client = IrcClient(stage)
    client.send("CAP REQ :multi-prefix", "CAP REQ :echo-message nonsense", "CAP REQ :-multi-prefix nonsense")
    assert client.ask("CAP LIST")[-1].parameters == ["*", "LIST", "multi-prefix"]
    client.send("CAP REQ :-multi-prefix")
    assert client.ask("CAP LIST")[-1].parameters == ["*", "LIST", ""]


def test_capabilities_after_registration(stage: IrcStage) -> None:
    ann = stage.irc("ann")
    assert ann.one("CAP REQ :server-time").parameters == ["ann", "ACK", "server-time"]
    assert "time" in ann.one("PING x").tags


def test_cap_notify_is_implied_by_302_and_cannot_be_given_up(stage: IrcStage) -> None:
    """Version 302 includes it (IRCv3, capability-negotiation)."""
    client = IrcClient(stage)
    client.send("CAP LS 302")
    assert client.ask("CAP LIST")[-1].parameters[2] == "cap-notify"
    assert client.one("CAP REQ :-cap-notify").parameters[1] == "NAK"


def test_new_and_del(stage: IrcStage) -> None:
    """For those who want to know; what is gone is gone for everybody (IRCv3, capability-negotiation)."""
    ann, bob = stage.irc("ann", "echo-message"), stage.irc("bob")
    without = IrcStage(disabled_capabilities=("echo-message",)).chat.config
    config = stage.chat.config
    stage.chat.config = without
    stage.chat.configured(stage.now)
    stage.pump()
    assert [list(got) for got in ann.read()] == [["CAP", "ann", "DEL", "echo-message"]]
    assert bob.read() == []
    assert ann.ask("PRIVMSG bob :hi") == []
    assert ann.one("CAP REQ :echo-message").parameters[1] == "NAK"
    stage.chat.config = config
    stage.chat.configured(stage.now)
    stage.pump()
    assert [list(got) for got in ann.read()] == [["CAP", "ann", "NEW", "echo-message"]]


# The connection.


def test_ping(stage: IrcStage) -> None:
    """The clause: "Servers MUST send a `<server>` parameter" (Modern IRC, PONG)."""
    got = stage.irc("ann").one("PING :a token")
    assert (got.source, list(got)) == (SERVER, ["PONG", SERVER, "a token"])


def test_a_silent_client_is_asked_and_then_closed() -> None:
    """The clause: "Servers MUST fill `<reason>` with a message reflecting the nature of the event", such as "Ping
    timeout: 120 seconds" (Modern IRC, QUIT).
    """
    stage = IrcStage(ping_seconds=100.0)
    ann, bob = stage.irc("ann", channel="#a"), stage.irc("bob", channel="#a")
    stage.wait(100.0)
    assert [got.command for got in ann.read()] == ["PING"]
    assert [got.command for got in bob.read()] == ["PING"]
    bob.send("PONG x")
    stage.wait(100.0)
    assert ann.closed and not bob.closed
    assert ann.read()[-1].command == "ERROR"
    assert list(bob.read()[0]) == ["QUIT", "Ping timeout: 200 seconds"]
    bob.send("PRIVMSG #a :still here")
    stage.wait(99.0)
    assert bob.read() == []


@pytest.mark.parametrize(("line", "reason"), [("QUIT", "Quit: "), ("QUIT :so long", "Quit: so long")])
def test_quit(stage: IrcStage, line: str, reason: str) -> None:
    """The clause: "servers SHOULD prepend `<reason>` with the ASCII string `"Quit: "`", and "This applies even if
    `<reason>` is empty" (Modern IRC, QUIT).
    """
    ann, bob = stage.irc("ann", channel="#a"), stage.irc("bob", channel="#a")
    got = ann.one(line)
    assert got.command == "ERROR" and reason in got.parameters[0] and ann.closed
    (seen,) = bob.read()
    assert (seen.source, list(seen)) == ("ann!ann@127.0.0.1", ["QUIT", reason])


@pytest.mark.parametrize(("cause", "reason"), [("eof", "Connection closed"), ("reset", "Connection reset")])
def test_a_connection_that_ends(stage: IrcStage, cause: str, reason: str) -> None:
    ann, bob = stage.irc("ann", channel="#a"), stage.irc("bob", channel="#a")
    stage.hang_up(ann.person, cause)
    assert list(bob.read()[0]) == ["QUIT", reason]


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("192.0.2.7:99", "192.0.2.7"),
        ("[::1]:99", "0::1"),
        ("[2001:db8::7]:99", "2001:db8::7"),
        ("uid 0 pid 7", "localhost"),
    ],
)
def test_the_host_is_the_peers_address(stage: IrcStage, peer: str, host: str) -> None:
    """A parameter does not begin with a colon (RFC 2812, 2.3.1); a local socket has no address."""
    stage.people[1] = Person(1, 0)
    stage.apply(0, (ATTACHED, 1, 1, peer), (LINES, 1, 0, b"NICK ann\nUSER ann 0 * :A\n"))
    assert f"ann!ann@{host}\r\n" in stage.read(stage.people[1])
