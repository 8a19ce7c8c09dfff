"""Is the broker up, since when, who listens, how many chat; exit status 3 if it is not running."""

from __future__ import annotations

import argparse
import json

from broker.commands.arguments import add_state_dir
from broker.control_client import ask
from broker.durations import duration
from broker.errors import ControlError, NotRunningError
from broker.state_dir import running_pid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json` and the state directory."""
    add_state_dir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, as in docs/control-protocol.md")


def _journal(state: str | None) -> str:
    """What the router's last heartbeat said of it, and what that means."""
    if state is None:
        return "not heard of yet"
    if state.startswith("suspended"):
        return f"{state}; if the router dies now, everybody is disconnected"
    return f"{state}: --durability is none" if state == "off" else state


def run(arguments: argparse.Namespace) -> int:
    """Print the status."""
    try:
        status = ask(arguments.state_dir, "status")
    except NotRunningError:
        if arguments.json:
            print(json.dumps({"state": "down", "state_dir": str(arguments.state_dir)}))
            return NotRunningError.exit_status
        raise
    except ControlError as error:
        pid = running_pid(arguments.state_dir)
        if error.code == "timeout" and pid is not None:
            raise ControlError(
                f"the supervisor, PID {pid}, does not answer; stopped? `broker ps` shows its STAT", "timeout"
            ) from None
        raise
    if arguments.json:
        print(json.dumps(status, ensure_ascii=False))
        return 0
    print(f"up, {status['state']}: PID {status['pid']}, for {duration(status['uptime_seconds'])}")
    for url in status["listeners"]:
        print(f"listens on {url}")
    print(
        f"sessions {status['sessions']}, rooms {status['rooms']}, workers {status['workers']}\n"
        f"messages in {status['messages_in']}, out {status['messages_out']}"
    )
    print(f"journal {_journal(status['journal'])}; kept for workers: {status['retained_bytes'] or 0} bytes")
    return 0
