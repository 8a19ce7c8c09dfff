"""The chat room over real sockets: what people type is what the others read, byte for byte."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.running import PROMPT, Broker, Client, running_broker, wait_until

_numbers = count()


def fresh(stem: str) -> str:
    """A name that no other test has used."""
    return f"{stem}{next(_numbers)}"


@pytest.fixture
def room(shared_broker: Broker) -> tuple[Client, Client]:
    """Ann and Bob, in a room of their own."""
    name = fresh("room")
    ann, bob = shared_broker.client(fresh("ann")), shared_broker.client(fresh("bob"))
    for client in (ann, bob):
        client.send(f"/join {name}")
        client.expect(f" {name}")
        client.line()
    ann.line()  # bob has come
    return ann, bob


def test_the_exact_bytes_of_the_course_note(broker: Broker) -> None:
    ann = socket.create_connection(("127.0.0.1", broker.port), 10)
    bob = socket.create_connection(("127.0.0.1", broker.port), 10)
    assert ann.recv(100) == "请输入姓名: ".encode()
    ann.sendall(b"ann\n")
    first = Client(ann)
    first.lines(2)
    bob.sendall(b"bob\r\n")
    assert first.line() == "bob 进入了聊天室"
    second = Client(bob)
    second.expect(PROMPT)
    second.lines(2)
    bob.sendall("大家好 hello\n".encode())
    assert first.line() == "bob说: 大家好 hello"
    bob.close()
    assert first.line() == "bob 退出了聊天室"
    assert first.received == b""
    ann.close()


def test_english(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--lang", "en") as broker:
        ann = broker.client()
        ann.expect("Please enter your name: ")
        ann.send("ann")
        ann.lines(2)
        bob = broker.client()
        bob.expect("Please enter your name: ")
        bob.send("bob", "hello", "/quit")
        assert ann.lines(3) == ["bob joined the room", "bob: hello", "bob left the room"]
        assert bob.rest()


def test_the_newcomer_sees_who_is_there(shared_broker: Broker) -> None:
    name = fresh("early")
    early = shared_broker.client(name)
    late = shared_broker.client()
    late.send(fresh("late"))
    late.line()
    assert name in late.line()
    early.close()


def test_a_name_in_use_is_refused_in_any_spelling_and_free_once_its_owner_is_gone(shared_broker: Broker) -> None:
    owner = shared_broker.client("Ann")
    other = shared_broker.client()
    for spelling in ("Ann", "ann", "ANN", "Ａnn"):
        other.expect(PROMPT)
        other.send(spelling)
        other.line()
    other.expect(PROMPT)
    owner.close()
    wait_until(lambda: _try_name(shared_broker, "ann"), "the name is free")


def _try_name(broker: Broker, name: str) -> bool:
    client = broker.client()
    client.expect(PROMPT)
    client.send(name)
    taken = "在用" in client.line()
    client.close()
    return not taken


def test_a_half_closed_client_is_heard_before_it_is_seen_to_leave(
    room: tuple[Client, Client], shared_broker: Broker
) -> None:
    ann, _ = room
    own = fresh("half")  # in the lobby, those of earlier tests may be seen to leave meanwhile
    ann.send(f"/join {own}")
    ann.expect(own)
    name = fresh("pipe")
    sock = socket.create_connection(("127.0.0.1", shared_broker.port), 10)
    sock.sendall(f"{name}\n/join {own}\nhi\nlast words without an end of line".encode())
    sock.shutdown(socket.SHUT_WR)
    ann.expect(f"{name} 进入了聊天室\n")
    assert ann.lines(3) == [f"{name}说: hi", f"{name}说: last words without an end of line", f"{name} 退出了聊天室"]
    assert "欢迎" in Client(sock).rest()


def test_nc_in_a_pipe(shared_broker: Broker) -> None:
    netcat = shutil.which("nc")
    netcat_command = [sys.executable, "-c", _NETCAT] if netcat is None else [netcat, "-N"]
    listener, own = shared_broker.client(fresh("listener")), fresh("nc")
    listener.send(f"/join {own}")
    listener.expect(own)
    name = fresh("nc")
    subprocess.run(
        [*netcat_command, "127.0.0.1", str(shared_broker.port)], input=f"{name}\n/join {own}\nhello\n".encode(),
        timeout=20, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    listener.expect(f"{name} 进入了聊天室\n")
    assert listener.lines(2) == [f"{name}说: hello", f"{name} 退出了聊天室"]


_NETCAT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR)
while s.recv(4096): pass
"""


def test_control_characters_never_reach_another_terminal(room: tuple[Client, Client]) -> None:
    ann, bob = room
    bob.socket.sendall(b"\x1b[31mred\x07 \xc2\x9bC1\x7f\ttab\x00\n")
    line = ann.line()
    assert line.endswith("说: [31mred C1 tab")
    bob.socket.sendall(b"broken \xff\xfe utf-8\n")
    assert ann.line().endswith("说: broken \ufffd\ufffd utf-8")


def test_an_unfinished_line_does_not_close_the_window_for_what_follows(room: tuple[Client, Client]) -> None:
    """A peeked, unconsumed piece of a large segment keeps all its memory: the kernel must have room for more."""
    ann, bob = room
    for length in (100_000, 1_000_000):
        bob.send("y" * length, "after")
        assert "4096" in bob.line()
        assert ann.line().endswith("说: after")


def test_an_overlong_line_is_refused_and_the_session_goes_on(room: tuple[Client, Client]) -> None:
    ann, bob = room
    longest = "x" * 4096
    bob.send(longest)
    assert ann.line().endswith(f"说: {longest}")
    for length in (4097, 5000, 100_000, 1_000_000):
        bob.send("y" * length)
        assert "4096" in bob.line()
    bob.socket.sendall(b"z" * 4096 + b"\r\n")
    assert ann.line().endswith("z" * 4096)
    bob.send("still here")
    assert ann.line().endswith("说: still here")
    assert bob.received == b""


def test_a_byte_at_a_time(room: tuple[Client, Client]) -> None:
    ann, bob = room
    for byte in "一个字节一个字节\r\n".encode():
        bob.socket.sendall(bytes([byte]))
    assert ann.line().endswith("说: 一个字节一个字节")


def test_many_lines_in_one_segment_keep_their_order(room: tuple[Client, Client]) -> None:
    ann, bob = room
    bob.send(*(f"line {number}" for number in range(5000)))
    assert [line.rsplit("说: ", 1)[1] for line in ann.lines(5000)] == [f"line {number}" for number in range(5000)]


def test_everybody_sees_one_order(shared_broker: Broker) -> None:
    name = fresh("order")
    clients = [shared_broker.client(fresh("p")) for _ in range(6)]
    watchers = [shared_broker.client(fresh("w")) for _ in range(4)]
    for client in clients + watchers:
        client.send(f"/join {name}")
        client.expect(f" {name}")
        client.line()
    for turn in range(50):
        for index, client in enumerate(clients):
            client.send(f"{index}-{turn}")
    seen = []
    for watcher in watchers:
        said: list[str] = []
        while len(said) < 300:
            line = watcher.line()
            if "说: " in line:
                said.append(line.split("说: ")[1])
        seen.append(said)
    assert all(said == seen[0] for said in seen)


def test_the_local_socket_is_the_same_room(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chat.sock"
    with running_broker(tmp_path / "state", "--listen", f"chat+unix:{path}") as broker:
        ann, bob = broker.client("ann"), broker.client("bob", unix=path)
        assert ann.line() == "bob 进入了聊天室"
        bob.send("over the local socket", "x" * 5000)
        assert ann.line() == "bob说: over the local socket"
        assert "4096" in bob.line()
        bob.send("/quit")
        assert ann.line() == "bob 退出了聊天室"
        assert bob.rest()
        assert broker.run("stop").returncode == 0
        assert not path.exists()


def test_private_actions_rooms_and_nick(room: tuple[Client, Client], shared_broker: Broker) -> None:
    ann, bob = room
    bob.send("/me 笑了")
    assert "笑了" in ann.line()
    bob.send("//etc/hosts")
    assert ann.line().endswith("说: /etc/hosts")
    new = fresh("newbob")
    bob.send(f"/nick {new}")
    assert new in ann.line()
    ann.send(f"/msg {new} 悄悄话")
    bob.expect("悄悄话")
    ann.line()
    bob.send("/jion x")
    bob.expect("/join")
    bob.send("/part", "nobody hears this")
    assert ann.line() == f"{new} 退出了聊天室"


def test_kick(shared_broker: Broker) -> None:
    ann_name, name, own = fresh("ann"), fresh("victim"), fresh("room")
    ann = shared_broker.client(ann_name)
    bob = shared_broker.client(name)
    for client in (ann, bob):
        client.send(f"/join {own}")
        client.expect(f" {own}")
    ann.expect(f"{name} 进入了聊天室\n")
    result = shared_broker.run("kick", name.upper(), "flooding")
    assert result.returncode == 0, result.stderr
    assert ann.line() == f"{name} 退出了聊天室"
    assert "flooding" in bob.rest()
    assert shared_broker.ask("kick", name=ann_name, reason="\ud800 half a character")["name"] == ann_name
    assert "half a character" in ann.rest()
    result = shared_broker.run("kick", "nobody-of-that-name")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_what_was_said_before_a_rude_close_is_heard(room: tuple[Client, Client], shared_broker: Broker) -> None:
    """A script that sends and closes without ever reading: its end is a reset, and not one of its lines is lost."""
    ann, _ = room
    ann.send("/join rude")
    ann.expect("rude")
    ann.line()
    name = fresh("rude")
    sock = socket.create_connection(("127.0.0.1", shared_broker.port), 10)
    sock.sendall(f"{name}\n/join rude\n".encode())
    ann.expect(f"{name} 进入了聊天室\n")
    sock.sendall(b"".join(b"%d\n" % number for number in range(2000)))
    sock.close()
    assert ann.lines(2001) == [*(f"{name}说: {number}" for number in range(2000)), f"{name} 退出了聊天室"]


def test_urgent_data_ends_the_line_and_not_the_session(room: tuple[Client, Client]) -> None:
    ann, bob = room
    bob.socket.sendall(b"abc")
    bob.socket.send(b"!", socket.MSG_OOB)
    bob.socket.sendall(b"def\n")
    assert bob.line().startswith("* ")
    bob.send("next")
    assert ann.line().endswith("说: next")
