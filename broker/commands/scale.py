"""More or fewer workers while the broker runs; on the way down the sessions of the last ones are told and closed."""

from __future__ import annotations

import argparse

from broker.commands.arguments import add_state_dir
from broker.control_client import ask
from broker.errors import UsageError
from broker.settings import WORKERS_MAX
from broker.text import clean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The number of workers, and the state directory."""
    add_state_dir(parser)
    parser.add_argument(
        "workers", metavar="N", type=_workers, help=f"how many workers there are to be, 1 to {WORKERS_MAX}"
    )


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= WORKERS_MAX):
        raise UsageError(f"scale: {clean(text)!r} is not allowed; give a number of workers from 1 to {WORKERS_MAX}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Ask the supervisor."""
    result = ask(arguments.state_dir, "scale", workers=arguments.workers)
    print(f"workers: {result['old']} → {result['new']}")
    return 0
