"""IRC channels: coming, going, topics, invitations, kicks, lists; clause by clause."""

from __future__ import annotations

import pytest

from broker.protocols.irc.limits import CHANNELS
from tests.irc_stage import SERVER, IrcStage


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage()


# JOIN, PART.


def test_join(stage: IrcStage) -> None:
    """The clause: "they receive a `JOIN` message from the server with their client as the message `<source>` and
    the channel they have joined as the first parameter of the message. After this, they are sent the channel's
    topic" (Modern IRC, JOIN).
    """
    ann, bob = stage.irc("ann"), stage.irc("bob")
    got = ann.ask("JOIN #tea")
    assert [list(message) for message in got] == [
        ["JOIN", "#tea"],
        ["353", "ann", "=", "#tea", "@ann"],
        ["366", "ann", "#tea", "End of /NAMES list"],
    ]
    ann.send("TOPIC #tea :Earl Grey")
    got = bob.ask("JOIN #TEA")
    assert [message.command for message in got] == ["JOIN", "332", "333", "353", "366"]
    assert got[0].source == "bob!bob@127.0.0.1" and list(got[0]) == ["JOIN", "#tea"]
    assert list(got[1]) == ["332", "bob", "#tea", "Earl Grey"]
    assert list(got[2]) == ["333", "bob", "#tea", "ann!ann@127.0.0.1", "1700000000"]
    assert got[3].parameters[-1] == "@ann bob"
    assert [list(message) for message in ann.read()][-1] == ["JOIN", "#tea"]


def test_joining_twice_says_nothing(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob", channel="#tea")
    ann.read()
    assert bob.ask("JOIN #tea") == [] == ann.read()


def test_several_channels_with_keys(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann"), stage.irc("bob")
    ann.send("JOIN #a,#b,#c", "MODE #a +k one", "MODE #b +k two")
    assert [got.command for got in bob.ask("JOIN #a,#b,#c one,two") if got.command == "JOIN"] == ["JOIN"] * 3
    bob.send("PART #a,#b")
    assert [list(got)[:3] for got in bob.ask("JOIN #a,#b two,two") if got.command == "475"] == [["475", "bob", "#a"]]


def test_join_zero_leaves_all(stage: IrcStage) -> None:
    """The clause: "requests that the sending client leave all channels they are currently connected to" (Modern
    IRC, JOIN).
    """
    ann = stage.irc("ann")
    ann.send("JOIN #a,#b")
    assert [list(got) for got in ann.ask("JOIN 0")] == [["PART", "#a"], ["PART", "#b"]]


@pytest.mark.parametrize("name", ["tea", "#", "#a b", "#a@b", "##tea", "#" + "x" * 33, "&tea", "#\u200b", "*"])
def test_what_is_not_the_name_of_a_channel(stage: IrcStage, name: str) -> None:
    ann = stage.irc("ann")
    expected = "JOIN" if name == "#a b" else "403"  # what follows the space is a key
    assert ann.commands(f"JOIN {name}")[0] == expected


def test_what_is_wrong_with_one_name_is_no_matter_to_the_others(stage: IrcStage) -> None:
    assert [c for c in stage.irc("ann").commands("JOIN #a,nonsense,#b") if c in ("JOIN", "403")] == [
        "JOIN",
        "403",
        "JOIN",
    ]


def test_channels_are_limited(stage: IrcStage) -> None:
    """The clause: "If the client cannot join this channel because they would be over their limit, they will receive
    an ERR_TOOMANYCHANNELS reply" (Modern IRC, JOIN).
    """
    ann = stage.irc("ann")
    for number in range(0, CHANNELS, 20):
        ann.send("JOIN " + ",".join(f"#c{index}" for index in range(number, number + 20)))
    assert list(ann.one("JOIN #more"))[:3] == ["405", "ann", "#more"]


def test_part(stage: IrcStage) -> None:
    """The clause: "the user will receive a `PART` message from the server for each channel they have been removed
    from" (Modern IRC, PART).
    """
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob", channel="#tea")
    ann.read()
    assert list(bob.one("PART #tea :enough")) == ["PART", "#tea", "enough"]
    (seen,) = ann.read()
    assert seen.nick == "bob" and list(seen) == ["PART", "#tea", "enough"]
    assert bob.commands("PART #tea", "PART #nowhere") == ["442", "403"]
    assert list(ann.one("PART #tea")) == ["PART", "#tea"]


def test_a_channel_is_gone_with_its_last_member(stage: IrcStage) -> None:
    ann = stage.irc("ann", channel="#tea")
    ann.send("MODE #tea +s", "PART #tea", "JOIN #tea")
    assert list(ann.ask("MODE #tea")[0]) == ["324", "ann", "#tea", "+nt"]


# NAMES, LIST.


def test_names(stage: IrcStage) -> None:
    """The clause: "`("=", 0x3D)` - Public channel. `("@", 0x40)` - Secret channel" (Modern IRC, RPL_NAMREPLY)."""
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob")
    assert bob.ask("NAMES #tea")[0].parameters == ["bob", "=", "#tea", "@ann"]
    ann.send("MODE #tea +s")
    assert bob.commands("NAMES #tea") == ["366"]
    assert ann.ask("NAMES #tea")[0].parameters[1] == "@"
    assert [list(got)[:3] for got in bob.ask("NAMES #none,nonsense")] == [
        ["366", "bob", "#none"],
        ["366", "bob", "nonsense"],
    ]


def test_names_of_everything(stage: IrcStage) -> None:
    """The clause: "Servers MAY also choose to return information about every single channel and every single user
    on the network" (Modern IRC, NAMES).
    """
    stage.irc("ann", channel="#a"), stage.irc("bob", channel="#b")
    got = stage.irc("eve").ask("NAMES")
    assert [message.parameters[2] for message in got[:-1]] == ["#a", "#b"]
    assert got[-1].parameters[1] == "*"


def test_many_names_take_several_lines(stage: IrcStage) -> None:
    ann = stage.irc("ann", "userhost-in-names", channel="#tea")
    for number in range(60):
        stage.irc(f"{'n' * 20}{number}", channel="#tea")
    got = ann.ask("NAMES #tea")
    names = " ".join(message.parameters[-1] for message in got[:-1]).split()
    assert len(got) > 3 and len(names) == 61 == len(set(names))
    assert all("!" in name and "@" in name for name in names)


def test_no_implicit_names(stage: IrcStage) -> None:
    """The clause: "servers MUST NOT send an implicit `NAMES` reply after sending a `JOIN` message" (IRCv3,
    no-implicit-names).
    """
    for capability in ("no-implicit-names", "draft/no-implicit-names"):
        client = stage.irc(f"n{len(capability)}", capability)
        assert client.commands("JOIN #tea") == ["JOIN"]
        assert client.commands("NAMES #tea") == ["353", "366"]


@pytest.fixture
def listed(stage: IrcStage) -> IrcStage:
    """Three channels: #one with one member, an hour old; #two with two and a topic; and a secret one."""
    ann, bob = stage.irc("ann"), stage.irc("bob")
    ann.send("JOIN #one")
    stage.now += 3600
    ann.send("JOIN #two", "TOPIC #two :A topic", "JOIN #secret", "MODE #secret +s")
    bob.send("JOIN #two")
    stage.now += 120
    stage.chat.tick(stage.now)
    return stage


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("", ["#one", "#two"]),
        ("#two", ["#two"]),
        ("#two,#one,#none", ["#two", "#one"]),
        ("#T*", ["#two"]),  # M
        ("!*t*", ["#one"]),  # N
        (">1", ["#two"]),  # U
        ("<2", ["#one"]),
        ("C>30", ["#one"]),  # C
        ("C<30", ["#two"]),
        ("T<30", ["#two"]),  # T
        ("T>30", []),
        (">0,<2,#o*", ["#one"]),
    ],
)
def test_list(listed: IrcStage, condition: str, found: list[str]) -> None:
    """The clause: "the server MAY send one `RPL_LISTSTART` numeric, MUST send back zero or more `RPL_LIST`
    numerics, and MUST send back one `RPL_LISTEND` numeric" (Modern IRC, LIST).
    """
    got = listed.irc("eve").ask(f"LIST {condition}".rstrip())
    assert [got[0].command, got[-1].command] == ["321", "323"]
    assert [message.parameters[1] for message in got[1:-1]] == found
    counts = {message.parameters[1]: message.parameters[2:] for message in got[1:-1]}
    assert counts.get("#two", ["2", "A topic"]) == ["2", "A topic"]


def test_a_secret_channel_is_listed_for_its_members(listed: IrcStage) -> None:
    got = listed.irc("eve", channel="#secret").ask("LIST")
    assert "#secret" in [message.parameters[1] for message in got]


# TOPIC.


def test_topic(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob", channel="#tea")
    ann.read()
    assert list(ann.one("TOPIC #tea")) == ["331", "ann", "#tea", "No topic is set"]
    assert list(ann.one("TOPIC #tea :Earl Grey")) == ["TOPIC", "#tea", "Earl Grey"]
    (seen,) = bob.read()
    assert seen.nick == "ann" and list(seen) == ["TOPIC", "#tea", "Earl Grey"]
    assert bob.commands("TOPIC #tea") == ["332", "333"]
    assert list(bob.one("TOPIC #tea :Assam"))[:3] == ["482", "bob", "#tea"]
    ann.send("MODE #tea -t")
    bob.read()
    assert bob.one("TOPIC #tea :").command == "TOPIC"
    assert ann.ask("TOPIC #tea")[-1].command == "331"


@pytest.mark.parametrize(("line", "code"), [("TOPIC #none", "403"), ("TOPIC #none :x", "403"), ("TOPIC #tea :x", "442"),
                                            ("TOPIC", "461"), ("TOPIC tea", "403")])  # fmt: skip
def test_topic_errors(stage: IrcStage, line: str, code: str) -> None:
    stage.irc("ann", channel="#tea")
    assert stage.irc("bob").one(line).command == code


def test_a_topic_too_long_is_cut(stage: IrcStage) -> None:
    """The clause: "the maximum length of a topic that a client may set on a channel" (Modern IRC, TOPICLEN)."""
    got = stage.irc("ann", channel="#tea").one("TOPIC #tea :" + "é" * 220)
    assert got.parameters[1] == "é" * 195


# INVITE, KICK, RENAME.


def test_invite(stage: IrcStage) -> None:
    """The clause: "the server MUST send a `RPL_INVITING` numeric to the command issuer, and an `INVITE` message,
    with the issuer as `<source>`, to the target user" (Modern IRC, INVITE).
    """
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob")
    assert list(ann.one("INVITE BOB #TEA")) == ["341", "ann", "bob", "#tea"]
    (seen,) = bob.read()
    assert seen.nick == "ann" and list(seen) == ["INVITE", "bob", "#tea"]
    assert [list(got) for got in bob.ask("INVITE")] == [["336", "bob", "#tea"], ["337", "bob", "End of /INVITE list"]]
    bob.send("JOIN #tea")
    assert bob.commands("INVITE") == ["337"]


@pytest.mark.parametrize(
    ("line", "code"),
    [("INVITE", "337"), ("INVITE eve", "461"), ("INVITE none #tea", "401"), ("INVITE eve #none", "403"),
     ("INVITE eve #other", "442"), ("INVITE ann #tea", "443")],
)  # fmt: skip
def test_invite_errors(stage: IrcStage, line: str, code: str) -> None:
    stage.irc("ann", channel="#tea"), stage.irc("eve", channel="#other")
    assert stage.irc("bob", channel="#tea").commands(line)[-1] == code


def test_an_invitation_opens_every_door_once(stage: IrcStage) -> None:
    """The clause: "a user must have received an INVITE for this channel before being allowed to join it"; here it
    is good for the other doors, too (Modern IRC, Invite-Only Channel Mode).
    """
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob")
    ann.send("MODE #tea +iklb secret 1 bob!*@*")
    assert bob.one("JOIN #tea").command == "474"
    ann.send("INVITE bob #tea")
    assert bob.commands("JOIN #tea")[0] == "JOIN"
    bob.send("PART #tea")
    assert bob.ask("JOIN #tea")[-1].command == "474"


def test_who_is_away_says_so_when_invited(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.irc("bob")
    bob.send("AWAY :lunch")
    assert [list(got) for got in ann.ask("INVITE bob #tea")][1] == ["301", "ann", "bob", "lunch"]


def test_invite_notify(stage: IrcStage) -> None:
    """To those members who could have invited as well, if they want to know (IRCv3, invite-notify)."""
    ann = stage.irc("ann", "invite-notify", channel="#tea")
    eve = stage.irc("eve", "invite-notify", channel="#tea")
    bob, target = stage.irc("bob", channel="#tea"), stage.irc("target")
    ann.read(), eve.read()
    bob.send("INVITE target #tea")
    (seen,) = ann.read()
    assert seen.nick == "bob" and list(seen) == ["INVITE", "target", "#tea"]
    assert eve.read() == []
    assert len(target.read()) == 1


def test_kick(stage: IrcStage) -> None:
    """The clause: "If no comment is given, the server SHOULD use a default message instead." (Modern IRC, KICK)."""
    ann = stage.irc("ann", channel="#tea")
    bob, eve = stage.irc("bob", channel="#tea"), stage.irc("eve", channel="#tea")
    ann.read()
    assert [list(got) for got in ann.ask("KICK #tea bob,eve :too loud")] == [
        ["KICK", "#tea", "bob", "too loud"],
        ["KICK", "#tea", "eve", "too loud"],
    ]
    assert [list(got)[2] for got in bob.read()[-1:]] == ["bob"], "who is out sees no more"
    assert [list(got)[2] for got in eve.read()][-2:] == ["bob", "eve"]
    bob.send("JOIN #tea")
    ann.read()
    assert list(ann.one("KICK #tea bob")) == ["KICK", "#tea", "bob", "ann"]
    assert bob.one("PRIVMSG #tea :x").command == "404"


@pytest.mark.parametrize(
    ("line", "code"),
    [("KICK #none ann", "403"), ("KICK #other ann", "442"), ("KICK #tea ann", "482"), ("KICK #tea", "461")],
)
def test_kick_errors(stage: IrcStage, line: str, code: str) -> None:
    stage.irc("ann", channel="#tea"), stage.irc("eve", channel="#other")
    assert stage.irc("bob", channel="#tea").one(line).command == code


def test_kicking_who_is_not_there(stage: IrcStage) -> None:
    ann = stage.irc("ann", channel="#tea")
    stage.irc("bob")
    assert ann.commands("KICK #tea bob,none") == ["441", "401"]


def test_rename(stage: IrcStage) -> None:
    """The clause: "A channel rename preserves all channel state, such as membership, mode and topic." (IRCv3,
    channel-rename).
    """
    ann = stage.irc("ann", "draft/channel-rename", channel="#tea")
    bob, eve = stage.irc("bob", channel="#tea"), stage.irc("eve", "draft/channel-rename", channel="#tea")
    ann.send("TOPIC #tea :Green")
    ann.read(), bob.read(), eve.read()
    assert list(ann.one("RENAME #tea #Coffee :better")) == ["RENAME", "#tea", "#Coffee", "better"]
    assert [list(got) for got in eve.read()] == [["RENAME", "#tea", "#Coffee", "better"]]
    assert [got.command for got in bob.read()] == ["PART", "JOIN", "332", "333", "353", "366"]
    bob.send("PRIVMSG #coffee :hm")
    assert list(ann.read()[0]) == ["PRIVMSG", "#Coffee", "hm"]
    assert bob.one("RENAME #coffee #x").command == "482"
    stage.irc("zed", channel="#taken")
    assert list(ann.one("RENAME #coffee #taken"))[:3] == ["FAIL", "RENAME", "CHANNEL_NAME_IN_USE"]
    assert list(ann.one("RENAME #coffee tea"))[:3] == ["FAIL", "RENAME", "CANNOT_RENAME"]
    assert list(ann.one("RENAME #coffee #COFFEE"))[:3] == ["RENAME", "#Coffee", "#COFFEE"]


def test_the_default_room_belongs_to_nobody(stage: IrcStage) -> None:
    ann = stage.irc("ann", channel="#lobby")
    assert list(ann.one("MODE #lobby +o ann"))[:3] == ["482", "ann", "#lobby"]
    assert ann.one("RENAME #lobby #mine").command == "482"


def test_lists_that_are_too_long_are_cut(stage: IrcStage) -> None:
    """One line of input orders less than a megabyte, whatever there is to tell."""
    topic = "x" * 390
    people = [stage.irc(f"p{index}") for index in range(16)]
    for index, person in enumerate(people):
        for number in range(0, CHANNELS, 10):
            names = [f"#c{index}-{each}" for each in range(number, number + 10)]
            person.send("JOIN " + ",".join(names), *(f"TOPIC {name} :{topic}" for name in names))
    eve = stage.irc("eve")
    got = eve.ask("LIST")
    assert [message.command for message in got[-2:]] == ["416", "323"]
    assert 400_000 < sum(len(message.line) for message in got) < 800_000
    assert got[0].source == SERVER
