"""The STAT column: one process's state and flags, letter for letter as procps prints them. Pure but for `stat_of`.

After `pr_stat()` in procps' src/ps/output.c, which `ps -o stat=` prints. Beware of folklore: `l` means "has more than
one thread", not "has children". The words for the letters are in `monitor.legend`.
"""

from __future__ import annotations

from monitor import procfs
from monitor.procfs import ProcessStat


def stat_string(process: ProcessStat, locked_bytes: int) -> str:
    """STAT of a process that holds `locked_bytes` of memory with mlock(2).

    The state letter is the kernel's, whatever it may be; then, in this order: `<` nice below 0 or `N` above, `L` locked
    memory, `s` leads its session, `l` several threads, `+` in the foreground of its terminal.
    """
    stat = process.state
    if process.nice < 0:
        stat += "<"
    elif process.nice > 0:
        stat += "N"
    if locked_bytes:
        stat += "L"
    if process.session == process.pid:
        stat += "s"
    if process.threads > 1:
        stat += "l"
    if process.pgrp == process.terminal_pgrp:
        stat += "+"
    return stat


def stat_of(pid: int) -> str | None:
    """STAT of a process now; None if there is no such process."""
    process = procfs.process_stat(pid)
    return None if process is None else stat_string(process, procfs.locked_bytes(pid))
