"""Helper processes of an experiment: modules of this package, run by the same Python, talked to in lines of JSON.

Runs in the process of `broker experiment`. A helper is started by exec and not by fork, so that it shares no memory and
no descriptors with what is measured; the kernel kills it with its parent (the first argument is the parent's PID). It
stays in the session of the command, as nice values are to count between them. Ctrl-C is the command's business: the
helper is in a process group of its own.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from monitor.experiments.placement import ExperimentError

ANSWER_SECONDS: Final = 60.0


class Helper:
    """One helper process: lists of JSON go in with `tell` and come out with `expect`."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        cpus: Iterable[int] | None = None,
        new_session: bool = False,
    ) -> None:
        """Start it, on these CPUs; in the command's session, unless it is to have a new one."""
        own = os.sched_getaffinity(0)
        if cpus is not None:
            os.sched_setaffinity(0, set(cpus))  # inherited; safer than a preexec_fn
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(os.getpid()), *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                process_group=None if new_session else 0, start_new_session=new_session,
            )  # fmt: skip
        finally:
            if cpus is not None:
                os.sched_setaffinity(0, own)
        self.pid = self._process.pid
        self._name = module.rpartition(".")[2]
        self._received = b""

    def tell(self, *message: Any) -> None:
        """Send a message."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise ExperimentError(f"the helper process {self._name} has ended before its time") from None

    def expect(self, what: str, seconds: float = ANSWER_SECONDS) -> Any:
        """Wait for the message that begins with this, and return the rest; ExperimentError if it does not come."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.poll(max(deadline - time.monotonic(), 0.0))
            if answer is None:
                raise ExperimentError(f"the helper process {self._name} did not say {what!r} within {seconds:g} s")
            if answer[0] == what:
                return answer[1] if len(answer) > 1 else None

    def poll(self, seconds: float) -> list[Any] | None:
        """The next message; None if there is none within these seconds. ExperimentError if it failed or ended."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        fd = self._process.stdout.fileno()
        while b"\n" not in self._received:
            ready, _, _ = select.select([fd], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                return None
            data = os.read(fd, 1 << 20)
            if not data:
                raise ExperimentError(f"the helper process {self._name} has ended before its time")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        message: list[Any] = json.loads(line)
        if message[0] == "failed":
            raise ExperimentError(str(message[1]))
        return message

    def kill(self) -> None:
        """Have it gone."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # what it was not told is not told any more
