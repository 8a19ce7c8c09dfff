"""One peer as a program that is found here, started on a free port of the loopback, and surely gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.conductor import Server
from benchmarks.errors import LoadError
from broker.linux import die_with_parent
from broker.urls import ListenerURL

_HERE: Final = Path(__file__).parent
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02
_SHOWN_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Peer:
    """`command` makes the command line from the path of the program, its configuration (a copy of the file
    `configuration` with its blanks filled in) and the port; `prepare`, if there is one, a command to run before. Loads
    of more than `most_clients` are not for it.
    """

    name: str
    program: str
    configuration: str | None
    command: Callable[[str, Path, int], list[str]]
    prepare: Callable[[str, Path], list[str]] | None = None
    most_clients: int = 100_000

    def find(self) -> str | None:
        """The program's path, if it is installed; Debian has servers in /usr/sbin, which may not be on one's PATH."""
        return shutil.which(self.program) or shutil.which(self.program, path="/usr/sbin:/usr/local/sbin")

    @contextlib.contextmanager
    def running(self, path: str) -> Iterator[Server]:
        """The server while it runs; LoadError, with its last words, if it does not start."""
        with tempfile.TemporaryDirectory(prefix="broker-benchmark-") as directory:
            port = _free_port()
            configuration = Path(directory, self.configuration or "none")
            if self.configuration is not None:
                text = (_HERE / self.configuration).read_text()
                configuration.write_text(text.replace("@PORT@", str(port)).replace("@DIRECTORY@", directory))
            if self.prepare is not None:
                subprocess.run(self.prepare(path, configuration), capture_output=True, check=True, cwd=directory)
            log, parent_pid = Path(directory, "log"), os.getpid()
            with log.open("w") as output:
                process = subprocess.Popen(
                    self.command(path, configuration, port), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    process_group=0, cwd=directory, preexec_fn=lambda: die_with_parent(parent_pid),
                )  # fmt: skip
            try:
                _wait_until_open(process, port, log, self.name)
                yield Server(ListenerURL("irc", "irc", host="127.0.0.1", port=port), process.pid, self.name)
            finally:
                process.terminate()
                try:
                    process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _as_root(option: str) -> list[str]:
    return [option] if os.geteuid() == 0 else []


INSPIRCD: Final = Peer(
    "InspIRCd", "inspircd", "inspircd.conf",
    lambda path, configuration, port: [path, "--nofork", "--config", str(configuration), *_as_root("--runasroot")],
)  # fmt: skip
# It listens with a backlog of 10: when thousands come at once, most of them wait for seconds to knock again.
NGIRCD: Final = Peer(
    "ngIRCd", "ngircd", "ngircd.conf",
    lambda path, configuration, port: [path, "--nodaemon", "--config", str(configuration)], most_clients=2_500,
)  # fmt: skip
LIMIT: Final = Peer("limit", "limit", None, lambda path, configuration, port: [path, str(port)])


def ergo(program: str) -> Peer:
    """Ergo, which Debian does not have."""
    return Peer(
        "Ergo", program, "ergo.yaml",
        lambda path, configuration, port: [path, "run", "--conf", str(configuration), "--quiet"],
        lambda path, configuration: [path, "initdb", "--conf", str(configuration), "--quiet"],
    )  # fmt: skip


def build_limit(directory: Path) -> str | None:
    """Compile `limit.c` into the directory, and return the program's path; None if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = directory / "limit"
    source = _HERE.parent / "limit.c"
    result = subprocess.run([compiler, "-O2", "-o", program, source], capture_output=True, text=True, check=False)
    if result.returncode:
        raise LoadError(f"{source.name} does not compile: {result.stderr[:_SHOWN_CHARACTERS]}")
    return str(program)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path, name: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(_LOOK_SECONDS)
    last_words = log.read_text(errors="replace").strip()[-_SHOWN_CHARACTERS:]
    raise LoadError(f"{name} did not start: {last_words or 'it said nothing'}")
