"""`broker top` on a real terminal: it starts, draws, obeys its keys, and gives the terminal back whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.table import COLUMNS
from tests.fake_broker import BRISK_SECONDS, FakeBroker
from tests.running import Broker, is_gone, running_broker, state_of, wait_until
from tests.terminal import ROOT, Terminal, broker_command


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path) as running:
        yield running


@pytest.fixture
def brisk(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path, beat_seconds=BRISK_SECONDS) as running:
        yield running


def top(
    fake: FakeBroker | Broker, *options: str, refresh: str = "0.2", columns: int = 100, lines: int = 30
) -> Terminal:
    return Terminal(
        broker_command("top", "--state-dir", str(fake.state_dir), "--refresh", refresh, *options), columns, lines
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        broker_command("top", *arguments), capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )


def is_drawn(terminal: Terminal) -> bool:
    lines = terminal.lines()
    return lines[0].startswith(" broker") and "select" in lines[-1]


# --- The way out -----------------------------------------------------------------------------------------------------


def test_it_draws_and_q_leaves(fake: FakeBroker) -> None:
    with top(fake) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        for part in ("rooms 2", "zombies 0", "├─ worker-0", "│  └─ lab: ?[31m[red]helper", "└─ acceptor-0"):
            assert part in terminal.text()
        assert str(fake.pids["router"]) in terminal.line_with("router")
        assert terminal.raw.count(b"\x1b[?1049h") == 1
        terminal.press("q")
        terminal.assert_restored(status=0)


def test_ctrl_c_leaves(fake: FakeBroker) -> None:
    with top(fake) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        terminal.press("\x03")
        rest = terminal.assert_restored(status=128 + signal.SIGINT)
        assert "Traceback" not in rest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_it_ends_anything_but_in_good_order(fake: FakeBroker, number: signal.Signals) -> None:
    with top(fake) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        terminal.process.send_signal(number)
        rest = terminal.assert_restored(status=128 + number)
        assert "Traceback" not in rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_in_a_heap_do_no_harm(fake: FakeBroker, number: signal.Signals) -> None:
    with top(fake) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        process = terminal.process
        process.suspend()
        for other in (signal.SIGWINCH, signal.SIGTSTP, number):
            process.send_signal(other)
        process.resume()
        terminal.wait_for_end()
        assert b"Traceback" not in terminal.raw
        assert terminal.raw.count(b"\x1b[?1049h") == terminal.raw.count(b"\x1b[?1049l")


INJECTION = """
import sys
import {module}
from broker.cli import main
calls = 0
def fails(*arguments, **named):
    global calls
    calls += 1
    if calls > 3:
        raise RuntimeError("injected")
    return real(*arguments, **named)
real, {target} = {target}, fails
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("monitor.top", "monitor.top.draw"),
        ("monitor.canvas", "monitor.canvas.fitted"),  # in the midst of rich's drawing
        ("monitor.sampler", "monitor.sampler.Sampler.sample"),
        ("monitor.top", "monitor.top.press"),
    ],
)
def test_an_exception_leaves_the_terminal_as_it_was(fake: FakeBroker, module: str, target: str) -> None:
    script = INJECTION.format(module=module, target=target)
    command = [sys.executable, "-c", script, "top", "--state-dir", str(fake.state_dir), "--refresh", "0.2"]
    with Terminal(command) as terminal:
        terminal.wait_for(lambda: b"\x1b[?1049h" in terminal.raw, "the alternate screen is entered")
        terminal.press("j", "k", "j", "k")
        rest = terminal.assert_restored(status=1)
        assert "RuntimeError: injected" in rest


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(fake: FakeBroker) -> None:
    command = broker_command("top", "--state-dir", str(fake.state_dir), "--refresh", "0.2")
    again = 'echo "stopped"; read line; fg >/dev/null; echo "status=$?"; echo "after=$(stty -g)"'
    with Terminal(command, then=again) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        terminal.press("d")
        terminal.wait_for("descriptors")
        terminal.press("\x1a")
        terminal.wait_for(lambda: b"stopped" in terminal.raw.rpartition(b"\x1b[?1049l")[2], "the shell goes on")
        terminal.press("\n")
        terminal.wait_for(lambda: terminal.raw.count(b"\x1b[?1049h") == 2, "the alternate screen is entered again")
        terminal.wait_for(
            lambda: b"descriptors" in terminal.raw.rpartition(b"\x1b[?1049h")[2], "it is drawn as it was before"
        )
        terminal.press("q")
        rest = terminal.wait_for_end()
        assert "status=0" in rest
        before, *after = re.findall(r"(?:before|after)=(\S+)", terminal.raw.decode())
        assert after == [before, before]


def test_a_terminal_that_hangs_up_ends_it(fake: FakeBroker) -> None:
    with top(fake) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        pid = terminal.process.pid
        terminal.hang_up()
        wait_until(lambda: is_gone(pid), "it has ended")


def test_keys_come_from_the_terminal_when_standard_input_is_something_else(fake: FakeBroker) -> None:
    command = broker_command("top", "--state-dir", str(fake.state_dir))
    with Terminal(command, redirect="</dev/null") as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        terminal.press("?")
        terminal.wait_for("any other key closes this")
        terminal.press("xq")
        terminal.assert_restored(status=0)


# --- Size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (80, 40), (200, 50), (40, 10)])
def test_it_fits(fake: FakeBroker, columns: int, lines: int) -> None:
    with top(fake, columns=columns, lines=lines) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        assert "├─ worker-0" in terminal.text()
        terminal.press("q")
        terminal.assert_restored(status=0)


def test_a_resize_is_followed_at_once(fake: FakeBroker) -> None:
    with top(fake, refresh="60") as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        assert "THREADS" not in terminal.text()
        terminal.resize(200, 50)
        terminal.wait_for(lambda: is_drawn(terminal) and "THREADS" in terminal.text(), "all columns are shown")
        terminal.resize(40, 10)
        terminal.wait_for(lambda: is_drawn(terminal) and "PPID" not in terminal.text(), "few columns are shown")
        for columns, lines in ((3, 1), (1, 1), (20, 4), (90, 25)):
            terminal.resize(columns, lines)
        terminal.wait_for(lambda: is_drawn(terminal) and "PPID" in terminal.text(), "it is whole again")
        terminal.press("q")
        terminal.assert_restored(status=0)


def test_resizes_in_the_midst_of_drawing_leave_a_whole_picture(fake: FakeBroker) -> None:
    with top(fake, refresh="0.1") as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        for step in range(120):
            terminal.shell.setwinsize(5 + step % 40, 10 + step * 7 % 190)
            terminal.press("j" if step % 2 else "k")
        terminal.resize(120, 30)
        terminal.wait_for(
            lambda: is_drawn(terminal) and terminal.lines()[5].startswith(" supervisor"), "the last size is drawn"
        )
        terminal.press("q")
        assert "Traceback" not in terminal.assert_restored(status=0)


def test_the_size_is_the_terminals_whatever_the_environment_says(fake: FakeBroker) -> None:
    command = broker_command("top", "--state-dir", str(fake.state_dir))
    with Terminal(command, 90, 20, environment={"COLUMNS": "300", "LINES": "3"}) as terminal:
        terminal.wait_for(lambda: is_drawn(terminal), "it is drawn")
        terminal.press("q")
        terminal.assert_restored(status=0)


def test_a_terminal_without_utf_8_gets_a_tree_and_bars_of_ascii(fake: FakeBroker) -> None:
    command = broker_command("top", "--state-dir", str(fake.state_dir), "--refresh", "0.2")
    with Terminal(command, 130, 30, environment={"PYTHONIOENCODING": "ascii"}) as terminal:
        terminal.wait_for(lambda: "^v select" in terminal.lines()[-1], "it is drawn")
        terminal.wait_for(lambda: re.search(r"in 100/s +[_.:=+*#-]*#", terminal.text()), "bars are drawn")
        for part in ("|- worker-0", "|  `- lab: ?[31m[red]helper", "`- acceptor-0", "- events ---"):
            assert part in terminal.text()
        assert terminal.raw.isascii()
        terminal.press("q")
        terminal.assert_restored(status=0)


# --- Keys and what they do to processes ------------------------------------------------------------------------------


def test_renicing_is_done_shown_and_remembered(fake: FakeBroker) -> None:
    pid = fake.pids["worker-1"]
    with top(fake) as terminal:
        terminal.wait_for("worker-1")
        terminal.press("/", "worker-1", "\r", "G", "+", "+")
        # By the terminal's own waiting, which reads on: a dashboard that nobody reads stands still.
        terminal.wait_for(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 2, "it has nice 2")
        terminal.wait_for("1 → 2 · remembered for its successors")
        terminal.wait_for(lambda: re.search(r"worker-1 +\d+ +\d+ SNl +2 ", terminal.text()), "NI 2 is shown")
        terminal.wait_for(lambda: "cyan" in terminal.colours_of("worker-1"), "the change is marked")
        terminal.press("n", "7", "\r")
        terminal.wait_for("3 threads): 2 → 7")
        assert {os.getpriority(os.PRIO_PROCESS, int(tid)) for tid in os.listdir(f"/proc/{pid}/task")} == {7}
        terminal.press("n", "99", "\r")
        terminal.wait_for("99 is out of range")
        terminal.press("q")
        terminal.assert_restored(status=0)


def test_stopping_and_continuing(fake: FakeBroker) -> None:
    pid = fake.pids["router"]
    with top(fake) as terminal:
        terminal.wait_for("router")
        terminal.press("j", "s")
        terminal.wait_for(lambda: re.search(r"router +\d+ +\d+ T ", terminal.text()), "STAT T is shown")
        assert state_of(pid) == "T"
        terminal.press("s")
        terminal.wait_for(lambda: re.search(r"router +\d+ +\d+ S ", terminal.text()), "STAT S is shown")
        assert state_of(pid) == "S"


def test_killing_asks_first_and_the_zombie_is_red(fake: FakeBroker) -> None:
    pid = fake.pids["router"]
    with top(fake) as terminal:
        terminal.wait_for("router")
        terminal.press("j", "K")
        terminal.wait_for(f"kill router (PID {pid})?")
        terminal.press("n")
        terminal.wait_for("nothing done")
        assert state_of(pid) == "S"
        terminal.press("K", "y")
        terminal.wait_for("killed (SIGKILL)")
        terminal.wait_for("zombies 1")
        terminal.wait_for(lambda: terminal.colours_of("├─ router") == {"red"}, "the zombie is red")
        terminal.press("K")
        terminal.wait_for("is a zombie")


FORGETFUL = """
import sys
import monitor.view
from broker.cli import main
monitor.view.DEPARTED_SECONDS = 2.0
sys.exit(main(sys.argv[1:]))
"""
"""A dashboard that shows the dead for a shorter time."""


def test_a_killed_worker_is_seen_explained_and_replaced(broker: Broker) -> None:
    old = broker.pids()["worker-0"]
    command = [sys.executable, "-c", FORGETFUL, "top", "--state-dir", str(broker.state_dir), "--refresh", "0.2"]
    with Terminal(command) as terminal:
        terminal.wait_for("worker-0")
        terminal.press("/", "worker-0", "\r", "G", "K", "y")
        terminal.wait_for(lambda: broker.pids().get("worker-0") not in (None, old), "it is replaced")
        new = broker.pids()["worker-0"]
        dead, successor = re.compile(rf"worker-0 +{old} killed by SIGKILL"), re.compile(rf"worker-0 +{new} ")
        terminal.wait_for(lambda: dead.search(terminal.text()), "the dead one is shown with its cause")
        terminal.wait_for(lambda: successor.search(terminal.text()), "its successor is shown")
        terminal.wait_for(f"worker-0 (PID {old}) was killed by SIGKILL")
        terminal.wait_for(lambda: not dead.search(terminal.text()), "the dead one leaves")
        assert successor.search(terminal.text())


def test_details_of_a_process(fake: FakeBroker) -> None:
    with top(fake, columns=120, lines=40) as terminal:
        terminal.wait_for("worker-1")
        terminal.press("/", "worker-1", "\r", "G", "d")
        terminal.wait_for(f"─ worker-1 (PID {fake.pids['worker-1']}) ─")
        for part in ("S  sleeping until something happens", "l  has several threads", "broker: worker-1", "cgroup"):
            terminal.wait_for(part)
        terminal.wait_for(lambda: len(re.findall(r"\d+ S nice 0 ", terminal.text())) == 3, "three threads are listed")
        terminal.press("\x1b")
        terminal.wait_until_gone("descriptors")


def test_filter_sort_and_list(fake: FakeBroker) -> None:
    with top(fake) as terminal:
        terminal.wait_for("├─ worker-0")
        terminal.press("t")
        terminal.wait_until_gone("├─")
        terminal.press("/", "work")
        terminal.wait_for("filter: work")
        assert "router" not in terminal.text().partition("events")[0]
        terminal.press("\x1b")
        terminal.wait_until_gone("filter: work")
        assert "router" in terminal.text().partition("events")[0]
        terminal.press(">", ">")
        terminal.wait_for("sorted by PID")


def test_pausing_stops_the_picture_and_not_the_keys(fake: FakeBroker) -> None:
    with top(fake, refresh="0.1") as terminal:
        terminal.wait_for("├─ router")
        terminal.press("p")
        terminal.wait_for("PAUSED")
        fake.signal("router", signal.SIGSTOP)
        terminal.press("j", "d")
        terminal.wait_for(f"─ router (PID {fake.pids['router']}) ─")
        assert re.search(r"router +\d+ +\d+ S ", terminal.text())
        terminal.press("p")
        terminal.wait_for(lambda: re.search(r"router +\d+ +\d+ T ", terminal.text()), "STAT T is shown")


# --- A broker in trouble ---------------------------------------------------------------------------------------------


def test_with_a_stopped_supervisor_it_goes_on_and_says_what_is_stale(fake: FakeBroker) -> None:
    with top(fake) as terminal:
        terminal.wait_for("rooms 2")
        fake.stop_supervisor()
        terminal.wait_for("supervisor is stopped, STAT T:")
        fake.signal("router", signal.SIGSTOP)
        terminal.wait_for(lambda: re.search(r"router +\d+ +\d+ T ", terminal.text()), "the router's STAT is shown")
        first = terminal.line_with("supervisor is stopped")
        terminal.wait_for(lambda: terminal.line_with("supervisor is stopped") != first, "the age grows")
        terminal.press("j", "j", "+")
        terminal.wait_for("0 → 1 · for this process only: the supervisor is stopped")
        terminal.press("g", "s")
        terminal.wait_until_gone("supervisor is stopped")
        assert state_of(fake.supervisor_pid) in ("S", "R")


def test_it_waits_for_a_broker_that_ended_and_finds_the_next(tmp_path: Path) -> None:
    with FakeBroker(tmp_path) as fake, top(fake) as terminal:
        terminal.wait_for("├─ worker-0")
        fake.__exit__(None, None, None)
        terminal.wait_for("not running")
        terminal.wait_for("no broker runs on")
        with FakeBroker(tmp_path) as second:
            terminal.wait_for(str(second.pids["router"]))
            terminal.wait_until_gone("not running")
            terminal.press("q")
            terminal.assert_restored(status=0)


def test_a_real_broker_that_stops_has_its_end_told(broker: Broker) -> None:
    with top(broker) as terminal:
        terminal.wait_for("├─ worker-0")
        assert broker.run("stop").returncode == 0
        terminal.wait_for("the broker has stopped")
        terminal.wait_for("exited with status 0")


def test_without_a_broker_it_says_so_in_one_line_on_the_screen_that_was_there(tmp_path: Path) -> None:
    with Terminal(broker_command("top", "--state-dir", str(tmp_path))) as terminal:
        rest = terminal.wait_for_end()
        assert f"broker: no broker runs on {tmp_path}; `broker start` starts one\r\nstatus=3" in rest
        assert b"\x1b" not in terminal.raw


# --- Without a terminal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_piped_it_prints_one_table(brisk: FakeBroker, options: list[str]) -> None:
    result = run("--state-dir", str(brisk.state_dir), *options)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[4].split() == [column.heading for column in COLUMNS]
    names = ["supervisor", "├─ router", "├─ worker-0", "│  └─ lab:", "├─ worker-1", "└─ acceptor-0"]
    assert [line[1 : 1 + len(name)] for line, name in zip(lines[5:], names, strict=True)] == names
    assert "\x1b" not in result.stdout


def test_once_on_a_terminal_leaves_it_alone(brisk: FakeBroker) -> None:
    with Terminal(broker_command("top", "--state-dir", str(brisk.state_dir), "--once"), 70, 30) as terminal:
        assert "status=0" in terminal.wait_for_end()
        assert b"\x1b[?1049h" not in terminal.raw
        assert "├─ router" in terminal.text()
        assert "RSS" not in terminal.text()


def test_a_picture_is_saved(brisk: FakeBroker, tmp_path: Path) -> None:
    path = tmp_path / "top.svg"
    result = run("--state-dir", str(brisk.state_dir), "--svg", str(path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert "worker-1" in path.read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_saved_is_one_line(brisk: FakeBroker) -> None:
    result = run("--state-dir", str(brisk.state_dir), "--svg", "/nowhere/top.svg")
    assert result.returncode == 1
    assert (
        result.stderr
        == "broker: cannot write /nowhere/top.svg: No such file or directory; name another file with --svg\n"
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_a_refresh_that_makes_no_sense_is_refused(tmp_path: Path, seconds: str) -> None:
    result = run("--state-dir", str(tmp_path), f"--refresh={seconds}")
    assert result.returncode == 2
    assert "is not a number of seconds from 0.1 to 3600" in result.stderr


@pytest.mark.slow
def test_it_costs_less_than_three_percent_of_a_core_at_twenty_processes(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path / "state", "--workers", "17") as broker,
        top(broker, refresh="1", columns=160, lines=50) as terminal,
    ):
        terminal.wait_for("acceptor-0")
        assert len(broker.pids()) == 20
        process = terminal.process
        before, began = process.cpu_times(), time.monotonic()
        terminal.wait_for(lambda: time.monotonic() - began > 10, "ten seconds pass")
        after = process.cpu_times()
        used_seconds = after.user + after.system - before.user - before.system
        share = used_seconds / (time.monotonic() - began)
        assert share < 0.03, f"{share:.2%} of a core"
