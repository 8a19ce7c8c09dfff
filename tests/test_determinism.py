"""The same inputs give the same bytes: in another process, with other hash seeds, and from a copy of the state.

The router is going to journal its inputs and replay them after a kill (see the module `broker.chat`), so this is not a
nicety.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from broker.chat import Chat, ChatConfig
from broker.messages import ADD, ATTACHED, CLOSE, ENDED, LINES, OVERLONG, PUBLISH, REMOVE, SEND, Event

ROOT = Path(__file__).parent.parent
CONFIG = ChatConfig(
    max_line_bytes=64, name_timeout_seconds=30.0, listener_protocols=("chat", "irc", "chat"), ping_seconds=4.0
)
WORKERS = 3

NAMES = [
    "ann",
    "Ann",
    "ａｎｎ",
    "bob",
    "张三",
    "李四",
    "eve",
    "kim",
    "Ωmega",
    "straße",
    "STRASSE",
    "a b",
    "",
    "🦊",
    "zoë",
]
ROOMS = ["lobby", "kernel", "#Kernel", "空", "x" * 40, "tea"]

CAPS = "server-time message-tags batch labeled-response echo-message draft/multiline extended-join away-notify setname"
IRC_LINES = [
    f"CAP REQ :{CAPS}", "CAP REQ :multi-prefix", "USER u 0 * :Real", "NICK {name}", "NICK {name}", "CAP END",
    "JOIN #{room}", "JOIN #lobby,#tea", "PART #{room} :bye", "PRIVMSG #{room} :hi {number}",
    "PRIVMSG #{room} :hi {number}", "@label=1;+typing=done PRIVMSG #tea,{name} :x", "NOTICE {name} :x",
    "MODE #{room} +o {name}", "MODE #tea +b-m {name}", "MODE #{room} +m", "TOPIC #{room} :{number}",
    "KICK #{room} {name}", "WHO #{room}", "WHOIS {name}", "WHOWAS {name}", "LIST", "NAMES", "AWAY :{number}", "AWAY",
    "SETNAME :{number}", "MONITOR + {name}", "INVITE {name} #{room}", "LUSERS", "BATCH +1 draft/multiline #tea",
    "@batch=1 PRIVMSG #tea :{number}", "BATCH -1", "QUIT :{number}", "PING {number}",
]  # fmt: skip

REPLAY = """
import sys
from tests.test_determinism import outputs, read_inputs
sys.stdout.buffer.write(repr(outputs(read_inputs(sys.stdin.buffer.read()))).encode())
"""

Input = tuple[str, tuple[Any, ...]]


def record(seed: int, length: int) -> list[Input]:
    """A long random run, as the calls that the router would have made."""
    random = Random(seed)
    inputs: list[Input] = []
    live: dict[int, tuple[int, int]] = {}  # session: worker, bytes sent
    irc: dict[int, bool] = {}
    now, last = 0.0, 0

    def line(session: int) -> bytes:
        name, room = random.choice(NAMES), random.choice(ROOMS)
        if irc[session]:
            text = random.choice(IRC_LINES).format(name=name, room=room.removeprefix("#"), number=random.random())
            return text.encode() + b"\r\n"
        choices = [
            name, f"/nick {name}", f"/join {room}", "/part", "/who", f"/who {room}", "/rooms", "/lang en", "/lang zh",
            f"/msg {name} psst", "/me waves", "/help", "/quit", "/jion x", "//slash", f"hi {random.random()}", "x" * 65,
        ]  # fmt: skip
        weights = [4, 2, 3, 1, 1, 1, 1, 1, 1, 3, 2, 1, 1, 1, 1, 20, 1]
        if random.random() < 0.1:
            return random.randbytes(random.randrange(40)).replace(b"\n", b"") + b"\n"
        return random.choices(choices, weights)[0].encode() + random.choice([b"\n", b"\r\n"])

    while len(inputs) < length:
        now += random.random()
        worker = random.randrange(WORKERS)
        chance = random.random()
        if chance < 0.90:
            events: list[Event] = []
            if random.random() < 0.2:
                last += 1
                live[last] = (worker, 0)
                listener = random.randrange(3)
                irc[last] = listener == 1
                events.append((ATTACHED, last, listener, "127.0.0.1:1"))
                if irc[last]:
                    data = f"NICK n{last}\r\nUSER u 0 * :R\r\nCAP REQ :{CAPS}\r\nJOIN #tea\r\n".encode()
                    events.append((LINES, last, 0, data))
                    live[last] = (worker, len(data))
            for session in [number for number, (index, _) in live.items() if index == worker and random.random() < 0.4]:
                sent = live[session][1]
                kind = random.random()
                if kind < 0.05:
                    del live[session]
                    events.append((ENDED, session, random.choice(["eof", "reset", "slow"])))
                    continue
                data = b"".join(line(session) for _ in range(random.randrange(1, 5)))
                events.append((OVERLONG, session, sent, 70) if kind < 0.1 else (LINES, session, sent, data))
                live[session] = (worker, sent + (70 if kind < 0.1 else len(data)))
            inputs += [("apply", (now, worker, event)) for event in events]
        elif chance < 0.95:
            inputs.append(("tick", (now,)))
        elif chance < 0.98:
            inputs.append(("kick", (now, random.choice(NAMES), random.choice(["", "spam"]))))
        else:
            inputs.append(("expel", (now, random.choice(list(live) or [0]))))
        if random.random() < 0.5:
            inputs.append(("take_operations", ()))
    return [*inputs, ("shutdown", (now,)), ("take_operations", ())]


def read_inputs(data: bytes) -> list[Input]:
    inputs: list[Input] = pickle.loads(data)
    return inputs


def outputs(inputs: list[Input], chat: Chat | None = None) -> list[Any]:
    """What every call returned, and what can be asked after it."""
    chat = chat or Chat(CONFIG)
    results = []
    for method, arguments in inputs:
        result = getattr(chat, method)(*arguments)
        results.append((result, chat.next_deadline(), chat.messages_in, chat.messages_out, chat.session_count))
    return results


@pytest.mark.parametrize("seed", [1, 2])
def test_a_replay_in_another_process_gives_the_same_bytes(seed: int) -> None:
    inputs = record(seed, 1500)
    here = repr(outputs(inputs)).encode()
    assert len(here) > 400_000, "the run has to be a long one"
    for hash_seed in ("0", "4711"):
        replayed = subprocess.run(
            [sys.executable, "-c", REPLAY], input=pickle.dumps(inputs), stdout=subprocess.PIPE, timeout=60, check=True,
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        ).stdout  # fmt: skip
        assert replayed == here


def test_a_copy_of_the_state_goes_on_with_the_same_bytes() -> None:
    inputs = record(3, 1200)
    whole = outputs(inputs)
    chat = Chat(CONFIG)
    for cut in range(0, len(inputs), 150):
        part = inputs[cut : cut + 150]
        assert repr(outputs(part, chat)) == repr(whole[cut : cut + 150])
        chat = pickle.loads(pickle.dumps(chat))


def test_the_run_is_worth_replaying() -> None:
    taken = [result[0] for result in outputs(record(1, 1500)) if isinstance(result[0], dict)]
    operations = [operation for batch in taken for part in batch.values() for operation in part]
    assert {operation[0] for operation in operations} == {ADD, REMOVE, PUBLISH, SEND, CLOSE}
    text = b"".join(operation[2] for operation in operations if operation[0] in (PUBLISH, SEND)).decode()
    for words in (
        "joined the room",
        "进入了聊天室",
        "is now known as",
        "whispers to you",
        "没有等到名字",
        "太长了",
        "/join?",
        "BATCH +r",
        "draft/multiline",
        " 352 ",
        "PING :irc.broker.local",
    ):
        assert words in text
