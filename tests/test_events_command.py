"""`broker events`: of a broker that is down, or goes down while it is followed; and what may be in the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.state_dir import EVENT_FILE
from monitor.left_behind import all_events, events_after
from tests.rows import event
from tests.running import Broker, wait_until

NO_EVENTS = [
    b'{"at": 2.0, "x": {}',
    b'{"at": 2.0}',
    b'["no object"]',
    b"no json",
    b"",
    b"}",
    b"\xff\xfe}",
    b"[" * 50_000,
    *(json.dumps(event(at=at)).encode() for at in ("no time", None, 1e300, -1.0, float("nan"))),
    json.dumps(event(text=None)).encode(),
    json.dumps(event(kind=["x"])).encode(),
    json.dumps(event(level=3)).encode(),
]


def leave(state_dir: Path, *lines: bytes) -> None:
    (state_dir / EVENT_FILE).write_bytes(b"".join(line + b"\n" for line in lines))


def run_events(state_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker", "events", "--state-dir", str(state_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("line", NO_EVENTS)
def test_what_is_no_event_is_passed_over(tmp_path: Path, line: bytes) -> None:
    first, last = event(1, text="新"), event(2)
    leave(tmp_path, json.dumps(first, ensure_ascii=False).encode(), line, json.dumps(last).encode())
    assert all_events(tmp_path) == (first, last)
    assert events_after(tmp_path, 0.0) == (first, last)


def test_a_torn_file_of_a_broker_that_is_down_is_printed_as_far_as_it_goes(tmp_path: Path) -> None:
    leave(tmp_path, *NO_EVENTS, json.dumps(event(text="worker-0 died", kind="died", stack=7)).encode(), b'{"at": 3')
    for options in ((), ("--json",)):
        done = run_events(tmp_path, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        assert "worker-0 died" in done.stdout


def test_nothing_left_behind_is_no_broker(tmp_path: Path) -> None:
    leave(tmp_path, *NO_EVENTS)
    done = run_events(tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("broker: no broker runs on ")


def test_nothing_in_an_event_steers_a_terminal(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x9b31m\rx"
    leave(tmp_path, json.dumps(event(text=hostile, level=hostile, kind=hostile, stack=f"a\n{hostile}")).encode())
    done = run_events(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 4  # \r breaks the line of a stack


@contextmanager
def follower(broker: Broker) -> Iterator[subprocess.Popen[str]]:
    """`broker events --follow` that has told all there is."""
    count = len(broker.ask("events")["events"])
    process = subprocess.Popen(
        broker.command("events", "--follow"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for _ in range(count):
            assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_follower_says_that_the_broker_was_killed(broker: Broker) -> None:
    with follower(broker) as process:
        os.kill(broker.pid, signal.SIGKILL)
        wait_until(lambda: process.poll() is not None, "the follower ends")
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (3, "broker: the broker has ended\n")


def test_a_follower_ends_with_a_broker_that_says_goodbye(broker: Broker) -> None:
    with follower(broker) as process:
        assert broker.run("stop").returncode == 0
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert out.splitlines()[-1].endswith("the broker has stopped")
