"""STAT is what the real `ps` prints, for real processes in every state and with every flag made on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from broker.linux import lowest_nice_allowed
from monitor import procfs
from monitor.legend import FLAGS, STATES, UNHEARD_OF, explain
from monitor.procfs import ProcessStat
from monitor.stat import stat_of, stat_string
from tests import specimens
from tests.running import state_of, wait_until
from tests.specimens import specimen, specimen_on_terminal, vanished_pid, zombie

PLAIN = ProcessStat(
    pid=50,
    comm="x",
    state="S",
    ppid=1,
    pgrp=40,
    session=30,
    terminal_pgrp=-1,
    cpu_ticks=0,
    nice=0,
    threads=1,
    start_ticks=1,
    rss_bytes=0,
    policy=0,
    processor=0,
)


def stat_by_ps(pid: int) -> str:
    """What procps says."""
    printed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return printed.stdout.strip()


def agreed(pid: int) -> str:
    """The STAT that ours and `ps` agree on: `ps` before and after ours, since R and S can flicker in between."""

    def compare() -> str | None:
        before, ours, after = stat_by_ps(pid), stat_of(pid), stat_by_ps(pid)
        return ours if before == ours == after else None

    stat = wait_until(compare, f"ps and we say the same of {pid}")
    assert isinstance(stat, str)
    return stat


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (specimens.BUSY, "R"),
        (specimens.SLEEPING, "S"),
        (specimens.BLOCKED, "D"),
        (specimens.NICE, "N"),
        (specimens.LOCKED, "L"),
        (specimens.LEADER, "s"),
        (specimens.THREADED, "l"),
        (specimens.ODDLY_NAMED, "S"),
        (specimens.PARENT_OF_ZOMBIES, "S"),
    ],
    ids=["R", "S", "D", "N", "L", "s", "l", "odd name", "parent of zombies"],
)
def test_agrees_with_ps(code: str, wanted: str) -> None:
    with specimen(code) as pid:
        if wanted in "RSD":  # one that has just told its PID may not have come to rest yet
            wait_until(lambda: state_of(pid) == wanted, f"it is in state {wanted}")
        assert wanted in agreed(pid)


def test_agrees_with_ps_on_a_stopped_process() -> None:
    with specimen(specimens.SLEEPING) as pid:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) == "T", "it is stopped")
        assert agreed(pid).startswith("T")


def test_agrees_with_ps_on_a_zombie() -> None:
    with zombie() as pid:
        assert agreed(pid).startswith("Z")


def test_agrees_with_ps_on_raised_priority() -> None:
    """Where lowering nice is not permitted, the kernel's own raised threads have to do, or the rule alone."""
    if lowest_nice_allowed() <= -5:
        with specimen(specimens.RAISED) as pid:
            assert "<" in agreed(pid)
        return
    with pytest.raises(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    for process in procfs.scan().values():
        if process.nice < 0:
            assert "<" in agreed(process.pid)


def test_agrees_with_ps_on_the_foreground_of_a_terminal() -> None:
    with specimen_on_terminal(specimens.SLEEPING) as pid:
        assert agreed(pid).endswith("s+")


def test_agrees_with_ps_on_many_flags_at_once() -> None:
    with specimen_on_terminal(specimens.EVERYTHING) as pid:
        assert agreed(pid)[1:] == "NLsl+"


@pytest.mark.parametrize("letter", ["R", "S", "D", "T", "t", "Z", "X", "I", "P", "W", "?"])
def test_takes_any_letter_of_the_kernel_as_it_is(letter: str) -> None:
    assert stat_string(replace(PLAIN, state=letter), 0) == letter


def test_knows_each_flag_and_the_order_of_all() -> None:
    assert stat_string(PLAIN, 0) == "S"
    assert stat_string(replace(PLAIN, nice=-1), 0) == "S<"
    assert stat_string(replace(PLAIN, nice=1), 0) == "SN"
    assert stat_string(PLAIN, 4096) == "SL"
    assert stat_string(replace(PLAIN, session=50), 0) == "Ss"
    assert stat_string(replace(PLAIN, threads=2), 0) == "Sl"
    assert stat_string(replace(PLAIN, terminal_pgrp=40), 0) == "S+"
    everything = replace(PLAIN, state="R", nice=-20, session=50, threads=9, terminal_pgrp=40)
    assert stat_string(everything, 1) == "R<Lsl+"


def test_a_zombie_leader_with_living_threads() -> None:
    assert stat_string(replace(PLAIN, state="Z", threads=2), 0) == "Zl"


def test_a_vanished_process_has_no_stat() -> None:
    assert stat_of(vanished_pid()) is None


def test_the_legend_has_words_for_every_character() -> None:
    assert all((*STATES.values(), *FLAGS.values()))
    assert set(STATES) == set("RSDTtZXIP")
    assert set(FLAGS) == set("<NLsl+")


def test_the_legend_explains_each_character_in_order() -> None:
    assert explain("SNl+") == [("S", STATES["S"]), ("N", FLAGS["N"]), ("l", FLAGS["l"]), ("+", FLAGS["+"])]
    assert explain("?!") == [("?", UNHEARD_OF), ("!", UNHEARD_OF)]
    assert explain("") == []
