"""Looks at a (fake) broker of real processes: with the supervisor's help, without it, and when it comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from broker.errors import ControlError, NotRunningError
from broker.state_dir import CONTROL_SOCKET
from monitor import procfs
from monitor.process_tree import OTHER, Member, name_of, process_tree, role_of
from monitor.procfs import SchedStat
from monitor.roster import Roster
from monitor.sampler import Beat, Growth, Look, Sampler, next_beat, percentages
from monitor.snapshot import ProcessRow, Snapshot
from monitor.stat import stat_of
from tests.fake_broker import HELPER, IN_PER_BEAT, OUT_PER_BEAT, FakeBroker
from tests.running import Broker, state_of, wait_until
from tests.specimens import unprivileged
from tests.test_stat import PLAIN

TIMEOUT_SECONDS = 0.3


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path / "state") as broker:
        yield broker


@pytest.fixture
def sampler(fake: FakeBroker) -> Iterator[Sampler]:
    with Sampler(fake.state_dir, TIMEOUT_SECONDS) as sampler:
        yield sampler


def is_zombie(pid: int) -> bool:
    return state_of(pid) == "Z"


def row_of(snapshot: Snapshot, name: str) -> ProcessRow:
    return next(row for row in snapshot.rows if row.name == name)


def test_the_tree_with_everything_that_proc_and_the_supervisor_know(fake: FakeBroker, sampler: Sampler) -> None:
    snapshot = sampler.sample()
    assert [(row.name, row.role, row.depth) for row in snapshot.rows] == [
        ("supervisor", "supervisor", 0),
        ("router", "router", 1),
        ("worker-0", "worker", 1),
        (HELPER, OTHER, 2),
        ("worker-1", "worker", 1),
        ("acceptor-0", "acceptor", 1),
    ]
    assert {row.name: row.pid for row in snapshot.rows} == fake.pids
    assert row_of(snapshot, "worker-0").ppid == snapshot.supervisor_pid == fake.supervisor_pid
    assert row_of(snapshot, HELPER).ppid == fake.pids["worker-0"]
    for row in snapshot.rows:
        assert row.stale is False
        assert row.cpu_percent is row.wait_percent is row.in_per_second is row.out_per_second is None
        assert row.zombies == 0
        assert row.nice == os.getpriority(os.PRIO_PROCESS, 0)
        assert row.pss_bytes is not None
        assert row.rss_bytes is not None
        assert 0 < row.pss_bytes <= row.rss_bytes
        assert row.uptime_seconds is not None
        assert 0 <= row.uptime_seconds < 30
        if row.name != "supervisor":  # which may be just at its end of the conversation
            assert row.stat == stat_of(row.pid or 0)
    worker = row_of(snapshot, "worker-1")
    assert (worker.threads, worker.sessions, worker.restarts) == (3, 5, 2)
    assert worker.stat.endswith("l")
    helper = row_of(snapshot, HELPER)
    assert (helper.sessions, helper.messages_in, helper.restarts) == (None, None, None)
    assert snapshot.status["listeners"] == ["chat://127.0.0.1:8888"]
    assert snapshot.status_age_seconds == 0
    assert [event["process"] for event in snapshot.events] == ["router", "worker-0", "worker-1", "acceptor-0"]
    assert snapshot.at == pytest.approx(time.time(), abs=5)


def test_a_real_brokers_stat_is_letter_for_letter_that_of_ps(broker: Broker) -> None:
    os.kill(broker.pids()["worker-1"], signal.SIGSTOP)
    os.setpriority(os.PRIO_PROCESS, broker.pids()["worker-0"], os.getpriority(os.PRIO_PROCESS, 0) + 3)

    with Sampler(broker.state_dir, TIMEOUT_SECONDS) as sampler:

        def agree() -> bool:
            """A process may run at one look and sleep at the other: then both look again."""
            rows = sampler.sample().rows
            told = subprocess.run(
                ["ps", "-o", "pid=,stat=", "-p", ",".join(str(row.pid) for row in rows)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            by_ps = {int(pid): stat for pid, stat in map(str.split, told.stdout.splitlines())}
            assert len(by_ps) == 5
            return {row.pid: row.stat for row in rows} == by_ps and by_ps[broker.pids()["worker-1"]].startswith("T")

        wait_until(agree, "every STAT is that of ps")


def test_events_are_not_told_twice(sampler: Sampler) -> None:
    assert sampler.sample().events == sampler.sample().events


def test_cpu_and_wait_come_with_the_second_look(fake: FakeBroker, sampler: Sampler) -> None:
    fake.signal("router", signal.SIGSTOP)
    wait_until(lambda: state_of(fake.pids["router"]) == "T", "the router is stopped")
    sampler.sample()
    snapshot = sampler.sample()
    for row in snapshot.rows:
        assert row.cpu_percent is not None
        assert row.wait_percent is not None
    router, supervisor = row_of(snapshot, "router"), row_of(snapshot, "supervisor")
    assert router.cpu_percent == router.wait_percent == 0.0
    assert supervisor.cpu_percent
    assert 0.0 < supervisor.cpu_percent <= 100.0, "it has answered in between"


def test_rates_are_those_of_the_heartbeats_and_do_not_jitter(fake: FakeBroker, sampler: Sampler) -> None:
    rates = []

    def enough() -> bool:
        snapshot = sampler.sample()
        rates.append([row_of(snapshot, name).in_per_second for name in ("router", "worker-1")])
        supervisor = row_of(snapshot, "supervisor")
        if supervisor.in_per_second is not None:  # the sum of the two workers
            assert supervisor.in_per_second == pytest.approx(2 * IN_PER_BEAT, rel=0.25)
            assert supervisor.out_per_second == pytest.approx(2 * OUT_PER_BEAT, rel=0.25)
        return len([pair for pair in rates if pair[0] is not None]) > 150  # more than a second and a heartbeat

    wait_until(enough, "150 looks with rates")
    known = [pair for pair in rates if pair[0] is not None]
    assert rates[-len(known) :] == known, "once known, a rate stays known"
    for pair in known:
        assert pair == pytest.approx([IN_PER_BEAT, IN_PER_BEAT], rel=0.25)


def test_a_part_of_the_workers_is_not_shown_as_the_sum_of_all(fake: FakeBroker, sampler: Sampler) -> None:
    wait_until(lambda: row_of(sampler.sample(), "supervisor").in_per_second is not None, "all rates are known")
    del sampler._beats["worker-1"]
    snapshot = sampler.sample()
    assert row_of(snapshot, "worker-0").in_per_second == pytest.approx(IN_PER_BEAT, rel=0.25)
    assert row_of(snapshot, "worker-1").in_per_second is None
    supervisor = row_of(snapshot, "supervisor")
    assert supervisor.in_per_second is supervisor.out_per_second is None
    fake.signal("worker-1", signal.SIGSTOP)
    wait_until(lambda: state_of(fake.pids["worker-1"]) == "T", "worker-1 is stopped")
    supervisor = row_of(sampler.sample(), "supervisor")
    assert supervisor.in_per_second == pytest.approx(IN_PER_BEAT, rel=0.25), "nobody waits for a stopped one"


def test_a_stopped_supervisor_costs_one_timeout_and_hides_nothing_but_its_own_figures(
    fake: FakeBroker, sampler: Sampler
) -> None:
    before = sampler.sample()
    fake.stop_supervisor()
    began = time.monotonic()
    first = sampler.sample()
    first_seconds = time.monotonic() - began
    began = time.monotonic()
    second = sampler.sample()
    second_seconds = time.monotonic() - began
    assert TIMEOUT_SECONDS <= first_seconds < TIMEOUT_SECONDS + 0.5
    assert second_seconds < TIMEOUT_SECONDS
    for snapshot in (first, second):
        assert [row.name for row in snapshot.rows] == [row.name for row in before.rows]
        assert row_of(snapshot, "supervisor").stat.startswith("T")
        assert [row.stale for row in snapshot.rows] == [row.role != OTHER for row in snapshot.rows]
        assert row_of(snapshot, "worker-1").restarts == 2
        assert snapshot.events == before.events
        assert snapshot.status_age_seconds is not None
        assert snapshot.status_age_seconds > 0
    os.kill(fake.pids["worker-0"], signal.SIGSTOP)
    wait_until(lambda: state_of(fake.pids["worker-0"]) == "T", "worker-0 is stopped")
    assert row_of(sampler.sample(), "worker-0").stat.startswith("T")


def test_a_supervisor_that_goes_on_is_heard_again_and_finds_no_heap_of_requests(
    fake: FakeBroker, sampler: Sampler
) -> None:
    sampler.sample()
    descriptors = os.listdir(f"/proc/{fake.supervisor_pid}/fd")
    fake.stop_supervisor()
    for _ in range(30):
        assert sampler.sample().status_age_seconds != 0
    fake.signal("supervisor", signal.SIGCONT)
    wait_until(lambda: sampler.sample().status_age_seconds == 0, "the supervisor answers again")
    assert not any(row.stale for row in sampler.sample().rows)
    assert os.listdir(f"/proc/{fake.supervisor_pid}/fd") == descriptors


def test_a_socket_that_takes_nobody_in_is_not_tried_at_every_look(tmp_path: Path) -> None:
    """As with a supervisor that was stopped so long ago that its queue of connections is full."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as queued:
        listener.bind(str(tmp_path / CONTROL_SOCKET))
        listener.listen(0)
        for _ in range(2):
            waiting = queued.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            waiting.connect_ex(str(tmp_path / CONTROL_SOCKET))
        roster = Roster(tmp_path, timeout_seconds=0.1)
        began = time.monotonic()
        for _ in range(20):
            roster.refresh()
            assert not roster.fresh
        assert time.monotonic() - began < 0.3


def test_a_supervisor_that_never_answered_is_known_by_proc_alone(fake: FakeBroker) -> None:
    fake.stop_supervisor()
    with Sampler(fake.state_dir, TIMEOUT_SECONDS) as sampler:
        snapshot = sampler.sample()
    assert [(row.name, row.role, row.pid) for row in snapshot.rows] == [
        ("supervisor", "supervisor", fake.supervisor_pid),
        ("router", "router", fake.pids["router"]),
        ("worker-0", "worker", fake.pids["worker-0"]),
        (HELPER, OTHER, fake.pids[HELPER]),
        ("worker-1", "worker", fake.pids["worker-1"]),
        ("acceptor-0", "acceptor", fake.pids["acceptor-0"]),
    ]
    assert snapshot.status_age_seconds is None
    assert snapshot.status == {}
    assert all(row.sessions is row.messages_in is row.restarts is None for row in snapshot.rows)


def test_a_child_that_is_not_reaped_is_counted_as_its_parents_zombie(fake: FakeBroker, sampler: Sampler) -> None:
    sampler.sample()
    fake.signal("worker-1", signal.SIGKILL)
    fake.signal(HELPER, signal.SIGKILL)
    for name in ("worker-1", HELPER):
        wait_until(partial(is_zombie, fake.pids[name]), f"{name} is a zombie")
    snapshot = sampler.sample()
    assert snapshot.zombies == 2
    assert row_of(snapshot, "supervisor").zombies == 1
    assert row_of(snapshot, "worker-0").zombies == 1
    assert row_of(snapshot, "router").zombies == 0
    assert row_of(snapshot, "worker-1").stat.startswith("Z")
    assert row_of(snapshot, "worker-1").pid == fake.pids["worker-1"]
    assert (row_of(snapshot, "worker-1").rss_bytes, row_of(snapshot, "worker-1").pss_bytes) == (0, None)
    below_worker = snapshot.rows[3]
    assert (below_worker.depth, below_worker.stat[0], below_worker.pid) == (2, "Z", fake.pids[HELPER])


def test_a_zombie_keeps_its_name_while_the_supervisor_is_stopped(fake: FakeBroker, sampler: Sampler) -> None:
    sampler.sample()
    fake.stop_supervisor()
    fake.signal("worker-1", signal.SIGKILL)
    wait_until(lambda: state_of(fake.pids["worker-1"]) == "Z", "worker-1 is a zombie")
    row = row_of(sampler.sample(), "worker-1")
    assert (row.stat[0], row.pid, row.stale) == ("Z", fake.pids["worker-1"], True)


def test_dead_children_are_told_apart_though_the_supervisor_never_named_them(broker: Broker) -> None:
    pids = broker.pids()
    for name in ("worker-0", "worker-1", "router", "acceptor-0"):
        told = subprocess.run(
            ["ps", "-o", "comm=,args=", "-p", str(pids[name])], capture_output=True, text=True, check=True
        )
        assert told.stdout.split() == [name, "broker:", name]
    os.kill(broker.pid, signal.SIGSTOP)
    wait_until(lambda: state_of(broker.pid) == "T", "the supervisor is stopped")
    dead = {name: pids[name] for name in ("worker-0", "worker-1")}
    for pid in dead.values():
        os.kill(pid, signal.SIGKILL)
        wait_until(partial(is_zombie, pid), "it is a zombie")
    with Sampler(broker.state_dir, TIMEOUT_SECONDS) as sampler:
        rows = sampler.sample().rows
    assert {row.name: row.pid for row in rows if row.stat.startswith("Z")} == dead
    assert {row.name: row.role for row in rows} == {name: role_of(name) for name in pids} | {"supervisor": "supervisor"}
    refused = broker.run("renice", "3", "worker-0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"worker-0 (PID {pids['worker-0']}) is a zombie" in refused.stderr


def test_a_child_between_two_lives_is_a_row_without_a_process(tmp_path: Path) -> None:
    with FakeBroker(tmp_path / "state", waiting="worker-1") as fake, Sampler(fake.state_dir) as sampler:
        row = row_of(sampler.sample(), "worker-1")
    assert (row.pid, row.ppid, row.stat, row.state) == (None, None, "", "waiting")
    assert (row.nice, row.restarts) == (0, 2)
    assert row.rss_bytes is row.pss_bytes is row.threads is row.uptime_seconds is None


def test_no_broker_is_said_and_the_next_one_is_found(tmp_path: Path) -> None:
    with Sampler(tmp_path / "state", TIMEOUT_SECONDS) as sampler:
        with pytest.raises(NotRunningError):
            sampler.sample()
        with FakeBroker(tmp_path / "state") as first:
            assert sampler.sample().supervisor_pid == first.supervisor_pid
        with pytest.raises(NotRunningError):
            sampler.sample()
        with FakeBroker(tmp_path / "state") as second:
            snapshot = wait_until(sampler.sample, "a look")
            assert snapshot.supervisor_pid == second.supervisor_pid
            assert {row.name: row.pid for row in snapshot.rows} == second.pids
            wait_until(lambda: sampler.sample().status_age_seconds == 0, "the new supervisor answers")
            assert {event["pid"] for event in sampler.sample().events} <= set(second.pids.values())


def test_a_new_broker_that_does_not_answer_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    with Sampler(tmp_path / "state", TIMEOUT_SECONDS) as sampler:
        with FakeBroker(tmp_path / "state"):
            assert sampler.sample().events
        with FakeBroker(tmp_path / "state") as second:
            second.stop_supervisor()
            snapshot = sampler.sample()
            assert {row.name: row.pid for row in snapshot.rows} == second.pids
            assert (snapshot.status, snapshot.events, snapshot.status_age_seconds) == ({}, (), None)


def test_a_state_directory_of_somebody_else_is_not_called_empty(tmp_path: Path) -> None:
    with FakeBroker(tmp_path / "state") as fake:
        fake.state_dir.chmod(0)  # which keeps its owner out too

        def trial() -> None:
            with pytest.raises(ControlError) as caught:
                Sampler(fake.state_dir).sample()
            assert caught.value.code == "permission"

        unprivileged(trial)
        fake.state_dir.chmod(0o700)


def test_a_look_at_twenty_processes_costs_less_than_three_per_cent_of_a_core_at_one_a_second(tmp_path: Path) -> None:
    with FakeBroker(tmp_path / "state", workers=17) as fake, Sampler(fake.state_dir) as sampler:
        assert len(sampler.sample().rows) >= 20  # the first look reads PSS of all
        began = time.process_time()
        for _ in range(20):
            sampler.sample()
        assert (time.process_time() - began) / 20 < 0.03 / 2


# The pure parts.


def entry(name: str, pid: int | None, role: str | None = None) -> dict[str, object]:
    return {"name": name, "role": role or role_of(name), "pid": pid}


SUPERVISOR = entry("supervisor", 1, "supervisor")
PROCESSES = {
    pid: replace(PLAIN, pid=pid, ppid=ppid, start_ticks=pid, comm=f"c{pid}")
    for pid, ppid in [(1, 0), (10, 1), (11, 1), (12, 1), (20, 11), (30, 20), (99, 7)]
}


def test_children_go_by_the_supervisors_names_and_order() -> None:
    entries = [SUPERVISOR, entry("router", 11), entry("worker-0", 10), entry("worker-1", 12)]
    titles = {20: ["/usr/bin/thing"], 30: ["lab: x"]}
    assert process_tree(1, entries, PROCESSES, titles) == [
        Member("supervisor", "supervisor", 1, 0, SUPERVISOR),
        Member("router", "router", 11, 1, entries[1]),
        Member("c20", OTHER, 20, 2),
        Member("lab: x", OTHER, 30, 3),
        Member("worker-0", "worker", 10, 1, entries[2]),
        Member("worker-1", "worker", 12, 1, entries[3]),
    ]


def test_without_a_list_children_go_by_title_role_and_number() -> None:
    titles = {10: ["broker: worker-10"], 11: ["broker: router"], 12: ["broker: worker-9"], 20: [], 30: ["a", "b"]}
    assert [(member.name, member.role, member.pid) for member in process_tree(1, [], PROCESSES, titles)] == [
        ("supervisor", "supervisor", 1),
        ("router", "router", 11),
        ("c20", OTHER, 20),
        ("c30", OTHER, 30),
        ("worker-9", "worker", 12),
        ("worker-10", "worker", 10),
    ]


def test_a_pid_that_now_is_somebody_elses_is_not_believed() -> None:
    entries = [SUPERVISOR, entry("worker-0", 99), entry("worker-1", 30), entry("router", 555), entry("acceptor-0", 11)]
    members = process_tree(1, entries, PROCESSES, {10: ["broker: worker-1"], 12: ["broker: acceptor-0"]})
    assert [(member.name, member.role, member.pid) for member in members] == [
        ("supervisor", "supervisor", 1),
        ("worker-0", "worker", None),
        ("worker-1", "worker", 10),  # its successor, by the title
        ("router", "router", None),
        ("acceptor-0", "acceptor", 11),
        ("c20", OTHER, 20),
        ("c30", OTHER, 30),
        ("acceptor-0", OTHER, 12),  # a second of that name is no acceptor
    ]


@pytest.mark.parametrize(
    ("title", "comm", "name"),
    [
        (["broker: worker-0"], "broker: worker-", "worker-0"),
        (["lab: zombies"], "python3", "lab: zombies"),
        (["/bin/sleep"], "sleep", "sleep"),
        (["sleep", "60"], "sleep", "sleep"),
        ([], "worker-0", "worker-0"),
        ([], "python3", "python3"),
    ],
)
def test_names(title: list[str], comm: str, name: str) -> None:
    assert name_of(title, comm) == name


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("worker-0", "worker"),
        ("worker-12", "worker"),
        ("acceptor-0", "acceptor"),
        ("router", "router"),
        ("supervisor", OTHER),
        ("worker-x", OTHER),
        ("lab", OTHER),
        ("", OTHER),
    ],
)
def test_roles(name: str, role: str) -> None:
    assert role_of(name) == role


def test_the_same_heartbeat_told_again_changes_nothing() -> None:
    first = Beat(7, 100.0, 10, 20)
    assert next_beat(None, first) == first
    assert next_beat(first, Beat(7, 100.004, 10, 20)) is first
    second = next_beat(first, Beat(7, 102.0, 30, 120))
    assert second == Beat(7, 102.0, 30, 120, Growth(2.0, 10.0, 50.0))
    assert next_beat(second, Beat(7, 102.01, 30, 120)) is second
    assert next_beat(second, Beat(7, 103.0, 30, 120)).growth == Growth(1.0, 0.0, 0.0), "silence is known, not unknown"


def test_a_new_incarnation_counts_from_zero_without_negative_rates() -> None:
    old = Beat(7, 100.0, 1000, 2000, Growth(1.0, 5.0, 5.0))
    assert next_beat(old, Beat(8, 101.0, 3, 4)) == Beat(8, 101.0, 3, 4)


def look(at: float, **threads: tuple[int, int]) -> Look:
    counts = {int(tid[1:]): SchedStat(on_cpu, waiting, 1) for tid, (on_cpu, waiting) in threads.items()}
    return Look(at, 5, 100, counts)


def test_percentages_sum_threads_also_of_those_that_came_and_went() -> None:
    before = look(1.0, t1=(10**9, 0), t2=(10**9, 10**9), t3=(7 * 10**9, 10**9))
    after = look(3.0, t1=(2 * 10**9, 10**8), t2=(10**9, 2 * 10**9), t4=(10**9, 0))
    assert percentages(before, after) == pytest.approx((100.0, 55.0))


def test_percentages_are_never_negative_nor_of_two_processes() -> None:
    before = look(1.0, t1=(10**9, 10**9))
    assert percentages(before, look(2.0, t1=(0, 0))) == (0.0, 0.0)
    assert percentages(before, replace(look(2.0, t1=(2 * 10**9, 0)), start_ticks=6)) == (None, None)
    assert percentages(before, look(1.0, t1=(2 * 10**9, 0))) == (None, None)


def test_without_schedstat_cpu_time_is_counted_in_ticks() -> None:
    before, after = Look(1.0, 5, 100, {}), Look(2.0, 5, 100 + procfs.TICKS_PER_SECOND // 2, {})
    assert percentages(before, after) == (50.0, None)
