"""The control socket: its documented answers, and that no client of it can hold up the supervisor."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.control import ControlServer
from broker.errors import ControlError
from broker.loop import Loop
from tests.running import Broker, wait_until


@pytest.fixture
def raw(shared_broker: Broker) -> Iterator[socket.socket]:
    """A bare connection to the control socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(shared_broker.state_dir / "control.sock"))
        yield sock


def talk(sock: socket.socket, data: bytes, answers: int = 1) -> list[dict[str, object]]:
    """Send bytes, and read so many lines."""
    sock.sendall(data)
    received = b""
    while received.count(b"\n") < answers:
        chunk = sock.recv(65536)
        assert chunk, f"closed after {received!r}"
        received += chunk
    return [json.loads(line) for line in received.splitlines()]


def test_the_socket_is_private(shared_broker: Broker) -> None:
    assert stat.S_IMODE((shared_broker.state_dir / "control.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(shared_broker.state_dir.stat().st_mode) == 0o700


def test_another_user_is_closed_without_an_answer(shared_broker: Broker) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test must run as root to become somebody else")
    pid = os.fork()
    if pid == 0:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                fd = os.open(shared_broker.state_dir, os.O_PATH)
                os.chmod(shared_broker.state_dir, 0o711)
                os.chmod(shared_broker.state_dir / "control.sock", 0o666)
                os.setuid(65534)
                sock.settimeout(10)
                sock.connect(f"/proc/self/fd/{fd}/control.sock")
                try:
                    sock.sendall(b'{"version": 1, "command": "status"}\n')
                    os._exit(0 if sock.recv(100) == b"" else 1)
                except (BrokenPipeError, ConnectionResetError):
                    os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.chmod(shared_broker.state_dir / "control.sock", 0o600)
    os.chmod(shared_broker.state_dir, 0o700)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json", "bad_request"),
        (b"[1, 2]", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[" * 50_000, "bad_request"),
        (b'{"command": "status"}', "version"),
        (b'{"version": 2, "command": "status"}', "version"),
        (b'{"version": 1}', "bad_request"),
        (b'{"version": 1, "command": 5}', "bad_request"),
        (b'{"version": 1, "command": "format-disk"}', "unknown_command"),
        (b'{"version": 1, "command": "scale"}', "bad_request"),
        (b'{"version": 1, "command": "scale", "arguments": {"workers": "two"}}', "bad_request"),
        (b'{"version": 1, "command": "scale", "arguments": {"workers": true}}', "bad_request"),
        (b'{"version": 1, "command": "scale", "arguments": {"workers": 1000}}', "bad_request"),
        (b'{"version": 1, "command": "scale", "arguments": []}', "bad_request"),
        (b'{"version": 1, "command": "events", "arguments": {"since": "x"}}', "bad_request"),
        (b'{"version": 1, "command": "nice", "arguments": {"changes": [{"name": "router"}]}}', "bad_request"),
        (
            b'{"version": 1, "command": "nice", "arguments": {"changes": [{"name": [], "old": 0, "new": 1}]}}',
            "not_found",
        ),
        (
            b'{"version": 1, "command": "nice", "arguments": {"changes": [{"name": "x", "old": 0, "new": 1}]}}',
            "not_found",
        ),
        (b'{"version": 1, "command": "kick", "arguments": {"name": "nobody"}}', "not_found"),
        (
            b'{"version": 1, "command": "kick", "arguments": {"name": "x", "reason": "%s"}}' % (b"x" * 401),
            "bad_request",
        ),
        (b'{"version": 1, "command": "stop", "arguments": {"timeout_seconds": -1}}', "bad_request"),
    ],
)
def test_bad_requests(raw: socket.socket, line: bytes, code: str) -> None:
    (answer,) = talk(raw, line + b"\n")
    assert answer["ok"] is False
    assert answer["error"]["code"] == code  # type: ignore[index]
    (answer,) = talk(raw, b'{"version": 1, "id": "x", "command": "status"}\n')
    assert answer["ok"] is True
    assert answer["id"] == "x"


@pytest.mark.parametrize("identifier", ["null", "7", "-1.5", '"x"', '""', str(2**70)])
def test_an_id_comes_back_as_it_was_sent(raw: socket.socket, identifier: str) -> None:
    (answer,) = talk(raw, f'{{"version": 1, "id": {identifier}, "command": "status"}}\n'.encode())
    assert answer["ok"] is True
    assert json.dumps(answer["id"]) == identifier


@pytest.mark.parametrize("identifier", ["[1]", '{"a": 1}', "true", "NaN", "Infinity", "1e999"])
def test_an_id_of_another_kind_is_refused_and_not_sent_back(raw: socket.socket, identifier: str) -> None:
    (answer,) = talk(raw, f'{{"version": 1, "id": {identifier}, "command": "status"}}\n'.encode())
    assert (answer["ok"], answer["id"]) == (False, None)
    assert answer["error"]["code"] == "bad_request"  # type: ignore[index]


def test_no_depth_of_an_id_ends_the_supervisor(raw: socket.socket) -> None:
    """There is a depth at which JSON is still read, and could not be written any more."""
    for depth in range(900, 1010):
        (answer,) = talk(raw, b'{"version": 1, "command": "status", "id": ' + b"[" * depth + b"]" * depth + b"}\n")
        assert (answer["ok"], answer["id"]) == (False, None)


def test_an_answer_that_cannot_be_written_ends_nobody(tmp_path: Path) -> None:
    """Whatever a handler answers by mistake, its client is told of a bug, and the loop goes on."""
    loop = Loop()
    server = ControlServer(loop, tmp_path / "control.sock", {"status": lambda request: request.reply({"x": object()})})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(b'{"version": 1, "id": 1, "command": "status"}\n')
        loop.call_later(0.2, loop.stop)
        loop.run()
        answer = json.loads(client.recv(65536))
    server.close()
    assert (answer["id"], answer["ok"]) == (None, False)
    assert "bug" in answer["error"]["message"]


def test_answers_come_in_the_order_of_the_requests(raw: socket.socket) -> None:
    kick = {"version": 1, "id": 1, "command": "kick", "arguments": {"name": "nobody"}}
    status = {"version": 1, "id": 2, "command": "status"}
    data = b"".join(json.dumps(request).encode() + b"\n" for request in (kick, status, kick, status))
    assert [answer["id"] for answer in talk(raw, data, 4)] == [1, 2, 1, 2]


def test_a_request_byte_by_byte(raw: socket.socket) -> None:
    for byte in b'{"version": 1, "id": 7, "command": "status"}':
        raw.sendall(bytes([byte]))
    assert talk(raw, b"\n")[0]["id"] == 7


def test_a_line_without_end_is_closed(shared_broker: Broker, raw: socket.socket) -> None:
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100):
            raw.sendall(b"x" * 65536)
    assert shared_broker.ask("status")


def test_a_client_that_never_reads_is_closed_and_holds_up_nobody(shared_broker: Broker, raw: socket.socket) -> None:
    request = b'{"version": 1, "command": "events"}\n'
    raw.setblocking(False)
    sent = 0
    try:
        while sent < 50_000_000:
            sent += raw.send(request * 100)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        pass
    assert shared_broker.ask("status", timeout_seconds=5)


def test_more_connections_than_allowed_are_closed(shared_broker: Broker) -> None:
    sockets = []
    for _ in range(80):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(shared_broker.state_dir / "control.sock"))
        sockets.append(sock)
    assert sockets[-1].recv(10) == b""
    for sock in sockets:
        sock.close()
    wait_until(lambda: _answers(shared_broker), "it has noticed that they are gone")


def _answers(broker: Broker) -> bool:
    try:
        return bool(broker.ask("status"))
    except ControlError:
        return False


def test_out_of_descriptors_it_waits_and_does_not_spin(broker: Broker) -> None:
    before = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (3, before[1]))  # no number below it is free
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(broker.state_dir / "control.sock"))
        sock.sendall(b'{"version": 1, "command": "status"}\n')
        spent = _cpu_ticks(broker.pid)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        assert poll.poll(1000) == [], "there was no descriptor for it"
        assert _cpu_ticks(broker.pid) - spent < 0.3 * os.sysconf("SC_CLK_TCK")
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, before)
        assert b'"ok": true' in sock.recv(65536)


def _cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stat_file:
        fields = stat_file.read().rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_client_that_closes_its_side_still_gets_its_answer(raw: socket.socket) -> None:
    raw.sendall(b'{"version": 1, "id": 1, "command": "status"}\n')
    raw.shutdown(socket.SHUT_WR)
    received = b""
    while chunk := raw.recv(65536):
        received += chunk
    assert json.loads(received)["ok"] is True
