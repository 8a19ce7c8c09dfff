"""What several commands' parsers share: the state directory."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from broker.state_dir import default_state_dir


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Add `--state-dir DIR`; `arguments.state_dir` is then always a Path."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        type=lambda text: Path(text).expanduser().absolute(),
        default=default_state_dir(os.environ),
        help="where the broker keeps its sockets and files (default: $BROKER_STATE_DIR, $XDG_RUNTIME_DIR/broker or "
        "~/.local/state/broker; here: %(default)s)",
    )
