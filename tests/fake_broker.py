"""A small stand-in for the broker, for what watches it: real processes with the right titles, and a control socket.

`FakeBroker` starts this module as the supervisor: it forks children that only sleep (one of them, `waiting`, has no
process and waits for its restart), and answers `processes`, `events` and `nice` as docs/control-protocol.md says. It
never reaps, so a child that a test kills stays a zombie. Its counters grow by IN_PER_BEAT and OUT_PER_BEAT with each
heartbeat of its own clock.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import setproctitle

from broker.linux import die_with_parent
from broker.state_dir import CONTROL_SOCKET, PidLock, clear_stale_socket
from monitor import procfs
from tests.running import is_gone, state_of, wait_until

IN_PER_BEAT = 50
OUT_PER_BEAT = 400
THREADED = "worker-1"
"""This child has two threads more; and worker-0 has a child of its own, titled HELPER."""
BRISK_SECONDS = 0.35
"""Between heartbeats, for tests that wait for two of them and care for nothing else about them."""
HELPER = "lab: \x1b[31m[red]helper"
"""With what a hostile title could hold: an escape sequence, and the markup of a library for terminals."""


def child_names(workers: int) -> list[str]:
    """The children of a fake broker, in start order."""
    return ["router", *(f"worker-{index}" for index in range(workers)), "acceptor-0"]


class FakeBroker:
    """A fake supervisor with its children on `state_dir`, ended with everything below it on leaving the context."""

    def __init__(self, state_dir: Path, workers: int = 2, waiting: str = "", beat_seconds: float = 1.0) -> None:
        state_dir.mkdir(exist_ok=True)
        self.state_dir = state_dir
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fake_broker", str(state_dir), str(workers), waiting, str(beat_seconds)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        assert self._process.stdout is not None
        self.pids: dict[str, int] = json.loads(self._process.stdout.readline())
        self.supervisor_pid = self._process.pid

    def __enter__(self) -> FakeBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes = procfs.scan()
        children = procfs.children_by_parent(processes.values())
        below = procfs.descendants(self.supervisor_pid, children)
        for pid in (self.supervisor_pid, *below):
            with suppress(ProcessLookupError):  # a child dies with its parent
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        wait_until(lambda: all(map(is_gone, below)), "the children are gone")

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one of the processes."""
        os.kill(self.pids[name], number)

    def stop_supervisor(self) -> None:
        """SIGSTOP the supervisor, and wait until it has stopped."""
        self.signal("supervisor", signal.SIGSTOP)
        wait_until(lambda: state_of(self.supervisor_pid) == "T", "the supervisor is stopped")


def _child(name: str, ready: int) -> None:
    die_with_parent(os.getppid())
    setproctitle.setproctitle(f"broker: {name}")
    setproctitle.setthreadtitle(name)
    if name == THREADED:
        for _ in range(2):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    if name == "worker-0" and os.fork() == 0:
        die_with_parent(os.getppid())
        setproctitle.setproctitle(HELPER)
    os.write(ready, b"%d\n" % os.getpid())
    while True:
        signal.pause()


class _Supervisor:
    def __init__(self, state_dir: Path, workers: int, waiting: str, beat_seconds: float) -> None:
        self.state_dir = state_dir
        self.beat_seconds = beat_seconds
        self.names = child_names(workers)
        self.lock = PidLock(state_dir)
        self.started = time.monotonic()
        self.waiting = waiting
        self.pids: dict[str, int] = {"supervisor": os.getpid()}
        self.nice: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        setproctitle.setproctitle("broker: supervisor")
        read_end, write_end = os.pipe()
        for name in self.names:
            if name == waiting:
                continue
            pid = os.fork()
            if pid == 0:
                os.close(self.lock.fd)
                _child(name, write_end)
            self.pids[name] = pid
            self.note("ready", name)
        with os.fdopen(read_end) as ready:
            reported = {int(ready.readline()) for _ in range(len(self.pids))}  # the children, and the helper
        self.helper = (reported - set(self.pids.values())).pop()

    def note(self, kind: str, name: str, **details: Any) -> None:
        self.events.append(
            {
                "number": len(self.events) + 1,
                "at": time.time(),
                "level": "info",
                "kind": kind,
                "process": name,
                "pid": self.pids.get(name),
                "text": f"{name}: {kind}",
                **details,
            }
        )

    def answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "processes":
            return {"status": self.status(), "processes": [self.entry(name) for name in ("supervisor", *self.names)]}
        if command == "events":
            return {"events": [event for event in self.events if event["number"] > arguments.get("since", 0)]}
        assert command == "nice", command
        for change in arguments["changes"]:
            self.nice[change["name"]] = change["new"]
            self.note("reniced", change["name"], old=change["old"], new=change["new"])
        return {}

    def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": "0",
            "state": "running",
            "uptime_seconds": time.monotonic() - self.started,
            "listeners": ["chat://127.0.0.1:8888"],
            "sessions": 0,
            "rooms": 2,
            "messages_in": 1,
            "messages_out": 2,
            "workers": len(self.names) - 2,
            "state_dir": str(self.state_dir),
        }

    def entry(self, name: str) -> dict[str, Any]:
        beats, beat_age_seconds = divmod(time.monotonic() - self.started, self.beat_seconds)
        role = name.rpartition("-")[0] or name
        return {
            "name": name,
            "role": role,
            "pid": self.pids.get(name),
            "state": "waiting" if name == self.waiting else "ready",
            "incarnation": 3 if role == "worker" else 1,
            "restarts": 2 if role == "worker" else 0,
            "nice": self.nice.get(name, 0),
            "started_at": time.time(),
            "beat_age_seconds": None if role == "supervisor" else beat_age_seconds,
            "counters": {
                "sessions": 5,
                "messages_in": int(beats) * IN_PER_BEAT,
                "messages_out": int(beats) * OUT_PER_BEAT,
            },
        }

    def serve(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        clear_stale_socket(self.state_dir / CONTROL_SOCKET)
        listener.bind(str(self.state_dir / CONTROL_SOCKET))
        listener.listen()
        print(json.dumps({**self.pids, HELPER: self.helper}), flush=True)
        connections: dict[int, socket.socket] = {}
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    connection, _ = listener.accept()
                    connections[connection.fileno()] = connection
                    selector.register(connection.fileno(), selectors.EVENT_READ, connection.makefile("rwb"))
                elif not self.serve_line(key.data):
                    selector.unregister(key.fileobj)
                    with suppress(BrokenPipeError):  # what could not be flushed is tried again
                        key.data.close()
                    connections.pop(key.fd).close()

    def serve_line(self, stream: Any) -> bool:
        # The lines of one client come in whole: peek() has all that select() told of.
        for line in stream.peek().splitlines() or [b""]:
            stream.read(len(line) + 1 if line else 0)
            if not line:
                return False
            request = json.loads(line)
            result = self.answer(request["command"], request.get("arguments", {}))
            answer = {"version": 1, "id": request["id"], "ok": True, "result": result}
            try:
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()
            except BrokenPipeError:  # the client gave up waiting
                return False
        return True


if __name__ == "__main__":
    _Supervisor(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])).serve()
