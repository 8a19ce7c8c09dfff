"""`broker chat` between pipes, and how it finds the broker."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from broker.client.connection import LAST_BACKOFF_SECONDS, ConnectError, backoff_delays
from broker.client.finding import at_url, on_state_dir
from broker.errors import ConfigError, NotRunningError
from tests.chat_server import ChatServer

# Finding the broker.


def test_the_delays_grow_and_stay_bounded() -> None:
    delays = list(islice(backoff_delays(), 12))
    assert delays[0] < 0.3
    assert delays[5] > delays[2] > delays[0]
    assert max(delays) <= LAST_BACKOFF_SECONDS * 1.2
    assert min(delays[-3:]) >= LAST_BACKOFF_SECONDS * 0.8


def found_url(find: object) -> str:
    async def look() -> str:
        connection = await find()  # type: ignore[operator]
        connection.close()
        return str(connection.url)

    return asyncio.run(look())


@pytest.fixture
def control_socket(tmp_path: Path) -> Iterator[list[str]]:
    """A control socket on `tmp_path` that answers `status` with the listeners in the list."""
    listeners: list[str] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                request = json.loads(stream.readline())
                result = {"listeners": listeners}
                stream.write(
                    json.dumps({"version": 1, "id": request["id"], "ok": True, "result": result}).encode() + b"\n"
                )

    thread = threading.Thread(target=answer)
    thread.start()
    yield listeners
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def test_the_chat_socket_is_tried_first(tmp_path: Path, control_socket: list[str]) -> None:
    with ChatServer(tmp_path / "chat.sock") as server, ChatServer() as other:
        control_socket.append(other.url)
        assert found_url(on_state_dir(tmp_path)) == server.url


def test_else_the_supervisor_is_asked(tmp_path: Path, control_socket: list[str]) -> None:
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "chat.sock"))  # a stale one
    with ChatServer() as server:
        control_socket += ["irc://127.0.0.1:6667", "chat+unix:/nonexistent/socket", server.url]
        assert found_url(on_state_dir(tmp_path)) == server.url


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no broker runs on"):
        found_url(on_state_dir(tmp_path))
    with ChatServer() as server:
        url = server.url
    with pytest.raises(ConnectError, match="Connection refused"):
        found_url(at_url(url))
    with pytest.raises(ConfigError, match="bad URL"):
        at_url("http://127.0.0.1:80")


# Between pipes.


def chat_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "broker", "chat", *arguments]


def pipe_through(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `broker chat` with `text` on its standard input."""
    return subprocess.run(
        chat_command(*arguments), input=text, capture_output=True, text=True, encoding="utf-8", timeout=30, check=False
    )


def test_piped_lines_are_said_and_answers_read_to_the_end() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        done = pipe_through("hello\n/who\nno end of line", "--connect", server.url, "--name", "ann")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "* Welcome, ann! Just type to talk; /help lists the commands.",
            "* You are in lobby. Also here: bob",
            "* lobby (2): bob, ann",
        ]
        assert server.heard("bob") == ["ann joined the room", "ann: hello", "ann: no end of line", "ann left the room"]


def test_many_piped_lines_arrive_all_and_in_order() -> None:
    count = 20_000
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        text = "".join(f"line {number}\n" for number in range(count))
        done = pipe_through(text, "--connect", server.url, "--name", "ann")
        assert done.returncode == 0
        assert server.heard("bob")[1:-1] == [f"ann: line {number}" for number in range(count)]


def test_the_login_name_is_taken_where_nobody_can_be_asked() -> None:
    with ChatServer(language="en") as server:
        environment = {**os.environ, "LOGNAME": "carol"}
        command = chat_command("--connect", server.url)
        done = subprocess.run(command, input=b"", capture_output=True, env=environment, timeout=30, check=False)
        assert b"Welcome, carol!" in done.stdout


def test_a_taken_name_is_an_error_where_nobody_can_be_asked() -> None:
    with ChatServer(language="en") as server:
        server.say("ann", "here already")
        done = pipe_through("not a name\n", "--connect", server.url, "--name", "ann")
        assert done.returncode == 1
        assert done.stderr == "broker: That name is in use; please take another.\n"
        assert server.names() == ["ann"]


def test_a_room_that_cannot_be_entered_is_an_error() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        done = pipe_through("secret\n", "--connect", server.url, "--name", "ann", "--room", "a b")
        assert done.returncode == 1
        assert "spaces" in done.stderr
        assert not any("secret" in line for line in server.heard("bob"))


def test_a_line_that_is_too_long_is_told_and_the_others_are_sent() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        done = pipe_through(f"a\n{'x' * 5000}\nb\n", "--connect", server.url, "--name", "ann")
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "broker: That line has 5000 bytes, 4096 at most; it was not sent.",
            "broker: lines of the input that were too long and not sent: 1",
        ]
        assert server.heard("bob")[1:-1] == ["ann: a", "ann: b"]


def test_turned_away() -> None:
    full = b"* The chat is full (2 connections); please try again later.\n"
    with ChatServer(turn_away=full) as server:
        done = pipe_through("", "--connect", server.url, "--name", "ann")
        assert done.returncode == 1
        assert "The chat is full" in done.stderr


def with_redirection(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `broker chat` with its standard streams redirected by a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *chat_command(*arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", timeout=30, check=False,
    )  # fmt: skip


def test_a_closed_input_is_an_empty_one() -> None:
    with ChatServer(language="en") as server:
        done = with_redirection("<&-", "--connect", server.url, "--name", "ann")
        assert (done.returncode, done.stderr) == (0, "")
        assert "Welcome, ann!" in done.stdout


@pytest.mark.parametrize(
    ("redirection", "complaint"),
    [(">&-", "the standard output is closed"), (">/dev/full", "cannot write the output: No space left on device")],
)
def test_an_output_that_takes_nothing_is_the_end_even_while_there_is_input(redirection: str, complaint: str) -> None:
    with ChatServer(language="en") as server:
        command = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh"]
        command += chat_command("--connect", server.url, "--name", "ann")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            assert client.wait(timeout=30) == 1
            assert client.stderr is not None
            (line,) = client.stderr.read().splitlines()
            assert line.startswith(f"broker: {complaint}")
        server.wait_until(lambda: server.names() == [])


def test_an_error_output_that_is_closed_or_full_changes_nothing() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "first")
        for redirection in ("2>&-", "2>/dev/full"):
            command = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh"]
            command += chat_command("--connect", server.url, "--name", "ann")
            text = f"{'x' * 5000}\nb\n".encode()
            done = subprocess.run(command, input=text, stdout=subprocess.PIPE, timeout=30, check=False)
            assert done.returncode == 1
            assert server.heard("bob")[-2:] == ["ann: b", "ann left the room"]


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    with ChatServer(language="en") as server:
        command = chat_command("--connect", server.url, "--name", "ann")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            assert client.stdin is not None and client.stdout is not None and client.stderr is not None
            assert client.stdout.readline().startswith(b"* Welcome")
            client.stdout.close()
            client.stdin.write(b"/who\n")
            client.stdin.flush()
            assert client.wait(timeout=30) == 0
            assert client.stderr.read() == b""


def test_exit_statuses_of_the_command_line(tmp_path: Path) -> None:
    assert pipe_through("", "--state-dir", str(tmp_path)).returncode == 3
    assert pipe_through("", "--connect", "nonsense").returncode == 2
    with ChatServer() as server:
        url = server.url
    refused = pipe_through("", "--connect", url)
    assert (refused.returncode, refused.stderr) == (1, f"broker: cannot connect to {url}: Connection refused\n")


def test_a_piped_client_comes_back_to_its_room_and_goes_on() -> None:
    with ChatServer(language="en") as server:
        server.say("bob", "/join dev")
        client = subprocess.Popen(
            chat_command("--connect", server.url, "--name", "ann", "--room", "dev"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert client.stdin is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        server.wait_until(lambda: "ann: one" in server.heard("bob"))
        server.cut()
        server.wait_until(lambda: server.heard("bob")[-2:] == ["ann left the room", "ann joined the room"])
        _, errors = client.communicate(b"two\n", timeout=30)
        assert client.returncode == 0
        assert server.heard("bob")[-2:] == ["ann: two", "ann left the room"]
        assert b"connection was lost" in errors


def test_a_piped_client_waits_for_its_name() -> None:
    with ChatServer(language="en") as server:
        client = subprocess.Popen(
            chat_command("--connect", server.url, "--name", "ann"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert client.stderr is not None
        server.wait_until(lambda: server.room_of("ann") == "lobby")
        held = server.cut(keep_sessions=True)
        assert b"connection was lost" in client.stderr.readline()
        assert b"Connected again" in client.stderr.readline()
        assert b"still holds the name ann" in client.stderr.readline()
        server.notice(held)
        output, errors = client.communicate(timeout=30)
        assert (client.returncode, errors) == (0, b"")
        assert output.count(b"Welcome, ann!") == 2


def test_without_reconnect_a_lost_connection_is_the_end() -> None:
    with ChatServer(language="en") as server:
        client = subprocess.Popen(
            chat_command("--connect", server.url, "--name", "ann", "--no-reconnect"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        server.wait_until(lambda: server.names() == ["ann"])
        server.shut_down()
        assert client.wait(timeout=30) == 1  # with its input still open: the end of that would be an orderly end
        output, errors = client.communicate()
        assert output.endswith(b"* The chat is closing. Goodbye!\n")
        assert errors == b"broker: the broker ended the connection: The chat is closing. Goodbye!\n"


def test_without_a_farewell_no_reason_is_made_up() -> None:
    with ChatServer(language="en") as server:
        client = subprocess.Popen(
            chat_command("--connect", server.url, "--name", "ann", "--no-reconnect"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        server.wait_until(lambda: server.names() == ["ann"])
        server.cut()
        assert client.wait(timeout=30) == 1
        _, errors = client.communicate()
        assert errors == b"broker: the connection was lost\n"
