"""`broker renice`: whom it means, what is permitted (by the kernel's own word), every thread, and what it says."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest

from broker.control_client import ask
from broker.errors import UsageError
from broker.linux import lowest_nice_allowed
from monitor import procfs, renice
from monitor.priority import (
    Caller,
    Contender,
    NotPermittedError,
    Scope,
    Standing,
    choose,
    cpu_list,
    describe,
    is_zombie,
    lowest_allowed,
    lowest_for_heirs,
    new_nice,
    refusal,
    why_no_effect,
)
from monitor.snapshot import ProcessRow
from tests import specimens
from tests.fake_broker import HELPER, FakeBroker
from tests.running import state_of, wait_until
from tests.specimens import specimen, unprivileged, vanished_pid

BASE = os.getpriority(os.PRIO_PROCESS, 0)
"""What everything starts with here; the tests only go up from it, which everybody may."""


def row(name: str, role: str = "worker", pid: int | None = 1, **values: object) -> ProcessRow:
    """A row of which only the given fields are of interest."""
    empty = {field.name: None for field in fields(ProcessRow)}
    settled = {"stat": "S" if pid else "", "nice": 0, "zombies": 0, "state": "ready", "depth": 1, "stale": False}
    return ProcessRow(**{**empty, **settled, "name": name, "role": role, "pid": pid, **values})  # type: ignore[arg-type]


def row_of_process(pid: int, name: str = "worker-0", role: str = "worker") -> ProcessRow:
    process = procfs.process_stat(pid)
    assert process is not None
    return row(name, role, pid, ppid=process.ppid, nice=process.nice, stat=process.state, threads=process.threads)


def nices(pid: int) -> list[int]:
    return [thread.nice for thread in procfs.thread_stats(pid).values()]


# Whom a target means.

ROWS = [
    row("supervisor", "supervisor", 10, depth=0),
    row("router", "router", 11),
    row("worker-0", "worker", 12),
    row("lab: x", "other", 20, depth=2),
    row("worker-0", "other", 21, depth=2),  # a fork of worker-0 that kept its title
    row("worker-1", "worker", 13, stat="Z", threads=1),
    row("worker-2", "worker", None),
    row("acceptor-0", "acceptor", 14),
    row("dead", "other", 22, stat="Z"),
]


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        (["all"], [0, 1, 2, 3, 4, 5, 6, 7]),
        (["worker-0"], [2]),
        (["12"], [2]),
        (["21"], [4]),
        (["lab: x"], [3]),
        (["worker"], [2, 5, 6]),
        (["workers"], [2, 5, 6]),
        (["router"], [1]),
        (["routers"], [1]),
        (["acceptors", "acceptor"], [7]),
        (["supervisor"], [0]),
        (["10", "supervisor", "worker-0", "12"], [0, 2]),
        (["acceptors", "router"], [1, 7]),
        (["worker-2"], [6]),
        (["other"], [3, 4]),
    ],
)
def test_targets(targets: list[str], chosen: list[int]) -> None:
    assert choose(ROWS, targets) == [ROWS[index] for index in chosen]


@pytest.mark.parametrize("target", ["worker-1", "13", "dead", "22"])
def test_a_zombie_has_no_priority(target: str) -> None:
    with pytest.raises(UsageError, match="is a zombie"):
        choose(ROWS, ["router", target])


def test_a_dead_leader_with_living_threads_is_no_zombie() -> None:
    assert not is_zombie(row("x", stat="Zl", threads=2))
    assert is_zombie(row("x", stat="ZN", threads=1))
    assert is_zombie(row("x", stat="Z"))


@pytest.mark.parametrize("target", ["worker-9", "", "ALL", "1", "0", "-3", "worker-", "superviso"])
def test_an_unknown_target_is_refused_with_those_that_there_are(target: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(ROWS, ["all", target])
    text = str(caught.value)
    assert (f"PID {target} is not a process of the broker" if target.isdecimal() else repr(target)) in text
    for known in ("all", "workers", "acceptors", "supervisor", "router", "worker-0", "worker-2", "acceptor-0"):
        assert known in text
    assert text.count("\n") == 1
    assert "lab" not in text


def test_all_unknown_targets_are_named_and_a_long_list_is_cut() -> None:
    many = [row(f"worker-{index}", pid=100 + index) for index in range(200)]
    with pytest.raises(UsageError) as caught:
        choose(many, ["x", "99", "worker-7"])
    text = str(caught.value)
    assert "'x'" in text
    assert "PID 99" in text
    assert "…, worker-199" in text
    assert len(text) < 400


def test_only_zombies_is_nothing() -> None:
    with pytest.raises(UsageError, match="nothing but zombies"):
        choose([row("dead", "other", 22, stat="Z")], ["all"])


# Which value.


def test_every_value_in_range_and_none_outside() -> None:
    for old, priority in itertools.product(range(-20, 20), range(-45, 46)):
        for relative in (False, True):
            wanted = old + priority if relative else priority
            target = row("worker-0", nice=old)
            if -20 <= wanted <= 19:
                assert new_nice(target, priority, relative) == wanted
            else:
                with pytest.raises(UsageError, match=f"from -20 .* to 19 .* {wanted} "):
                    new_nice(target, priority, relative)


# What is permitted.


def test_permission_by_the_rules() -> None:
    stranger, owner, root = Caller(5, False), Caller(7, False), Caller(0, True)
    for limit, highest in itertools.product(range(41), range(-20, 20)):
        standing = Standing(ruid=7, euid=8, nice_limit=limit, highest_nice=highest)
        assert lowest_allowed(stranger, standing) is None
        assert lowest_allowed(root, standing) == -20
        assert lowest_allowed(Caller(8, False), standing) == lowest_allowed(owner, standing)
        lowest = lowest_allowed(owner, standing)
        assert lowest == max(min(highest, 20 - limit), -20)
        for new in range(-20, 20):
            assert (refusal(owner, standing, new) is None) == (new >= lowest)
            assert refusal(root, standing, new) is None
            assert "user id 8" in str(refusal(stranger, standing, new))
    able = Standing(7, 7, 0, 0, permitted=0b110)
    assert lowest_allowed(Caller(7, False, permitted=0b1110), able) == 0
    assert lowest_allowed(Caller(7, False, permitted=0b1010), able) is None
    assert lowest_allowed(Caller(7, True), able) == -20
    assert "capabilities" in str(refusal(owner, able, 19))
    text = refusal(owner, Standing(7, 7, 0, 10), 3)
    assert text == "10 → 3 is not permitted; allowed now: 10 to 19 (no CAP_SYS_NICE, RLIMIT_NICE 0)"


def kernel_refuses(pid: int, new: int) -> int | None:
    """Try it: the kernel's error number, or None if it has been done."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, new)
    except OSError as error:
        return error.errno
    return None


def test_the_kernel_permits_what_we_say() -> None:
    """On children of an unprivileged process, as far as the hard limit allows them a limit: the lowest nice taken."""

    def trial() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NICE)[1]
        hard = 40 if hard == resource.RLIM_INFINITY else min(hard, 40)
        caller = Caller(os.geteuid(), cap_sys_nice=False)
        for limit, start in itertools.product({0, hard // 2, hard}, {BASE, max(BASE, 10), 19}):
            child = os.fork()
            if child == 0:
                os.setpriority(os.PRIO_PROCESS, 0, start)
                resource.setrlimit(resource.RLIMIT_NICE, (limit, limit))
                os.kill(os.getpid(), signal.SIGSTOP)
                os._exit(0)
            os.waitpid(child, os.WUNTRACED)
            nice_limit = procfs.nice_limit(child)
            assert nice_limit == limit
            permitted = []
            for new in range(start, -21, -1):
                os.setpriority(os.PRIO_PROCESS, child, start)
                if kernel_refuses(child, new) == errno.EACCES:
                    break
                permitted.append(new)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            standing = Standing(os.getuid(), os.geteuid(), nice_limit, start)
            assert min(permitted) == lowest_allowed(caller, standing), (limit, start)

    unprivileged(trial)


def test_the_kernel_refuses_the_processes_of_others_as_we_do() -> None:
    foreign = os.fork()
    if foreign == 0:
        with suppress(PermissionError):  # then it stays ours, and PID 1 has to be somebody else's
            os.setuid(65534)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(foreign, os.WUNTRACED)

    def trial() -> None:
        for pid in (os.getpid(), os.getppid(), foreign, 1):  # the second may have capabilities
            status = procfs.status(pid)
            process = procfs.process_stat(pid)
            assert status is not None
            assert process is not None
            ruid, euid = map(int, status["Uid"].split()[:2])
            standing = Standing(ruid, euid, 0, 0, int(status["CapPrm"], 16))
            ours = refusal(Caller(os.geteuid(), cap_sys_nice=False), standing, process.nice)
            assert kernel_refuses(pid, process.nice) == (None if ours is None else errno.EPERM), (pid, ours)

    try:
        unprivileged(trial)
    finally:
        os.kill(foreign, signal.SIGKILL)
        os.waitpid(foreign, 0)


def test_nothing_is_changed_if_anything_is_not_permitted() -> None:
    def trial() -> None:
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        with specimen(specimens.SLEEPING) as first, specimen(specimens.SLEEPING) as second:
            os.setpriority(os.PRIO_PROCESS, second, BASE + 2)
            rows = [row_of_process(first, "worker-0"), row_of_process(second, "worker-1")]
            with pytest.raises(NotPermittedError) as caught:
                renice.plan(rows, BASE + 1)
            assert str(caught.value) == (
                f"worker-1 (PID {second}): {BASE + 2} → {BASE + 1} is not permitted; allowed now: {BASE + 2} to 19 "
                "(no CAP_SYS_NICE, RLIMIT_NICE 0); nothing was changed"
            )
            assert nices(first) == [BASE]
            assert nices(second) == [BASE + 2]

    unprivileged(trial)


# Carrying it out.


def test_every_thread_is_set_and_the_values_before_are_told() -> None:
    with specimen(specimens.THREADED) as pid:
        thread = max(procfs.thread_ids(pid))
        os.setpriority(os.PRIO_PROCESS, thread, BASE + 4)
        (change,) = renice.plan([row_of_process(pid)], BASE + 5)
        outcome = renice.carry_out(change)
        assert nices(pid) == [change.new] * 3
        assert (outcome.failure, outcome.threads, outcome.old) == (None, 3, (BASE, BASE + 4))
        assert str(outcome) == f"worker-0 (PID {pid}, 3 threads): {BASE}, {BASE + 4} → {change.new}"


def test_threads_that_are_made_meanwhile_do_not_escape() -> None:
    with specimen(specimens.MAKER_OF_THREADS) as pid:
        (change,) = renice.plan([row_of_process(pid)], BASE + 5)
        outcome = renice.carry_out(change)
        assert outcome.failure is None
        for _ in range(50):
            assert set(nices(pid)) == {BASE + 5}


def test_a_process_that_ended_before_is_a_failure_that_is_told() -> None:
    with specimen(specimens.SLEEPING) as pid:
        (change,) = renice.plan([row_of_process(pid)], BASE + 1)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: state_of(pid) == "Z", "it is dead")
        assert "dead" in str(renice.carry_out(change).failure)
    assert "gone" in str(renice.carry_out(change).failure)
    assert str(renice.carry_out(change)) == f"worker-0 (PID {pid}): it is gone; nothing was changed"


def test_a_pid_that_was_given_to_another_process_is_left_alone() -> None:
    with specimen(specimens.SLEEPING) as pid:
        (change,) = renice.plan([row_of_process(pid)], BASE + 1)
        assert change.start_ticks is not None
        other = replace(change, start_ticks=change.start_ticks - 1)
        assert "gone" in str(renice.carry_out(other).failure)
        (moved,) = renice.plan([replace(row_of_process(pid), ppid=1)], BASE + 1)
        assert "gone" in str(renice.carry_out(moved).failure)
        assert nices(pid) == [BASE]
    (vanished,) = renice.plan([row("worker-0", pid=vanished_pid(), ppid=os.getpid())], BASE + 1)
    assert "gone" in str(renice.carry_out(vanished).failure)


def test_half_of_the_threads_is_not_left_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A security module may say no at any moment (EPERM), whatever was computed before."""
    setpriority = os.setpriority
    calls = []

    def refuse_the_second(which: int, who: int, priority: int) -> None:
        calls.append(who)
        if len(calls) == 2:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        setpriority(which, who, priority)

    with specimen(specimens.THREADED) as pid:
        (change,) = renice.plan([row_of_process(pid)], BASE + 1)
        monkeypatch.setattr(os, "setpriority", refuse_the_second)
        outcome = renice.carry_out(change)
        assert outcome.failure == f"Operation not permitted; 1 of its 3 threads have {BASE + 1} now"
        assert sorted(nices(pid)) == [BASE, BASE, BASE + 1]


def test_passes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with specimen(specimens.SLEEPING) as pid:
        (change,) = renice.plan([row_of_process(pid)], BASE + 1)
        monkeypatch.setattr(os, "setpriority", lambda which, who, priority: None)
        assert "0 of its 1 threads" in str(renice.carry_out(change).failure)


def test_what_has_no_process_is_for_the_supervisor_to_remember() -> None:
    (waiting, dead, helper) = renice.plan(
        [row("worker-1", pid=None), row("worker-2", pid=vanished_pid(), stat="Z"), row("x", "other", None)], 5
    )
    assert str(renice.carry_out(waiting)) == "worker-1 (no process now): 0 → 5 from its next start"
    assert renice.carry_out(dead).failure is None
    assert renice.carry_out(helper).failure is not None


# Whether it has an effect.

HERE = Scope(None, 6)
TARGET = Contender(1, HERE, frozenset({0, 1}), 0, True, 10)
RIVAL = Contender(2, HERE, frozenset({0, 1}), 0, True)


@pytest.mark.parametrize(
    ("target", "others", "idle", "reason"),
    [
        (TARGET, [RIVAL], 0.0, None),
        (replace(TARGET, policy=3), [replace(RIVAL, policy=3)], 0.1, None),
        (replace(TARGET, shift=0), [], 0.9, None),
        (replace(TARGET, policy=1), [RIVAL], 0.0, "SCHED_FIFO"),
        (replace(TARGET, policy=2), [RIVAL], 0.0, "SCHED_RR"),
        (replace(TARGET, policy=5), [RIVAL], 0.0, "SCHED_IDLE"),
        (replace(TARGET, policy=6), [RIVAL], 0.0, "SCHED_DEADLINE"),
        (TARGET, [], 0.0, "only within its session (autogroup 6), and nothing else is in there"),
        (TARGET, [replace(RIVAL, policy=5)], 0.0, "nothing else is in there"),
        (TARGET, [replace(RIVAL, cpus=frozenset({2}))], 0.0, "nothing else is in there"),
        (TARGET, [replace(RIVAL, scope=Scope(None, 7))], 0.0, "nothing else is in there"),
        (replace(TARGET, scope=Scope("/x", None)), [RIVAL], 0.0, "only within cgroup /x, and nothing else"),
        (replace(TARGET, scope=Scope(None, None)), [], 0.0, "only within the system, and nothing else"),
        (TARGET, [replace(RIVAL, shift=10)], 0.0, "all in there was shifted alike"),
        (TARGET, [replace(RIVAL, shift=10), RIVAL], 0.0, None),
        (TARGET, [replace(RIVAL, shift=3)], 0.0, None),
        (TARGET, [RIVAL], 0.97, "CPUs 0-1 97% idle just now"),
        (TARGET, [replace(RIVAL, busy=False)], 0.5, "CPUs 0-1 50% idle just now"),
        (
            TARGET,
            [replace(RIVAL, busy=False), replace(RIVAL, scope=Scope("/y", None))],
            0.0,
            "what is busy just now is outside",
        ),
        (
            replace(TARGET, cpus=frozenset({0})),
            [replace(RIVAL, busy=False)],
            0.1,
            "nothing else in its session (autogroup 6) wants CPU 0",
        ),
    ],
)
def test_why_there_is_no_effect(target: Contender, others: list[Contender], idle: float, reason: str | None) -> None:
    found = why_no_effect(target, others, idle)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("cpus", "text"),
    [({0}, "CPU 0"), ({0, 1}, "CPUs 0-1"), ({7, 0, 2, 1}, "CPUs 0-2,7"), ({1, 3, 5}, "CPUs 1,3,5")],
)
def test_cpu_list(cpus: set[int], text: str) -> None:
    assert cpu_list(cpus) == text


def test_two_busy_processes_on_one_cpu_are_rivals_and_nothing_is_said() -> None:
    cpu = {min(os.sched_getaffinity(0))}
    with specimen(specimens.BUSY) as first, specimen(specimens.BUSY) as second:
        for pid in (first, second):
            os.sched_setaffinity(pid, cpu)
        changes = renice.plan([row_of_process(first)], BASE + 1)
        assert renice.effect_notes(changes) == []
        os.sched_setscheduler(first, os.SCHED_IDLE, os.sched_param(0))
        assert renice.effect_notes(changes) == ["worker-0: runs under SCHED_IDLE, where nice does not count"]
        both = renice.plan([row_of_process(first), row_of_process(second, "worker-1")], BASE)
        assert renice.effect_notes(both) == [], "nothing was shifted, so there is nothing to say"


def test_a_session_of_its_own_is_a_scope_of_its_own_where_autogroups_are_on() -> None:
    with specimen(specimens.LEADER) as leader, specimen(specimens.SLEEPING) as follower:
        scope_of = renice.scope_reader()
        own = scope_of(os.getpid())
        assert scope_of(follower) == own
        if own.cgroup is None and procfs.autogroup_enabled():
            assert scope_of(leader) != own
            (note,) = renice.effect_notes(renice.plan([row_of_process(leader)], BASE + 1))
            assert "nothing else is in there" in note
        else:
            assert scope_of(leader) == own


@pytest.mark.parametrize(
    ("able", "limit", "nice", "lowest"),
    [(True, 0, 10, -20), (False, 0, 10, 10), (False, 15, 10, 5), (False, 20, 10, 0), (False, 15, -3, -3),
     (False, 40, 10, -20)],
)  # fmt: skip
def test_the_lowest_that_a_child_can_have(able: bool, limit: int, nice: int, lowest: int) -> None:
    assert lowest_for_heirs(Caller(0, able), limit, nice) == lowest


def test_the_kernel_gives_children_no_less_than_we_say() -> None:
    """A fork of an unprivileged process that gives itself the lowest nice value that it is let have."""

    def trial() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NICE)[1]
        limit = 40 if hard == resource.RLIM_INFINITY else min(hard, 40)
        resource.setrlimit(resource.RLIMIT_NICE, (limit, limit))
        os.setpriority(os.PRIO_PROCESS, 0, max(BASE, 10))
        expected = lowest_for_heirs(Caller(0, cap_sys_nice=False), limit, max(BASE, 10))
        child = os.fork()
        if child == 0:
            lowest = next(new for new in range(-20, 20) if kernel_refuses(0, new) is None)
            os._exit(0 if lowest == expected else 1)
        assert os.waitpid(child, 0)[1] == 0

    unprivileged(trial)


# The command.


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path / "state") as broker:
        yield broker


def run_renice(state_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker", "renice", "--state-dir", str(state_dir), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def remembered(fake: FakeBroker) -> dict[str, int]:
    return {entry["name"]: entry["nice"] for entry in ask(fake.state_dir, "processes")["processes"]}


def test_a_worker_is_reniced_with_its_threads_and_remembered(fake: FakeBroker) -> None:
    done = run_renice(fake.state_dir, str(BASE + 4), "worker-1")
    pid = fake.pids["worker-1"]
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"worker-1 (PID {pid}, 3 threads): {BASE} → {BASE + 4}\n"
    assert all(line.startswith("note: ") for line in done.stderr.splitlines())
    assert nices(pid) == [BASE + 4] * 3
    by_ps = subprocess.run(["ps", "-o", "nice=,stat=", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert by_ps.stdout.split() == [str(BASE + 4), "SNl"]
    assert remembered(fake)["worker-1"] == BASE + 4
    assert remembered(fake)["worker-0"] == 0
    event = ask(fake.state_dir, "events", since=0)["events"][-1]
    assert (event["kind"], event["process"], event["old"], event["new"]) == ("reniced", "worker-1", BASE, BASE + 4)


def reniced(fake: FakeBroker) -> list[tuple[str, int, int]]:
    """Name, old and new of the changes that the supervisor was told of."""
    events = ask(fake.state_dir, "events", since=0)["events"]
    return [(event["process"], event["old"], event["new"]) for event in events if event["kind"] == "reniced"]


def test_the_supervisor_is_told_the_truth_once(fake: FakeBroker) -> None:
    pid = fake.pids["worker-1"]
    first, second, third = sorted(procfs.thread_ids(pid))
    for tid, nice in ((first, BASE + 1), (second, BASE + 3), (third, BASE + 2)):
        os.setpriority(os.PRIO_PROCESS, tid, nice)
    for _ in range(2):
        assert run_renice(fake.state_dir, str(BASE + 3), "worker-1").returncode == 0
        assert reniced(fake) == [("worker-1", BASE + 1, BASE + 3), ("worker-1", BASE + 2, BASE + 3)]


def test_a_value_that_the_process_has_and_the_supervisor_does_not_know_is_remembered(fake: FakeBroker) -> None:
    """As after a renice while the supervisor was stopped."""
    os.setpriority(os.PRIO_PROCESS, fake.pids["router"], BASE + 4)
    assert run_renice(fake.state_dir, str(BASE + 4), "router").returncode == 0
    assert remembered(fake)["router"] == BASE + 4
    assert reniced(fake) == [("router", 0, BASE + 4)]


def test_a_value_that_the_supervisor_cannot_give_to_successors_is_not_promised(tmp_path: Path) -> None:
    def trial() -> None:
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        with FakeBroker(tmp_path / "state") as fake:
            done = run_renice(fake.state_dir, str(BASE + 5), "supervisor")
            lowest = f"{BASE + 5} at least"
            assert f"note: children that the supervisor starts from now on get {lowest}: it may not" in done.stderr
            done = run_renice(fake.state_dir, str(BASE + 3), "workers")
            assert f"note: worker-0, worker-1: successors get {lowest}: the supervisor may not" in done.stderr
            assert "at least" not in run_renice(fake.state_dir, str(BASE + 5), "router").stderr

    unprivileged(trial)


def test_a_privileged_supervisor_can_give_every_value(fake: FakeBroker) -> None:
    status, limit = procfs.status(fake.supervisor_pid), procfs.nice_limit(fake.supervisor_pid)
    assert status is not None and limit is not None
    is_able = bool(int(status["CapEff"], 16) >> 23 & 1)
    run_renice(fake.state_dir, str(BASE + 5), "supervisor")
    done = run_renice(fake.state_dir, str(BASE + 3), "worker-0")
    assert ("at least" not in done.stderr) == (is_able or 20 - limit <= BASE + 3)


def test_a_stopped_supervisor_has_nothing_to_remember_of_itself(fake: FakeBroker) -> None:
    fake.stop_supervisor()
    done = run_renice(fake.state_dir, str(BASE + 1), "supervisor")
    assert done.returncode == 0
    assert "restarted" not in done.stderr


def test_relative_adds_to_what_each_has(fake: FakeBroker) -> None:
    assert run_renice(fake.state_dir, str(BASE + 2), "worker-0").returncode == 0
    done = run_renice(fake.state_dir, "--relative", "3", "workers")
    assert done.returncode == 0
    assert nices(fake.pids["worker-0"]) == [BASE + 5]
    assert nices(fake.pids["worker-1"]) == [BASE + 3] * 3
    assert nices(fake.pids["router"]) == [BASE]


@pytest.mark.parametrize("arguments", [("-5", "router"), ("--relative", "-5", "router"), ("--", "-5", "router")])
def test_a_negative_priority_is_a_number_and_no_option(fake: FakeBroker, arguments: tuple[str, ...]) -> None:
    wanted = BASE - 5 if "--relative" in arguments else -5
    done = run_renice(fake.state_dir, *arguments)
    if lowest_nice_allowed() <= wanted:
        assert done.returncode == 0
        assert nices(fake.pids["router"]) == [wanted]
    else:
        assert done.returncode == 1
        assert f"{BASE} → {wanted} is not permitted; allowed now: " in done.stderr
        assert nices(fake.pids["router"]) == [BASE]


def test_all_is_everything_below_the_supervisor_too(tmp_path: Path) -> None:
    with FakeBroker(tmp_path / "state", waiting="acceptor-0") as fake:
        done = run_renice(fake.state_dir, str(BASE + 1), "all")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 6
        assert "acceptor-0 (no process now): 0 → 1 from its next start" in done.stdout
        assert {nice for pid in fake.pids.values() for nice in nices(pid)} == {BASE + 1}
        assert set(remembered(fake).values()) == {BASE + 1}
        assert "\x1b" not in done.stdout, "the helper's title was cleaned"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("20", "all"), 2, "from -20"),
        (("-21", "all"), 2, "from -20"),
        (("--relative", "20", "worker-0"), 2, "from -20"),
        (("5", "worker-7"), 2, "Targets: all, workers"),
        (("5", "worker-0", "nobody"), 2, "no target 'nobody'"),
        (("5", "1"), 2, "PID 1 is not a process of the broker"),
        (("5",), 2, "TARGET"),
        (("fast", "worker-0"), 2, "PRIORITY"),
        (("1_0", "worker-0"), 2, "PRIORITY"),
        (("١", "worker-0"), 2, "PRIORITY"),
        (("1" * 5000, "worker-0"), 2, "PRIORITY"),
        (("5", "9" * 5000), 2, "PID 9999999999999999999999999999999999999999… is not a process of the broker"),
        (("5", "x" * 5000), 2, "no target 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'"),
        (("--resolute", "5", "worker-0"), 2, "--resolute"),
    ],
)
def test_a_refusal_is_short_and_changes_nothing(
    fake: FakeBroker, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = run_renice(fake.state_dir, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert {nice for pid in fake.pids.values() for nice in nices(pid)} == {BASE}
    assert set(remembered(fake).values()) == {0}


def test_a_zombie_is_refused(fake: FakeBroker) -> None:
    fake.signal("router", signal.SIGKILL)
    wait_until(lambda: state_of(fake.pids["router"]) == "Z", "the router is a zombie")
    done = run_renice(fake.state_dir, "5", "router", "worker-0")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"router (PID {fake.pids['router']}) is a zombie" in done.stderr
    assert nices(fake.pids["worker-0"]) == [BASE]


def test_a_pid_of_the_broker_and_what_is_below_it(fake: FakeBroker) -> None:
    helper, worker = fake.pids[HELPER], fake.pids["worker-0"]
    assert run_renice(fake.state_dir, str(BASE + 2), str(helper), str(worker)).returncode == 0
    assert (nices(helper), nices(worker), nices(fake.pids["worker-1"])) == ([BASE + 2], [BASE + 2], [BASE] * 3)


def test_a_stopped_supervisor_forgets_and_that_is_said(fake: FakeBroker) -> None:
    fake.stop_supervisor()
    done = run_renice(fake.state_dir, str(BASE + 3), "worker-0")
    assert done.returncode == 0
    assert done.stdout == f"worker-0 (PID {fake.pids['worker-0']}): {BASE} → {BASE + 3}\n"
    assert "note: the supervisor does not answer and cannot remember this" in done.stderr
    assert nices(fake.pids["worker-0"]) == [BASE + 3]
    fake.signal("supervisor", signal.SIGCONT)
    assert remembered(fake)["worker-0"] == 0, "nothing was left for it to read when it went on"


def test_what_has_no_process_cannot_be_remembered_by_a_stopped_supervisor(fake: FakeBroker) -> None:
    fake.signal("worker-1", signal.SIGKILL)
    wait_until(lambda: state_of(fake.pids["worker-1"]) == "Z", "worker-1 is a zombie")
    fake.stop_supervisor()
    changes = renice.plan([row("worker-1", pid=None), row_of_process(fake.pids["router"], "router")], BASE + 2)
    outcomes, complaint = renice.renice(changes, fake.state_dir, is_answering=False)
    assert complaint is not None
    assert [outcome.failure is None for outcome in outcomes] == [False, True]


def test_a_supervisor_that_is_gone_or_refuses_remembers_nothing_and_that_is_said(
    fake: FakeBroker, tmp_path: Path
) -> None:
    (change,) = renice.plan([row_of_process(fake.pids["worker-0"])], BASE + 1)
    outcome = renice.carry_out(change)
    assert renice.remember(fake.state_dir, [outcome]) is None
    assert remembered(fake)["worker-0"] == BASE + 1
    assert renice.remember(tmp_path / "elsewhere", [outcome]) == "the broker has ended meanwhile"
    failed = replace(outcome, failure="it is gone")
    other = replace(outcome, change=replace(change, row=row("x", "other")))
    assert renice.remember(tmp_path / "elsewhere", [failed, other]) is None, "there is nothing to remember"


def test_without_a_broker_the_exit_status_is_3(tmp_path: Path) -> None:
    done = run_renice(tmp_path, "5", "all")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("broker: no broker runs on ")


def test_descriptions_are_safe_to_print() -> None:
    assert describe(row("worker-0", pid=7)) == "worker-0 (PID 7)"
    assert describe(row("a\x1b[2Jb", pid=None)) == "a?[2Jb"
