"""IRC clients of the running broker: the same rooms through real processes, some of which are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.operators import hashed
from tests.irc_client import IrcConnection
from tests.running import PROMPT, Broker, running_broker, wait_until


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that speaks both protocols over TCP and locally, with an operator and a message of the day."""
    directory = tmp_path_factory.mktemp("irc")
    motd = directory / "motd"
    motd.write_text("Good day\n", encoding="utf-8")
    options = [
        "--listen", "irc://127.0.0.1:0", "--listen", f"irc+unix:{directory}/irc.sock",
        "--irc-server-name", "irc.example.org", "--irc-motd-file", str(motd),
        "--irc-operators", f"root={hashed('sesame', b'salt')}",
    ]  # fmt: skip
    with running_broker(directory / "state", *options) as broker:
        yield broker


def test_both_worlds_in_one_room(both: Broker) -> None:
    plain = both.client("bob")
    plain.send("/lang en")
    plain.line()
    ann = IrcConnection.to(both).register("ann", "#lobby")
    assert plain.line() == "ann joined the room"
    plain.send("hello", "/me waves")
    assert [list(ann.got())[1:], list(ann.got())[1:]] == [["#lobby", "hello"], ["#lobby", "\x01ACTION waves\x01"]]
    ann.send("PRIVMSG #lobby :hi", "PRIVMSG bob :psst", "QUIT")
    assert plain.lines(3) == ["ann: hi", "ann whispers to you: psst", "ann left the room"]
    assert ann.rest().endswith("ERROR :Closing Link: 127.0.0.1 (Quit: )\r\n")
    plain.close()


def test_a_local_socket(both: Broker) -> None:
    path = next(url for url in both.ask("status")["listeners"] if url.startswith("irc+unix:")).removeprefix("irc+unix:")
    ann = IrcConnection.to(both, Path(path))
    ann.send("NICK local", "USER local 0 * :L")
    assert ann.await_command("001").parameters[1].endswith("local!local@localhost")
    assert ann.await_command("372").parameters[1] == "- Good day"
    ann.close()


def test_long_lines_and_long_tags(both: Broker) -> None:
    """512 bytes, and tags before them, get through the worker, whatever max_line_bytes says."""
    ann = IrcConnection.to(both).register("long", capabilities="message-tags echo-message")
    tags = "+a=" + "x" * 4091
    ann.send(f"@{tags} PRIVMSG long :hi")
    message = ann.await_command("PRIVMSG")
    assert message.tags["+a"] == "x" * 4091
    ann.send(f"@{tags}x PRIVMSG long :hi", "PRIVMSG long :" + "y" * 20_000, "PING after")
    assert [ann.await_command("417", "PONG").command for _ in range(3)] == ["417", "417", "PONG"]
    ann.close()


def test_an_operator(both: Broker) -> None:
    """The password is checked outside the router, and the process table shown in the chat client."""
    ann = IrcConnection.to(both).register("boss")
    ann.send("OPER root wrong", "OPER root sesame")
    assert {ann.await_command("464", "381").command for _ in range(2)} == {"464", "381"}
    ann.send("PROCESSES")
    lines = [ann.await_command("NOTICE").parameters[1]]
    while "acceptor-0" not in lines[-1]:
        lines.append(ann.await_command("NOTICE").parameters[1])
    assert "PID" in lines[0] and any("router" in line for line in lines)
    ann.close()


def test_rehash_tells_of_capabilities_that_have_gone(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(f'irc_operators = {{root = "{hashed("sesame", b"salt")}"}}\n')
    with running_broker(tmp_path / "state", "--config", str(config), "--listen", "irc://127.0.0.1:0") as broker:
        ann = IrcConnection.to(broker).register("ann", "#tea", "echo-message cap-notify")
        ann.send("OPER root sesame")
        ann.await_command("381")
        config.write_text(config.read_text() + 'irc_disabled_capabilities = ["echo-message"]\n')
        ann.send("REHASH")
        seen = {ann.await_command("NOTICE", "CAP").command for _ in range(2)}
        assert seen == {"NOTICE", "CAP"}
        ann.send("PRIVMSG #tea :still here", "PING end")
        assert ann.await_command("PRIVMSG", "PONG").command == "PONG", "no echo any more"
        ann.close()


@pytest.mark.parametrize("name", ["worker-0", "worker-1", "router", "acceptor-0"])
def test_a_killed_process_is_not_noticed(both: Broker, name: str) -> None:
    """Nobody is disconnected, nothing is lost or doubled, whatever capabilities there are."""
    caps = "server-time message-tags echo-message batch labeled-response"
    people = [IrcConnection.to(both).register(f"k{number}", "#kill", caps if number % 2 else "") for number in range(4)]
    for number, person in enumerate(people):
        for _ in range(3 - number):
            person.await_command("JOIN")
    pid = both.pids()[name]
    expected = [f"text {number}" for number in range(200)]
    for number, text in enumerate(expected):
        people[0].send(f"PRIVMSG #kill :{text}")
        if number == 100:
            os.kill(pid, signal.SIGKILL)
    for person in people[1:]:
        assert [person.await_command("PRIVMSG").parameters[1] for _ in expected] == expected
    both.wait_ready(name, pid)
    for person in people:
        person.send("QUIT")
        person.rest()


def test_who_is_turned_away_gets_a_line_of_their_protocol(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--listen", "irc://127.0.0.1:0", "--max-connections", "1") as broker:
        first = IrcConnection.to(broker).register("ann")
        second = IrcConnection.to(broker)
        assert second.rest().startswith("ERROR :")
        first.close()


def test_pacing_of_one_listener(tmp_path: Path) -> None:
    """What is faster than the listener's rate is read later, and nothing is dropped."""
    url = "irc://127.0.0.1:0"
    with running_broker(tmp_path / "state", "--listen", url, "--listener-rates", f"{url}=20/5") as broker:
        ann = IrcConnection.to(broker).register("ann")
        began = time.monotonic()
        ann.send(*(f"PING {number}" for number in range(20)))
        assert [ann.await_command("PONG").parameters[1] for _ in range(20)] == [str(number) for number in range(20)]
        assert time.monotonic() - began > 0.5, "twenty lines at twenty a second, of which a few at once"
        ann.close()


def test_nobody_is_judged_by_a_silence_that_was_the_routers(tmp_path: Path) -> None:
    """What people have said while there was no router is heard before their time is up."""
    state = tmp_path / "faults"
    state.mkdir()
    (state / "router.replayed.hold").touch()
    environment = {"BROKER_FAULTS": "router.replayed:1x8:EXIT", "BROKER_FAULTS_STATE": str(state)}
    options = ("--listen", "irc://127.0.0.1:0", "--irc-ping-seconds", "1", "--name-timeout-seconds", "2")
    with running_broker(tmp_path / "state", "--restart-intensity", "50", *options, environment=environment) as broker:
        ann = IrcConnection.to(broker).register("ann")
        late = broker.client()
        late.expect(PROMPT)
        assert "PING" in ann.line()
        (state / "router.replayed.hold").unlink()
        os.kill(broker.pids()["router"], signal.SIGKILL)
        ann.send("PONG :irc", "PRIVMSG ann :I am here")
        late.send("late")
        wait_until((state / "router.replayed.8").exists, "both would have been too late")
        assert ann.await_command("PRIVMSG").parameters == ["ann", "I am here"]
        late.expect("/help")


def test_nobody_is_judged_by_a_silence_in_which_the_router_stood_still(tmp_path: Path) -> None:
    options = ("--listen", "irc://127.0.0.1:0", "--irc-ping-seconds", "1", "--name-timeout-seconds", "2")
    with running_broker(tmp_path / "state", *options) as broker:
        ann = IrcConnection.to(broker).register("ann")
        late, witness = broker.client(), broker.client("witness")
        late.expect(PROMPT)
        assert "PING" in ann.line()
        router = broker.pids()["router"]
        os.kill(router, signal.SIGSTOP)
        wait_until(lambda: broker.processes()["router"]["beat_age_seconds"] > 4, "both would have been too late")
        os.kill(router, signal.SIGCONT)
        witness.send("hello")
        ann.send("PONG :irc", "PRIVMSG ann :I am here")
        late.send("late")
        assert ann.await_command("PRIVMSG").parameters == ["ann", "I am here"]
        late.expect("/help")
