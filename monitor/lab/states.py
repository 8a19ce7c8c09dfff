"""`broker lab states`: one process for each letter and each flag of STAT. Runs in the process of the command."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.linux import die_with_parent, lowest_nice_allowed
from monitor.lab import calls
from monitor.lab.show import Show
from monitor.lab.stage import Stage, entitle, sleep_for_ever
from monitor.lab.words import FLAGS, NOT_PERMITTED, STATES, Words
from monitor.stat import stat_of

_LOWERED: Final = 5
_RAISED: Final = -5


@dataclass(frozen=True, slots=True)
class Specimen:
    """A process that has `shown`, a letter or flag, in its STAT, and no flag that is not in `stat`."""

    shown: str
    stat: str
    words: Words
    body: Callable[[], None]
    why_not: Callable[[], str | None] = lambda: None


def run(stage: Stage, show: Show) -> None:
    """Make them, show them, hold them."""
    rows: list[list[str | Words]] = []
    pids: list[int] = []
    for specimen in SPECIMENS:
        reason = specimen.why_not()
        if reason is not None:
            words = NOT_PERMITTED.format(reason=reason)
            rows.append([f"lab-{specimen.shown}", "-", "-", "-", words])
            continue
        pid = _made(stage, specimen)
        stage.wait_stat(pid, _inherited(specimen.stat))
        pids.append(pid)
        process = show.process(pid)
        rows.append([f"lab-{specimen.shown}", str(pid), str(process.ppid), stat_of(pid) or "", specimen.words])
    show.table(["NAME", "PID", "PPID", "STAT", ""], rows)
    show.check(f"ps -o pid,ppid,ni,stat,args -p {','.join(map(str, pids))}")
    show.watch(stage)
    stage.hold()


def _inherited(stat: str) -> str:
    """STAT of a specimen if the lab itself was started with another nice value than 0, which is inherited."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice == 0 or stat[1:2] in ("<", "N"):
        return stat
    return stat[0] + ("N" if nice > 0 else "<") + stat[1:]


def _made(stage: Stage, specimen: Specimen) -> int:
    name = f"lab-{specimen.shown}"
    if specimen.shown != "+":
        # A leader of a process group may not begin a session, setsid(2).
        return stage.act(name, specimen.body, in_background=specimen.shown != "s")
    reader, writer = os.pipe()
    stage.act("lab-terminal", lambda: _own_a_terminal(name, writer, stage.bound_seconds))
    os.close(writer)
    with open(reader, "rb") as answer:
        pid = int(answer.readline())
    stage.know(pid, name)
    return pid


def _own_a_terminal(name: str, writer: int, bound_seconds: int) -> None:
    """Have a terminal, in its foreground a session leader (`Ss+`), and below that a process that is `S+` only."""
    leader, terminal = pty.fork()
    if leader == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.alarm(bound_seconds)
        entitle("lab-shell")
        pid = os.fork()
        if pid == 0:
            signal.alarm(bound_seconds)
            entitle(name)
            os.write(writer, b"%d\n" % os.getpid())
            os.close(writer)
        sleep_for_ever()
    os.close(writer)
    # The terminal hangs up when this process ends and closes its side, which ends the two.
    with contextlib.suppress(OSError):  # EIO: they have ended before
        while os.read(terminal, 1024):
            pass


def _run_for_ever() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


def _wait_uninterruptibly() -> None:
    parent = os.getpid()
    seconds_left = signal.alarm(0)
    calls.fork_and_wait_uninterruptibly()
    if os.getpid() == parent or not die_with_parent(parent):
        return
    signal.alarm(seconds_left)  # neither alarms nor the bond to a parent are inherited, fork(2)
    entitle("lab-D-child")
    sleep_for_ever()


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    sleep_for_ever()


def _lower() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, _LOWERED)
    sleep_for_ever()


def _raise() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, _RAISED)
    sleep_for_ever()


def _lock() -> None:
    memory = calls.lock_a_page()
    sleep_for_ever()
    del memory


def _lead() -> None:
    os.setsid()
    sleep_for_ever()


def _start_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    sleep_for_ever()


def _why_not_raised() -> str | None:
    lowest = lowest_nice_allowed()
    return (
        None if lowest <= _RAISED else f"nice {_RAISED} takes CAP_SYS_NICE or RLIMIT_NICE; the lowest here is {lowest}"
    )


def _why_not_locked() -> str | None:
    try:
        calls.unlock(calls.lock_a_page())
    except OSError as error:
        return f"mlock: {error.strerror}"
    return None


def _why_not_waiting() -> str | None:
    return None if calls.can_wait_uninterruptibly() else f"the number of clone(2) on {os.uname().machine} is not known"


SPECIMENS: Final = (
    Specimen("R", "R", STATES["R"], _run_for_ever),
    Specimen("S", "S", STATES["S"], sleep_for_ever),
    Specimen("D", "D", STATES["D"], _wait_uninterruptibly, _why_not_waiting),
    Specimen("T", "T", STATES["T"], _stop),
    Specimen("Z", "Z", STATES["Z"], lambda: None),
    Specimen("<", "S<", FLAGS["<"], _raise, _why_not_raised),
    Specimen("N", "SN", FLAGS["N"], _lower),
    Specimen("L", "SL", FLAGS["L"], _lock, _why_not_locked),
    Specimen("s", "Ss", FLAGS["s"], _lead),
    Specimen("l", "Sl", FLAGS["l"], _start_a_thread),
    Specimen("+", "S+", FLAGS["+"], sleep_for_ever),
)
