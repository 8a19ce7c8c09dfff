"""What the commands' parsers share: how they refuse, and the state directory."""

from __future__ import annotations

import argparse
import os
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from broker.errors import UsageError
from broker.state_dir import default_state_dir


class CommandParser(argparse.ArgumentParser):
    """Refuses in one line, with the nearest option there is, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        hint = ""
        for word in message.replace(":", " ").split():
            nearest = get_close_matches(word, self._option_string_actions, n=1) if word.startswith("--") else []
            if nearest and nearest[0] != word:
                hint = f" (did you mean {nearest[0]}?)"
        command = self.prog.partition(" ")[2]
        raise UsageError(f"{command}: {message}{hint}; `{self.prog} --help` explains")


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
