"""A real broker and real clients for tests: started, waited for, and surely gone at the end."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.control_client import ask

DEADLINE_SECONDS = 20.0
PROMPT = "请输入姓名: "


def wait_until(condition: Callable[[], Any], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> Any:
    """Poll until the condition holds and return its value; AssertionError naming `what` past the deadline."""
    end = time.monotonic() + deadline_seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_seconds:g} s: {what}"
        select.select([], [], [], 0.01)


def state_of(pid: int) -> str | None:
    """The state letter of a process; None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


def heed_interrupts() -> None:
    """For a new process: a test run in the background of a shell ignores SIGINT, and what it starts would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_gone(pid: int) -> bool:
    """Neither running nor a zombie. An orphan may be a zombie of PID 1 for a moment: that counts as gone."""
    return state_of(pid) in (None, "Z", "X")


class Broker:
    """A broker of its own on a state directory of its own."""

    def __init__(self, state_dir: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.state_dir = state_dir
        self.options = options
        self.environment = environment or {}
        self.process: subprocess.Popen[str] | None = None
        self.banner = ""

    def command(self, *arguments: str) -> list[str]:
        """The command line of `broker …` on this state directory."""
        return [sys.executable, "-m", "broker", arguments[0], "--state-dir", str(self.state_dir), *arguments[1:]]

    def run(self, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run `broker …` to its end."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, check=False,
            env={**os.environ, **self.environment},
        )  # fmt: skip

    def start(self) -> Broker:
        """Start it in the foreground and wait until it says that it is running."""
        self.process = subprocess.Popen(
            self.command("start", "--listen", "chat://127.0.0.1:0", "--workers", "2", *self.options),
            stdout=subprocess.PIPE, stderr=(self.state_dir.parent / "stderr").open("a"), text=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        assert self.process.stdout is not None
        while "Stop it" not in self.banner:
            line = self.process.stdout.readline()
            assert line, f"the broker ended: {(self.state_dir.parent / 'stderr').read_text()}"
            self.banner += line
        return self

    @property
    def pid(self) -> int:
        """PID of the supervisor."""
        assert self.process is not None
        return self.process.pid

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One control request."""
        return ask(self.state_dir, command, **arguments)

    def processes(self) -> dict[str, dict[str, Any]]:
        """The control protocol's processes by name."""
        return {process["name"]: process for process in self.ask("processes")["processes"]}

    def pids(self) -> dict[str, int]:
        """PIDs by name of the processes that there are."""
        return {name: process["pid"] for name, process in self.processes().items() if process["pid"]}

    def events(self, kind: str, process: str | None = None) -> list[dict[str, Any]]:
        """The events of a kind."""
        events: list[dict[str, Any]] = self.ask("events")["events"]
        return [e for e in events if e["kind"] == kind and process in (None, e["process"])]

    def wait_ready(self, name: str, after_pid: int | None = None) -> dict[str, Any]:
        """Wait until the process of that name is ready, with another PID than `after_pid`."""

        def ready() -> dict[str, Any] | None:
            process = self.processes().get(name)
            fresh = process is not None and process["state"] == "ready" and process["pid"] != after_pid
            return process if fresh else None

        result: dict[str, Any] = wait_until(ready, f"{name} is ready")
        return result

    @property
    def port(self) -> int:
        """The port of the first TCP listener."""
        urls = self.ask("status")["listeners"]
        return int(next(url for url in urls if url.startswith("chat://")).rsplit(":", 1)[1])

    def client(self, name: str | None = None, unix: Path | None = None) -> Client:
        """A connected client; with a name, one that has entered."""
        if unix is None:
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(DEADLINE_SECONDS)
            sock.connect(str(unix))
        client = Client(sock)
        if name is not None:
            client.enter(name)
        return client

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process is None:
            return
        pids = [self.process.pid, *_children_of(self.process.pid)]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        wait_until(lambda: all(map(is_gone, pids)), "all processes are gone")


def _children_of(parent: int) -> list[int]:
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_bytes().rpartition(b")")[2].split()[1]) == parent:
                children.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return children


class Client:
    """One client of the plain protocol, over a socket, that waits for what it expects."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""
        self.closed = False

    def send(self, *lines: str) -> None:
        """Send lines."""
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def enter(self, name: str) -> None:
        """Give a name, and wait until it is accepted: the welcome has two lines."""
        self.expect(PROMPT)
        self.send(name)
        self.expect("/help")
        self.line()
        self.line()

    def expect(self, text: str) -> str:
        """Wait for a text, and take everything up to and including it."""
        wanted = text.encode()
        while wanted not in self.received:
            self._read(f"waiting for {text!r}")
        before, _, self.received = self.received.partition(wanted)
        return before.decode()

    def line(self) -> str:
        """The next whole line, without its LF."""
        return self.expect("\n")

    def lines(self, count: int) -> list[str]:
        """The next lines."""
        return [self.line() for _ in range(count)]

    def rest(self) -> str:
        """Everything until the other side closes."""
        while not self.closed:
            try:
                self._read("waiting for the end")
            except AssertionError:
                if not self.closed:
                    raise
        return self.received.decode()

    def silent(self, sentinel: Client, text: str) -> None:
        """Nothing has come but a line that somebody else says now."""
        sentinel.send(text)
        line = self.line()
        assert line.endswith(text), f"expected nothing before {text!r}, got {line!r}"

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _read(self, purpose: str) -> None:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"nothing came while {purpose}; so far {self.received!r}") from None
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            raise AssertionError(f"the connection ended while {purpose}; so far {self.received!r}")
        self.received += data


@contextmanager
def running_broker(state_dir: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Broker]:
    """A broker that runs, and is gone afterwards."""
    broker = Broker(state_dir, *options, environment=environment)
    try:
        yield broker.start()
    finally:
        broker.end()
