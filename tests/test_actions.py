"""What the dashboard's keys do to processes: only to the one that the user saw, and every refusal is one line."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import BrokerError
from monitor.actions import ActionError, carry_out
from monitor.left_behind import events_after
from monitor.procfs import process_stat
from monitor.sampler import Sampler
from monitor.snapshot import ProcessRow
from monitor.view import Renice, Signal
from tests.fake_broker import HELPER, FakeBroker
from tests.rows import event, row
from tests.running import state_of, wait_until
from tests.specimens import unprivileged

BASE = os.getpriority(os.PRIO_PROCESS, 0)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path) as running:
        yield running


def rows_of(fake: FakeBroker) -> dict[str, ProcessRow]:
    with Sampler(fake.state_dir) as sampler:
        return {found.name: found for found in sampler.sample().rows}


def nice_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


@pytest.mark.parametrize("name", ["supervisor", "router", HELPER])
def test_stopping_continuing_and_killing(fake: FakeBroker, name: str) -> None:
    target = rows_of(fake)[name]
    assert target.pid is not None
    pid = target.pid
    assert "stopped" in carry_out(Signal(target, "SIGSTOP"), fake.state_dir, ())
    wait_until(lambda: state_of(pid) == "T", "it is stopped")
    assert "goes on" in carry_out(Signal(target, "SIGCONT"), fake.state_dir, ())
    wait_until(lambda: state_of(pid) in ("S", "R"), "it goes on")
    assert carry_out(Signal(target, "SIGKILL"), fake.state_dir, ()).endswith("killed (SIGKILL)")
    wait_until(lambda: state_of(pid) in ("Z", None), "it is dead")


@pytest.mark.parametrize("action", ["signal", "renice"])
@pytest.mark.parametrize("name", ["supervisor", "router", "worker-0", "helper"])
def test_a_pid_that_is_somebody_elses_now_is_left_alone(fake: FakeBroker, name: str, action: str) -> None:
    mine = os.fork()
    if mine == 0:
        signal.pause()
        os._exit(0)
    try:
        target = row(name, mine, role="other" if name == "helper" else name.partition("-")[0], ppid=fake.supervisor_pid)
        with pytest.raises(ActionError, match=rf"PID {mine} is not {name} any more"):
            carry_out(Signal(target, "SIGKILL") if action == "signal" else Renice(target, 5), fake.state_dir, ())
        assert state_of(mine) in ("S", "R")
        assert nice_of(mine) == nice_of(os.getpid())
    finally:
        os.kill(mine, signal.SIGKILL)
        os.waitpid(mine, 0)


def test_another_child_of_the_broker_is_not_taken_for_this_one(fake: FakeBroker) -> None:
    target = row("worker-0", fake.pids["worker-1"], role="worker")
    with pytest.raises(ActionError, match="is not worker-0 any more"):
        carry_out(Signal(target, "SIGKILL"), fake.state_dir, ())
    assert state_of(fake.pids["worker-1"]) == "S"


def test_nothing_is_done_to_what_is_gone(fake: FakeBroker) -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    for action in (Signal(row("router", gone), "SIGKILL"), Renice(row("router", gone), 1, relative=True)):
        with pytest.raises(ActionError, match=rf"router \(PID {gone}\) is gone"):
            carry_out(action, fake.state_dir, ())


def test_a_zombie_is_named_as_such(fake: FakeBroker) -> None:
    target = rows_of(fake)["router"]
    fake.signal("router", signal.SIGKILL)
    wait_until(lambda: state_of(fake.pids["router"]) == "Z", "it is a zombie")
    for action in (Signal(target, "SIGSTOP"), Renice(target, 3)):
        with pytest.raises(ActionError, match="is a zombie"):
            carry_out(action, fake.state_dir, ())


def test_a_signal_to_another_users_process_is_refused(tmp_path: Path) -> None:
    # PID 1 is root's, and SIGCONT does nothing to a process that runs. Root becomes somebody else first, and nobody may
    # stay in the session of PID 1: within a session SIGCONT is always permitted (kill(2)).
    init = process_stat(1)
    assert init is not None
    target = row("init", 1, role="other", ppid=init.ppid)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        try:
            text = carry_out(Signal(target, "SIGCONT"), tmp_path, ())
        except BrokerError as error:
            text = str(error)
        os.write(write_end, text.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        assert told.read() == "init (PID 1) belongs to another user: SIGCONT is not permitted"


def test_renicing_counts_from_the_value_of_this_moment(fake: FakeBroker) -> None:
    rows = rows_of(fake)
    target = rows["worker-1"]
    for _ in range(3):
        text = carry_out(Renice(target, 1, relative=True), fake.state_dir, tuple(rows.values()))
    pid = fake.pids["worker-1"]
    assert text == f"worker-1 (PID {pid}, 3 threads): 2 → 3 · remembered for its successors"
    assert {nice_of(int(tid)) for tid in os.listdir(f"/proc/{pid}/task")} == {3}


def test_a_value_out_of_range_is_refused(fake: FakeBroker) -> None:
    target = rows_of(fake)["router"]
    carry_out(Renice(target, 19), fake.state_dir, ())
    with pytest.raises(BrokerError, match=r"19 \+ 1"):
        carry_out(Renice(target, 1, relative=True), fake.state_dir, ())
    assert nice_of(fake.pids["router"]) == 19


def test_a_stopped_supervisor_is_not_asked_to_remember(fake: FakeBroker) -> None:
    fake.stop_supervisor()
    rows = rows_of(fake)
    text = carry_out(Renice(rows["router"], 4, relative=True), fake.state_dir, tuple(rows.values()))
    assert text.endswith("0 → 4 · for this process only: the supervisor is stopped and cannot remember it")


def test_the_supervisor_has_no_successors_but_heirs(tmp_path: Path) -> None:
    def trial() -> None:
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        with FakeBroker(tmp_path) as fake:
            rows = rows_of(fake)
            text = carry_out(Renice(rows["supervisor"], 4, relative=True), fake.state_dir, tuple(rows.values()))
            assert text.splitlines() == [
                f"supervisor (PID {fake.supervisor_pid}): {BASE} → {BASE + 4} · its children keep theirs",
                f"children that the supervisor starts from now on get {BASE + 4} at least: it may not lower nice",
            ]
            text = carry_out(Renice(rows["router"], 3, relative=True), fake.state_dir, tuple(rows.values()))
            assert text.splitlines() == [
                f"router (PID {fake.pids['router']}): {BASE} → {BASE + 3} · remembered in vain",
                f"router: successors get {BASE + 4} at least: the supervisor may not lower nice",
            ]
            fake.stop_supervisor()
            rows = rows_of(fake)
            text = carry_out(Renice(rows["supervisor"], 1, relative=True), fake.state_dir, tuple(rows.values()))
            assert text.splitlines()[0].endswith("its children keep theirs")

    unprivileged(trial)


def test_a_process_of_somebodys_experiment_is_reniced_for_itself(fake: FakeBroker) -> None:
    rows = rows_of(fake)
    text = carry_out(Renice(rows[HELPER], 2, relative=True), fake.state_dir, tuple(rows.values()))
    assert text.endswith("0 → 2 · not a process that the supervisor restarts")
    assert nice_of(fake.pids[HELPER]) == 2


def test_the_last_events_of_a_broker_are_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert events_after(tmp_path, 0) == ()
    lines = [json.dumps(event(number, at=10.0 * number)) for number in (1, 2, 3)]
    path.write_text("\n".join(lines)[:-5])
    assert [found["number"] for found in events_after(tmp_path, 10.0)] == [2]
    path.write_text("x" * 100_000 + f"\n{lines[2]}\n")
    assert [found["number"] for found in events_after(tmp_path, 10.0)] == [3]
