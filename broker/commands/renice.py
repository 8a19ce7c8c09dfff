"""Change the priority of the broker's processes, all their threads included.

PRIORITY is a nice value from -20 (gets the most CPU) to 19 (gets the least); with --relative it is added to the value
that each process has. TARGET is a name (worker-0), a role (workers, router, …), a PID that `broker ps` shows, or all.
Everything is checked before anything is changed. The supervisor remembers the value for the restarts of that process.
It is said where nice can have no effect. Going down takes RLIMIT_NICE, CAP_SYS_NICE or root.

  broker renice 10 workers        workers wait for everybody else
  broker renice -5 router         a negative number needs no -- before it
  broker renice --relative 3 all  everything three steps lower in priority
"""

from __future__ import annotations

import argparse
import re
import sys

from broker.commands.arguments import add_state_dir
from broker.errors import BrokerError
from monitor import renice
from monitor.priority import choose
from monitor.sampler import Sampler
from monitor.table import printable

CONTROL_TIMEOUT_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `broker renice`. No option may look like a negative number, or PRIORITY could not be one."""
    parser.add_argument("--relative", action="store_true", help="add PRIORITY to the present value")
    parser.add_argument("priority", metavar="PRIORITY", type=_priority, help="-20 to 19")
    parser.add_argument("targets", metavar="TARGET", nargs="+", help="name, role, PID or all")
    add_state_dir(parser)


def _priority(text: str) -> int:
    """A whole number as everybody writes it; int() would take `1_0` and other scripts' digits too."""
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError("a priority is a whole number, -20 to 19")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Renice; 1 if something could not be done for some of the targets, which is then said of each."""
    with Sampler(arguments.state_dir, CONTROL_TIMEOUT_SECONDS) as sampler:
        snapshot = sampler.sample()
    changes = renice.plan(choose(snapshot.rows, arguments.targets), arguments.priority, arguments.relative)
    outcomes, complaint = renice.renice(changes, arguments.state_dir, snapshot.status_age_seconds == 0)
    for outcome in outcomes:
        print(printable(str(outcome)), file=sys.stdout if outcome.failure is None else sys.stderr)
    if complaint:
        print(f"note: {complaint}", file=sys.stderr)
    done = [outcome.change for outcome in outcomes if outcome.failure is None]
    for note in (*renice.effect_notes(done), *renice.heirs_notes(done, snapshot.rows)):
        print(f"note: {printable(note)}", file=sys.stderr)
    failed = len(outcomes) - len(done)
    if failed:
        raise BrokerError(f"{failed} of {len(outcomes)} processes could not be reniced, see above")
    return 0
