"""A broker of one's own for a measurement: started on a temporary state directory, and surely gone afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.errors import LoadError
from broker.control_client import ask
from broker.errors import BrokerError
from broker.linux import die_with_parent

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


@contextlib.contextmanager
def fresh_broker(listen: str, workers: int | None, options: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The control protocol's `status` of a broker that runs meanwhile; LoadError, with its last words, if it does not.

    `workers` None leaves their number to the broker; `options` are further ones of `broker start`.
    """
    with tempfile.TemporaryDirectory(prefix="broker-benchmark-") as directory:
        state_dir, log = Path(directory, "state"), Path(directory, "log")
        command = [sys.executable, "-m", "broker", "start", "--state-dir", str(state_dir), "--listen", listen]
        if workers is not None:
            command += ["--workers", str(workers)]
        parent_pid = os.getpid()
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                process_group=0,  # Ctrl-C is for the load generator, which stops the broker when it is done with it
                preexec_fn=lambda: die_with_parent(parent_pid),
            )  # fmt: skip
        try:
            yield _wait_until_running(process, state_dir, log)
        finally:
            _stop(process)


def _wait_until_running(process: subprocess.Popen[bytes], state_dir: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(BrokerError):
            status = ask(state_dir, "status")
            if status["state"] == "running":
                return status
        time.sleep(_LOOK_SECONDS)
    raise LoadError(f"the broker did not start: {log.read_text(errors='replace').strip() or 'it said nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children die with it
        process.wait()
