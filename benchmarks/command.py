"""What the measuring commands have in common: how they take their options, and how they end."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from broker.errors import BrokerError


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m benchmarks.MODULE`; the description is printed as it stands."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=description, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def run_command(name: str, run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run it, and return the exit status: 0 fine, 1 something was lost or failed, 2 usage, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is put away as after Ctrl-C
    try:
        return run(arguments)
    except BrokerError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
