"""Modes of channels, members and users, and the masks of bans and exceptions; clause by clause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.masks import matches, whole_mask
from broker.protocols.irc.limits import MASKS_PER_LIST
from tests.irc_stage import IrcClient, IrcStage


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage()


@pytest.fixture
def trio(stage: IrcStage) -> tuple[IrcClient, IrcClient, IrcClient]:
    """An operator and an ordinary member of #tea, and somebody outside."""
    ann, bob, eve = stage.irc("ann", channel="#tea"), stage.irc("bob", channel="#tea"), stage.irc("eve")
    ann.read()
    return ann, bob, eve


Trio = tuple[IrcClient, IrcClient, IrcClient]


def test_the_modes_of_a_channel(trio: Trio) -> None:
    """The clause: "Servers MAY choose to hide sensitive information such as channel keys when sending the current
    modes." (Modern IRC, MODE).
    """
    ann, bob, eve = trio
    ann.send("MODE #tea +kl sesame 10")
    assert [list(got) for got in bob.ask("MODE #tea")] == [
        ["324", "bob", "#tea", "+ntkl", "sesame", "10"],
        ["329", "bob", "#tea", "1700000000"],
    ]
    assert list(eve.ask("MODE #tea")[0])[3:] == ["+ntkl", "*", "10"]
    assert eve.one("MODE #none").command == "403"


def test_changes_are_told_once_and_together(trio: Trio) -> None:
    ann, bob, _ = trio
    assert list(ann.one("MODE #tea +o-v+im bob bob")) == ["MODE", "#tea", "+oim", "bob"]
    (seen,) = bob.read()
    assert seen.source == "ann!ann@127.0.0.1" and list(seen) == ["MODE", "#tea", "+oim", "bob"]
    assert ann.ask("MODE #tea +im") == [], "what is so already is no change"
    assert list(ann.one("MODE #tea -im+s-o bob")) == ["MODE", "#tea", "-im+s-o", "bob"]


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("MODE #tea +x", ["472"]),  # ERR_UNKNOWNMODE
        ("MODE #tea +xy", ["472", "472"]),
        ("MODE #tea +o none", ["401"]),
        ("MODE #tea +o eve", ["441"]),
        ("MODE #tea +o", ["461"]),
        ("MODE #tea +k", ["461"]),
        ("MODE #tea +k :", ["696"]),
        ("MODE #tea +k :a b", ["696"]),
        ("MODE #tea +k " + "x" * 33, ["696"]),
        ("MODE #tea +l", ["461"]),
        ("MODE #tea +l x", ["696"]),
        ("MODE #tea +l 0", ["696"]),
        ("MODE #tea +l -5", ["696"]),
        ("MODE #tea -k", []),
        ("MODE #tea -l", []),
        ("MODE #tea -b nobody", []),
        ("MODE #tea +b :", ["696"]),
        ("MODE #tea +b ~z:x", ["696"]),
        ("MODE #tea +b ~m:", ["696"]),
        ("MODE #tea +b " + "x" * 201, ["696"]),
        ("MODE #tea +q bob", ["482"]),
        ("MODE", ["461"]),
        ("MODE none", ["401"]),
        ("MODE bob", ["502"]),
        ("MODE ann +x", ["501"]),
        ("MODE ann +o", []),
    ],
)
def test_errors(trio: Trio, line: str, codes: list[str]) -> None:
    assert trio[0].commands(line) == codes


def test_only_operators_change_modes_but_everybody_reads_lists(trio: Trio) -> None:
    """The clause: "a command failed because the client does not have the appropriate channel privileges" (Modern
    IRC, ERR_CHANOPRIVSNEEDED).
    """
    _, bob, eve = trio
    assert bob.commands("MODE #tea +ims") == ["482"]
    assert bob.commands("MODE #tea b") == ["368"]
    assert eve.commands("MODE #tea +i") == ["482"]


def test_statuses(trio: Trio) -> None:
    """Half-operators give voice, operators make operators, and nobody takes from who is above them."""
    ann, bob, eve = trio
    eve.send("JOIN #tea")
    ann.send("MODE #tea +h bob")
    assert list(bob.one("MODE #tea +v eve")) == ["MODE", "#tea", "+v", "eve"]
    assert bob.commands("MODE #tea +o bob") == ["482"] == bob.commands("MODE #tea +h eve")
    assert bob.commands("MODE #tea -o ann") == ["482"]
    assert bob.commands("KICK #tea ann") == ["482"]
    assert list(bob.one("MODE #tea -h bob"))[2] == "-h", "one may always give up one's own"
    assert list(ann.ask("NAMES #tea")[0])[-1] == "@ann bob +eve"


def test_multi_prefix(stage: IrcStage) -> None:
    """All signs of a member, the highest first (IRCv3, multi-prefix)."""
    ann = stage.irc("ann", "multi-prefix", channel="#tea")
    bob = stage.irc("bob", channel="#tea")
    ann.send("MODE #tea +v ann")
    assert ann.ask("NAMES #tea")[0].parameters[-1] == "@+ann bob"
    assert bob.ask("NAMES #tea")[0].parameters[-1] == "@ann bob"
    assert ann.ask("WHO #tea")[0].parameters[6] == "H@+"


# What modes do.


def test_moderated(trio: Trio) -> None:
    """The clause: "only users who have channel privileges may send messages to that channel" (Modern IRC, Moderated
    Channel Mode).
    """
    ann, bob, _ = trio
    ann.send("MODE #tea +m")
    assert list(bob.ask("PRIVMSG #tea :x")[0])[:3] == ["404", "bob", "#tea"]
    ann.send("MODE #tea +v bob")
    assert bob.ask("PRIVMSG #tea :x") == []
    assert list(ann.read()[-1]) == ["PRIVMSG", "#tea", "x"]


def test_no_messages_from_outside(trio: Trio) -> None:
    """The clause: "users MUST be joined to the channel in order to send private messages and notices to the
    channel" (Modern IRC, No External Messages Mode).
    """
    ann, _, eve = trio
    assert eve.commands("PRIVMSG #tea :x") == ["404"]
    ann.send("MODE #tea -n")
    ann.read()
    assert eve.commands("PRIVMSG #tea :x") == []
    assert ann.read()[0].nick == "eve"


def test_no_ctcp_and_no_notices(trio: Trio) -> None:
    ann, bob, _ = trio
    ann.send("MODE #tea +CT")
    assert bob.commands("PRIVMSG #tea :\x01VERSION\x01") == ["404"]
    assert bob.commands("PRIVMSG #tea :\x01ACTION waves\x01", "NOTICE #tea :x") == []
    assert ann.read()[-1].command == "PRIVMSG"


@pytest.mark.parametrize(
    ("mode", "code"), [("+i", "473"), ("+k x", "475"), ("+l 2", "471"), ("+b eve", "474"), ("+R", "477")]
)
def test_doors(trio: Trio, mode: str, code: str) -> None:
    ann, _, eve = trio
    ann.send(f"MODE #tea {mode}")
    assert list(eve.one("JOIN #tea"))[:3] == [code, "eve", "#tea"]


def test_a_secret_channel(trio: Trio) -> None:
    """The clause: "A channel that is set to secret will not show up in responses to the LIST or NAMES command
    unless the client sending the command is joined to the channel." (Modern IRC, Secret Channel Mode).
    """
    ann, _, eve = trio
    ann.send("MODE #tea +s")
    assert eve.commands("LIST") == ["321", "323"]
    assert "319" not in eve.commands("WHOIS ann")
    assert eve.commands("TOPIC #tea") == ["403"] == eve.commands("MODE #tea")
    assert eve.commands("WHO #tea") == ["315"]


def test_a_key_is_told_when_it_goes(trio: Trio) -> None:
    ann, bob, _ = trio
    ann.send("MODE #tea +k sesame")
    bob.read()
    assert list(ann.one("MODE #tea -k whatever")) == ["MODE", "#tea", "-k", "sesame"]
    assert list(bob.read()[0]) == ["MODE", "#tea", "-k", "sesame"]


# Masks.


def test_bans(trio: Trio) -> None:
    """The clause: "their nickmask (the combination of `nick!user@host`) is compared with each banned client mask"
    (Modern IRC, Ban Channel Mode).
    """
    ann, bob, eve = trio
    assert list(ann.one("MODE #tea +b EVE")) == ["MODE", "#tea", "+b", "EVE!*@*"]
    assert [list(got) for got in bob.ask("MODE #tea +b")] == [
        ["367", "bob", "#tea", "EVE!*@*", "ann!ann@127.0.0.1", "1700000000"],
        ["368", "bob", "#tea", "End of channel ban list"],
    ]
    assert eve.one("JOIN #tea").command == "474"
    assert ann.ask("MODE #tea +b eve!*@*") == [], "the same, however it is spelled"
    assert list(ann.one("MODE #tea -b eve"))[2:] == ["-b", "EVE!*@*"]
    assert eve.commands("JOIN #tea")[0] == "JOIN"


def test_exceptions(trio: Trio) -> None:
    """The clause: "they will not be blocked from joining due to the ban mode" (Modern IRC, Exception Channel Mode)."""
    ann, _, eve = trio
    ann.send("MODE #tea +be *!*@* eve", "MODE #tea +i")
    assert eve.one("JOIN #tea").command == "473"
    ann.send("MODE #tea +I *!*@127.0.0.*")
    assert [got.command for got in ann.ask("MODE #tea eI")] == ["348", "349", "346", "347"]
    assert eve.commands("JOIN #tea")[0] == "JOIN"


def test_who_is_banned_is_silent_but_for_a_status(trio: Trio) -> None:
    ann, bob, _ = trio
    ann.send("MODE #tea +b bob")
    assert bob.commands("PRIVMSG #tea :x") == ["404"]
    assert bob.commands("NICK robert") == ["NICK"]
    assert bob.commands("PRIVMSG #tea :x") == [], "a mask is looked at anew after a change of nick"
    assert bob.commands("NICK bob", "PRIVMSG #tea :x") == ["NICK", "404"]
    ann.send("MODE #tea +v bob")
    assert bob.commands("PRIVMSG #tea :x") == []


@pytest.mark.parametrize("mask", ["~m:eve", "~r:Real?eve", "~c:#other", "~a:*"])
def test_extended_masks(stage: IrcStage, mask: str) -> None:
    """EXTBAN=~,acmr: a mute lets in but not talk; the others look at something else."""
    ann, eve = stage.irc("ann", channel="#tea"), stage.irc("eve", channel="#other")
    ann.send(f"MODE #tea +b {mask}")
    entered = eve.commands("JOIN #tea")[0] == "JOIN"
    assert entered == (mask in ("~m:eve", "~a:*"))
    if entered:
        assert (eve.commands("PRIVMSG #tea :x") == ["404"]) == (mask == "~m:eve")
    ann.send("MODE #tea +e ~m:eve")
    if mask == "~m:eve":
        assert eve.commands("PRIVMSG #tea :x") == []


def test_lists_are_limited(stage: IrcStage) -> None:
    """The clause: "how many "variable" modes of type A that have been defined in the CHANMODES parameter that a
    client may set in total on a channel" (Modern IRC, MAXLIST).
    """
    ann = stage.irc("ann", channel="#tea")
    for number in range(0, MASKS_PER_LIST, 10):
        masks = " ".join(f"m{index}" for index in range(number, number + 10))
        ann.send(f"MODE #tea +bbbbbbbbbb {masks}")
    assert list(ann.one("MODE #tea +b more"))[:4] == ["478", "ann", "#tea", "more!*@*"]
    assert ann.commands("MODE #tea b").count("367") == MASKS_PER_LIST


@pytest.mark.parametrize(
    ("short", "whole"),
    [("ann", "ann!*@*"), ("ann!u", "ann!u@*"), ("u@h", "*!u@h"), ("a.b", "*!*@a.b"), ("a!u@h", "a!u@h"),
     ("!@", "*!*@*"), ("~m:ann", "~m:ann!*@*"), ("~r:ann", "~r:ann")],
)  # fmt: skip
def test_whole_masks(short: str, whole: str) -> None:
    assert whole_mask(short) == whole


def simple_match(pattern: str, text: str) -> bool:
    """The definition, by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(simple_match(pattern[1:], text[index:]) for index in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and simple_match(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_matching_is_as_defined(pattern: str, text: str) -> None:
    assert matches(pattern, text) == simple_match(pattern, text)


def test_matching_takes_no_exponential_time() -> None:
    assert not matches("a*" * 2000 + "b", "a" * 4000)
    assert not matches("?*a" * 100 + "b", "a" * 2000)


# Of users.


def test_user_modes(stage: IrcStage) -> None:
    """The clause: "the supplied modes will be applied, and a `MODE` message will be sent to the user containing the
    changed modes" (Modern IRC, MODE).
    """
    ann = stage.irc("ann")
    assert list(ann.one("MODE ann")) == ["221", "ann", "+"]
    assert list(ann.one("MODE ann +iwB")) == ["MODE", "ann", "+iwB"]
    assert list(ann.one("MODE ANN")) == ["221", "ann", "+Biw"]
    got = ann.ask("MODE ann -i+x-w")
    assert [list(message) for message in got] == [["MODE", "ann", "-iw"], ["501", "ann", "Unknown MODE flag"]]
    assert list(ann.one("MODE ann")) == ["221", "ann", "+B"]


def test_accounts_only_may_write_to_who_wants_that(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann"), stage.irc("bob")
    ann.send("MODE ann +R")
    assert bob.commands("PRIVMSG ann :x") == ["486"]
    assert bob.commands("NOTICE ann :x") == []
    assert ann.commands("PRIVMSG ann :to myself")[-1] == "PRIVMSG"
