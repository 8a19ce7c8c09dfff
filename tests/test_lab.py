"""`broker lab`: what each scene claims, held against ps and /proc; where it is shown; and that nothing is ever left."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.cli import main
from monitor import procfs
from monitor.lab import registry, states
from monitor.lab.words import FLAGS, STATES, Words
from monitor.sampler import Sampler
from tests.fake_broker import FakeBroker
from tests.running import DEADLINE_SECONDS, heed_interrupts, is_gone, running_broker, state_of, wait_until
from tests.specimens import SLEEPING, specimen, unprivileged

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}


def ps(fields: str, *pids: int) -> list[list[str]]:
    """What the real ps says, a list for each process."""
    command = ["ps", "-o", fields, "--no-headers", "-p", ",".join(map(str, pids))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.split(None, fields.count(",")) for line in done.stdout.splitlines()]


class Lab:
    """A lab that runs: what it has printed, and its processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.text = ""

    def read_until(self, word: str) -> str:
        """Everything up to the line that has this word."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE_SECONDS
        while word not in self.text:
            assert select.select([self.process.stdout], [], [], deadline - time.monotonic())[0], self.text
            data = os.read(self.process.stdout.fileno(), 65536).decode()
            assert data, self.text
            self.text += data
        return self.text

    def pids(self) -> list[int]:
        """The lab and all below it now."""
        return [
            self.process.pid,
            *procfs.descendants(self.process.pid, procfs.children_by_parent(procfs.scan().values())),
        ]


@contextmanager
def lab(state_dir: Path, scene: str, *arguments: str) -> Iterator[Lab]:
    command = [sys.executable, "-m", "broker", "lab", scene, "--state-dir", str(state_dir), "--lang", "en", *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=heed_interrupts,
    )
    try:
        yield Lab(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def finished(state_dir: Path, scene: str, *arguments: str) -> str:
    """Run a scene to its end; what it printed."""
    command = [
        sys.executable,
        "-m",
        "broker",
        "lab",
        scene,
        "--state-dir",
        str(state_dir),
        "--seconds",
        "0.1",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "All of them are gone." in done.stdout or "--lang" in arguments
    return done.stdout


def specimens_of(text: str) -> dict[str, tuple[int, int, str]]:
    """PID, PPID and STAT by name, from the table of `lab states`."""
    rows = re.findall(r"^(lab-\S+) +(\d+) +(\d+) +(\S+) ", text, re.MULTILINE)
    return {name: (int(pid), int(ppid), stat) for name, pid, ppid, stat in rows}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path / "state") as broker:
        yield broker


def test_every_state_and_flag_is_what_ps_prints(tmp_path: Path) -> None:
    with lab(tmp_path, "states") as held:
        found = specimens_of(held.read_until("no broker runs"))
        assert set(found) == {f"lab-{shown}" for shown in (*STATES, *FLAGS)}
        printed = {
            int(pid): (int(ppid), stat) for pid, ppid, stat in ps("pid,ppid,stat", *(p for p, _, _ in found.values()))
        }
        for name, (pid, ppid, stat) in found.items():
            assert printed[pid] == (ppid, stat)
            assert name.removeprefix("lab-") in stat
        # Its own ps was run with the line that it tells, and said the same.
        for pid, (_, stat) in printed.items():
            assert re.search(rf"^ *{pid} .* {re.escape(stat)} ", held.text, re.MULTILINE)
        letters = [found[f"lab-{letter}"][2] for letter in STATES]
        assert letters == list(STATES)  # the letters come without any flag


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_however_a_lab_ends_nothing_is_left(number: signal.Signals, fake: FakeBroker) -> None:
    with lab(fake.state_dir, "states") as held:
        held.read_until("`broker top` shows it")
        pids = held.pids()
        assert len(pids) > 12
        held.process.send_signal(number)
        held.process.wait(DEADLINE_SECONDS)
        wait_until(lambda: all(map(is_gone, pids)), "all processes of the lab are gone")
    if number != signal.SIGKILL:
        assert list(fake.state_dir.glob("lab-*")) == []
    with Sampler(fake.state_dir) as sampler:
        assert not [row for row in sampler.sample().rows if row.name.startswith("lab-")]
    registry.forget_the_dead(fake.state_dir)
    assert list(fake.state_dir.glob("lab-*")) == []


def test_the_broker_s_table_shows_them_with_their_real_parents(fake: FakeBroker) -> None:
    with lab(fake.state_dir, "states") as held, lab(fake.state_dir, "zombie", "--count", "4") as zombies:
        found = specimens_of(held.read_until("`broker top` shows it"))
        zombies.read_until("`broker top` shows it")
        with Sampler(fake.state_dir) as sampler:
            snapshot = sampler.sample()
    rows = {row.name: row for row in snapshot.rows}
    assert rows["lab-states"].depth == 1
    assert rows["lab-states"].pid == held.process.pid
    assert rows["lab-states"].ppid == os.getpid()
    for name, (pid, ppid, stat) in found.items():
        row = rows[name]
        assert (row.pid, row.ppid, row.stat) == (pid, ppid, stat)
        assert row.depth >= 2
        assert not row.stale
    assert rows["lab-zombie"].ppid == zombies.process.pid
    (parent,) = [row for row in snapshot.rows if row.pid == zombies.process.pid]
    assert (parent.name, parent.zombies) == ("lab-zombie", 4)
    assert snapshot.zombies == 4 + 1
    assert len({row.pid for row in snapshot.rows}) == len(snapshot.rows)


def test_zombies_are_counted_and_then_reaped(tmp_path: Path) -> None:
    with lab(tmp_path, "zombie", "--count", "3") as held:
        held.read_until("no broker runs")
        children = [pid for pid in held.pids() if state_of(pid) == "Z"]
        assert len(children) == 3
        assert [stat for (stat,) in ps("stat", *children)] == ["Z"] * 3
        held.process.send_signal(signal.SIGINT)  # ends the holding, and so begins the reaping
        assert "exited with status 2" in held.read_until("No zombie is left")
        assert held.process.wait(DEADLINE_SECONDS) == 0
        assert not any(map(state_of, children))


def test_orphans_are_adopted(tmp_path: Path) -> None:
    with lab(tmp_path, "orphan") as held:
        text = held.read_until("no broker runs")
        told = re.findall(r"PPID of (\S+) \(PID (\d+)\) was (\d+); its parent has ended, and now it is (\d+)", text)
        assert [name for name, *_ in told] == ["lab-orphan", "lab-adopted"]
        for name, pid, before, after in told:
            assert ps("ppid,stat", int(pid)) == [[after, "S"]]
            assert before != after
            assert is_gone(int(before))
            if name == "lab-adopted":
                assert int(after) == held.process.pid
            else:
                assert int(after) != held.process.pid
        held.process.send_signal(signal.SIGTERM)
        held.process.wait(DEADLINE_SECONDS)
        wait_until(lambda: all(is_gone(int(pid)) for _, pid, *_ in told), "the orphans are gone")


def test_an_orphan_is_shown_although_its_parent_is_somebody_else(fake: FakeBroker) -> None:
    with lab(fake.state_dir, "orphan") as held:
        held.read_until("`broker top` shows it")
        with Sampler(fake.state_dir) as sampler:
            rows = {row.name: row for row in sampler.sample().rows}
    assert rows["lab-orphan"].depth == rows["lab-adopted"].depth == 2
    assert rows["lab-orphan"].ppid != held.process.pid
    assert rows["lab-adopted"].ppid == held.process.pid


def test_exits(tmp_path: Path) -> None:
    text = finished(tmp_path, "exit", "--lang", "en")
    assert re.findall(r"waitid: (CLD_\w+), si_status (\d+).*\$\? (\d+)", text)[:9] == [
        ("CLD_EXITED", "0", "0"), ("CLD_EXITED", "3", "3"), ("CLD_EXITED", "0", "0"), ("CLD_EXITED", "1", "1"),
        ("CLD_EXITED", "3", "3"), ("CLD_EXITED", "7", "7"), ("CLD_EXITED", "1", "1"), ("CLD_KILLED", "15", "143"),
        ("CLD_KILLED", "9", "137"),
    ]  # fmt: skip
    assert re.search(r"CLD_(DUMPED|KILLED), si_status 6 \(SIGABRT\); \$\? 134", text)
    assert text.count("\n  finally\n") == 1  # sys.exit ran it, os._exit did not
    assert "\n  in the buffer\n" not in text
    assert "\n  caught 3\n  goes on\n" in text


def test_fork_copies_what_is_written_to(tmp_path: Path) -> None:
    text = finished(tmp_path, "fork", "--lang", "en")
    assert "In the child it is 10000" in text and "in the parent still 1" in text
    figures = {
        title: list(map(float, re.findall(r"([\d.]+) MiB", rest)))
        for title, rest in re.findall(
            r"^(before the fork|after the fork|the child has written to a half)(.*)$", text, re.M
        )
    }
    (pss_before, uss_before) = figures["before the fork"]
    pss_parent, uss_parent, pss_child, uss_child = figures["after the fork"]
    assert uss_before > 64 > 50 > pss_parent > 32
    assert 50 > pss_child > 32
    assert max(uss_parent, uss_child) < 20
    _, uss_parent, _, uss_child = figures["the child has written to a half"]
    assert 32 <= uss_child < 50 and 32 <= uss_parent < 50
    assert pss_before >= uss_before


def test_stop(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--heartbeat-seconds", "0.2", "--hang-seconds", "1.5") as broker:
        old = broker.pids()["worker-1"]
        with lab(broker.state_dir, "stop", "worker-1", "--seconds", "40") as held:
            text = held.read_until("All of them are gone.")
            assert held.process.wait(DEADLINE_SECONDS) == 0
        young = broker.pids()["worker-1"]
    assert young != old
    assert re.search(rf"^ *{old} +\d+ Tl? ", text, re.MULTILINE)
    assert re.search(r"hung .*worker-1: no heartbeat for .* stopped", text)
    assert re.search(rf"worker-1 is PID {young} now", text)


def test_a_worker_that_is_not_replaced_in_time_goes_on(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--hang-seconds", "600") as broker:
        worker = broker.pids()["worker-0"]
        text = finished(broker.state_dir, "stop", "--seconds", "0.3", "--lang", "en")
        assert "Nothing was done about it within 0.3 s" in text
        wait_until(lambda: state_of(worker) in ("S", "R"), "the worker goes on")
        assert broker.pids()["worker-0"] == worker


def test_hog(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    with lab(tmp_path, "hog", "--nice", "9") as held:
        text = held.read_until("waiting ")
        (pid,) = map(int, re.findall(r"PID (\d+) counts", text))
        assert ps("ni,stat,psr", pid) == [["9", "RN", str(cpu)]]
        assert os.sched_getaffinity(pid) == {cpu}
        os.setpriority(os.PRIO_PROCESS, pid, 11)
        held.read_until("nice  11  STAT RN")


def test_without_permission_the_raised_one_is_left_out_by_name(tmp_path: Path) -> None:
    def trial() -> None:
        text = finished(tmp_path, "states", "--lang", "en")
        assert re.search(r"^lab-< +- +- +- +not permitted here: nice -5 takes CAP_SYS_NICE", text, re.MULTILINE)
        assert set(specimens_of(text)) >= {"lab-R", "lab-S", "lab-D", "lab-T", "lab-Z", "lab-N"}

    unprivileged(trial)


def test_a_terminal_whose_processes_have_ended_is_given_up_silently() -> None:
    """They may be the first to be killed; its master then reads EIO."""
    reader, writer = os.pipe()
    code = f"from monitor.lab.states import _own_a_terminal; _own_a_terminal('lab-S', {writer}, 1)"
    done = subprocess.run([sys.executable, "-c", code], pass_fds=[writer], capture_output=True, text=True, timeout=30)
    os.close(writer)
    with os.fdopen(reader) as told:
        pid = int(told.read())
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: is_gone(pid), "its processes have ended")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stop", "--state-dir", "/nowhere"], "no broker runs"),
        (["hog", "--nice", "20"], "from -20 to 19"),
        (["hog", "--cpu", "4000"], "may use"),
        (["zombie", "--count", "0"], "from 1 to 1000"),
        (["states", "--seconds", "1e9"], "from 0.1 to 3600"),
        (["nothing"], "nothing"),
    ],
)
def test_refusals(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", *arguments]) in (1, 2, 3)
    complaint = capsys.readouterr().err
    assert words in complaint and complaint.count("\n") <= 2


def test_stop_names_the_workers_that_there_are(fake: FakeBroker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "stop", "router", "--state-dir", str(fake.state_dir)]) != 0


def test_every_word_is_said_in_both_languages() -> None:
    for words in (*STATES.values(), *FLAGS.values()):
        assert re.search(r"[一-鿿]", words.zh)
        assert words.en.isascii()
    assert Words("a {x}", "甲 {x}").format(x=1).lines("both") == ["a 1", "甲 1"]
    assert [specimen.shown for specimen in states.SPECIMENS] == [*STATES, *FLAGS]


NOBODY: dict[int, procfs.ProcessStat] = {}

# The files that make labs seen.


def document(pid: int, start_ticks: int, *members: list[object]) -> str:
    import json

    return json.dumps({"pid": pid, "start_ticks": start_ticks, "name": "lab-x", "members": list(members)})


def test_a_file_of_somebody_who_is_gone_or_of_somebody_else_shows_nothing(tmp_path: Path) -> None:
    with specimen(SLEEPING) as pid:
        process = procfs.process_stat(pid)
        assert process is not None
        (tmp_path / "lab-1.json").write_text(
            document(pid, process.start_ticks, [pid, 1, "wrong"], [os.getpid(), 2, "no"])
        )
        (tmp_path / "lab-2.json").write_text(document(pid, process.start_ticks + 1))
        assert registry.read(tmp_path, procfs.scan()) == [registry.Lab(pid, "lab-x", {})]
        registry.forget_the_dead(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["lab-1.json"]
    assert registry.read(tmp_path, procfs.scan()) == []
    assert registry.read(tmp_path / "nowhere", procfs.scan()) == []


@settings(deadline=None, max_examples=40)
@given(st.one_of(st.binary(max_size=50), st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pid", "start_ticks", "name", "members"]), inner)
), max_leaves=8)))  # fmt: skip
def test_a_file_that_is_none_is_passed_over(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    import json

    directory = tmp_path_factory.getbasetemp()
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (directory / "lab-9.json").write_bytes(data)
    assert registry.read(directory, NOBODY) == []
