"""Replace every process by one with the code and the settings of today, one by one; nobody is disconnected.

The settings are read as at the start: the file and the variables as they are now, under the same flags. If they are
wrong, or the code does not load, nothing is changed. If a process fails with the new code within the first seconds, all
of them go back to the code and the settings that they had. The supervisor itself goes on with the code that it has.
"""

from __future__ import annotations

import argparse

from broker.commands.arguments import add_state_dir
from broker.control_client import ask

_SECONDS = 120.0
"""Each process is replaced when the one before is ready."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The state directory."""
    add_state_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the supervisor, and wait until it is done."""
    result = ask(arguments.state_dir, "reload", timeout_seconds=_SECONDS)
    print("Every process has been replaced.")
    if result["needs_restart"]:
        print(f"These settings have changed, but need a restart: {', '.join(result['needs_restart'])}")
    return 0
