"""The load generator: its checker finds whatever is wrong with a stream, and nothing else; a small run is exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import texts
from benchmarks.audit import Author, Listener, RoomAudit, Talker
from benchmarks.conductor import judge
from benchmarks.cpu import tree
from benchmarks.entrance import Entrance
from benchmarks.load_process import Outcome
from benchmarks.plan import Load, plan
from benchmarks.protocols import PlainProtocol
from benchmarks.report import latency_of
from broker.errors import UsageError
from tests.chat_server import ChatServer
from tests.lying_stage import Lie, LyingStage
from tests.running import is_gone, wait_until

# The checker, fed with streams of one room: authors 0 and 1, listeners 2 and 3, all in one process.

AUTHORS = (0, 1)
LISTENERS = (2, 3)
HEAD = "甲说: xxxx".encode()


def line(author: int, number: int) -> bytes:
    return HEAD + texts.tail(123456789, number, author) + b"\n"


def intact(order: Iterable[int]) -> list[bytes]:
    """What the room hears if the authors speak in that order."""
    said = dict.fromkeys(AUTHORS, 0)
    lines = []
    for author in order:
        said[author] += 1
        lines.append(line(author, said[author]))
    return lines


def own_removed(lines: Sequence[bytes], author: int) -> list[bytes]:
    return [line for line in lines if not line.endswith(texts.tag(author) + b"\n")]


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


class Checked:
    """A room's clients that were given streams, in turns, and what the checker says about it."""

    def __init__(self, streams: dict[int, list[bytes]], said: dict[int, int], cuts: Sequence[int] = ()) -> None:
        self.audit = RoomAudit("room", b"\n", {number: Author(number, f"author{number}", HEAD) for number in AUTHORS})
        self.clients: dict[int, Listener | Talker] = {
            number: self.audit.add_talker(number, f"client{number}") if number in AUTHORS
            else self.audit.add_listener(f"client{number}")
            for number in streams
        }  # fmt: skip
        pieces = {number: cut(b"".join(lines), cuts[number:]) for number, lines in streams.items()}
        while any(pieces.values()):
            for number, left in pieces.items():
                if left:
                    self.clients[number].take(left.pop(0))
        self.complete = self.audit.is_complete(said)
        self.faults = self.audit.conclude(said)


def heard_by_all(lines: list[bytes]) -> dict[int, list[bytes]]:
    """Everybody's stream, if the room's is this."""
    return {**{number: own_removed(lines, number) for number in AUTHORS}, **dict.fromkeys(LISTENERS, lines)}


def counts(lines: Sequence[bytes]) -> dict[int, int]:
    return {number: len(lines) - len(own_removed(lines, number)) for number in AUTHORS}


@given(st.lists(st.sampled_from(AUTHORS), max_size=40), st.lists(st.integers(0, 4000), max_size=60))
def test_an_intact_stream_is_complete_however_it_is_cut(order: list[int], cuts: list[int]) -> None:
    lines = intact(order)
    checked = Checked(heard_by_all(lines), counts(lines), cuts)
    assert checked.complete
    assert checked.faults == []


Tampering = Callable[[list[bytes], int], list[bytes]]
TAMPERINGS: dict[str, Tampering] = {
    "lost": lambda lines, at: lines[:at] + lines[at + 1 :],
    "doubled": lambda lines, at: lines[: at + 1] + lines[at:],
    "swapped": lambda lines, at: [*lines[:at], *reversed(lines[at : at + 2]), *lines[at + 2 :]],
    "cut in half": lambda lines, at: [*lines[:at], lines[at][:20], *lines[at + 1 :]],
    "garbled": lambda lines, at: [*lines[:at], lines[at].replace(b"x", b"y", 1), *lines[at + 1 :]],
    "joined by a stranger": lambda lines, at: [*lines[:at], "乙 进入了聊天室\n".encode(), *lines[at:]],
}
ORDER = [0, 1, 0, 1, 1, 0, 0, 1, 1, 0]  # so that neighbours are by the same author and by different ones


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
@given(at=st.integers(0, 8), victim=st.sampled_from(AUTHORS + LISTENERS), cuts=st.lists(st.integers(0, 800)))
def test_what_is_wrong_at_one_client_is_found(tampering: Tampering, at: int, victim: int, cuts: list[int]) -> None:
    lines = intact(ORDER)
    streams = heard_by_all(lines)
    at %= len(streams[victim]) - 1
    streams[victim] = tampering(streams[victim], at)
    checked = Checked(streams, counts(lines), cuts)
    assert not checked.complete
    assert checked.faults


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
@given(at=st.integers(0, 8), cuts=st.lists(st.integers(0, 800)))
def test_what_is_wrong_at_all_clients_alike_is_found(tampering: Tampering, at: int, cuts: list[int]) -> None:
    lines = intact(ORDER)
    tampered = tampering(lines, at)
    checked = Checked(heard_by_all(tampered), counts(lines), cuts)
    said_by_different_authors = lines[at].split(b"=")[1] != lines[at + 1].split(b"=")[1]
    if tampering is TAMPERINGS["swapped"] and said_by_different_authors:
        assert checked.complete, "that is just another order, and the same for everybody"
    else:
        assert not checked.complete
        assert checked.faults


@pytest.mark.parametrize(
    ("tampering", "words"),
    [
        ("lost", "1 lines lost, 0 too many"),
        ("doubled", "0 lines lost, 1 too many"),
        ("swapped", "all lines, in another order"),
    ],
)
def test_the_fault_of_one_client_is_named(tampering: str, words: str) -> None:
    lines = intact(ORDER)
    streams = heard_by_all(lines)
    streams[3] = TAMPERINGS[tampering](lines, 3)
    checked = Checked(streams, counts(lines))
    assert [fault for fault in checked.faults if words in fault and "client3" in fault]


@pytest.mark.parametrize(
    ("tampering", "at", "words"),
    [
        ("lost", 4, "lost, 1 of 5 messages of author1"),
        ("lost", 9, "lost, 1 of 5 messages of author0"),
        ("doubled", 9, "doubled, 1 times"),
        ("swapped", 3, "out of order, 1 times"),
        ("garbled", 2, "damaged, 1 times"),
        ("joined by a stranger", 2, "a line that nobody said, 1 times"),
    ],
)
def test_the_fault_of_a_room_is_named(tampering: str, at: int, words: str) -> None:
    lines = intact(ORDER)
    checked = Checked(heard_by_all(TAMPERINGS[tampering](lines, at)), counts(lines))
    assert [fault for fault in checked.faults if words in fault], checked.faults


def test_a_client_that_hears_nothing_is_found() -> None:
    lines = intact(ORDER)
    for victim in (*AUTHORS, *LISTENERS):
        checked = Checked({**heard_by_all(lines), victim: []}, counts(lines))
        assert not checked.complete
        assert [fault for fault in checked.faults if f"client{victim}" in fault]


def test_a_long_stream_is_forgotten_bit_by_bit_and_marks_are_counted_once() -> None:
    said = 24_000
    lines = intact([0, 1] * (said // 2))
    audit = RoomAudit("room", b"\n", {number: Author(number, "author", HEAD) for number in AUTHORS})
    ahead, behind = audit.add_listener("ahead"), audit.add_listener("behind")
    talkers = {number: audit.add_talker(number, "talker") for number in AUTHORS}
    seen = {ahead: 0, behind: 0}
    longest = 0
    for piece in cut(b"".join(lines), range(0, 1 << 20, 97)):
        for listener in (ahead, behind):
            listener.take(piece)
            seen[listener] += listener.count_latest(texts.tag(1) + b"\n", len(piece))
        longest = max(longest, len(audit.stream))
    assert seen == {ahead: said // 2, behind: said // 2}
    assert longest < len(b"".join(lines)) / 2
    for number, talker in talkers.items():
        talker.take(b"".join(own_removed(lines, number)))
    assert audit.is_complete(counts(lines))


def test_two_processes_that_saw_different_orders_are_found() -> None:
    load = Load(clients=8, rooms=1, senders=2, processes=2)
    rooms = plan(load)
    said = {0: 5, 1: 5}
    streams = [intact(ORDER), intact(reversed(ORDER))]
    checked = [Checked(heard_by_all(lines), said) for lines in streams]
    assert all(each.complete for each in checked)
    a, b = (Outcome(35, [], {0: each.audit.digest()}, array("q")) for each in checked)
    assert judge(rooms, said, [a, a]).holds
    assert not judge(rooms, said, [a, b]).holds


def test_totals_must_match() -> None:
    rooms = plan(Load(clients=12, rooms=2, senders=2))
    said = {author: 3 for room in rooms for author in room.authors}
    assert judge(rooms, said, [Outcome(60, [], {}, array("q"))]).holds
    for deliveries in (59, 61):
        assert not judge(rooms, said, [Outcome(deliveries, [], {}, array("q"))]).holds


# Who is where.


LOADS = st.builds(
    Load, clients=st.integers(30, 300), rooms=st.integers(1, 5), senders=st.integers(1, 4), processes=st.integers(1, 2)
)


@given(LOADS)
def test_everybody_has_one_place(load: Load) -> None:
    rooms = plan(load)
    assert len(rooms) == load.rooms
    placed = [number for room in rooms for part in room.parts for number in part.authors + part.listeners]
    assert sorted(placed) == list(range(load.clients))
    for room in rooms:
        assert len(room.senders) == load.senders
        assert set(room.senders) | set(room.heralds) == set(room.authors)
        assert len(set(room.heralds)) == 2
        for part in room.parts:
            assert part.listeners, "somebody must be compared with"
            for sender in set(part.authors) & set(room.senders):
                assert room.observer(sender) in part.listeners


def test_only_some_rooms_talk_but_all_hear_where_the_stream_begins() -> None:
    rooms = plan(Load(clients=40, rooms=4, senders=3, talking=2))
    assert [len(room.senders) for room in rooms] == [3, 3, 0, 0]
    assert all(len(room.heralds) == 2 for room in rooms)


@pytest.mark.parametrize(
    "change",
    [{"clients": 4}, {"clients": 5, "processes": 2}, {"rooms": 0}, {"senders": 0}, {"window": 0}, {"size_bytes": 29},
     {"size_bytes": 5000}, {"seconds": 0}, {"rate": 0.0}, {"rooms": 50},
     {"talking": 0}, {"talking": 2}],
    ids=str,
)  # fmt: skip
def test_a_load_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plan(replace(Load(), **change))


# The way in.


@given(st.lists(st.integers(0, 400)))
def test_the_stream_begins_after_the_last_herald(cuts: list[int]) -> None:
    heralds = [line(1, texts.START), line(0, texts.START)]
    stream = b"".join([line(0, 1), line(1, 1)])
    before = "请输入姓名: * 欢迎你\n* 你在聊天室 lobby，这里暂时只有你一个人。\n* 你在聊天室 r1。\n某人 进入了聊天室\n"
    entrance = Entrance(PlainProtocol(), "c1", "r1", [0, 1])
    received = b""
    for piece in cut(before.encode() + b"".join(heralds) + stream, cuts):
        if entrance.done:
            received += piece
        else:
            entrance.feed(piece)
            received = entrance.rest if entrance.done else b""
    assert entrance.done
    assert received == stream


def test_percentiles_are_nearest_ranks() -> None:
    latency = latency_of(array("q", [number * 1_000_000 for number in range(100, 0, -1)]))
    assert latency is not None
    assert (latency.p50, latency.p99, latency.max, latency.samples) == (0.051, 0.1, 0.1, 100)
    assert latency_of(array("q")) is None


# Real runs.


def fanout(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.fanout", "--json", *options],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("demand", [("--window", "4"), ("--rate", "500")], ids=["window", "rate"])
@pytest.mark.parametrize(("processes", "protocol"), [("1", "chat"), ("3", "chat"), ("2", "irc")])
def test_a_small_run_is_exact(demand: tuple[str, str], processes: str, protocol: str) -> None:
    result = fanout(
        "--protocol", protocol, "--clients", "20", "--rooms", "2", "--senders", "3", "--seconds", "0.5",
        "--warm-up", "0.1", "--workers", "2", "--processes", processes, *demand,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr + result.stdout
    figures = json.loads(result.stdout)
    verdict = figures["verdict"]
    assert verdict["holds"] and verdict["faults"] == []
    assert verdict["said"] > 20
    assert verdict["received"] == verdict["expected"] == verdict["said"] * 9
    assert figures["deliveries"] <= verdict["received"]
    assert figures["deliveries_per_second"] == pytest.approx(figures["deliveries"] / figures["seconds"])
    if "--rate" in demand:
        assert figures["messages_per_second"] == pytest.approx(500, rel=0.3)
    latency = figures["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < 10
    names = [process["name"] for process in figures["server_cpu"]["processes"]]
    names = [name for name in names if "snapshot" not in name]  # there is one now and then
    assert sorted(names) == ["acceptor-0", "router", "supervisor", "worker-0", "worker-1"]
    assert figures["server_cpu"]["seconds"] == pytest.approx(
        sum(process["seconds"] for process in figures["server_cpu"]["processes"])
    )
    assert len(figures["generator_cpu"]["processes"]) == int(processes) + 1


LIES: dict[str, tuple[Lie, str]] = {
    "lost": (lambda first, second: second, "1 lines lost, 0 too many"),
    "doubled": (lambda first, second: first + second + second, "0 lines lost, 1 too many"),
    "swapped": (lambda first, second: second + first, "all lines, in another order"),
}


SMALL = ("--clients", "6", "--senders", "2", "--seconds", "0.2", "--warm-up", "0", "--patience", "2")


def test_a_server_that_keeps_its_word() -> None:
    with ChatServer() as server:
        result = fanout("--connect", server.url, *SMALL)
    figures = json.loads(result.stdout)
    assert result.returncode == 0 and figures["verdict"]["holds"]
    assert figures["server_cpu"] is None, "nobody said which process it is"


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_to_one_client_is_found_out(lie: str) -> None:
    change, words = LIES[lie]
    server = ChatServer()
    server.stage = LyingStage(change, b"=", "00005", 20)
    with server:
        result = fanout("--connect", server.url, *SMALL, "--patience", "1")
    assert result.returncode == 1, result.stdout + result.stderr
    verdict = json.loads(result.stdout)["verdict"]
    assert verdict["received"] - verdict["expected"] == {"lost": -1, "doubled": 1, "swapped": 0}[lie]
    # Compared with what the others have got; or, if it was ahead of them just then, checked line by line.
    kinds = {"lost": "lost, ", "doubled": "doubled, ", "swapped": "out of order, "}
    named = [fault for fault in verdict["faults"] if "00005" in fault and words in fault]
    assert named or [fault for fault in verdict["faults"] if kinds[lie] in fault], verdict["faults"]


def test_a_server_that_turns_clients_away_is_quoted() -> None:
    with ChatServer(turn_away=b"* full, \x1b[31mcome back later\n") as server:
        result = fanout("--connect", server.url, *SMALL)
    assert result.returncode == 1
    assert result.stderr.startswith("fanout: ") and "Traceback" not in result.stderr
    assert "come back later" in result.stderr and "\x1b" not in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--connect", "chat://127.0.0.1:1"), 1, "Connection refused"),
        (("--connect", "127.0.0.1:1"), 2, "no scheme"),
        (("--connect", "chat://127.0.0.1:1", "--workers", "2"), 2, "--connect is for a server that runs"),
        (("--clients", "4"), 2, "at least 5 clients"),
        (("--broker-option=--max-connections=nonsense",), 1, "max_connections"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(options: Sequence[str], status: int, words: str) -> None:
    result = fanout(*options)
    assert result.returncode == status
    assert words in result.stderr.replace("-connections:", "_connections:") and "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_nothing_is_left_of_an_interrupted_run(end: signal.Signals) -> None:
    # Not tmp_path: its name may be too long for a socket to be made in.
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        _interrupt(end, Path(folder))


def _interrupt(end: signal.Signals, folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fanout", "--clients", "20", "--seconds", "60", "--workers", "2",
         "--processes", "2"],
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    family: list[int] = []
    try:
        # The command, two load processes, and a supervisor with an acceptor, a router and two workers.
        wait_until(lambda: len(tree(process.pid)) == 8, "all are there")
        family = tree(process.pid)
    finally:
        process.send_signal(end)
        process.wait(30)
    assert process.returncode == (-signal.SIGKILL if end == signal.SIGKILL else 130)
    wait_until(lambda: all(map(is_gone, family)), "all processes are gone")
    if end != signal.SIGKILL:
        assert list(folder.iterdir()) == []
