"""IRC people and people of the plain protocol in the same rooms: each sees the other in its own idiom."""

from __future__ import annotations

import pytest

from broker.messages import LINES, PUBLISH
from tests.chat_stage import Person
from tests.irc_stage import IrcClient, IrcStage


@pytest.fixture
def stage() -> IrcStage:
    return IrcStage()


@pytest.fixture
def pair(stage: IrcStage) -> tuple[IrcClient, Person]:
    """Somebody of each world in the lobby."""
    ann = stage.irc("ann", channel="#lobby")
    bob = stage.join("bob", language="en")
    return ann, bob


Pair = tuple[IrcClient, Person]


def test_coming_and_going(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#lobby"), stage.connect()
    stage.type(bob, "bob")
    (seen,) = ann.read()
    assert seen.source == "bob!chat@127.0.0.1" and list(seen) == ["JOIN", "#lobby"]
    assert "Also here: ann" in stage.read(bob)
    eve = stage.irc("eve")
    eve.send("JOIN #Lobby")
    assert stage.read(bob) == "eve joined the room\n"
    eve.send("PART #lobby :bye")
    assert stage.read(bob) == "eve left the room\n"
    ann.read()
    stage.type(bob, "/join tea")
    assert list(ann.read()[0]) == ["PART", "#lobby"]
    ann.send("JOIN #tea")
    stage.type(bob, "/quit")
    assert list(ann.read()[-1]) == ["QUIT", "Quit"]


def test_talking(pair: Pair, stage: IrcStage) -> None:
    ann, bob = pair
    ann.send("PRIVMSG #lobby :hello", "PRIVMSG #lobby :\x01ACTION waves\x01", "NOTICE #lobby :beep",
             "PRIVMSG bob :psst",
             "PRIVMSG bob :\x01ACTION nods\x01")  # fmt: skip
    assert stage.read(bob) == (
        "ann: hello\n** ann waves\nann: beep\nann whispers to you: psst\nann whispers to you: * nods\n"
    )
    stage.type(bob, "hi", "/me bows", "/msg ann psst", "//slash")
    assert [list(got) for got in ann.read()] == [
        ["PRIVMSG", "#lobby", "hi"],
        ["PRIVMSG", "#lobby", "\x01ACTION bows\x01"],
        ["PRIVMSG", "ann", "psst"],
        ["PRIVMSG", "#lobby", "/slash"],
    ]


def test_colours_and_what_programs_say_do_not_reach_a_terminal(pair: Pair, stage: IrcStage) -> None:
    ann, bob = pair
    ann.send("PRIVMSG #lobby :\x02bold\x02 \x0304,12red\x03 \x04ff0000x \x1b[2Jy", "PRIVMSG #lobby :\x01VERSION\x01",
             "PRIVMSG #lobby :\x02\x02", "PRIVMSG bob :\x01PING 1\x01", "TOPIC #lobby :\x1b]0;x\x07")  # fmt: skip
    assert stage.read(bob) == "ann: bold red x [2Jy\n"
    stage.type(bob, "\x1b[31mred\x01")
    assert ann.read()[-1].parameters[1] == "[31mred"


def test_names(pair: Pair, stage: IrcStage) -> None:
    ann, bob = pair
    stage.type(bob, "/nick 张三")
    (seen,) = ann.read()
    assert seen.source == "bob!chat@127.0.0.1" and list(seen) == ["NICK", "张三"]
    ann.send("NICK anna")
    assert "ann is now known as anna\n" in stage.read(bob)
    stage.type(bob, "/nick ANNA")
    assert "in use" in stage.read(bob)
    assert ann.one("NICK 张三").command == "433"
    assert ann.ask("WHOIS 张三")[0].parameters[1:] == ["张三", "chat", "127.0.0.1", "*", ""]


def test_a_long_line_of_the_plain_protocol_is_several_of_irc(pair: Pair, stage: IrcStage) -> None:
    """Nothing of it is lost, no character is cut, and each part is a message of its own."""
    ann, bob = pair
    ann.send("CAP REQ :message-tags")
    ann.read()
    text = "字" * 1200
    stage.type(bob, text)
    got = ann.read()
    assert len(got) == 8 and "".join(message.parameters[1] for message in got) == text
    assert len({message.tags["msgid"] for message in got}) == 8
    stage.type(bob, f"/me {text}")
    got = ann.read()
    assert "".join(message.parameters[1].removeprefix("\x01ACTION ").removesuffix("\x01") for message in got) == text


def test_several_lines_at_once(pair: Pair, stage: IrcStage) -> None:
    ann, bob = pair
    ann.send("CAP REQ :batch message-tags draft/multiline", "BATCH +1 draft/multiline #lobby")
    ann.send("@batch=1 PRIVMSG #lobby :one", "@batch=1;draft/multiline-concat PRIVMSG #lobby :, two")
    ann.send("@batch=1 PRIVMSG #lobby :three", "BATCH -1")
    assert stage.read(bob) == "ann: one, two\nann: three\n"


# What IRC people decide holds for everybody, and plain people decide in their own words.


def test_topics(stage: IrcStage) -> None:
    bob = stage.join("bob", language="en")
    stage.type(bob, "/join tea", "/topic", "/topic Earl Grey")
    assert "* tea has no topic.\n* bob set the topic: Earl Grey\n" in stage.read(bob)
    ann = stage.irc("ann")
    got = ann.ask("JOIN #tea")
    assert [list(message)[1:] for message in got[1:3]] == [
        ["ann", "#tea", "Earl Grey"], ["ann", "#tea", "bob!chat@127.0.0.1", "1700000000"],
    ]  # fmt: skip
    stage.type(bob, "/op ann", "/topic")
    ann.send("TOPIC #tea :Assam")
    assert (
        "* bob changed the room's modes: +o ann\n* The topic of tea: Earl Grey\n* ann set the topic: Assam\n"
        in stage.read(bob)
    )
    eve = stage.join("eve", language="en")
    stage.type(eve, "/join tea", "/topic mine")
    assert stage.read(eve).endswith("* The topic of tea: Assam\n* Only operators of the room may do that.\n")
    ann.send("TOPIC #tea :")
    assert "* ann removed the topic.\n" in stage.read(bob)


def test_kicks(stage: IrcStage) -> None:
    bob = stage.join("bob", language="en")
    stage.type(bob, "/join tea")
    ann, eve = stage.irc("ann", channel="#tea"), stage.join("eve", language="en")
    stage.type(eve, "/join tea", "/kick ann")
    assert "Only operators" in stage.read(eve)
    ann.read(), stage.read(bob)
    stage.type(bob, "/kick ann enough now", "/kick nobody", "/kick eve", "/kick eve")
    assert list(ann.read()[0]) == ["KICK", "#tea", "ann", "enough now"]
    assert stage.read(eve) == "ann left the room\n* bob put you out of tea.\n"
    assert stage.read(bob).splitlines() == [
        "ann left the room", "* There is nobody called nobody.", "eve left the room", "* eve is not in this room.",
    ]  # fmt: skip
    stage.type(eve, "hello?")
    assert "You are in no room" in stage.read(eve)


def test_being_kicked_by_an_irc_operator(stage: IrcStage) -> None:
    ann = stage.irc("ann", channel="#tea")
    bob = stage.join("bob", language="en")
    stage.type(bob, "/join tea")
    stage.read(bob)
    ann.send("KICK #tea bob :too \x02loud")
    assert stage.read(bob) == "* ann put you out of tea: too loud\n"


@pytest.mark.parametrize(
    ("mode", "words"),
    [("+i", "by invitation only"), ("+b bob", "banned from"), ("+l 1", "is full"), ("+R", "with an account only"),
     ("+k sesame", "needs a password: /join tea PASSWORD")],
)  # fmt: skip
def test_doors(stage: IrcStage, mode: str, words: str) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.join("bob", language="en")
    ann.send(f"MODE #tea {mode}")
    stage.type(bob, "/join tea")
    assert words in stage.read(bob)
    stage.type(bob, "still in the lobby")
    assert stage.read(bob) == ""
    ann.send("INVITE bob #tea")
    assert stage.read(bob) == "* ann invites you to tea; /join tea takes you there.\n"
    stage.type(bob, "/join tea")
    assert "You are in tea" in stage.read(bob)


def test_a_password_and_an_invitation_in_plain_words(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.join("bob", language="en")
    ann.send("MODE #tea +k sesame")
    stage.type(bob, "/join tea wrong", "/join tea sesame")
    assert "needs a password" in stage.read(bob)
    eve = stage.join("eve", language="en")
    stage.type(bob, "/invite ann", "/invite nobody", "/invite eve")
    assert stage.read(bob).splitlines()[-3:] == [
        "* ann is here already.", "* There is nobody called nobody.", "* You invited eve to tea.",
    ]  # fmt: skip
    stage.type(eve, "/join tea")
    assert "You are in tea" in stage.read(eve)


def test_silence_holds_for_everybody(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.join("bob", language="en")
    stage.type(bob, "/join tea")
    ann.send("MODE #tea +m")
    stage.read(bob)
    stage.type(bob, "hello", "/me waves")
    assert stage.read(bob) == "* You may not speak in tea now.\n" * 2
    ann.send("MODE #tea +v bob")
    ann.read()
    stage.type(bob, "hello")
    assert list(ann.read()[0]) == ["PRIVMSG", "#tea", "hello"]


def test_a_secret_room_is_secret_to_everybody(stage: IrcStage) -> None:
    ann, bob = stage.irc("ann", channel="#tea"), stage.join("bob", language="en")
    ann.send("MODE #tea +s")
    stage.type(bob, "/rooms", "/who tea")
    assert stage.read(bob) == "* Rooms: lobby (1)\n* There is no room tea. /rooms lists them.\n"


def test_being_away_is_told_to_who_whispers(pair: Pair, stage: IrcStage) -> None:
    ann, bob = pair
    ann.send("AWAY :lunch")
    assert stage.read(bob) == "", "that is no occasion for a terminal"
    stage.type(bob, "/msg ann hi")
    assert stage.read(bob) == "* You whispered to ann: hi\n* ann is away: lunch\n"


def test_the_lobby_may_be_closed_to_somebody_who_has_just_come(stage: IrcStage) -> None:
    ann = stage.irc("ann", channel="#lobby")
    stage.chat.set_status(stage.chat.default_room, ann.person.number, "o", True)
    ann.send("MODE #lobby +i")
    bob = stage.connect()
    stage.read(bob)
    stage.type(bob, "bob")
    assert "* lobby is by invitation only.\n" in stage.read(bob)
    stage.type(bob, "/join tea")
    stage.type(bob, "/who")
    assert "* tea (1): bob" in stage.read(bob)


# What it costs.


def test_a_message_is_rendered_once_for_each_class_of_capabilities(stage: IrcStage) -> None:
    """And published to groups: never once for each receiver."""
    for number in range(30):
        caps = ((), ("server-time",), ("server-time", "message-tags"))[number % 3]
        stage.irc(f"p{number}", *caps, "echo-message", "multi-prefix", worker=number % 2, channel="#tea")
    speaker = stage.irc("ann", channel="#tea")
    stage.chat.take_operations()
    offset = speaker.person.sent
    data = b"PRIVMSG #tea :hi\r\n"
    stage.chat.apply(stage.now, 0, (LINES, speaker.person.number, offset, data))
    taken = stage.chat.take_operations()
    assert all(operation[0] == PUBLISH for operations in taken.values() for operation in operations)
    assert sum(map(len, taken.values())) == 6, "three classes on two workers"
    assert len({id(operation[2]) for operations in taken.values() for operation in operations}) == 3


def test_capabilities_that_change_no_shared_line_make_no_group(stage: IrcStage) -> None:
    stage.irc("ann", "echo-message", "labeled-response", "batch", "multi-prefix", "invite-notify", channel="#tea")
    stage.irc("bob", channel="#tea")
    assert len(stage.chat.rooms_of(stage.chat.find_person("ann"))[0].groups) == 1  # type: ignore[arg-type]
