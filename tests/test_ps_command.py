"""`broker ps`: the table on a terminal and in a pipe, JSON, CSV, and a supervisor that is stopped; and its cells."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from broker.commands import ps
from monitor import table
from monitor.snapshot import ProcessRow, Snapshot
from monitor.stat import stat_of
from tests.fake_broker import BRISK_SECONDS, HELPER, IN_PER_BEAT, FakeBroker

ISSUED_KEYS = [
    *("name", "role", "pid", "ppid", "stat", "nice", "zombies", "cpu_percent", "wait_percent", "rss_bytes"),
    *("pss_bytes", "threads", "sessions", "messages_in", "messages_out", "restarts", "uptime_seconds"),
]
HEADINGS = [
    *("NAME", "PID", "PPID", "STAT", "NI", "ZOMBIES", "CPU%", "WAIT%", "RSS", "PSS", "THREADS", "SESSIONS"),
    *("IN/s", "OUT/s", "RESTARTS", "UPTIME"),
]
SAFE_HELPER = "lab: ?[31m[red]helper"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    with FakeBroker(tmp_path / "state", beat_seconds=BRISK_SECONDS) as broker:
        yield broker


def run_ps(state_dir: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker", "ps", "--state-dir", str(state_dir), *options]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, env=environment)


def test_json_has_the_promised_keys_first_and_the_truth_in_them(fake: FakeBroker) -> None:
    done = run_ps(fake.state_dir, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    records = json.loads(done.stdout)
    for record in records:
        assert list(record)[: len(ISSUED_KEYS)] == ISSUED_KEYS
        assert list(record) == list(ps.KEYS)
    by_name = {record["name"]: record for record in records}
    assert {name: record["pid"] for name, record in by_name.items()} == fake.pids
    worker = by_name["worker-1"]
    assert worker["ppid"] == fake.supervisor_pid
    assert worker["stat"] == stat_of(fake.pids["worker-1"])
    assert (worker["role"], worker["threads"], worker["sessions"], worker["restarts"]) == ("worker", 3, 5, 2)
    assert worker["messages_in"] % IN_PER_BEAT == 0
    assert worker["cpu_percent"] is not None
    assert worker["wait_percent"] is not None
    assert worker["stale"] is False
    assert by_name[HELPER]["sessions"] is None
    assert by_name[HELPER]["in_per_second"] is None
    assert [record["in_per_second"] for record in records if record["role"] != "other"] == pytest.approx(
        [2 * IN_PER_BEAT / BRISK_SECONDS, *[IN_PER_BEAT / BRISK_SECONDS] * 4], rel=0.25
    ), "though nobody is connected, every rate is known"


def test_csv_has_the_same_columns(fake: FakeBroker) -> None:
    done = run_ps(fake.state_dir, "--csv")
    assert (done.returncode, done.stderr) == (0, "")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(lines[0]) == list(ps.KEYS)
    assert {line["name"]: int(line["pid"]) for line in lines} == fake.pids
    assert lines[0]["stale"] == "false"
    assert next(line for line in lines if line["name"] == HELPER)["sessions"] == ""


def test_json_and_csv_exclude_each_other(fake: FakeBroker) -> None:
    assert run_ps(fake.state_dir, "--csv", "--json").returncode == 2


def test_piped_it_has_every_column_and_no_escape_sequence(fake: FakeBroker) -> None:
    done = run_ps(fake.state_dir)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == HEADINGS
    assert "\x1b" not in done.stdout
    names = ["supervisor", "├─ router", "├─ worker-0", f"│  └─ {SAFE_HELPER}", "├─ worker-1", "└─ acceptor-0"]
    pids = [fake.pids[name] for name in ("supervisor", "router", "worker-0", HELPER, "worker-1", "acceptor-0")]
    for line, name, pid in zip(lines, names, pids, strict=True):
        assert line.startswith(f"{name} ")
        assert line.removeprefix(name).split()[0] == str(pid)


def test_an_encoding_without_the_trees_branches_is_no_failure(fake: FakeBroker) -> None:
    done = run_ps(fake.state_dir, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].startswith("?? router")


@pytest.mark.parametrize("width", [200, 80, 40, 10])
def test_on_a_terminal_it_keeps_to_the_width(fake: FakeBroker, width: int) -> None:
    command = ["-m", "broker", "ps", "--state-dir", str(fake.state_dir)]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    environment.pop("NO_COLOR", None)
    child = pexpect.spawn(
        sys.executable, command, dimensions=(24, width), env=environment, encoding="utf-8", timeout=30
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    printed = child.before
    assert isinstance(printed, str)
    assert "\x1b[1m" in printed, "the heading is bold"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed.splitlines()]
    assert "\x1b" not in "".join(lines)
    assert len(lines) == 7
    assert max(map(cell_len, lines)) <= width
    name = f"│  └─ {SAFE_HELPER}"
    assert lines[4].startswith(name if width >= 40 else name[: width - 1] + "…")
    shown = lines[0].split()
    if width == 200:
        assert shown == HEADINGS
    elif width == 80:
        assert shown[:6] == HEADINGS[:6]
        assert shown != HEADINGS
    elif width == 40:
        assert shown in (["NAME", "PID", "STAT"], ["NAME", "PID", "STAT", "NI"]), "four digits of a PID leave room"
    else:
        assert shown == ["NAME"]


def test_a_stopped_supervisor_is_shown_and_the_stale_figures_named(fake: FakeBroker) -> None:
    fake.stop_supervisor()
    done = run_ps(fake.state_dir)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 7
    assert done.stdout.splitlines()[1].split()[3].startswith("T")
    assert done.stderr.count("\n") == 1
    assert f"PID {fake.supervisor_pid}" in done.stderr
    for heading in ("SESSIONS", "IN/s", "OUT/s", "RESTARTS"):
        assert heading in done.stderr
    records = json.loads(run_ps(fake.state_dir, "--json").stdout)
    assert [record["stale"] for record in records] == [record["role"] != "other" for record in records]


def test_without_a_broker_the_exit_status_is_3(tmp_path: Path) -> None:
    done = run_ps(tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("broker: no broker runs on ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_is_no_failure(fake: FakeBroker) -> None:
    shell = f'"{sys.executable}" -m broker ps --state-dir "{fake.state_dir}" | head -n 1; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == HEADINGS


def test_help_documents_every_key() -> None:
    assert ps.__doc__ is not None
    words = re.findall(r"\w+", ps.__doc__)
    assert [key for key in ps.KEYS if key not in words] == []
    assert list(ps.KEYS[: len(ISSUED_KEYS)]) == ISSUED_KEYS
    assert set(ps.KEYS) == {field.name for field in fields(ProcessRow)}


# The pure parts.


def row(name: str = "worker-0", depth: int = 1, **values: object) -> ProcessRow:
    """A row of which only the given fields are of interest."""
    empty = {field.name: None for field in fields(ProcessRow)}
    settled: dict[str, object] = {"name": name, "role": "worker", "stat": "S", "zombies": 0, "state": "ready"}
    return ProcessRow(**{**empty, **settled, "depth": depth, "stale": False, **values})  # type: ignore[arg-type]


def snapshot(*rows: ProcessRow, age: float | None = 0.0) -> Snapshot:
    return Snapshot(at=0.0, rows=rows, status_age_seconds=age, supervisor_pid=1)


def test_looking_ends_when_nothing_more_is_to_come() -> None:
    supervisor = row("supervisor", 0, role="supervisor", pid=1)
    beaten = row(pid=2, in_per_second=0.0)
    unbeaten = row(pid=2)
    assert ps.is_settled(snapshot(supervisor, beaten))
    assert not ps.is_settled(snapshot(supervisor, unbeaten))
    assert not ps.is_settled(snapshot(supervisor, beaten, unbeaten)), "no random mix of 0 and -"
    assert ps.is_settled(snapshot(supervisor, beaten, row(pid=3, stat="TN"))), "who is stopped does not beat"
    assert ps.is_settled(snapshot(supervisor, row(pid=4, state="starting")))
    assert ps.is_settled(snapshot(supervisor, unbeaten, age=3.0)), "a stopped supervisor will not tell"
    assert ps.is_settled(snapshot(supervisor, row(pid=None, state="waiting")))
    assert ps.is_settled(snapshot(supervisor, row(pid=9, role="other")))


def test_what_is_said_of_a_stale_snapshot() -> None:
    stopped = row("supervisor", 0, stat="TN")
    assert ps.stale_complaint(snapshot(stopped)) is None
    assert "(PID 1, STAT TN)" in str(ps.stale_complaint(snapshot(stopped, age=None)))
    assert "are unknown" in str(ps.stale_complaint(snapshot(stopped, age=None)))
    assert "are 1m05s old" in str(ps.stale_complaint(snapshot(stopped, age=65.2)))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1.0K"),
        (1024, "1.0K"),
        (10189, "10K"),
        (1023 * 1024, "1.0M"),
        (11_816_960, "11M"),
        (2_556_928, "2.4M"),
        (5 * 1024**3, "5.0G"),
        (2000 * 1024**4, "2000T"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert table.human_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (0.04, "0.0"),
        (0.5, "0.5"),
        (7.0, "7"),
        (9.96, "10"),
        (49.6, "50"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (3400, "3.4k"),
        (123_456, "123k"),
        (999_700, "1.0M"),
    ],
)
def test_counts(count: float, text: str) -> None:
    assert table.human_count(count) == text


@given(st.floats(0, 999e12))
def test_figures_stay_narrow(count: float) -> None:
    assert len(table.human_bytes(count)) <= 4
    assert len(table.human_count(count)) <= 4


@pytest.mark.parametrize(
    ("percent", "text"), [(0, "0.0"), (12.34, "12.3"), (99.94, "99.9"), (99.97, "100"), (250, "250")]
)
def test_percentages(percent: float, text: str) -> None:
    assert table.human_percent(percent) == text


def test_a_cell_is_a_dash_where_nothing_is_known() -> None:
    bare = row(zombies=0, stat="", nice=None)
    assert [column.cell(bare) for column in table.COLUMNS[1:]] == [*("-" * 4), "0", *("-" * 10)]
    assert len(table.COLUMNS) == len(HEADINGS)
    assert [column.heading for column in table.COLUMNS] == HEADINGS


@given(st.text())
def test_nothing_from_outside_steers_a_terminal(text: str) -> None:
    cleaned = table.printable(text)
    assert len(cleaned) == len(text)
    assert cleaned.isprintable()
    assert table.labels([row(text, state=text)])[0].isprintable()


def test_the_branches_of_the_tree() -> None:
    rows = [
        row("supervisor", 0),
        row("router"),
        row("a", 2),
        row("b", 3),
        row("c", 2),
        row("worker-0", state="hung"),
        row("d", 2),
        row("e", 3),
    ]
    assert table.labels(rows) == [
        "supervisor",
        "├─ router",
        "│  ├─ a",
        "│  │  └─ b",
        "│  └─ c",
        "└─ worker-0 (hung)",
        "   └─ d",
        "      └─ e",
    ]


def test_importance_is_an_order() -> None:
    assert sorted(column.importance for column in table.COLUMNS) == list(range(1, len(table.COLUMNS) + 1))


@given(st.integers(0, 300), st.lists(st.integers(1, 30), min_size=16, max_size=16))
def test_the_most_important_columns_that_fit(available: int, column_widths: list[int]) -> None:
    needed = {column.key: width for column, width in zip(table.COLUMNS, column_widths, strict=True)}
    chosen = table.columns_that_fit(available, needed)
    assert chosen[0].key == "name"
    assert [column for column in table.COLUMNS if column in chosen] == chosen
    assert max(column.importance for column in chosen) == len(chosen), "none was left out for a less important one"
    used = sum(needed[column.key] for column in chosen) + table.GAP * (len(chosen) - 1)
    assert used <= available or len(chosen) == 1
    if len(chosen) < len(table.COLUMNS):
        following = next(column for column in table.COLUMNS if column.importance == len(chosen) + 1)
        assert used + table.GAP + needed[following.key] > available


def test_wide_characters_are_padded_by_their_width() -> None:
    assert table.pad("工人", 6, "left") == "工人  "
    assert table.pad("12", 6, "right") == "    12"
    assert table.widths([["工人工人"], ["ab"]], table.COLUMNS[:1]) == [8]
    assert table.widths([], table.COLUMNS[:2]) == [4, 3]
