"""Fault points: named places in the code where a test has a process die, stop or exit, exactly there.

Owned by no process: a child of the supervisor, or a process that it forks, does to itself what is asked of whoever
passes an armed point. The supervisor and the commands pass them unharmed: they are nobody's to replace. Two variables
of the environment arm them, read once, when this module is imported:

    BROKER_FAULTS        POINT[:COUNT[xTIMES]][:ACTION], separated by commas
    BROKER_FAULTS_STATE  an empty directory for this run of the broker

COUNT (1) counts how often one process has passed the point: it acts when it passes it for the COUNT-th time. TIMES (1)
counts the whole run: so many processes do so, one after another, and the next replacement is left alone. ACTION is KILL
(SIGKILL, the default), STOP (SIGSTOP) or EXIT (exit status 70). `journal.recovered:1x10` kills ten routers in a row,
each when it has recovered. Every act leaves a file `POINT.N` with the PID in the directory: that is how the next
process knows, whatever killed the last one, and how a test can see that what it has arranged came to pass. While there
is a file `POINT.hold` in it, nobody counts or acts there: so a test chooses the moment from which on a point is armed.

Where a point lies on a hot path, its call is `if faults.ENABLED: faults.point("…")`: two loads and a jump, 10 ns where
the next system call takes a thousand. Decorators or patched classes would cost nothing at all, but could only stand
before and after a whole function; the moments that matter lie within one, between two calls.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import UsageError

POINTS: Final = {
    "acceptor.asking": "somebody waits at a listener; the supervisor has not been asked to accept",
    "acceptor.asked": "the supervisor has been asked to accept",
    "acceptor.taken": "connections have been accepted, and nothing is decided about them",
    "acceptor.decided": "a worker is chosen for each, the supervisor has not been told",
    "acceptor.assigned": "the supervisor has been told",
    "acceptor.refused": "the supervisor has been told of somebody who is refused",
    "acceptor.turning-away": "the socket of somebody who is refused is here, nothing has been said to them",
    "acceptor.turned-away": "they have been told why",
    "router.linked": "the Pipe to a worker is here, nothing has been read from it",
    "router.welcoming": "a worker has said where it is, the router has not",
    "router.welcomed": "WELCOME is sent, what is retained is not",
    "router.resent": "WELCOME and all that is retained for the worker are sent",
    "router.heard": "frames and other inputs have been received, and not journaled",
    "router.journaled": "they are in the journal, and not applied",
    "router.applied": "they are applied, and nothing is sent",
    "router.batch-sent": "the batch of one worker is sent, those of others are not",
    "router.answered": "all batches and replies are sent",
    "router.replaying": "one record of the journal has been replayed, others have not",
    "router.replayed": "the whole journal has been replayed, no worker has been heard",
    "worker.greeting": "HELLO is sent",
    "worker.welcomed": "WELCOME is received, nothing has been done about it",
    "worker.frames-resent": "frames that the router has not acknowledged are sent again",
    "worker.replaying": "a run of batches has been replayed, in memory only",
    "worker.resuming": "all batches have been replayed, and nothing is sent",
    "worker.resumed-one": "one session has been sent what was unsent",
    "worker.catching-up": "input that has been applied is still to be consumed",
    "worker.taken-over": "every session has been taken over",
    "worker.attaching": "the socket of a new session is here, nobody has been told",
    "worker.attached": "the session is announced in the next frame, and its socket watched",
    "worker.peeking": "a session may have input, nothing has been read",
    "worker.peeked": "input has been peeked, nothing is forwarded",
    "worker.frame-sending": "a frame is numbered and kept, and not sent",
    "worker.frame-sent": "a frame is sent, which acknowledges batches too",
    "worker.batch-received": "batches have been received, nothing has been done about them",
    "worker.consuming": "input has been acknowledged, and not consumed",
    "worker.consumed": "the input of one session has been consumed",
    "worker.local-consuming": "of a local socket: the ledger says what is to be consumed, SO_PEEK_OFF does not",
    "worker.local-offset-set": "both say it, and nothing is consumed",
    "worker.local-consumed": "it is consumed, both still say that it is to be",
    "worker.local-counted": "the ledger says that it is consumed, SO_PEEK_OFF is not reset",
    "worker.delivering": "batches have been merged, and the ledger knows nothing of them",
    "worker.ledger-stored": "the ledger counts bytes for a session, none of them is sent",
    "worker.half-sent": "half of them is sent",
    "worker.sent": "all of them are sent",
    "worker.local-sending": "of a local socket: the ledger says what is being sent, nothing is",
    "worker.local-sent": "it is sent, the ledger does not say so",
    "worker.delivered": "batches have been delivered, and not acknowledged",
    "worker.closing": "a session is to be closed, nothing has been done about it",
    "worker.shut-down": "its connection is shut down, and not closed",
    "worker.closed": "its socket is closed, the supervisor has not been told",
    "worker.close-told": "the supervisor has been told, the router has no acknowledgement",
    "worker.detaching": "a session can be given to another worker, nothing has been done about it",
    "worker.given-away": "its socket is closed here, the supervisor has not been told",
    "worker.detached": "the supervisor has been told",
    "worker.receiving": "the socket of a session has come from another worker, its stream has not been looked at",
    "worker.received": "its stream is taken up, the router has not been told",
    "journal.recovering": "the router has read its journal, and changed no file of it yet",
    "journal.recovered": "the router can append to its journal again, and has applied nothing of it yet",
    "journal.half-appended": "half of a record is in the file",
    "journal.rotated": "the next generation's journal is begun, its snapshot's process not forked",
    "journal.snapshotting": "the snapshot's process is forked; in the router",
    "journal.snapshot-half-written": "a part of the snapshot is in its file; in the snapshot's process",
    "journal.snapshot-written": "the snapshot is in its file, under its temporary name; in the snapshot's process",
    "journal.snapshot-reaped": "the snapshot's process has ended well, its file has not been renamed",
    "journal.snapshot-renamed": "the snapshot has its name, and what it replaces is still there",
    "journal.giving-up": "a chain is being given up: it has been made void, its files are still there",
}
"""Every point, and the moment that it is."""

EXIT_STATUS: Final = 70
ACTIONS: Final = ("KILL", "STOP", "EXIT")

_FAULT: Final = re.compile(r"(?P<point>[a-z.-]+)(:(?P<count>\d+)(x(?P<times>\d+))?)?(:(?P<action>[A-Z]+))?")

ENABLED = False
"""Whether any point is armed."""


@dataclass
class _Fault:
    count: int
    times: int
    action: str
    passed: int = 0


_armed: dict[str, _Fault] = {}
_state = Path()


def arm(specification: str, state: str | None) -> None:
    """Arm points in this process and those that it forks; the arguments are the values of the two variables.

    UsageError if they cannot be understood, name an unknown point, or there is no such directory.
    """
    global ENABLED, _armed, _state
    armed = dict(_parse(part.strip()) for part in specification.split(","))
    if not state or not os.path.isdir(state):
        raise UsageError("BROKER_FAULTS needs BROKER_FAULTS_STATE: an empty directory for this run of the broker")
    ENABLED, _armed, _state = True, armed, Path(state)


def point(name: str) -> None:
    """This process is at the point: it ends or stops here, if that is what was asked for."""
    fault = _armed.get(name)
    if fault is None or multiprocessing.parent_process() is None or (_state / f"{name}.hold").exists():
        return
    fault.passed += 1
    if fault.passed != fault.count:
        return
    if not _claim(name, fault.times):
        fault.passed = 0  # it has been done; whoever takes the files of it away wants it once more
        return
    if fault.action == "EXIT":
        os._exit(EXIT_STATUS)
    os.kill(os.getpid(), signal.SIGSTOP if fault.action == "STOP" else signal.SIGKILL)


def _parse(part: str) -> tuple[str, _Fault]:
    match = _FAULT.fullmatch(part)
    if not match:
        raise UsageError(f"BROKER_FAULTS: {part!r} is not POINT[:COUNT[xTIMES]][:ACTION]")
    name, action = match["point"], match["action"] or "KILL"
    if name not in POINTS:
        raise UsageError(f"BROKER_FAULTS: there is no point {name!r}; broker/faults.py has a table of them")
    if action not in ACTIONS:
        raise UsageError(f"BROKER_FAULTS: there is no action {action!r}; there are {', '.join(ACTIONS)}")
    count, times = int(match["count"] or 1), int(match["times"] or 1)
    if not count or not times:
        raise UsageError(f"BROKER_FAULTS: {part!r} would never happen; counts begin with 1")
    return name, _Fault(count, times, action)


def _claim(name: str, times: int) -> bool:
    """Whether the act is still to be done in this run; creating a file exclusively is atomic among processes."""
    for number in range(1, times + 1):
        try:
            fd = os.open(_state / f"{name}.{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        os.write(fd, b"%d\n" % os.getpid())
        os.close(fd)
        return True
    return False


if os.environ.get("BROKER_FAULTS"):
    arm(os.environ["BROKER_FAULTS"], os.environ.get("BROKER_FAULTS_STATE"))
