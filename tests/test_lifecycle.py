"""Start, stop, status: one broker a state directory, clear refusals, nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.running import PROMPT, Broker, is_gone, running_broker, wait_until


def one_line(text: str) -> bool:
    """One or two lines for a person, and no traceback."""
    return 1 <= text.strip().count("\n") + 1 <= 2 and "Traceback" not in text


def test_the_banner_says_what_to_do_next(broker: Broker) -> None:
    assert f"nc 127.0.0.1 {broker.port}" in broker.banner
    for word in (" chat", " top", " stop"):
        assert word in broker.banner


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
def test_stopping_says_goodbye_and_leaves_nothing(broker: Broker, how: str) -> None:
    pids = broker.pids()
    ann, bob, nameless = broker.client("ann"), broker.client("bob"), broker.client()
    nameless.expect(PROMPT)
    ann.line()
    if how == "stop":
        result = broker.run("stop")
        assert (result.returncode, result.stderr) == (0, "")
    else:
        os.kill(broker.pid, getattr(signal, how))
    assert broker.process is not None
    assert broker.process.wait(20) == 0
    for client in (ann, bob, nameless):
        goodbye = client.rest()
        assert goodbye.startswith("* ")
        assert "退出" not in goodbye
    assert all(map(is_gone, pids.values()))
    assert [path.name for path in broker.state_dir.iterdir()] == ["events.jsonl"]


def test_ctrl_c_in_a_terminal_reaches_the_whole_group_and_ends_in_order(broker: Broker) -> None:
    ann = broker.client("ann")
    for pid in broker.pids().values():
        os.kill(pid, signal.SIGINT)
    assert ann.rest().startswith("* ")
    assert broker.process is not None
    assert broker.process.wait(20) == 0


def test_a_client_that_never_reads_does_not_hold_up_the_stop(broker: Broker) -> None:
    ann, deaf = broker.client("ann"), broker.client("deaf")
    for _ in range(200):
        ann.send("x" * 4000)
    begin = time.monotonic()
    assert broker.run("stop", "--timeout", "1").returncode == 0
    assert time.monotonic() - begin < 10
    deaf.close()


def test_stop_with_a_stopped_worker_kills_it_in_time(broker: Broker) -> None:
    pids = broker.pids()
    os.kill(pids["worker-0"], signal.SIGSTOP)
    assert broker.run("stop", "--timeout", "0.5").returncode == 0
    assert all(map(is_gone, pids.values()))


def test_status_up_and_down(broker: Broker) -> None:
    ann, bob = broker.client("ann"), broker.client("bob")
    ann.line()
    bob.send("hi")
    ann.line()
    status = wait_until(lambda: (s := broker.ask("status"))["messages_in"] == 3 and s, "three lines came in")
    assert (status["sessions"], status["rooms"], status["state"]) == (2, 1, "running")
    result = broker.run("status", "--json")
    assert json.loads(result.stdout)["pid"] == broker.pid
    assert "sessions 2" in broker.run("status").stdout
    broker.run("stop")
    for command in ("status", "stop", "events --follow", "scale 2", "kick x"):
        result = broker.run(*command.split())
        assert result.returncode == 3, command
        assert one_line(result.stderr), command
    assert json.loads(broker.run("status", "--json").stdout)["state"] == "down"
    assert "the broker has stopped" in broker.run("events").stdout


def test_a_second_start_is_refused_and_names_the_running_one(broker: Broker) -> None:
    result = broker.run("start", "--listen", "chat://127.0.0.1:0")
    assert result.returncode == 1
    assert one_line(result.stderr)
    assert str(broker.pid) in result.stderr
    assert broker.ask("status")["state"] == "running"


def test_what_a_killed_supervisor_leaves_is_replaced(tmp_path: Path) -> None:
    listen = ("--listen", f"chat+unix:{tmp_path}/state/chat.sock")
    with running_broker(tmp_path / "state", *listen) as broker:
        os.kill(broker.pid, signal.SIGKILL)
        assert broker.process is not None
        broker.process.wait()
        left = {path.name for path in broker.state_dir.iterdir()}
        assert left >= {"broker.pid", "control.sock", "chat.sock"}
        assert broker.run("status").returncode == 3
        with running_broker(tmp_path / "state", *listen) as successor:
            assert successor.client("ann", unix=broker.state_dir / "chat.sock")


def test_a_pidfile_that_names_a_stranger_is_stale(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "broker.pid").write_text(f"{os.getpid()}\n")
    with running_broker(tmp_path / "state") as broker:
        assert (tmp_path / "state" / "broker.pid").read_text() == f"{broker.pid}\n"


def test_refusals_are_one_line_and_leave_no_child(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    living = tmp_path / "living.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(living))
    listener.listen()
    plain = tmp_path / "plain"
    plain.write_text("not a socket")
    config = tmp_path / "config.toml"
    config.write_text("workerz = 3\n")
    cases = {
        f"--listen chat://127.0.0.1:{port}": str(port),
        f"--listen chat+unix:{living}": "living.sock",
        f"--listen chat+unix:{plain}": "not a socket",
        "--listen gopher://x:1": "chat",
        "--listen chat://127.0.0.1:99999": "65535",
        "--listen chat://192.0.2.1:8888": "192.0.2.1",
        f"--config {config}": "workers",
        f"--config {tmp_path}/missing.toml": "missing.toml",
        "--workers 0": "1",
        "--nice worker=50": "19",
        "--max-connections 1000000": "descriptors",
        "--state-dir /proc/broker": "/proc/broker",
        f"--state-dir {plain}": "directory",
    }
    for options, wanted in cases.items():
        broker = Broker(tmp_path / "state")
        arguments = ["start"]
        if "--listen" not in options:
            arguments += ["--listen", "chat://127.0.0.1:0"]
        result = broker.run(*arguments, *options.split())
        assert result.returncode in (1, 2), options
        assert wanted in result.stderr, (options, result.stderr)
        assert one_line(result.stderr), (options, result.stderr)
        assert "started, PID" not in result.stderr, options
    assert living.exists()
    assert plain.read_text() == "not a socket"
    taken.close()
    listener.close()


def test_unknown_command_and_help() -> None:
    result = Broker(Path("/nonexistent")).run("stat")
    assert result.returncode == 2
    assert "broker status" in result.stderr or "broker start" in result.stderr
    assert one_line(result.stderr)
    result = Broker(Path("/nonexistent")).run("start", "--listn", "chat://127.0.0.1:0")
    assert result.returncode == 2
    assert "--listen" in result.stderr
    assert one_line(result.stderr)
    result = subprocess.run(
        [*Broker(Path("/x")).command("start")[:3], "--help"], capture_output=True, text=True, check=True
    )
    assert "3 not running" in result.stdout


def test_detach_returns_once_clients_can_connect(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "state")
    result = broker.run("start", "--detach", "--listen", "chat://127.0.0.1:0")
    try:
        assert result.returncode == 0, result.stderr
        client = broker.client("ann")
        assert os.getsid(broker.ask("status")["pid"]) != os.getsid(0)
        assert "the broker listens on" in (broker.state_dir / "broker.log").read_text()
        second = broker.run("start", "--detach", "--listen", "chat://127.0.0.1:0")
        assert second.returncode == 1
        assert one_line(second.stderr)
        client.close()
    finally:
        assert broker.run("stop").returncode == 0


def test_detach_with_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state" / "broker.log").mkdir(parents=True)
    result = Broker(tmp_path / "state").run("start", "--detach", "--listen", "chat://127.0.0.1:0")
    assert result.returncode == 1
    assert "broker.log" in result.stderr
    assert one_line(result.stderr)


def test_detach_says_why_it_could_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = Broker(tmp_path / "state").run("start", "--detach", "--listen", f"chat://127.0.0.1:{port}")
    assert result.returncode == 1
    assert str(port) in result.stderr
    assert one_line(result.stderr)


def test_a_directory_that_is_not_ours_alone_is_left_as_it_is(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    result = Broker(theirs).run("start", "--listen", "chat://127.0.0.1:0")
    assert result.returncode == 1
    assert "chmod 700" in result.stderr
    assert one_line(result.stderr)
    readable = tmp_path / "readable"
    readable.mkdir()
    readable.chmod(0o755)
    with running_broker(readable):
        assert readable.stat().st_mode & 0o777 == 0o755


def test_a_low_descriptor_limit_lowers_the_default_and_refuses_what_was_asked_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "state")
    shell = f"ulimit -n 1000; exec {' '.join(broker.command('start', '--listen', 'chat://127.0.0.1:0'))}"
    asked = subprocess.run(["sh", "-c", f"{shell} --max-connections 600"], capture_output=True, text=True, check=False)
    assert asked.returncode == 2
    assert "544" in asked.stderr
    process = subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        assert "at most 544 connections" in process.stderr.readline()
        wait_until(lambda: broker.run("status").returncode == 0, "it runs all the same")
    finally:
        process.terminate()
        process.communicate()


def test_a_terminal_that_nobody_reads_does_not_stop_the_supervisor(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    broker = Broker(tmp_path / "state")
    command = broker.command("start", "--listen", "chat://127.0.0.1:0", "--restart-intensity", "100")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writer) as process:
        os.close(writer)
        try:
            wait_until(lambda: broker.run("status").returncode == 0, "it runs")
            wait_until(lambda: "worker-0" in broker.pids(), "there is a worker")
            for _ in range(3):  # four lines each, and the pipe is full with the first one
                old = broker.pids()["worker-0"]
                os.kill(old, signal.SIGKILL)
                broker.wait_ready("worker-0", old)
            unread = os.read(reader, 65536)
            assert b"the broker starts" in unread
            os.kill(broker.pids()["worker-0"], signal.SIGKILL)
            received = b""
            while b"lines were dropped" not in received:
                received += os.read(reader, 65536)
        finally:
            process.terminate()
            while os.read(reader, 65536):
                pass
            os.close(reader)
    assert process.returncode == 0
