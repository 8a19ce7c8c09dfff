"""End somebody's session: they are told the reason, the others see them leave."""

from __future__ import annotations

import argparse

from broker.commands.arguments import add_state_dir
from broker.control_client import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, why, and the state directory."""
    add_state_dir(parser)
    parser.add_argument("name", metavar="NAME", help="the person's name")
    parser.add_argument("reason", metavar="REASON", nargs="?", default="", help="what the person is told")


def run(arguments: argparse.Namespace) -> int:
    """Ask the supervisor, who asks the router."""
    result = ask(arguments.state_dir, "kick", name=arguments.name, reason=arguments.reason)
    print(f"kicked {result['name']}")
    return 0
