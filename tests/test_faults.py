"""Fault points: whoever passes one that is armed ends there, as often as was asked for, and nobody else."""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker import faults
from broker.errors import UsageError
from tests.journal_lives import Router, live, payloads
from tests.running import running_broker, state_of, wait_until

ROOT = Path(__file__).parent.parent
POINT = "journal.recovered"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of a run."""
    made = tmp_path / "faults"
    made.mkdir()
    return made


def pass_points(specification: str, state: Path, times: int = 1, name: str = POINT) -> int:
    """A process of the run passes a point so many times; how it ended."""

    def life() -> None:
        faults.arm(specification, str(state))
        for _ in range(times):
            faults.point(name)

    return live(life)


def test_off_is_off() -> None:
    assert not faults.ENABLED
    faults.point(POINT)


def test_a_point_kills_once_in_a_run(state: Path) -> None:
    assert pass_points(POINT, state) == -signal.SIGKILL
    assert int((state / f"{POINT}.1").read_text()) > 0
    assert pass_points(POINT, state, times=3) == 0


def test_it_kills_the_one_that_passes_it_for_the_nth_time(state: Path) -> None:
    assert pass_points(f"{POINT}:3", state, times=2) == 0
    assert pass_points(f"{POINT}:3", state, times=2) == 0, "each process counts for itself"
    assert pass_points(f"{POINT}:3", state, times=3) == -signal.SIGKILL


def test_it_kills_so_many_in_a_row(state: Path) -> None:
    ended = [pass_points(f"{POINT}:2x10", state, times=2) for _ in range(12)]
    assert ended == [-signal.SIGKILL] * 10 + [0, 0]
    assert len(list(state.iterdir())) == 10


def test_while_it_is_held_nobody_counts(state: Path) -> None:
    (state / f"{POINT}.hold").touch()
    assert pass_points(f"{POINT}:2", state, times=3) == 0

    def life() -> None:
        faults.arm(f"{POINT}:2", str(state))
        faults.point(POINT)
        (state / f"{POINT}.hold").unlink()
        faults.point(POINT)
        assert not (state / f"{POINT}.1").exists()
        faults.point(POINT)

    assert live(life) == -signal.SIGKILL


def test_whoever_takes_the_acts_away_has_them_done_once_more(state: Path) -> None:
    def life() -> None:
        faults.arm(POINT, str(state))
        (state / f"{POINT}.1").touch()
        faults.point(POINT)
        (state / f"{POINT}.1").unlink()
        faults.point(POINT)

    assert live(life) == -signal.SIGKILL


def test_other_points_are_harmless_and_several_can_be_armed(state: Path) -> None:
    both = f"{POINT}:EXIT, journal.rotated:2:EXIT"
    assert pass_points(both, state, name="journal.giving-up") == 0
    assert pass_points(both, state, name="journal.rotated", times=2) == faults.EXIT_STATUS
    assert pass_points(both, state) == faults.EXIT_STATUS


def test_one_can_be_stopped_instead(state: Path) -> None:
    def life() -> None:
        faults.arm(f"{POINT}:1:STOP", str(state))
        faults.point(POINT)
        os._exit(7)

    process = multiprocessing.get_context("fork").Process(target=life)
    process.start()
    pid = process.pid
    assert pid is not None
    try:
        wait_until(lambda: state_of(pid) == "T", "the stop")
        assert (state / f"{POINT}.1").read_text() == f"{pid}\n"
    finally:
        os.kill(pid, signal.SIGCONT)
        process.join()
    assert process.exitcode == 7, "it goes on when it is continued"


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("router.tea-time", "there is no point 'router.tea-time'; broker/faults.py has a table of them"),
        (f"{POINT}:1:MAIM", "there is no action 'MAIM'; there are KILL, STOP, EXIT"),
        (f"{POINT}:0", f"'{POINT}:0' would never happen; counts begin with 1"),
        (f"{POINT}:1x0", f"'{POINT}:1x0' would never happen; counts begin with 1"),
        (f"{POINT}:one", f"'{POINT}:one' is not POINT[:COUNT[xTIMES]][:ACTION]"),
        (f"{POINT},", "'' is not POINT[:COUNT[xTIMES]][:ACTION]"),
    ],
)
def test_what_cannot_be_understood_is_refused(state: Path, specification: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"BROKER_FAULTS: {message}")):
        faults.arm(specification, str(state))
    assert not faults.ENABLED


@pytest.mark.parametrize("directory", [None, "", "/nowhere/at/all"])
def test_a_run_needs_its_directory(directory: str | None) -> None:
    with pytest.raises(UsageError, match="BROKER_FAULTS needs BROKER_FAULTS_STATE"):
        faults.arm(POINT, directory)
    assert not faults.ENABLED


def test_the_environment_arms_children_and_spares_their_parent(state: Path) -> None:
    code = (
        "import multiprocessing\nfrom broker import faults\n"
        f"faults.point({POINT!r})\n"
        f"child = multiprocessing.get_context('fork').Process(target=faults.point, args=({POINT!r},))\n"
        "child.start()\nchild.join()\nprint(faults.ENABLED, child.exitcode)\n"
    )
    for specification, printed in (("", "False 0\n"), (POINT, "True -9\n"), (POINT, "True 0\n")):
        environment = os.environ | {"BROKER_FAULTS": specification, "BROKER_FAULTS_STATE": str(state)}
        process = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        assert process.stdout == printed


def test_a_broker_does_not_start_with_an_unknown_point(tmp_path: Path) -> None:
    environment = os.environ | {"BROKER_FAULTS": "tea-time", "BROKER_FAULTS_STATE": str(tmp_path)}
    command = [sys.executable, "-m", "broker", "start", "--state-dir", str(tmp_path / "state")]
    process = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("broker: BROKER_FAULTS: there is no point 'tea-time'; ")
    assert process.stderr.count("\n") == 1


def test_clients_do_not_notice_a_router_that_dies_within_its_appends(state: Path, tmp_path: Path) -> None:
    """Three in a row, each when half of its eighth record is written."""
    environment = {"BROKER_FAULTS": "journal.half-appended:8x3", "BROKER_FAULTS_STATE": str(state)}
    with running_broker(tmp_path / "broker", environment=environment) as broker:
        ann, bob = broker.client("ann"), broker.client("bob")
        ann.expect("bob")
        for number in range(40):
            ann.send(f"line {number}")
            assert bob.line().endswith(f"line {number}")
        assert sorted(path.name for path in state.iterdir()) == [f"journal.half-appended.{n}" for n in (1, 2, 3)]
        dead = {int(path.read_text()) for path in state.iterdir()}
        assert broker.pids()["router"] not in dead and len(dead) == 3
        ann.close()
        bob.close()


def test_the_points_in_the_code_are_those_of_the_table_each_once() -> None:
    found = []
    for package in ("broker", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "faults.point":
                    assert isinstance(node.args[0], ast.Constant)
                    found.append(node.args[0].value)
    assert sorted(found) == sorted(faults.POINTS)
    assert sorted(name for name in faults.POINTS if name.startswith("journal.")) == sorted(KNOWN_AFTER)


IN_SNAPSHOT = ("journal.snapshot-half-written", "journal.snapshot-written")
KNOWN_AFTER = {
    "journal.recovering": 0,
    "journal.recovered": 0,
    "journal.half-appended": 0,
    "journal.rotated": 3,
    "journal.snapshotting": 3,
    "journal.snapshot-half-written": 5,
    "journal.snapshot-written": 5,
    "journal.snapshot-reaped": 4,
    "journal.snapshot-renamed": 4,
    "journal.giving-up": 0,
}
"""How many payloads the next router knows when this one has died at a point, or its snapshot's process has."""


@pytest.mark.parametrize(
    ("name", "action"),
    [(name, action) for name in KNOWN_AFTER for action in ("KILL", "EXIT")] + [(name, "STOP") for name in IN_SNAPSHOT],
)
def test_every_point_of_the_journal_is_reached_and_the_chain_survives(
    state: Path, tmp_path: Path, name: str, action: str
) -> None:
    """A router, and the one that comes after it: its state is all that was appended, whatever point one died at."""
    directory = tmp_path / "journal"
    in_snapshot = name in IN_SNAPSHOT

    def life() -> None:
        faults.arm(f"{name}:1:{action}", str(state))
        router = Router(directory)
        for _ in range(3):
            router.append()
        pidfd = router.begin_snapshot()
        router.append()
        if action == "STOP":
            wait_until((state / f"{name}.1").exists, "the snapshot's process to be stopped")
            router.journal.close()  # kills and reaps it
            return
        failed = router.finish(pidfd)
        assert bool(failed) == in_snapshot
        router.append()
        if name == "journal.giving-up":
            router.journal.discard()

    ended = live(life)
    assert (state / f"{name}.1").exists()
    in_router = -signal.SIGKILL if action == "KILL" else faults.EXIT_STATUS
    assert ended == (0 if in_snapshot else in_router)
    following = Router(directory)
    # One that is stopped is still there when the fourth payload is in and its router ends.
    assert following.state == payloads(4 if action == "STOP" else KNOWN_AFTER[name])
    following.append()
    assert following.finish(following.begin_snapshot()) is None
    following.journal.close()
