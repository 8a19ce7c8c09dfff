"""Say goodbye to the clients, stop all processes, and wait until they are gone."""

from __future__ import annotations

import argparse
import contextlib
import os
import select

from broker.commands.arguments import add_state_dir
from broker.control_client import ControlClient
from broker.errors import ControlError, NotRunningError, UsageError
from broker.state_dir import running_pid
from broker.text import clean

_LONGEST_SECONDS = 3600
_PATIENCE_SECONDS = 5.0
"""Beyond the supervisor's own timeout, after which it kills."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--timeout` and the state directory."""
    add_state_dir(parser)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=10.0,
        help="how long clients and children may take before they are cut off and killed (default: %(default)g)",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_SECONDS:  # false of nan, too
        raise UsageError(f"stop: --timeout {clean(text)!r} is not allowed; give seconds from 0 to {_LONGEST_SECONDS}")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Ask the supervisor to stop, and wait for the end of its process."""
    pid = running_pid(arguments.state_dir)
    if pid is None:
        raise NotRunningError(f"no broker runs on {arguments.state_dir}; nothing to stop")
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0  # it has just ended by itself
    with contextlib.closing(os.fdopen(pidfd)):
        try:
            with ControlClient(arguments.state_dir) as client:
                client.request("stop", timeout_seconds=arguments.timeout)
        except NotRunningError:
            pass  # it is on its way out and has closed its socket
        except ControlError as error:
            if error.code != "timeout":
                raise
            raise ControlError(
                f"the supervisor, PID {pid}, does not answer (stopped? try `kill -CONT {pid}`); it was left alone"
            ) from None
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll((arguments.timeout + _PATIENCE_SECONDS) * 1000):
            raise ControlError(f"the supervisor, PID {pid}, has not stopped in time; `broker events` tells why")
    print(f"The broker, PID {pid}, has stopped.")
    return 0
