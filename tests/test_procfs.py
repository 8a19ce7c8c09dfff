"""The parsers against the kernel's own files, against psutil, and against names made to mislead them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import procfs
from monitor.procfs import Autogroup, SchedStat
from tests import specimens
from tests.running import wait_until
from tests.specimens import specimen, vanished_pid, zombie

STAT_TAIL = (
    b" S 7 8 9 34816 10 4194304 100 0 0 0 11 12 0 0 20 -5 3 0 156384 3133440 414 18446744073709551615 1 2 3 0 0 0 0 0 "
    b"0 0 0 0 17 6 0 1 0 0 0 0 0 0 0 0 0 0\n"
)


@given(st.binary(max_size=15).filter(lambda comm: b"\0" not in comm))
def test_any_name_of_a_process_is_read_and_misleads_nobody(comm: bytes) -> None:
    process = procfs.parse_stat(b"42 (" + comm + b")" + STAT_TAIL)
    assert process == procfs.ProcessStat(
        pid=42,
        comm=comm.decode("utf-8", "replace"),
        state="S",
        ppid=7,
        pgrp=8,
        session=9,
        terminal_pgrp=10,
        cpu_ticks=23,
        nice=-5,
        threads=3,
        start_ticks=156384,
        rss_bytes=414 * procfs.PAGE_BYTES,
        policy=1,
        processor=6,
    )


def test_a_real_process_with_a_misleading_name() -> None:
    with specimen(specimens.ODDLY_NAMED) as pid:
        # It has written its PID and is about to sleep.
        process = wait_until(lambda: (found := procfs.process_stat(pid)) and found.state == "S" and found, "it sleeps")
        assert (process.comm, process.ppid) == ("a) S (b c\n", os.getpid())


def test_agrees_with_psutil_about_a_real_process() -> None:
    with specimen(specimens.THREADED) as pid:
        other = psutil.Process(pid)
        process = procfs.process_stat(pid)
        assert process is not None
        assert process.ppid == other.ppid()
        assert process.nice == other.nice()
        assert process.threads == other.num_threads() == 3
        assert set(procfs.thread_ids(pid)) == {thread.id for thread in other.threads()}
        assert procfs.cmdline(pid) == other.cmdline()
        assert procfs.age_seconds(process) == pytest.approx(time.time() - other.create_time(), abs=1.5)
        pss = procfs.pss_bytes(pid)
        assert pss == pytest.approx(other.memory_full_info().pss, rel=0.2)
        assert process.rss_bytes == pytest.approx(other.memory_info().rss, rel=0.2)
        limit = other.rlimit(resource.RLIMIT_NICE)
        assert procfs.nice_limit(pid) == limit[0]


def test_idle_time_agrees_with_psutil() -> None:
    by_psutil = [times.idle + times.iowait for times in psutil.cpu_times(percpu=True)]
    ours = [ticks / procfs.TICKS_PER_SECOND for _cpu, ticks in sorted(procfs.idle_ticks().items())]
    assert ours == pytest.approx(by_psutil, abs=1.0)


def test_every_thread_has_a_nice_value_of_its_own() -> None:
    with specimen(specimens.THREADED) as pid:
        base = os.getpriority(os.PRIO_PROCESS, pid)
        thread = next(tid for tid in procfs.thread_ids(pid) if tid != pid)
        os.setpriority(os.PRIO_PROCESS, thread, 19)
        assert {tid: stat.nice for tid, stat in procfs.thread_stats(pid).items()} == {
            tid: 19 if tid == thread else base for tid in procfs.thread_ids(pid)
        }


def test_locked_memory_is_counted() -> None:
    with specimen(specimens.LOCKED) as pid:
        assert procfs.locked_bytes(pid) >= 4096
    assert procfs.locked_bytes(os.getpid()) == 0
    assert procfs.parse_locked_bytes(b"Name:\tx\nState:\tZ (zombie)\n") == 0


def test_status_is_a_table() -> None:
    status = procfs.parse_status(b"Name:\ta: \tb\nUid:\t1\t2\t3\t4\nGroups:\t \nCapEff:\t0000000000800000\n")
    assert status == {"Name": "a: \tb", "Uid": "1\t2\t3\t4", "Groups": "", "CapEff": "0000000000800000"}
    own = procfs.status(os.getpid())
    assert own is not None
    assert own["Uid"].split()[0] == str(os.getuid())


def test_time_on_a_cpu_is_counted_for_all_threads() -> None:
    with specimen(specimens.BUSY) as pid:
        first = procfs.total_schedstat(pid)
        assert first is not None

        def grown() -> bool:
            now = procfs.total_schedstat(pid)
            assert now is not None
            return now.on_cpu_ns - first.on_cpu_ns > 50_000_000

        wait_until(grown, "the busy process was on a CPU for 50 ms")
    assert procfs.parse_schedstat(b"123 456 7\n") == SchedStat(123, 456, 7)


def test_total_schedstat_is_the_sum_over_threads() -> None:
    with specimen(specimens.THREADED) as pid:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: procfs.process_stat(pid).state == "T", "it stopped")  # type: ignore[union-attr]
        threads = procfs.schedstats(pid)
        total = procfs.total_schedstat(pid)
        assert len(threads) == 3
        assert total is not None
        assert total.slices == sum(thread.slices for thread in threads.values())
        assert total.on_cpu_ns == sum(thread.on_cpu_ns for thread in threads.values())


def test_zombies_are_found_by_their_parent_although_they_have_no_command_line() -> None:
    with specimen(specimens.PARENT_OF_ZOMBIES) as pid, zombie() as own:

        def both_dead() -> bool:
            return len(procfs.zombies_by_parent(procfs.scan().values()).get(pid, ())) == 2

        wait_until(both_dead, "both children are zombies")
        zombies = procfs.zombies_by_parent(procfs.scan().values())
        assert zombies[os.getpid()] == [own]
        assert procfs.cmdline(own) == []
        assert procfs.pss_bytes(own) is None
        for child in zombies[pid]:
            process = procfs.process_stat(child)
            assert process is not None
            assert (process.state, process.ppid) == ("Z", pid)


def test_families() -> None:
    line = b"%d (x) S %d" + STAT_TAIL.removeprefix(b" S 7")
    processes = [procfs.parse_stat(line % pair) for pair in [(9, 1), (5, 2), (1, 0), (2, 1), (7, 5), (8, 5)]]
    children = procfs.children_by_parent(processes)
    assert children == {0: [1], 1: [2, 9], 2: [5], 5: [7, 8]}
    assert procfs.descendants(1, children) == [2, 9, 5, 7, 8]
    assert procfs.descendants(8, children) == []


def test_a_vanished_process_is_a_result() -> None:
    pid = vanished_pid()
    assert procfs.process_stat(pid) is None
    assert procfs.status(pid) is None
    assert procfs.locked_bytes(pid) == 0
    assert procfs.thread_ids(pid) == []
    assert procfs.thread_stats(pid) == {}
    assert procfs.schedstats(pid) == {}
    assert procfs.total_schedstat(pid) is None
    assert procfs.pss_bytes(pid) is None
    assert procfs.autogroup(pid) is None
    assert procfs.cgroup(pid) is None
    assert procfs.cmdline(pid) is None
    assert procfs.nice_limit(pid) is None
    assert pid not in procfs.scan()


def test_an_error_while_reading_is_a_result() -> None:
    """As when a process ends between the open and the read: ESRCH. Address 0 of our own memory has the same form."""
    with open("/proc/self/mem", "rb", buffering=0) as memory, pytest.raises(OSError, match="Input/output"):
        memory.read(1)
    assert procfs.read("/proc/self/mem") is None


def test_files_longer_than_one_read_are_whole() -> None:
    argument = "x" * 100_000
    process = subprocess.Popen([sys.executable, "-c", specimens.SLEEPING, argument], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        assert procfs.cmdline(process.pid) == [sys.executable, "-c", specimens.SLEEPING, argument]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"/autogroup-6 nice 0\n", Autogroup(6, 0)),
        (b"/autogroup-12345 nice -7\n", Autogroup(12345, -7)),
        (b"", None),
        (b"/\n", None),
    ],
)
def test_autogroup(data: bytes, wanted: Autogroup | None) -> None:
    assert procfs.parse_autogroup(data) == wanted


@pytest.mark.parametrize(("data", "enabled"), [(b"1\n", True), (b"0\n", False), (b"", False), (None, False)])
def test_autogroups_count_only_where_they_are_switched_on(
    monkeypatch: pytest.MonkeyPatch, data: bytes | None, enabled: bool
) -> None:
    files = {"/proc/sys/kernel/sched_autogroup_enabled": data}
    monkeypatch.setattr(procfs, "read", files.__getitem__)
    assert procfs.autogroup_enabled() is enabled


def test_a_new_session_is_a_new_autogroup() -> None:
    if not os.path.exists("/proc/self/autogroup"):  # a kernel without CONFIG_SCHED_AUTOGROUP
        assert procfs.autogroup(os.getpid()) is None
        return
    with specimen(specimens.LEADER) as leader, specimen(specimens.SLEEPING) as other:
        assert procfs.autogroup(other) == procfs.autogroup(os.getpid())
        assert procfs.autogroup(leader) not in (None, procfs.autogroup(other))


def test_cgroups_of_both_versions() -> None:
    assert procfs.parse_cgroup(b"0::/user.slice/a:b\n") == {"": "/user.slice/a:b"}
    assert procfs.parse_cgroup(b"9:name=systemd:/x\n2:cpu,cpuacct:/y\n0::/\n") == {
        "name=systemd": "/x",
        "cpu": "/y",
        "cpuacct": "/y",
        "": "/",
    }
    assert procfs.cgroup(os.getpid())


def test_command_lines_and_titles() -> None:
    assert procfs.parse_cmdline(b"python\0-c\0\0x\0") == ["python", "-c", "", "x"]
    assert procfs.parse_cmdline(b"broker: worker-0\0\0\0\0\0") == ["broker: worker-0"]
    assert procfs.parse_cmdline(b"") == []


def test_limits_and_memory() -> None:
    limits = b"Limit   Soft Limit   Hard Limit   Units\nMax nice priority         %s            40                   \n"
    assert procfs.parse_nice_limit(limits % b"25") == 25
    assert procfs.parse_nice_limit(limits % b"unlimited") == 40
    assert procfs.parse_nice_limit(b"") == 0
    assert procfs.parse_pss_bytes(
        b"00-ff ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss:        390 kB\nPss_Dirty: 1 kB\n"
    ) == (390 * 1024)
    assert procfs.parse_pss_bytes(b"") is None
    assert procfs.parse_idle_ticks(b"cpu  1 2 3 4 5 6\ncpu0 1 1 1 30 7 0\ncpu3 1 1 1 50 0 0\nintr 5\n") == {
        0: 37,
        3: 50,
    }


def test_costs_nothing_to_import() -> None:
    """The supervisor's watchdog imports these."""
    program = "import sys, monitor.stat; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"monitor", "os"} <= set(printed)
    assert not {"psutil", "rich", "setproctitle", "broker", "prompt_toolkit"} & set(printed)
