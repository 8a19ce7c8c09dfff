"""A running broker whose journal is in trouble: no room on the disk, a damaged middle, a torn end.

There is no room when the router may not make a file longer (RLIMIT_FSIZE, setrlimit(2)): that is imposed on the running
process, and taken away again.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from broker import faults
from tests.exact_room import ExactRoom
from tests.running import DEADLINE_SECONDS, Broker, is_gone, running_broker, state_of, wait_until

FAST = ("--heartbeat-seconds", "0.1", "--hang-seconds", "10")


def journal_files(broker: Broker) -> list[Path]:
    """The files in the journal's directory, the newest journal last."""
    files = [path for path in (broker.state_dir / "journal").iterdir() if not path.name.startswith("snapshot")]
    return sorted(files, key=lambda path: path.name)


def fill_disk(broker: Broker, bytes_left: int | None = None) -> None:
    """From here on the router can write nothing to any file; or so many bytes more, and new files of that length."""
    limit = 0 if bytes_left is None else journal_files(broker)[-1].stat().st_size + bytes_left
    resource.prlimit(broker.pids()["router"], resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def make_room(broker: Broker) -> None:
    """Take the limit away."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(broker.pids()["router"], resource.RLIMIT_FSIZE, unlimited)


def journal_of(broker: Broker) -> str:
    """What the status says of the journal."""
    return str(broker.ask("status")["journal"])


@contextlib.contextmanager
def exact_room(broker: Broker) -> Iterator[ExactRoom]:
    """A room that is left at the end."""
    room = ExactRoom(broker)
    try:
        yield room
    finally:
        room.close()


def test_a_full_disk_is_told_survived_and_forgotten(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *FAST) as broker, exact_room(broker) as room:
        wait_until(lambda: journal_of(broker) == "ok", "the router has said that all is well")
        assert "journal ok" in broker.run("status").stdout
        room.talk()
        room.settle()
        fill_disk(broker)
        room.talk()
        room.settle()
        room.until(lambda: journal_of(broker) == "suspended: File too large", "the status says what is wrong")
        told = broker.run("status").stdout
        assert "journal suspended: File too large; if the router dies now, everybody is disconnected;" in told
        assert json.loads(broker.run("status", "--json").stdout)["journal"] == "suspended: File too large"
        picture = " ".join(broker.run("top", "--once").stdout.split())
        assert "journal suspended" in picture
        assert "File too large; if the router dies now, everybody is disconnected" in picture
        assert "the journal is suspended: File too large" in broker.run("events").stdout
        for name in ("worker-0", "worker-1", "acceptor-0"):  # all but the router are as safe as ever
            old = broker.pids()[name]
            room.talk(1)
            os.kill(old, signal.SIGKILL)
            room.visit()
            room.talk(2)
            broker.wait_ready(name, old)
            room.settle()
        assert journal_of(broker).startswith("suspended")
        make_room(broker)
        room.until(lambda: journal_of(broker) == "ok", "the journal is complete again, without anybody's help")
        assert "the journal is complete again" in broker.run("events").stdout
        for _ in range(3):
            old = broker.pids()["router"]
            room.talk(1)
            os.kill(old, signal.SIGKILL)
            room.visit()
            room.talk(2)
            broker.wait_ready("router", old)
            room.settle()


def test_a_disk_that_fills_and_empties_again_and_again(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *FAST) as broker, exact_room(broker) as room:
        for suspensions, bytes_left in enumerate((0, 10, 1000), 1):  # a record that fits in part, and one that does
            fill_disk(broker, bytes_left)
            while (
                len(broker.events("log", "router")) < 2 * suspensions - 1
            ):  # the last one is still the guarantee's end
                room.talk(1)
                room.pump(0.05)
            make_room(broker)
            room.talk(5)
            room.until(lambda: journal_of(broker) == "ok", "there is room")
            old = broker.pids()["router"]
            os.kill(old, signal.SIGKILL)
            room.talk(5)
            broker.wait_ready("router", old)
            room.settle()


def test_a_router_that_dies_while_the_journal_is_suspended_disconnects_and_leaves_no_name_stuck(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *FAST) as broker:
        ann, bob = broker.client("ann"), broker.client("bob")
        ann.line()
        fill_disk(broker)
        bob.send("hello")
        assert ann.line() == "bob说: hello"
        wait_until(lambda: journal_of(broker).startswith("suspended"), "there is no room")
        old = broker.pids()["router"]
        os.kill(old, signal.SIGKILL)
        broker.wait_ready("router", old)
        assert ann.rest() == bob.rest() == ""
        ann, bob = broker.client("ann"), broker.client("bob")
        assert ann.line() == "bob 进入了聊天室"
        wait_until(lambda: broker.ask("status")["sessions"] == 2, "the old connections are gone")
        wait_until(lambda: journal_of(broker) == "ok", "a new router has a new journal")


def test_a_router_that_dies_while_it_gives_its_journal_up(tmp_path: Path) -> None:
    state = tmp_path / "faults"
    state.mkdir()
    point = "journal.giving-up"
    (state / f"{point}.hold").touch()
    environment = {"BROKER_FAULTS": point, "BROKER_FAULTS_STATE": str(state)}
    assert point in faults.POINTS
    with running_broker(tmp_path / "state", *FAST, environment=environment) as broker:
        ann, bob = broker.client("ann"), broker.client("bob")
        ann.line()
        (state / f"{point}.hold").unlink()
        fill_disk(broker, 0)
        old = broker.pids()["router"]
        bob.send("hello")
        broker.wait_ready("router", old)
        assert (state / f"{point}.1").read_text() == f"{old}\n"
        # What the journal did not take was not applied to anything that is left; nobody goes on with half a truth.
        assert ann.rest() == bob.rest() == ""
        ann, bob = broker.client("ann"), broker.client("bob")
        assert ann.line() == "bob 进入了聊天室"


# Damage.


def overwrite_middle(path: Path) -> None:
    """Something else than was written, with good records behind it."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 40)


def kill_supervisor(broker: Broker) -> None:
    """And wait until nobody is left."""
    pids = broker.pids()
    os.kill(broker.pid, signal.SIGKILL)
    assert broker.process is not None
    broker.process.wait()
    wait_until(lambda: all(map(is_gone, pids.values())), "no child is left")


def chat_a_little(broker: Broker) -> None:
    """So that there is something in the journal."""
    ann, bob = broker.client("ann"), broker.client("bob")
    ann.line()
    for number in range(20):
        bob.send(f"line {number}")
        assert ann.line() == f"bob说: line {number}"


def test_a_router_that_finds_its_journal_damaged_stops_the_broker_and_says_where(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state") as broker:
        pids = broker.pids()
        chat_a_little(broker)
        (journal,) = journal_files(broker)
        overwrite_middle(journal)
        os.kill(pids["router"], signal.SIGKILL)
        assert broker.process is not None
        assert broker.process.wait(DEADLINE_SECONDS) == 1
        told, way_out = (tmp_path / "stderr").read_text().splitlines()[-2:]
        assert told.startswith(
            f"broker: the broker has stopped: router cannot go on: the journal is damaged: {journal} ("
        )
        assert way_out.startswith("`broker start --discard-journal` removes it")
        assert "Traceback" not in (tmp_path / "stderr").read_text()
        assert all(map(is_gone, pids.values()))
        (event,) = [
            json.loads(line) for line in broker.run("events", "--json").stdout.splitlines() if "gave-up" in line
        ]
        assert str(journal) in event["text"] and "\n" not in event["text"]
        refused = broker.run("start", "--listen", "chat://127.0.0.1:0")
        assert refused.returncode == 1
        assert str(journal) in refused.stderr
    with running_broker(tmp_path / "state", "--discard-journal") as successor:
        chat_a_little(successor)


def test_a_start_looks_at_the_journal_that_was_left_behind(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state") as broker:
        chat_a_little(broker)
        (journal,) = journal_files(broker)
        kill_supervisor(broker)
        overwrite_middle(journal)
        refused = broker.run("start", "--listen", "chat://127.0.0.1:0")
        assert refused.returncode == 1
        assert str(journal) in refused.stderr
        assert "--discard-journal" in refused.stderr
        assert refused.stderr.count("\n") <= 2 and "Traceback" not in refused.stderr
        assert journal.exists(), "nothing is lost by trying"
        assert broker.run("status").returncode == 3
    with running_broker(tmp_path / "state", "--discard-journal") as successor:
        chat_a_little(successor)


def test_a_start_after_a_sound_or_torn_journal_only_warns(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state") as broker:
        chat_a_little(broker)
        (journal,) = journal_files(broker)
        kill_supervisor(broker)
    with running_broker(tmp_path / "state") as successor:
        assert str(journal) not in (tmp_path / "stderr").read_text()
        chat_a_little(successor)
        (journal,) = journal_files(successor)
        kill_supervisor(successor)
        with journal.open("ab") as file:
            file.write(bytes(100))
    with running_broker(tmp_path / "state") as last:
        assert str(journal) in (tmp_path / "stderr").read_text()
        chat_a_little(last)


def test_a_torn_end_is_cut_with_a_warning_and_nobody_notices(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state") as broker, exact_room(broker) as room:
        room.talk()
        room.settle()
        for garbage in (bytes(1000), journal_files(broker)[-1].read_bytes()[48:100], b"x"):
            old = broker.pids()["router"]
            os.kill(old, signal.SIGSTOP)
            wait_until(lambda: state_of(old) == "T", "the router stands still")  # noqa: B023
            room.talk(2)
            with journal_files(broker)[-1].open("ab") as file:
                file.write(garbage)
            os.kill(old, signal.SIGKILL)
            room.talk(2)
            broker.wait_ready("router", old)
            room.settle()
        warnings = [event for event in broker.events("log", "router") if event["level"] == "warning"]
        assert len(warnings) == 3
        assert all("journal" in event["text"] for event in warnings)


def test_a_detached_start_refuses_a_damaged_journal_too(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state") as broker:
        chat_a_little(broker)
        (journal,) = journal_files(broker)
        kill_supervisor(broker)
        overwrite_middle(journal)
        refused = subprocess.run(
            broker.command("start", "--detach", "--listen", "chat://127.0.0.1:0"),
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert refused.returncode == 1
        assert "--discard-journal" in refused.stderr
        assert refused.stderr.count("\n") <= 2
