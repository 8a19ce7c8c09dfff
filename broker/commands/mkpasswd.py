"""Turn a password into the hash that the configuration keeps: `irc_operators` in docs/settings.md.

The password is asked for twice on a terminal, or is the first line of the input. Nothing but the hash is printed.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import Final

from broker.errors import UsageError
from broker.operators import SALT_BYTES, hashed

_PASSWORD_LENGTH: Final = 400
"""What fits into the line of OPER."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none: what stands on a command line can be read by everybody on the machine."""


def run(arguments: argparse.Namespace) -> int:
    """Read the password, and print its hash."""
    password = _typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageError("the password is empty; give one, on the terminal or as the first line of the input")
    if len(password) > _PASSWORD_LENGTH:
        raise UsageError(f"the password is too long; give at most {_PASSWORD_LENGTH} characters")
    if not password.isprintable():
        raise UsageError("the password has characters that cannot be typed into an IRC client; give others")
    print(hashed(password, os.urandom(SALT_BYTES)))
    return 0


def _typed() -> str:
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Once more: ")
    except EOFError:
        return ""
    if password != again:
        raise UsageError("the two passwords are not the same; try again")
    return password
