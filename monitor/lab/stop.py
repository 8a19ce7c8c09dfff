"""`broker lab stop`: a worker is stopped while people chat, and what the broker does about it.

Runs in the process of the command. Needs a running broker: it is that one's worker. Whatever happens, a worker that is
still there and stopped at the end is told to go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from broker.control_client import ControlClient
from broker.errors import BrokerError, ControlError, UsageError
from monitor import procfs
from monitor.experiments.chat_clients import ChatClient, enter
from monitor.experiments.placement import ExperimentError
from monitor.experiments.subject import Subject, clients_of, look
from monitor.lab.show import Show
from monitor.lab.stage import LabError, Stage
from monitor.lab.words import Words
from monitor.stat import stat_of

_KINDS: Final = ("hung", "died", "killed", "restarting", "started", "ready", "recovered", "gave-up")
_CLIENTS: Final = 12
_SAY_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.05

_ABOUT = Words(
    "{name} (PID {pid}) gets SIGSTOP. It does nothing at all now; what its clients send waits in the kernel. After "
    "some "
    "seconds without a heartbeat ({setting}) the supervisor looks into it, and acts.",
    "向 {name}（PID {pid}）发 SIGSTOP。它什么也不做了，客户端发来的内容留在内核里。几秒钟没有心跳（{setting}）"
    "之后，supervisor 会去检查并采取行动。",
)
_WITH = Words(
    "{here} of {all} clients of this lab are with {name}, the others are not. One of the others says something each "
    "second.",
    "本实验的 {all} 个客户端里，有 {here} 个在 {name} 上，其余不在。不在它上面的一个每秒说一句话。",
)
_NOBODY_ELSE = Words(
    "All clients of this lab are with {name}: it is the only worker, and nobody can chat meanwhile.",
    "本实验的客户端都在 {name} 上：它是唯一的 worker，这段时间谁也聊不了天。",
)
_OUTCOME = Words(
    "{name} is PID {pid} now. While it was stopped the others' room went on: {others} lines came to them.",
    "{name} 现在是 PID {pid}。它停住的时候，别人照常聊天，收到 {others} 行。",
)
_LOST = Words(
    "{lost} of the {here} clients with it were disconnected.", "在它上面的 {here} 个客户端里有 {lost} 个断了线。"
)
_KEPT = Words(
    "None of the {here} clients with it was disconnected; they have got {late} lines by now.",
    "在它上面的 {here} 个客户端一个也没有断线，到现在收到 {late} 行。",
)
_NOTHING = Words(
    "Nothing was done about it within {seconds:g} s, and it is told to go on. With a larger --seconds than the "
    "broker's "
    "hang_seconds one sees more.",
    "{seconds:g} 秒之内没有动静，现在让它继续。--seconds 要大于 broker 的 hang_seconds 才看得到后面的事。",
)


def run(stage: Stage, show: Show, name: str, state_dir: Path) -> None:
    """Stop it, tell what happens until it is replaced or the time is over."""
    broker = look(state_dir)
    pid = broker.pids.get(name)
    if pid is None or not name.startswith("worker-"):
        workers = ", ".join(worker for worker in broker.pids if worker.startswith("worker-"))
        raise UsageError(f"WORKER {name}: the broker has {workers}")
    process = show.process(pid)
    clients = _enter(broker)
    held = set(clients_of([pid], broker.url, [client.port for client in clients]))
    here = [client for index, client in enumerate(clients) if index in held]
    others = [client for index, client in enumerate(clients) if index not in held]
    show.check(f"ps -o pid,ppid,stat,args -p {pid}")
    with ControlClient(state_dir) as control:
        events = control.request("events")["events"]
        since = events[-1]["number"] if events else 0
        try:
            os.kill(pid, signal.SIGSTOP)
            stage.wait_for(lambda: (stat_of(pid) or "T").startswith("T"), f"PID {pid} is stopped")
            show.say(_ABOUT.format(name=name, pid=pid, setting="hang_seconds"), "bold")
            words = _WITH.format(here=len(here), all=len(clients), name=name)
            show.say(words if others else _NOBODY_ELSE.format(name=name))
            show.check(f"ps -o pid,ppid,stat,args -p {pid}")
            show.watch(stage)
            successor = _follow(stage, show, control, since, name, others)
        finally:
            _continue(pid, process.start_ticks)
    if successor is None:
        show.say(_NOTHING.format(seconds=stage.seconds))
    else:
        heard = _count(others) if others else 0
        lost, late = _look_at(here)
        show.check(f"ps -o pid,ppid,stat,args -p {successor}")
        show.say(_OUTCOME.format(name=name, pid=successor, others=heard))
        show.say((_LOST if lost else _KEPT).format(here=len(here), lost=lost, late=late))
    for client in clients:
        client.socket.close()


def _enter(broker: Subject) -> list[ChatClient]:
    try:
        clients = [ChatClient(broker.url, f"lab{os.getpid():x}-{index}") for index in range(_CLIENTS)]
        enter(clients, [f"lab{os.getpid():x}"] * len(clients))
    except ExperimentError as error:
        raise LabError(str(error)) from None
    return clients


def _follow(
    stage: Stage, show: Show, control: ControlClient, since: int, name: str, others: list[ChatClient]
) -> int | None:
    """Tell of each event about that worker until its successor is ready; its PID, None if there is none in time."""
    began = time.monotonic()
    said, next_say = 0, began
    successor: int | None = None
    while (now := time.monotonic()) < began + stage.seconds:
        if others and now >= next_say:
            said, next_say = said + 1, now + _SAY_SECONDS
            with contextlib.suppress(BrokerError):
                others[0].send(f"line {said}\n".encode())
        with contextlib.suppress(ControlError):
            for event in control.request("events", since=since)["events"]:
                since = event["number"]
                if event["process"] == name and event["kind"] in _KINDS:
                    show.line(f"  {now - began:5.1f} s  {event['kind']:10} {event['text']}")
                    if event["kind"] == "ready":
                        successor = int(event["pid"])
        if successor is not None or not stage.hold(_LOOK_SECONDS):
            break
    return successor


def _count(clients: list[ChatClient]) -> int:
    """The lines of the chat that the second of them has got, who has said nothing."""
    listener = clients[1] if len(clients) > 1 else clients[0]
    with contextlib.suppress(BrokerError):
        listener.received += listener.receive()
    return listener.received.count(b": line ")


def _look_at(clients: list[ChatClient]) -> tuple[int, int]:
    """How many of them have lost their connection, and how many lines the others have got."""
    lost, lines = 0, 0
    time.sleep(_LOOK_SECONDS)
    for client in clients:
        try:
            while data := client.receive():
                client.received += data
        except BrokerError:
            lost += 1
            continue
        lines = max(lines, client.received.count(b": line "))
    return lost, lines


def _continue(pid: int, start_ticks: int) -> None:
    process: Any = procfs.process_stat(pid)
    if process is not None and process.start_ticks == start_ticks and process.state in "Tt":
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
