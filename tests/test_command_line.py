"""The command line as a whole: outputs that take nothing, and streams that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_broker import BRISK_SECONDS, FakeBroker


def run_in_shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `broker` is the program."""
    function = 'broker() { "$PYTHON" -m broker "$@"; }'
    return subprocess.run(
        ["bash", "-c", f"{function}\n{command}"], capture_output=True, text=True, check=False, timeout=30,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["ps", "ps --json", "ps --csv", "top --once", "events", "renice 1 router"])
def test_a_full_output_is_told_in_one_line(tmp_path: Path, command: str, unbuffered: str) -> None:
    with FakeBroker(tmp_path, beat_seconds=BRISK_SECONDS):
        done = run_in_shell(f"broker {command} >/dev/full", BROKER_STATE_DIR=str(tmp_path), PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "broker: cannot write the output: No space left on device"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["--help", "config", "config --help"])
def test_help_that_cannot_be_written_is_told_too(command: str) -> None:
    done = run_in_shell(f"broker {command} >/dev/full", PYTHONUNBUFFERED="")
    assert (done.returncode, done.stderr) == (1, "broker: cannot write the output: No space left on device\n")


def test_an_error_is_told_before_that_of_the_output(tmp_path: Path) -> None:
    done = run_in_shell(f"broker ps --state-dir {tmp_path} >/dev/full")
    assert done.returncode == 3
    assert done.stderr.startswith("broker: no broker runs on ")


@pytest.mark.parametrize("command", ["ps", "ps --json", "top", "status", "--version", "start"])
def test_a_closed_output_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    done = run_in_shell(f"broker {command} >&-", BROKER_STATE_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "broker: the standard output is closed; give it a terminal, a file or /dev/null\n"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_input_is_needed_by_nobody_and_its_number_given_to_nobody(tmp_path: Path) -> None:
    with FakeBroker(tmp_path, beat_seconds=BRISK_SECONDS):
        for command in ("ps", "top", "events", "config"):
            done = run_in_shell(f"broker {command} <&-", BROKER_STATE_DIR=str(tmp_path))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout
    program = "import os; from broker.cli import main; main(['--version']); print(os.readlink('/proc/self/fd/0'))"
    done = run_in_shell(f'"$PYTHON" -c "{program}" <&-')
    assert done.stdout.splitlines()[-1] == "/dev/null", done.stderr
