"""`broker chaos --protocol irc`: the checker on a stage, with and without faults; then a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.chaos.cast import Load
from broker.chaos.dialect import Present
from broker.chaos.irc_dialect import IrcDialect, opening
from broker.chaos.ledger import faults
from broker.chaos.script import stamp_of
from tests.irc_stage import IrcStage
from tests.rehearsal import Actor, Rehearsal, Tampering
from tests.running import running_broker

LOAD = Load(clients=24, rooms=2)
WITNESS, TALKER, SLOW = 1, 2, 4
SCOUT = "zabc99999"


def learned(stage: IrcStage) -> IrcDialect:
    """The dialect, as one registration on the stage shows it."""
    person = stage.connect(listener=1)
    stage.send(person, opening(SCOUT))
    lines = stage.read(person).encode().split(b"\n")[:-1]
    stage.hang_up(person)
    return IrcDialect(lines, SCOUT)


def rehearsal(seed: int, load: Load, tamperings: dict[int, Tampering] | None = None) -> Rehearsal:
    stage = IrcStage()
    return Rehearsal(seed, load, tamperings, stage=stage, dialect=learned(stage), listener=1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32), turns=st.integers(0, 300))
def test_a_chat_without_faults_is_exact(seed: int, turns: int) -> None:
    stage = rehearsal(seed, Load(clients=60, rooms=2))  # so many that their names need several lines
    stage.talk(turns)
    ledger = stage.conclude()
    assert faults(ledger, 0) == [] and ledger.examples == []
    assert ledger.tcp.sent > 60 and ledger.tcp.expected > 100


def test_everything_that_people_do_is_in_the_mix() -> None:
    stage = rehearsal(1, LOAD)
    seen = set()
    for _ in range(1500):
        stage.talk(1)
        for client in stage.company.talkers:
            seen |= {given.kind for given in client.person.follower.pending}
            seen |= {client.person.changing.kind} if client.person.changing else set()
    assert seen == {"name", "say", "act", "whisper", "rename", "join", "part", "quit", "end"}


def test_a_ping_is_answered_amid_all_else() -> None:
    stage = rehearsal(2, LOAD)
    pinged = 0
    for _ in range(12):
        stage.talk(20)
        stage.stage.wait(stage.stage.chat.config.ping_seconds / 2)
        for _ in range(3):
            stage.hear(everybody=True)
        for actor in stage.actors:
            pinged += bool(actor.person.follower.owed)
            stage.company.say_what_is_owed(actor)  # type: ignore[arg-type]
    ledger = stage.conclude()
    assert faults(ledger, 0) == [], ledger.examples
    assert stage.stage.now - 1_700_000_000 > 4 * stage.stage.chat.config.ping_seconds, "who is silent would be gone"
    assert ledger.tcp.disconnected == 0


class Once:
    """Tampers once, with the nth piece of at least two lines, all of which somebody else said in the channel."""

    def __init__(self, change: Callable[[list[bytes]], list[bytes]], after: int) -> None:
        self._change = change
        self._after = after
        self.done = False

    def __call__(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        if self.done or len(lines) < 2 or not all(b" PRIVMSG #" in line for line in lines):
            return data
        self._after -= 1
        if self._after >= 0:
            return data
        self.done = True
        return b"".join(self._change(lines))


TAMPERINGS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "lost": (lambda lines: lines[1:], "lost"),
    "doubled": (lambda lines: [lines[0], *lines], "doubled"),
    "swapped": (lambda lines: [lines[1], lines[0], *lines[2:]], "reordered"),
    "cut": (lambda lines: [lines[0][: len(lines[0]) // 2] + b"\r\n", *lines[1:]], "torn"),
    "without its CR": (lambda lines: [lines[0].replace(b"\r", b""), *lines[1:]], "torn"),
    "said by nobody": (lambda lines: [b":x!chaos@127.0.0.1 PRIVMSG #r :hello\r\n", *lines], "torn"),
}


@pytest.mark.parametrize("victim", [WITNESS, TALKER, SLOW], ids=["witness", "talker", "late reader"])
@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_what_is_wrong_at_one_client_is_found_and_named(tampering: str, victim: int) -> None:
    change, column = TAMPERINGS[tampering]
    tamper = Once(change, after=3)
    stage = rehearsal(7, LOAD, {victim: tamper})
    while not tamper.done:
        stage.talk(20)
    stage.talk(50)
    ledger = stage.conclude()
    assert faults(ledger, 100)
    assert getattr(ledger.tcp, column) >= 1, ledger.examples
    assert ledger.tcp.lost + ledger.tcp.doubled + ledger.tcp.reordered + ledger.tcp.torn <= 4, "and nothing else"


@pytest.mark.parametrize(
    "answer", [b" 366 ", b" PONG ", b" NICK :", b" PART #", b" 302 ", b" 353 "], ids=lambda each: each.decode().strip()
)
@pytest.mark.parametrize("times", [0, 2])
def test_an_answer_that_is_lost_or_doubled_is_found(answer: bytes, times: int) -> None:
    done = []
    stage = rehearsal(3, LOAD)

    def tampering_of(actor: Actor) -> Tampering:
        def tamper(data: bytes) -> bytes:
            lines = data.splitlines(keepends=True)
            own = (b":irc.", f":{actor.person.follower.name}!".encode())
            for place, line in enumerate(lines):
                if not done and line.startswith(own) and answer in line:
                    done.append(line)
                    return b"".join([*lines[:place], *[line] * times, *lines[place + 1 :]])
            return data

        return tamper

    stage.tamperings = {actor.person.number: tampering_of(actor) for actor in stage.actors}
    for _ in range(30):
        if done:
            break
        stage.talk(20)
    ledger = stage.conclude()
    assert done and faults(ledger, 100), done


def test_what_follows_a_registration_must_be_what_was_learned_but_for_name_and_numbers() -> None:
    stage = IrcStage()
    dialect = learned(stage)
    stage.irc("somebody")
    person = stage.connect(listener=1)
    stage.send(person, dialect.opening("aabc00001", 0))
    unit = stage.read(person).encode().removesuffix(b"\n")
    assert dialect.is_welcome(unit, "aabc00001", 0)
    assert not dialect.is_welcome(unit, "aabc00002", 0)
    lines = unit.split(b"\n")
    for place, line in enumerate(lines):
        assert not dialect.is_welcome(b"\n".join(lines[:place] + lines[place + 1 :]), "aabc00001", 0), line
        damaged = line[:-2] + b"#\r"
        assert not dialect.is_welcome(b"\n".join([*lines[:place], damaged, *lines[place + 1 :]]), "aabc00001", 0), line


def test_names_are_packed_into_lines_of_512_bytes_and_the_maker_of_a_channel_has_a_sign() -> None:
    dialect = learned(IrcStage())
    names = [f"a{number:08d}" for number in range(100)]
    *replies, end = dialect.people("r", Present(names, names[0]), "me", 0).split(b"\r\n")
    assert end == b":irc.test.example 366 me #r :End of /NAMES list\r"
    assert max(map(len, replies)) <= 510 < max(map(len, replies)) + 10
    assert b" ".join(reply.partition(b" :")[2] for reply in replies).decode().split() == ["@" + names[0], *names[1:]]


def test_what_is_no_registration_is_not_learned_from() -> None:
    for lines in ([b":irc.example 433 * x :Nickname is already in use\r"], [b"hello"]):
        with pytest.raises(ValueError, match="registration"):
            IrcDialect(lines, "x")


def test_the_stamp_of_a_text_is_found_before_the_end_of_a_line_of_irc() -> None:
    tail = b"text.%016x%08x" % (77, 5)
    assert [stamp_of(b":a!b@c PRIVMSG #r :" + tail + end) for end in (b"", b"\r", b"\x01\r")] == [77, 77, 77]


def test_kills_of_anything_with_irc_clients(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--listen", "irc://127.0.0.1:0", "--restart-intensity", "1000") as broker:
        result = broker.run(
            "chaos", "--json", "--protocol", "irc", "--clients", "24", "--rooms", "3", "--rate", "80",
            "--kill-rate", "3.5", "--pairs", "--seconds", "3", timeout=100,
        )  # fmt: skip
        assert result.stderr == "", result.stderr
        outcome = json.loads(result.stdout)
    assert outcome["verdict"] == "exact", json.dumps([outcome["faults"], outcome["examples"]], indent=1)
    assert len(outcome["kills"]) >= 5 and outcome["ledger"]["tcp"]["delivered"] > 500


def test_options_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state") as broker:
        for options, words in (
            (("--protocol", "irc", "--unix-fraction", "0.5"), "--protocol chat"),
            (("--protocol", "irc", "--connect", "chat://127.0.0.1:1"), "--protocol irc"),
        ):
            result = broker.run("chaos", *options)
            assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr
