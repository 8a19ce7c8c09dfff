"""The effective settings and where each came from, as TOML that --config can read again.

Takes the options of `broker start`, so that one can see what a command line, the environment and a file come to.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from typing import Final

from broker import settings as settings_module
from broker.settings import SETTINGS, Resolved

_COMMENT_COLUMN: Final = 44
_HEADER: Final = "# Effective settings of the broker; save them to a file, and `--config FILE` reads them again.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json` and every setting's flag."""
    settings_module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help='one JSON object: {NAME: {"value": …, "origin": TEXT}, …}')


def run(arguments: argparse.Namespace) -> int:
    """Print the settings; ConfigError if `broker start` would refuse them."""
    resolved = settings_module.from_arguments(arguments, os.environ)
    if arguments.json:
        print(json.dumps(as_json(resolved), ensure_ascii=False, indent=2))
    else:
        print(as_toml(resolved), end="")
    return 0


def as_toml(resolved: Resolved) -> str:
    """A line for each setting, its origin behind it as a comment."""
    lines = []
    for setting in SETTINGS:
        value = setting.kind.to_toml(getattr(resolved.settings, setting.name))
        lines.append(f"{f'{setting.name} = {value}':<{_COMMENT_COLUMN}}  # {resolved.origins[setting.name]}\n")
    return _HEADER + "".join(lines)


def as_json(resolved: Resolved) -> dict[str, dict[str, object]]:
    """The same as values: what JSON and TOML have in common is all that a setting needs."""
    values = tomllib.loads(as_toml(resolved))
    return {name: {"value": value, "origin": resolved.origins[name]} for name, value in values.items()}
