"""Carries out what the dashboard's keys ask for: priorities and signals, with the permissions of its user.

Runs in `broker top`. A row may be a second old, so before anything is done it is made sure that the process is still
the one that the user saw. Signals go through a pidfd taken before that check: a PID that is given to somebody else
afterwards cannot be hit (pidfd_send_signal(2)).
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.errors import BrokerError
from broker.state_dir import running_pid
from monitor import procfs, renice
from monitor.priority import describe
from monitor.process_tree import OTHER, name_of
from monitor.snapshot import ProcessRow
from monitor.view import Renice, Signal

_DONE: Final = {
    "SIGSTOP": "stopped; s lets it go on",
    "SIGCONT": "goes on",
    "SIGKILL": "killed",
}


class ActionError(BrokerError):
    """What was asked for could not be done."""


def carry_out(action: Renice | Signal, state_dir: Path, rows: tuple[ProcessRow, ...]) -> str:
    """Do it; returns the outcome in one or two lines for the user. BrokerError if it was refused or went wrong.

    `rows` are the processes that the user sees.
    """
    return _renice(action, state_dir, rows) if isinstance(action, Renice) else _signal(action, state_dir)


def _signal(action: Signal, state_dir: Path) -> str:
    row = action.row
    assert row.pid is not None
    try:
        fd = os.pidfd_open(row.pid)
    except ProcessLookupError:
        raise _gone(row) from None
    try:
        _check_identity(row, state_dir)
        signal.pidfd_send_signal(fd, signal.Signals[action.name])
    except ProcessLookupError:
        raise _gone(row) from None
    except PermissionError:
        raise ActionError(f"{describe(row)} belongs to another user: {action.name} is not permitted") from None
    finally:
        os.close(fd)
    return f"{describe(row)}: {_DONE[action.name]} ({action.name})"


def _renice(action: Renice, state_dir: Path, rows: tuple[ProcessRow, ...]) -> str:
    row = action.row
    assert row.pid is not None
    _check_identity(row, state_dir)
    process = procfs.process_stat(row.pid)
    if process is None:
        raise _gone(row)
    # Its nice value now, not that of the last look: + pressed twice means two.
    changes = renice.plan([replace(row, nice=process.nice)], action.nice, action.relative)
    outcome = renice.carry_out(changes[0])
    if outcome.failure is not None:
        raise ActionError(str(outcome))
    notes = renice.heirs_notes(changes, rows)
    said = [f"{outcome} · {_remember(outcome, state_dir, rows, is_in_vain=bool(notes))}", *notes]
    if not action.relative:  # a number that was typed; + and - must not wait for these
        said += renice.effect_notes(changes)
    return "\n".join(said)


def _remember(outcome: renice.Outcome, state_dir: Path, rows: tuple[ProcessRow, ...], is_in_vain: bool) -> str:
    row = outcome.change.row
    is_stopped = bool(rows) and rows[0].role == "supervisor" and rows[0].stat.startswith(("T", "t"))
    if row.role == "supervisor":
        complaint = None if is_stopped else renice.remember(state_dir, [outcome])
        return complaint or "its children keep theirs"
    if not renice.has_heirs(row):
        return "not a process that the supervisor restarts"
    if is_stopped:
        return "for this process only: the supervisor is stopped and cannot remember it"
    return renice.remember(state_dir, [outcome]) or f"remembered {'in vain' if is_in_vain else 'for its successors'}"


def _check_identity(row: ProcessRow, state_dir: Path) -> None:
    """ActionError unless the PID is still that of the broker's process of this name, and alive."""
    assert row.pid is not None
    process = procfs.process_stat(row.pid)
    if process is None:
        raise _gone(row)
    supervisor_pid = running_pid(state_dir)
    if row.role == "supervisor":
        is_same = row.pid == supervisor_pid
    elif process.state == "Z":
        raise ActionError(f"{describe(row)} is a zombie: dead already, it only waits for PID {process.ppid} to reap it")
    elif row.role == OTHER:
        is_same = process.ppid == row.ppid
    else:
        is_same = process.ppid == supervisor_pid and name_of(procfs.cmdline(row.pid) or (), process.comm) == row.name
    if not is_same:
        raise ActionError(f"PID {row.pid} is not {row.name} any more; nothing was done")


def _gone(row: ProcessRow) -> ActionError:
    return ActionError(f"{describe(row)} is gone; nothing was done")
