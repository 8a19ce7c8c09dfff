"""Supervision with real processes: kill, stop, starve, loop; each is noticed, explained and repaired."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.control_client import ControlClient
from tests.exact_room import ExactRoom
from tests.running import Broker, is_gone, running_broker, state_of, wait_until

WATCHDOG = ("--heartbeat-seconds", "0.2", "--hang-seconds", "1")


def descriptors(pid: int) -> list[str]:
    """What the open descriptors of a process are."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            found.append(os.readlink(path))
    return found


def test_the_family(broker: Broker) -> None:
    pids = broker.pids()
    assert list(pids) == ["supervisor", "router", "worker-0", "worker-1", "acceptor-0"]
    assert pids["supervisor"] == broker.pid
    for name, pid in pids.items():
        if name == "supervisor":
            continue
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        assert int(fields[1]) == broker.pid, "the PPID is the supervisor's"
        assert os.getsid(pid) == os.getsid(broker.pid), "one session, or autogroup would make nice a placebo"
        assert Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() == f"broker: {name}"


def test_no_child_holds_what_is_not_its_own(broker: Broker) -> None:
    clients = [broker.client(f"p{number}") for number in range(10)]
    sockets = {
        name: len([d for d in descriptors(pid) if d.startswith("socket:")]) for name, pid in broker.pids().items()
    }
    # worker: control pipe, link to the router, its clients; router: control pipe, a link a worker; acceptor: control
    # pipe, one listener. A duplicate more would hide the end of a Pipe or of a connection.
    assert sockets["router"] == 3
    assert sockets["acceptor-0"] == 2
    assert sockets["worker-0"] + sockets["worker-1"] == 2 * 2 + len(clients)


@pytest.mark.parametrize("name", ["worker-0", "router", "acceptor-0"])
def test_a_killed_child_is_replaced_and_explained(broker: Broker, name: str) -> None:
    old = broker.pids()[name]
    os.kill(old, signal.SIGKILL)
    new = broker.wait_ready(name, old)
    assert new["restarts"] == 1
    assert new["incarnation"] == 2
    assert is_gone(old)
    assert state_of(old) is None, "reaped, not left as a zombie"
    (death,) = broker.events("died", name)
    assert (death["signal"], death["pid"]) == ("SIGKILL", old)
    ann, bob = broker.client("ann"), broker.client("bob")
    bob.send("again")
    assert ann.lines(2) == ["bob 进入了聊天室", "bob说: again"]


@pytest.mark.parametrize("victims", [["worker-0"], ["worker-1"], ["router"], ["acceptor-0"], ["worker-0", "router"]])
def test_no_client_notices_a_death(broker: Broker, victims: list[str]) -> None:
    clients = [broker.client(f"p{number}") for number in range(4)]
    for client in clients[:-1]:
        client.expect("p3 进入了聊天室\n")
    pids = broker.pids()
    for name in victims:
        os.kill(pids[name], signal.SIGKILL)
    for speaker in clients:
        speaker.send("still here")
    for number, client in enumerate(clients):
        lines = client.lines(3)
        assert sorted(lines) == [f"p{other}说: still here" for other in range(4) if other != number]
    for name in victims:
        broker.wait_ready(name, pids[name])
    clients[0].send("and now")
    for client in clients[1:]:
        assert client.line() == "p0说: and now"
    newcomer = broker.client("new")
    assert clients[0].line() == "new 进入了聊天室"
    newcomer.send("/nick p1", "/who")
    assert "已经有人在用" in newcomer.line()
    assert newcomer.line().endswith("p0, p1, p2, p3, new")


def test_many_deaths_leak_no_descriptor(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--restart-intensity", "100") as broker:
        for name in ("worker-0", "router", "acceptor-0"):
            before = len(descriptors(broker.pid))
            for _ in range(4):
                old = broker.pids()[name]
                os.kill(old, signal.SIGKILL)
                broker.wait_ready(name, old)
            wait_until(lambda: len(descriptors(broker.pid)) <= before, f"the descriptors of {name} are closed")  # noqa: B023
        assert broker.client("ann")


def test_all_children_killed_at_once(broker: Broker) -> None:
    old = broker.pids()
    for name, pid in old.items():
        if name != "supervisor":
            os.kill(pid, signal.SIGKILL)
    for name, pid in old.items():
        if name != "supervisor":
            broker.wait_ready(name, pid)
    ann, bob = broker.client("ann"), broker.client("bob")
    bob.send("hi")
    assert ann.lines(2)[1] == "bob说: hi"


def test_a_killed_supervisor_leaves_no_process(broker: Broker) -> None:
    pids = broker.pids()
    broker.client("ann")
    os.kill(pids["worker-1"], signal.SIGSTOP)  # not even a stopped one
    assert broker.process is not None
    broker.process.kill()
    broker.process.wait()
    wait_until(lambda: all(map(is_gone, pids.values())), "no process is left", 2.0)
    # And what it left behind does not block the next one.
    with running_broker(broker.state_dir) as successor:
        assert successor.client("ann")


def test_a_crash_loop_ends_the_broker_with_the_reason(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--restart-intensity", "3", "--restart-period-seconds", "60") as broker:
        pids = broker.pids()
        for _ in range(3):
            old = broker.pids()["worker-0"]
            os.kill(old, signal.SIGSEGV)
            broker.wait_ready("worker-0", old)
        os.kill(broker.pids()["worker-0"], signal.SIGSEGV)
        assert broker.process is not None
        assert broker.process.wait(20) == 1
        stderr = (tmp_path / "stderr").read_text()
        assert "worker-0 had to be replaced too often within 60 s" in stderr
        assert "Traceback" not in stderr
        assert all(map(is_gone, pids.values()))
        assert sorted(path.name for path in broker.state_dir.iterdir()) == ["events.jsonl"]


def test_a_stopped_child_is_noticed_explained_and_replaced(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *WATCHDOG) as broker:
        old = broker.pids()["worker-0"]
        os.kill(old, signal.SIGSTOP)
        broker.wait_ready("worker-0", old)
        *_, hung = broker.events("hung", "worker-0")  # on a busy machine it may have been called starved before
        assert hung["verdict"] == "stopped"
        (death,) = broker.events("died", "worker-0")
        assert death["signal"] == "SIGKILL"
        assert "stopped" in death["text"]


def test_a_stopped_router_does_not_stop_the_broker(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *WATCHDOG) as broker:
        old = broker.pids()["router"]
        os.kill(old, signal.SIGSTOP)
        assert broker.ask("status")["state"] == "running"
        broker.wait_ready("router", old)
        assert broker.client("ann")


def test_a_looping_child_is_replaced_and_its_stack_is_logged(tmp_path: Path) -> None:
    """The worker is made to loop by a signal handler that never returns: SIGUSR2, installed for this test only."""
    with running_broker(tmp_path / "state", *WATCHDOG, environment={"PYTHONPATH": _looping_site(tmp_path)}) as broker:
        old = broker.pids()["worker-0"]
        os.kill(old, signal.SIGUSR2)
        broker.wait_ready("worker-0", old)
        *_, hung = broker.events("hung", "worker-0")  # on a busy machine it may have been called starved before
        assert hung["verdict"] == "looping"
        assert "never_return" in hung["stack"]
        assert "never_return" in broker.run("events").stdout


def _looping_site(tmp_path: Path) -> str:
    return _site(tmp_path, "    while True: pass\n")


def _site(tmp_path: Path, body: str) -> str:
    """A folder for PYTHONPATH that gives every process of the broker a handler of SIGUSR2 with that body."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import signal\ndef never_return(number, frame):\n{body}signal.signal(signal.SIGUSR2, never_return)\n"
    )
    return str(folder)


def test_a_supervisor_that_fails_takes_its_children_with_it(tmp_path: Path) -> None:
    """A bug of ours, stood in for by a signal handler that raises: nobody is left without a supervisor."""
    site = _site(tmp_path, "    raise RuntimeError('a bug')\n")
    with running_broker(tmp_path / "state", environment={"PYTHONPATH": site}) as broker:
        pids = broker.pids()
        ann = broker.client("ann")
        assert broker.process is not None
        for _ in range(5):  # while it handles what a child said, the failure would cost that child only
            os.kill(broker.pid, signal.SIGUSR2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                broker.process.wait(3)
                break
        assert broker.process.returncode == 1
        assert ann.rest() == ""
        assert all(map(is_gone, pids.values()))
        assert [path.name for path in broker.state_dir.iterdir()] == ["events.jsonl"]
        assert "broker: the broker has stopped: a bug in the supervisor" in (tmp_path / "stderr").read_text()


def test_a_starved_child_is_left_alone(tmp_path: Path) -> None:
    """On one CPU with busy rivals, the worker at nice 19 hardly runs: slow, and not ill."""
    impatient = ("--heartbeat-seconds", "0.1", "--hang-seconds", "0.5")
    with running_broker(tmp_path / "state", *impatient, "--nice", "worker=19") as broker:
        pids = broker.pids()
        os.sched_setaffinity(pids["worker-0"], {0})
        hogs = [
            subprocess.Popen([sys.executable, "-c", "import os\nos.sched_setaffinity(0, {0})\nwhile True: pass"])
            for _ in range(3)
        ]
        try:
            beats = wait_until(lambda: broker.processes()["worker-0"]["beat_age_seconds"], "it beats")
            assert beats >= 0
            wait_until(lambda: len(broker.events("hung", "worker-0")) or _cpu_seconds(hogs[0].pid) > 0.75, "hogs run")
            assert broker.pids()["worker-0"] == pids["worker-0"]
            for event in broker.events("hung", "worker-0"):
                assert event["verdict"] == "starved of CPU"
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_stopped_supervisor_does_not_blame_its_children(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", *WATCHDOG) as broker:
        pids = broker.pids()
        ann, bob = broker.client("ann"), broker.client("bob")
        ann.line()
        os.kill(broker.pid, signal.SIGSTOP)
        for turn in range(20):  # the chat goes on without it
            bob.send(f"{turn} " + "x" * 1000)
            assert ann.line().startswith(f"bob说: {turn} ")
        subprocess.run(["sleep", "1.5"], check=True)  # longer than the watchdog's patience
        os.kill(broker.pid, signal.SIGCONT)
        bob.send("back")
        assert ann.line() == "bob说: back"
        assert broker.pids() == pids
        assert not broker.events("hung")


def test_scale_up_and_down(broker: Broker) -> None:
    clients = [broker.client(f"p{number}") for number in range(8)]
    assert broker.run("scale", "4").stdout == "workers: 2 → 4\n"
    for name in ("worker-2", "worker-3"):
        broker.wait_ready(name)
    wait_until(
        lambda: all(p["counters"]["sessions"] == 2 for n, p in broker.processes().items() if n.startswith("worker")),
        "two sessions on each worker",
    )
    clients[0].send("spread")
    assert broker.run("scale", "1").returncode == 0
    wait_until(lambda: set(broker.processes()) == {"supervisor", "router", "worker-0", "acceptor-0"}, "three are gone")
    clients[1].send("together again")
    for client in clients[2:]:
        if client is not clients[7]:
            client.expect("p7 进入了聊天室\n")
        assert client.lines(2) == ["p0说: spread", "p1说: together again"]
    assert broker.ask("status")["sessions"] == 8
    for mistake in ("0", "65", "x", "-1", "1" * 5000):
        result = broker.run("scale", mistake)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), mistake


def test_nice_by_role_and_remembered(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--nice", "worker=7") as broker:
        old = broker.pids()["worker-0"]
        assert os.getpriority(os.PRIO_PROCESS, old) == 7
        assert os.getpriority(os.PRIO_PROCESS, broker.pids()["router"]) == os.getpriority(os.PRIO_PROCESS, broker.pid)
        broker.ask("nice", changes=[{"name": "worker-0", "old": 7, "new": 12}])
        os.kill(old, signal.SIGKILL)
        new = broker.wait_ready("worker-0", old)
        assert os.getpriority(os.PRIO_PROCESS, new["pid"]) == 12
        assert broker.processes()["worker-1"]["nice"] == 7


def test_events_in_text_json_and_followed(broker: Broker) -> None:
    text = broker.run("events").stdout
    assert "router is ready" in text
    events = [json.loads(line) for line in broker.run("events", "--json").stdout.splitlines()]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    follower = subprocess.Popen(broker.command("events", "--follow", "--json"), stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    try:
        for _ in events:
            follower.stdout.readline()
        os.kill(broker.pids()["worker-0"], signal.SIGTERM)
        event = json.loads(follower.stdout.readline())
        assert (event["kind"], event["signal"]) == ("died", "SIGTERM")
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()


def test_a_real_time_signal_is_a_death_like_any_other(broker: Broker) -> None:
    old = broker.pids()["worker-0"]
    os.kill(old, signal.SIGRTMIN + 6)
    broker.wait_ready("worker-0", old)
    assert broker.events("died", "worker-0")[0]["signal"] == "SIGRTMIN+6"


def test_what_a_few_bytes_order_is_bounded(tmp_path: Path) -> None:
    """Two hundred people with long names ask who is there, 128 times at once: 150 MB of answers from 130 KB."""
    with running_broker(tmp_path / "state") as broker:
        router = broker.pids()["router"]
        crowd = [broker.client() for _ in range(200)]
        for number, client in enumerate(crowd):
            client.send(f"{number:03}" + "\N{OLD ITALIC LETTER A}" * 29)
        wait_until(lambda: broker.processes()["router"]["counters"]["messages_in"] == 200, "all have names")
        for client in crowd:
            client.send(*["/who"] * 128)
        wait_until(lambda: broker.processes()["router"]["counters"]["messages_in"] > 200 * 100, "it answers")
        assert broker.pids()["router"] == router
        assert not broker.events("died")
        for client in crowd:
            client.close()
        # Hang-ups are heard in turn: who comes now may be let in before some of them, and then sees those leave.
        again = broker.client("again")

        def is_alone() -> bool:
            again.send("/who")
            again.expect("* lobby (")
            return again.line() == "1): again"

        wait_until(is_alone, "the newcomer is answered, and at last is alone")
        assert broker.pids()["router"] == router
        assert not broker.events("died")


def test_a_worker_that_the_router_gives_up_is_replaced(tmp_path: Path) -> None:
    """Stopped while others flood it with more than the router keeps for anybody, and then let go on."""
    with running_broker(tmp_path / "state", "--rate-lines-per-second", "0", "--max-behind-bytes", "1000000") as broker:
        pids = broker.pids()
        deaf = [broker.client(f"deaf{number}") for number in range(4)]
        on_worker = {n: p["counters"]["sessions"] for n, p in broker.processes().items()}
        assert on_worker
        os.kill(pids["worker-1"], signal.SIGSTOP)
        line = ("x" * 4000 + "\n").encode() * 50
        floods = [client.socket for client in deaf]
        for flood in floods:
            flood.setblocking(False)

        def flooded() -> bool:
            for flood in floods:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    flood.send(line)
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    flood.recv(1 << 20)
            return any("given up" in event["text"] for event in broker.events("log"))

        wait_until(flooded, "the router gives it up")
        broker.wait_ready("worker-1", pids["worker-1"])
        for number in range(6):
            broker.client(f"new{number}").close()


@pytest.mark.parametrize("point", ["router.heard", "router.journaled", "router.applied", "router.answered"])
def test_a_kick_under_way_when_the_router_dies_is_carried_out_once_and_answered(tmp_path: Path, point: str) -> None:
    state = tmp_path / "faults"
    state.mkdir()
    (state / f"{point}.hold").touch()
    environment = {"BROKER_FAULTS": point, "BROKER_FAULTS_STATE": str(state)}
    with running_broker(tmp_path / "state", environment=environment) as broker:
        ann, bob = broker.client("Ann"), broker.client("bob")
        ann.line()
        (state / f"{point}.hold").unlink()
        result = broker.run("kick", "ann", "spam")
        assert (result.returncode, result.stderr) == (0, "")
        assert (state / f"{point}.1").exists()
        assert "spam" in ann.rest()
        assert bob.line() == "Ann 退出了聊天室"
        assert len(broker.events("kicked")) == 1


def test_a_kick_while_there_is_no_router_waits_for_one(tmp_path: Path) -> None:
    state = tmp_path / "faults"
    state.mkdir()
    (state / "router.replayed.hold").touch()
    environment = {"BROKER_FAULTS": "router.replayed:1x6:EXIT", "BROKER_FAULTS_STATE": str(state)}
    with running_broker(tmp_path / "state", "--restart-intensity", "50", environment=environment) as broker:
        ann = broker.client("ann")
        (state / "router.replayed.hold").unlink()
        os.kill(broker.pids()["router"], signal.SIGKILL)
        wait_until((state / "router.replayed.4").exists, "the next ones have to wait longer and longer")
        assert broker.ask("kick", name="ann") == {"name": "ann"}
        ann.rest()


def test_connections_that_come_while_there_is_no_worker_wait_for_one(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--workers", "1", "--restart-intensity", "50") as broker:
        for _ in range(3):  # a short life each: the next one has to wait
            old = wait_until(lambda: broker.pids().get("worker-0"), "there is a worker")
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: broker.pids().get("worker-0") != old, "it has died")  # noqa: B023
        client = broker.client()
        assert client.expect("请输入姓名: ") == ""
        assert not broker.events("died", "acceptor-0")


def test_no_descriptors_left_for_a_link(tmp_path: Path) -> None:
    """The supervisor out of descriptors: children wait, it neither spins nor dies, and all is well afterwards."""
    with running_broker(tmp_path / "state", "--restart-intensity", "100") as broker:
        pids = broker.pids()
        before = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (len(descriptors(broker.pid)) + 2, before[1]))
        os.kill(pids["worker-0"], signal.SIGKILL)
        os.kill(pids["router"], signal.SIGKILL)
        log = broker.state_dir / "events.jsonl"
        wait_until(lambda: "cannot start" in log.read_text() or "no pipe to join" in log.read_text(), "it runs out")
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, before)
        broker.wait_ready("worker-0", pids["worker-0"])
        broker.wait_ready("router", pids["router"])
        wait_until(lambda: _can_enter(broker), "people can enter again")


def test_what_is_kept_for_a_worker_that_was_killed_just_before_it_stopped_is_forgotten(tmp_path: Path) -> None:
    state = tmp_path / "faults"
    state.mkdir()
    environment = {"BROKER_FAULTS": "worker.detached", "BROKER_FAULTS_STATE": str(state)}
    options = ("--rate-lines-per-second", "0", "--heartbeat-seconds", "0.2")  # what is kept is told with a heartbeat
    with running_broker(tmp_path / "state", *options, environment=environment) as broker:
        room = ExactRoom(broker)
        broker.ask("scale", workers=1)
        room.until(lambda: "worker-1" not in broker.processes(), "it has gone")
        assert (state / "worker.detached.1").exists(), "without a word about what it has delivered"
        room.until(lambda: broker.ask("status")["retained_bytes"], "something is kept for it")
        room.until(lambda: broker.ask("status")["retained_bytes"] == 0, "nothing is kept for it")
        room.talk()
        room.settle()
        broker.ask("scale", workers=2)
        room.until(lambda: broker.processes().get("worker-1", {}).get("state") == "ready", "one of its name is new")
        room.talk()
        room.settle()
        room.close()


def test_no_descriptor_left_for_a_session_that_is_moved(tmp_path: Path) -> None:
    """It waits until there is one again, with all that it says and is to get."""
    with running_broker(tmp_path / "state", "--rate-lines-per-second", "0") as broker:
        room = ExactRoom(broker)
        before = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
        with ControlClient(broker.state_dir) as control:
            control.request("status")
            used = {int(fd) for fd in os.listdir(f"/proc/{broker.pid}/fd")}
            first_free = next(fd for fd in range(len(used) + 1) if fd not in used)
            resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (first_free, before[1]))
            control.request("scale", workers=1)

            def waits() -> bool:
                events = control.request("events")["events"]
                return any("have to wait: Too many open files" in event["text"] for event in events)

            room.until(waits, "it runs out")
            room.talk()
            resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, before)
        room.settle()
        room.until(lambda: "worker-1" not in broker.pids(), "all are with the other one")
        room.talk()
        room.settle()
        room.close()


def _can_enter(broker: Broker) -> bool:
    try:
        broker.client("ann").close()
    except (AssertionError, OSError):
        return False
    return True
