"""`broker reload` and `broker scale` under load: new code, new settings, more and fewer workers, and no byte amiss."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.exact_room import ExactRoom
from tests.running import Broker, running_broker, wait_until

ROOT = Path(__file__).parent.parent
OPTIONS = ("--rate-lines-per-second", "0", "--restart-intensity", "100")


def hasty(folder: Path) -> dict[str, str]:
    """The environment of a broker whose new code and settings are on probation for no longer than a moment."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import broker.reload\n\nbroker.reload.PROBATION_SECONDS = 0.3\n")
    return {"PYTHONPATH": str(site)}


@contextmanager
def crowded(
    folder: Path, *options: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[Broker, ExactRoom]]:
    """A broker with a room of clients, local ones among them."""
    listen = ("--listen", f"chat+unix:{folder}/chat.sock")
    with running_broker(folder / "state", *listen, *OPTIONS, *options, environment=environment) as broker:
        room = ExactRoom(broker, local_socket=folder / "chat.sock")
        try:
            yield broker, room
        finally:
            room.close()


def under_load(broker: Broker, room: ExactRoom, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command while everybody talks, comes and goes."""
    process = subprocess.Popen(
        broker.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **broker.environment},
    )  # fmt: skip
    while process.poll() is None:
        if len(room.visitors) < 12:
            room.visit()
        room.talk(1)
        room.pump(0.01)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_reload_replaces_every_process_and_nobody_notices(tmp_path: Path) -> None:
    with crowded(tmp_path, environment=hasty(tmp_path)) as (broker, room):
        for _ in range(2):
            before = broker.pids()
            result = under_load(broker, room, "reload")
            assert (result.returncode, result.stdout) == (0, "Every process has been replaced.\n"), result.stderr
            after = broker.pids()
            assert after.keys() == before.keys()
            assert after.pop("supervisor") == before.pop("supervisor")
            assert not set(after.values()) & set(before.values())
            room.settle()
        assert not broker.events("died"), "all of them ended by themselves"
        assert all(process["restarts"] == 0 for process in broker.processes().values())
        assert len(broker.events("reloaded")) == 2


@pytest.mark.parametrize(
    "victim", ["router", "worker-0", pytest.param("worker-1", marks=pytest.mark.slow), "acceptor-0"]
)
def test_kills_during_a_reload(tmp_path: Path, victim: str) -> None:
    """Whoever is killed meanwhile is replaced by the new code too."""
    with crowded(tmp_path) as (broker, room):
        before = broker.pids()
        process = subprocess.Popen(broker.command("reload"), stdout=subprocess.PIPE, text=True)
        kills = 0
        while process.poll() is None:
            pid = broker.pids().get(victim)
            if pid is not None and kills < 8:
                with contextlib.suppress(ProcessLookupError):  # the reload has been faster
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                    room.worker_deaths += victim.startswith("worker")
            room.talk(1)
            room.pump(0.005)
        assert process.communicate()[0] == "Every process has been replaced.\n"
        assert process.returncode == 0
        reloaded = broker.events("reloading")[0]["number"]
        started = {e["process"] for e in broker.events("started") if e["number"] > reloaded}
        assert started == before.keys() - {"supervisor"}
        for name in before:
            if name != "supervisor":
                broker.wait_ready(name)
        room.settle()
        assert kills


ROUTER_MOMENTS = (
    ("journal.rotated", "journal.recovering"),
    ("journal.snapshot-half-written", "journal.recovered"),
    ("journal.snapshot-written", "router.replayed"),
    ("journal.snapshot-reaped", "router.linked"),
    ("journal.snapshot-renamed", "router.welcomed"),
    ("router.answered",),
)
"""Of its replacement: the snapshot that the old one leaves, the recovery of one that comes after it."""


@pytest.mark.parametrize("every", [pytest.param(ROUTER_MOMENTS, marks=pytest.mark.slow), ROUTER_MOMENTS[2:4]],
                         ids=["all", "some"])  # fmt: skip
def test_a_router_that_dies_at_any_moment_of_its_replacement_has_the_modules_of_its_own_code(
    tmp_path: Path, every: tuple[tuple[str, ...], ...]
) -> None:
    """It loads what a router of the same code has dumped, whatever has been loaded since."""
    state = tmp_path / "faults"
    state.mkdir()
    points = [point for moments in every for point in moments]
    armed = {"BROKER_FAULTS": ",".join(f"{p}:1x1" for p in points), "BROKER_FAULTS_STATE": str(state)}
    environment = {**armed, **hasty(tmp_path)}
    for point in points:
        (state / f"{point}.hold").touch()
    with crowded(tmp_path, environment=environment) as (broker, room):
        room.talk()
        assert broker.run("reload").returncode == 0  # from here on there is a snapshot to be loaded
        for moments in every:
            room.talk()
            room.settle()
            for point in moments:
                (state / f"{point}.hold").unlink()
            result = broker.run("reload")
            assert (result.returncode, result.stderr) == (0, ""), moments
            for point in moments:
                (state / f"{point}.hold").touch()
                assert (state / f"{point}.1").exists(), point
        room.talk()
        room.settle()
        assert all(event["exit_status"] == 0 for event in broker.events("exited", "router")), "none has failed"


def write_config(path: Path, **values: object) -> None:
    """A file of settings."""
    path.write_text("".join(f"{name} = {value}\n" for name, value in values.items()))


def test_a_file_with_an_error_changes_nothing_and_is_told(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    write_config(config, max_line_bytes=600)
    with crowded(tmp_path, "--config", str(config)) as (broker, room):
        before = broker.pids()
        for text, told in (
            ("max_line_bytes = 'long'\n", "max_line_bytes"),
            ("max_lin_bytes = 700\n", "max_line_bytes"),
            ("max_line_bytes = 7\n", "512"),
            ("max_line_bytes =\n", "is not TOML"),
            ("heartbeat_seconds = 9.0\n", "hang_seconds"),
        ):
            config.write_text(text)
            result = under_load(broker, room, "reload")
            assert result.returncode == 1, text
            assert str(config) in result.stderr and told in result.stderr
            assert result.stderr.count("\n") == 1 and result.stdout == ""
            assert broker.pids() == before
        config.unlink()
        result = broker.run("reload")
        assert result.returncode == 1 and "broker.toml" in result.stderr
        assert len(broker.events("reload-refused")) == 6
        room.settle()


def test_new_settings_are_in_force_and_those_that_need_a_restart_are_named(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    write_config(config, max_line_bytes=600, max_connections=100)
    with crowded(tmp_path, "--config", str(config), environment=hasty(tmp_path)) as (broker, room):
        write_config(config, max_line_bytes=512, max_connections=200, workers=4, heartbeat_seconds=0.5)
        result = under_load(broker, room, "reload")
        assert result.returncode == 0
        assert result.stdout == (
            "Every process has been replaced.\nThese settings have changed, but need a restart: max_connections\n"
        )
        room.settle()
        # The number of workers is given on the command line, which counts more than the file.
        assert broker.ask("status")["workers"] == 2
        visitor = broker.client()
        visitor.expect("请输入姓名: ")
        visitor.send("x" * 550)
        assert "512" in visitor.line()
        write_config(config, max_line_bytes=512, max_connections=100)
        assert broker.run("reload").stdout == "Every process has been replaced.\n"
        visitor.close()
        wait_until(lambda: broker.ask("status")["sessions"] == 8, "the visitor is gone")
        room.settle()


def test_a_default_that_was_lowered_for_this_machine_is_no_change(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "state")
    shell = f"ulimit -n 1000; exec {' '.join(broker.command('start', '--listen', 'chat://127.0.0.1:0'))}"
    with subprocess.Popen(
        ["sh", "-c", shell], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env={**os.environ, **hasty(tmp_path)},
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: broker.run("status").returncode == 0, "it runs")
            assert broker.run("reload").stdout == "Every process has been replaced.\n"
        finally:
            process.terminate()


# Code.


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source that may be changed."""
    copy = tmp_path / "tree"
    for package in ("broker", "workers", "monitor"):
        # With what is compiled of it, for all that stays as it is; but not with what is just being compiled.
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    return copy


def running_from(tree: Path) -> dict[str, str]:
    """The environment in which that copy is what runs."""
    return {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def change(path: Path, old: str, new: str) -> None:
    """One place of a file."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} in {path}"
    path.write_text(text.replace(old, new))


def hasten(tree: Path) -> None:
    """As `hasty`, in that copy."""
    change(tree / "broker" / "reload.py", "PROBATION_SECONDS: Final = 2.0", "PROBATION_SECONDS: Final = 0.3")


def test_new_code_is_used(tmp_path: Path, tree: Path) -> None:
    hasten(tree)
    with crowded(tmp_path, environment=running_from(tree)) as (broker, room):
        ann = broker.client("ann")
        ann.send("/quit")
        assert ann.rest() == "* 再见！\n"
        room.until(lambda: room.witness.received.endswith("退出了聊天室\n".encode()), "ann is gone")
        for person in [*room.people.values()]:
            room.until(lambda: person.received.endswith("退出了聊天室\n".encode()), "ann is gone")  # noqa: B023
            person.received.clear()
        change(tree / "broker" / "phrases.py", 'Phrase("再见！", "Goodbye!")', 'Phrase("后会有期！", "Farewell!")')
        room.talk()
        assert broker.run("reload").returncode == 0
        room.talk()
        room.settle()
        ann = broker.client("ann")
        ann.send("/quit")
        assert ann.rest() == "* 后会有期！\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("broker/phrases.py", "GOODBYE: Final", "GOODBYE: Final Final", "SyntaxError"),
        pytest.param("workers/worker.py", "import select\n", "import selekt\n", "selekt", marks=pytest.mark.slow),
        pytest.param(
            "broker/chat.py", "class Chat(", "raise ValueError('half-written')\n\n\nclass Chat(", "half-written",
            marks=pytest.mark.slow,
        ),
        ("broker/router_state.py", "self.run = b\"\"", "self.run = self.rum", "rum"),
        ("workers/entries.py", "ENTRIES: Final", "ENTRY: Final", "ENTRIES"),
    ],
)  # fmt: skip
def test_code_that_does_not_start_changes_nothing_and_is_told(
    tmp_path: Path, tree: Path, file: str, old: str, new: str, told: str
) -> None:
    hasten(tree)
    with crowded(tmp_path, environment=running_from(tree)) as (broker, room):
        before = broker.pids()
        change(tree / file, old, new)
        result = under_load(broker, room, "reload")
        assert result.returncode == 1
        assert told in result.stderr and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
        assert broker.pids() == before
        (refusal,) = broker.events("reload-refused")
        assert told in refusal["text"]
        for name in ("worker-0", "router"):  # replacements have the old code
            os.kill(before[name], signal.SIGKILL)
            room.worker_deaths += name == "worker-0"
            room.talk(2)
            broker.wait_ready(name, before[name])
            room.settle()
        change(tree / file, new, old)
        assert under_load(broker, room, "reload").returncode == 0
        room.settle()


FAILS_AS_A_CHILD = {
    "a worker cannot start": (
        "workers/worker.py", "        self.ledger = birth.ledger\n", "        self.ledger = birth.legder\n", "legder"),
    "a worker fails when clients speak": (
        "workers/reader.py", "                self.messages_in += lines\n",
        "                self.messages_im += 1\n", "messages_im"),
    "a worker is killed by a signal of its own doing": (
        "workers/worker.py", "    def after_wake_up(self) -> None:\n",
        "    def after_wake_up(self) -> None:\n        __import__('os').abort()\n", "SIGABRT"),
    "the supervisor cannot make a worker's argument": (
        "workers/harness.py", "    ledger: Ledger\n", "    leger: Ledger\n", "ledger"),
    "the acceptor cannot start": (
        "workers/acceptor.py", "        super().__init__(birth)\n", "        super().__init__(brith)\n", "brith"),
    "the router cannot start": (
        "workers/router.py", "        settings = birth.settings\n", "        settings = birth.setings\n", "setings"),
    "the router cannot load the state of the code before": (
        "broker/occasions.py", '    account: str = ""\n    bot: bool = False\n\n\nNOBODY: Final = Source("", "", "")\n',
        '    account: str\n    bot: bool\n    zodiac: str\n\n\nNOBODY: Final = Source("", "", "", "", False, "")\n',
        "missing 1 required positional argument: 'zodiac'"),
    "the router fails amid its work": (
        "workers/router.py", "    def _act(self, outcome: Outcome) -> None:\n",
        "    def _act(self, outcome: Outcome) -> None:\n        if self.state.chat.messages_in % 50 > 47:\n"
        "            raise RuntimeError('half-done')\n", "half-done"),
}  # fmt: skip
"""What a rehearsal does not find: file, old, new, and what is told of it."""


@pytest.mark.parametrize("mistake", FAILS_AS_A_CHILD)
def test_code_that_fails_as_a_child_is_taken_back_and_nobody_notices(tmp_path: Path, tree: Path, mistake: str) -> None:
    file, old, new, told = FAILS_AS_A_CHILD[mistake]
    with crowded(tmp_path, environment=running_from(tree)) as (broker, room):
        before = broker.pids()
        change(tree / file, old, new)
        result = under_load(broker, room, "reload")
        assert result.returncode == 1
        assert "the new code was taken back" in result.stderr and told in result.stderr
        assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
        assert broker.pids().keys() == before.keys()
        room.worker_deaths += len([e for e in broker.events("died") if e["process"].startswith("worker")])
        room.worker_deaths += len([e for e in broker.events("exited") if e["process"].startswith("worker")])
        room.talk()
        room.settle()
        (taken_back,) = broker.events("taken-back")
        assert told in taken_back["text"] and not broker.events("gave-up")
        assert {process["state"] for process in broker.processes().values()} == {"ready"}


@pytest.mark.parametrize(("file", "name"), [("workers/worker.py", "worker-0"), ("workers/router.py", "router")])
def test_code_that_fails_later_on_is_taken_back_rather_than_that_the_broker_gives_up(
    tmp_path: Path, tree: Path, file: str, name: str
) -> None:
    hasten(tree)
    midnight = tmp_path / "midnight"
    strikes = (
        f"        if __import__('os').path.exists({str(midnight)!r}):\n            raise RuntimeError('a pumpkin')\n"
    )
    with crowded(tmp_path, "--restart-intensity", "2", environment=running_from(tree)) as (broker, room):
        after_wake_up = "    def after_wake_up(self) -> None:\n"
        change(tree / file, after_wake_up, after_wake_up + strikes)
        assert broker.run("reload").returncode == 0
        room.talk()
        room.settle()
        midnight.touch()
        room.talk()
        room.until(lambda: broker.events("taken-back"), "it is taken back, for whichever fails too often first")
        room.worker_deaths = 100
        room.talk()
        room.settle()
        assert not broker.events("gave-up")
        for _ in range(4):
            old = broker.pids()[name]
            os.kill(old, signal.SIGKILL)

            def is_replaced(old: int = old) -> bool:
                row = broker.processes()[name]
                return row["pid"] != old and row["state"] == "ready"  # one that is not has failed, and counts as such

            room.until(is_replaced, "the next one has the code before, too")
        room.settle()


def test_a_router_that_made_more_batches_before_it_was_taken_back_costs_nobody_the_connection(
    tmp_path: Path, tree: Path
) -> None:
    """What they were about when it failed may come twice, or not at all: the code before cannot tell."""
    with crowded(tmp_path, environment=running_from(tree)) as (broker, room):
        configured = "        self.chat.configured(self.now)\n"
        batches = "        for session in self.chat._sessions.values():\n            self.chat.send(session, b'')\n"
        change(tree / "broker" / "router_state.py", configured, configured + batches)
        change(tree / "workers" / "router.py", *FAILS_AS_A_CHILD["the router fails amid its work"][1:3])
        assert "half-done" in under_load(broker, room, "reload").stderr
        room.talk()
        last = room.talkers[-1]
        line = last.said[-1].encode()
        room.until(
            lambda: all(line in person.received for person in room.people.values() if person is not last),
            "everybody hears what is said from then on",
        )
        workers = [e for kind in ("exited", "died") for e in broker.events(kind) if e["process"].startswith("worker")]
        assert all(event["exit_status"] == 0 for event in workers), "but for the reload there and back"


# Others interfere.


def test_a_worker_that_is_retired_amid_its_replacement_does_not_hold_the_reload_up(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *OPTIONS, environment=hasty(tmp_path)) as broker:
        before = broker.pids()
        os.kill(before["worker-1"], signal.SIGSTOP)
        process = subprocess.Popen(broker.command("reload"), stdout=subprocess.PIPE, text=True)
        broker.wait_ready("worker-0", before["worker-0"])  # now it is the other one's turn
        assert broker.run("scale", "1").returncode == 0
        os.kill(before["worker-1"], signal.SIGCONT)
        try:
            wait_until(lambda: broker.events("reloaded"), "the reload is over")
        finally:
            process.kill()
            process.communicate()
        assert broker.pids().keys() == {"supervisor", "router", "worker-0", "acceptor-0"}
        assert broker.run("reload").returncode == 0, "none is under way any more"


def test_a_router_that_fails_again_and_again_amid_its_replacement_is_restarted_with_back_off(tmp_path: Path) -> None:
    state = tmp_path / "faults"
    state.mkdir()
    armed = {"BROKER_FAULTS": "journal.rotated,router.replayed:1x4:EXIT", "BROKER_FAULTS_STATE": str(state)}
    environment = {**armed, **hasty(tmp_path)}
    (state / "router.replayed.hold").touch()
    with crowded(tmp_path, environment=environment) as (broker, room):
        (state / "router.replayed.hold").unlink()
        assert broker.run("reload").returncode == 0
        delays = [event["delay_seconds"] for event in broker.events("restarting", "router")]
        assert delays == [0, 0, 0.05, 0.1, 0.2], "killed once, failed four times"
        room.talk()
        room.settle()


# More and fewer workers.


def test_scale_under_load(tmp_path: Path) -> None:
    with crowded(tmp_path) as (broker, room):
        for workers in (5, 1, 3, 2):
            result = under_load(broker, room, "scale", str(workers))
            assert result.returncode == 0, result.stderr
            names = {f"worker-{number}" for number in range(workers)}

            def settled() -> bool:
                room.talk(1)
                processes = broker.processes()
                there = {name for name in processes if name.startswith("worker-")}
                return there == names and all(processes[name]["counters"].get("sessions") for name in names)  # noqa: B023

            room.until(settled, f"{workers} workers have sessions")
            room.settle()
        assert not broker.events("died")
