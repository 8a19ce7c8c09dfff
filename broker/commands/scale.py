"""More or fewer workers while the broker runs; on the way down the sessions of the last ones are told and closed."""

from __future__ import annotations

import argparse

from broker.commands.arguments import add_state_dir
from broker.control_client import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The number of workers, and the state directory."""
    add_state_dir(parser)
    parser.add_argument("workers", metavar="N", type=int, help="how many workers there are to be")


def run(arguments: argparse.Namespace) -> int:
    """Ask the supervisor."""
    result = ask(arguments.state_dir, "scale", workers=arguments.workers)
    print(f"workers: {result['old']} → {result['new']}")
    return 0
