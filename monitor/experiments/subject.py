"""The broker that is experimented on: one of its own for each trial, or the running one, which is put back afterwards.

Runs in the process of `broker experiment`. A fresh broker lives in a temporary state directory and in the session of
the command; whatever happens, it is gone at the end of its `with` block, and the kernel kills it with the command.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.control_client import ask
from broker.errors import BrokerError
from broker.linux import die_with_parent
from broker.urls import parse_listener_url
from monitor.experiments.placement import ExperimentError
from monitor.experiments.sock_diag import inode_of

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Subject:
    """A broker that runs: where clients connect, and its processes by name (the supervisor too) when it was looked
    at."""

    state_dir: Path
    url: str
    pids: dict[str, int]

    def chosen(self, target: str) -> list[int]:
        """The processes that a target means: a name, or a role in the singular or plural; empty if none."""
        return [
            pid
            for name, pid in self.pids.items()
            if target == name or target.removesuffix("s") == name.rstrip("0123456789").removesuffix("-")
        ]


def look(state_dir: Path) -> Subject:
    """The broker on this state directory, as it says itself; raises as the control client does."""
    answer = ask(state_dir, "processes")
    pids = {entry["name"]: entry["pid"] for entry in answer["processes"] if entry["pid"]}
    return Subject(state_dir, _best_url(answer["status"]["listeners"]), pids)


def _best_url(urls: Sequence[str]) -> str:
    """A listener of the plain protocol, a TCP one if there is one: its clients can be told apart by their ports."""
    plain = [url for url in urls if parse_listener_url(url).protocol == "chat"]
    tcp = [url for url in plain if parse_listener_url(url).path is None]
    if not plain:
        raise ExperimentError("the broker has no listener of the chat protocol (chat://…) for the load to connect to")
    url = (tcp or plain)[0]
    where = parse_listener_url(url)
    if where.host in ("0.0.0.0", "::"):
        return url.replace("[::]", "[::1]").replace("0.0.0.0", "127.0.0.1")
    return url


@contextlib.contextmanager
def fresh_broker(options: Iterable[str], cpus: Iterable[int] | None = None) -> Iterator[Subject]:
    """A broker with these options of `broker start`, on these CPUs; ExperimentError, with its last words, if it
    fails."""
    parent_pid = os.getpid()
    wanted = None if cpus is None else set(cpus)

    def prepare() -> None:
        die_with_parent(parent_pid)
        if wanted is not None:
            os.sched_setaffinity(0, wanted)

    with tempfile.TemporaryDirectory(prefix="broker-experiment-") as directory:
        state_dir, log = Path(directory, "state"), Path(directory, "log")
        command = [sys.executable, "-m", "broker", "start", "--state-dir", str(state_dir)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--listen", "chat://127.0.0.1:0", *options],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                process_group=0,  # Ctrl-C is for the command, which stops the broker when it is done with it
                preexec_fn=prepare,
            )  # fmt: skip
        try:
            yield _wait_until_running(process, state_dir, log)
        finally:
            _stop(process)


def _wait_until_running(process: subprocess.Popen[bytes], state_dir: Path, log: Path) -> Subject:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(BrokerError):
            if ask(state_dir, "status")["state"] == "running":
                return look(state_dir)
        time.sleep(_LOOK_SECONDS)
    raise ExperimentError(f"the broker did not start: {log.read_text(errors='replace').strip() or 'it said nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children die with it
        process.wait()


def clients_of(pids: Iterable[int], url: str, ports: Sequence[int]) -> list[int]:
    """The indices of those clients, given by their TCP ports, whose sockets these processes hold.

    The broker's end of each connection is known by its inode. With a local socket there are no ports, and everybody is
    taken.
    """
    where = parse_listener_url(url)
    if where.path is not None or where.port is None:
        return list(range(len(ports)))
    host = str(socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)[0][4][0])
    held = {inode for pid in pids for inode in _socket_inodes(pid)}
    return [index for index, port in enumerate(ports) if inode_of((host, where.port), (host, port)) in held]


def _socket_inodes(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def has_changed(subject: Subject, pids: Iterable[int]) -> bool:
    """Whether one of these processes is not the broker's any more: it has died, and was perhaps replaced."""
    return not set(pids) <= set(look(subject.state_dir).pids.values())
