"""The command line: finds the command, parses its arguments, runs it, turns a BrokerError into one line.

Each command is a module of `broker.commands` with `add_arguments(parser)` and `run(arguments) -> int`; only the one
that was asked for is imported, so that `broker start` does not pay for the dashboard.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from broker import __version__
from broker.commands.arguments import CommandParser
from broker.errors import BrokerError

COMMANDS: dict[str, str] = {
    "start": "start the broker",
    "stop": "say goodbye to the clients and stop the broker",
    "status": "is it up, since when, who listens, how many chat",
    "chat": "join the chat from this terminal",
    "top": "live dashboard of the broker's processes",
    "ps": "the same table once; also as JSON or CSV",
    "renice": "change the priority of the broker's processes",
    "events": "what happened to the processes, and why",
    "scale": "more or fewer workers while it runs",
    "reload": "new code and new settings for every process, without a disconnect",
    "chaos": "kill its processes while clients of its own chat, and check every byte",
    "kick": "end somebody's session",
    "mkpasswd": "turn a password into the hash that the configuration keeps",
    "experiment": "measure what nice values, multiplexers, workers and forks really do",
    "lab": "every state of a process, made on purpose and explained",
    "config": "the effective settings and where each came from",
}
"""Every command with its summary; `broker/commands/<name>.py` holds it."""

EXIT_STATUS_HELP = "exit status: 0 fine, 1 failed, 2 usage, 3 not running"

OUTPUT_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What write(2) says of an output that takes nothing more, apart from EPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (see `broker.errors`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _occupy_standard_descriptors()
    if sys.stdout is None:
        print("broker: the standard output is closed; give it a terminal, a file or /dev/null", file=sys.stderr)
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may not fit into the terminal's encoding
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a failure can be told
    except BrokenPipeError:  # `broker ps | head`: the reader has enough
        _abandon_output()
        return 0
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS or error.filename is not None:
            raise
        _abandon_output()
        print(f"broker: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except BrokerError as error:
        print(f"broker: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for each of 0 to 2 that is closed: no socket or lock of ours may get the number of a stream."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def _abandon_output() -> None:
    """What is left in the buffer goes nowhere, without a word, when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(f"broker {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        nearest = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `broker {nearest[0]}`?" if nearest else "`broker --help` lists the commands."
        print(f"broker: there is no command {name!r}; {hint}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"broker.commands.{name}")
    parser = CommandParser(
        prog=f"broker {name}",
        description=module.__doc__,
        epilog=EXIT_STATUS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    result: int = module.run(parser.parse_args(argv[1:]))
    return result


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: broker COMMAND [OPTION]...\n\n"
        "A group chat made of processes that you can watch, renice, stop and kill while people chat.\n\n"
        f"commands:\n{rows}\n\n"
        f"`broker COMMAND --help` explains one; `broker --version` prints the version.\n{EXIT_STATUS_HELP}"
    )
