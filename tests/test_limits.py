"""Limits: every one has its outcome, and nobody else notices."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from pathlib import Path

from tests.running import PROMPT, Broker, Client, running_broker, wait_until


def test_no_name_in_time_closes(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--name-timeout-seconds", "1") as broker:
        client = broker.client()
        client.expect(PROMPT)
        quick = broker.client("quick")
        assert "1 秒" in client.rest()
        broker.client().rest()  # another nameless one, closed later than the one with a name could have been
        quick.send("/who")
        assert "quick" in quick.line()


def test_connections_in_all_and_per_address(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--max-connections", "3") as broker:
        clients = [broker.client(f"p{number}") for number in range(3)]
        assert "3" in broker.client().rest()
        clients[0].close()
        wait_until(lambda: broker.ask("status")["sessions"] == 2, "one has left")
        assert broker.client("p3")
    with running_broker(tmp_path / "state", "--max-connections-per-address", "2") as broker:
        clients = [broker.client(f"p{number}") for number in range(2)]
        assert "2" in broker.client().rest()
        other = socket.create_connection(("127.0.0.1", broker.port), 10, source_address=("127.0.0.2", 0))
        Client(other).enter("elsewhere")
        other.close()


def test_a_flood_is_slowed_by_not_reading_and_nothing_is_lost(tmp_path: Path) -> None:
    options = ("--rate-lines-per-second", "200", "--rate-burst-lines", "50")
    with running_broker(tmp_path / "state", *options) as broker:
        ann, flood, calm = broker.client("ann"), broker.client("flood"), broker.client("calm")
        ann.lines(2)
        begin = time.monotonic()
        flood.send(*(str(number) for number in range(250)))
        calm.expect("flood说: 0\n")
        calm.send("I am not slowed")
        lines = ann.lines(251)
        assert time.monotonic() - begin > 0.9  # 200 lines beyond the burst, at 200 a second
        assert "calm说: I am not slowed" in lines[:150]
        lines.remove("calm说: I am not slowed")
        assert lines == [f"flood说: {number}" for number in range(250)]


def test_an_address_is_slowed_as_a_whole(tmp_path: Path) -> None:
    options = ("--address-rate-lines-per-second", "100", "--address-rate-burst-lines", "20")
    with running_broker(tmp_path / "state", *options) as broker:
        ann = broker.client("ann")
        others = [broker.client(f"p{number}") for number in range(4)]
        ann.expect("p3 进入了聊天室\n")
        begin = time.monotonic()
        for other in others:
            other.send(*("x" for _ in range(30)))
        ann.lines(120)
        assert time.monotonic() - begin > 0.7


def test_a_client_that_does_not_read_is_closed_and_nobody_waits(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--max-behind-bytes", "100000") as broker:
        ann = broker.client("ann")
        deaf_socket = socket.socket()
        deaf_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf_socket.settimeout(20)
        deaf_socket.connect(("127.0.0.1", broker.port))
        deaf = Client(deaf_socket)
        deaf.enter("deaf")
        bob = broker.client("bob")
        ann.lines(2)
        heard = 0
        while True:
            bob.send("x" * 4000)
            line = ann.line()
            if line == "deaf 退出了聊天室":
                break
            heard += 1
            assert heard < 20_000, "the deaf one is never closed"
        # Once it reads, it finds whole lines and the reason.
        text = deaf.rest()
        assert text.endswith("\n")
        assert text.splitlines()[-1].startswith("* ")
        for line in text.splitlines()[1:-1]:
            assert line == "bob说: " + "x" * 4000
        assert broker.client("deaf")
        assert any("does not read" in event["text"] for event in broker.events("log"))


def test_thirty_seconds_behind_closes_too(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--max-behind-seconds", "1") as broker:
        ann, deaf = broker.client("ann"), broker.client("deaf")
        ann.line()
        for _ in range(30):
            ann.send(*("x" * 4000 for _ in range(50)))
        assert ann.line() == "deaf 退出了聊天室"
        deaf.close()


def test_who_reads_is_not_closed_for_what_comes_at_once_after_a_worker_stood_still(tmp_path: Path) -> None:
    options = ("--rate-lines-per-second", "0", "--heartbeat-seconds", "0.2")  # counters are told with a heartbeat
    with running_broker(tmp_path / "state", *options) as broker:
        reader = broker.client("reader")
        worker = wait_until(lambda: worker_with_sessions(broker), "its worker has beaten")
        talker = broker.client("talker")
        reader.line()
        os.kill(worker, signal.SIGSTOP)
        talker.send(*("x" * 4000 for _ in range(4500)))
        wait_until(lambda: broker.processes()["router"]["counters"]["messages_in"] >= 4502, "all has been applied")
        os.kill(worker, signal.SIGCONT)
        # More than the kernel can have taken.
        wait_until(lambda: any(p["counters"]["messages_out"] > 4500 and p["pid"] == worker
                               for p in broker.processes().values()), "all is due at once")  # fmt: skip
        for _ in range(4500):
            assert reader.line() == "talker说: " + "x" * 4000


def worker_with_sessions(broker: Broker) -> int | None:
    """The PID of one that has some, as of its last beat."""
    processes = [p for p in broker.processes().values() if p["role"] == "worker" and p["counters"]["sessions"]]
    return processes[0]["pid"] if processes else None


class Listener:
    """Somebody who reads all that comes while the talker counts, and remembers only how far that got."""

    def __init__(self, client: Client) -> None:
        client.socket.setblocking(False)
        self.socket = client.socket
        self.heard = 0
        self.left: list[bytes] = []
        self._rest = client.received

    def read(self) -> None:
        """Whatever is there."""
        with contextlib.suppress(BlockingIOError):
            *lines, self._rest = (self._rest + self.socket.recv(1 << 20)).split(b"\n")
            for line in lines:
                if line == f"talker说: {self.heard} ".encode() + b"x" * 4000:
                    self.heard += 1
                else:
                    self.left.append(line)


def test_one_who_never_reads_costs_a_bounded_amount_of_memory_and_nobody_else_notices(tmp_path: Path) -> None:
    """At most twice 32 MiB wait for it in a process, beside what that has anyway."""
    with running_broker(tmp_path / "state", "--rate-lines-per-second", "0") as broker:
        deaf = broker.client("deaf")
        ann, bob, talker = broker.client("ann"), broker.client("bob"), broker.client("talker")
        for client in (ann, bob):
            client.expect("talker 进入了聊天室\n")
        listeners = [Listener(client) for client in (ann, bob)]
        talker.socket.setblocking(False)
        said, unsent = 0, b""

        def flood() -> bool:
            nonlocal said, unsent
            while not unsent and not all(listener.left for listener in listeners):
                unsent = b"".join(b"%d %s\n" % (number, b"x" * 4000) for number in range(said, said + 50))
                said += 50
            with contextlib.suppress(BlockingIOError):
                unsent = unsent[talker.socket.send(unsent) :]
            for listener in listeners:
                listener.read()
            return all(listener.left and listener.heard == said for listener in listeners) and not unsent

        end = time.monotonic() + 60
        while not flood():
            assert time.monotonic() < end, "the deaf one is never closed"
        assert [listener.left for listener in listeners] == [["deaf 退出了聊天室".encode()]] * 2
        for name, pid in broker.pids().items():
            assert peak_bytes(pid) < 128 * 1024 * 1024, name
        assert deaf.rest().endswith("\n")


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had at once."""
    (line,) = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_the_name_of_a_paced_flooder_is_free_once_it_is_reset(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--rate-lines-per-second", "10", "--rate-burst-lines", "20") as broker:
        ann, flood = broker.client("ann"), broker.client("flood")
        ann.line()
        flood.send(*("x" * 60 for _ in range(2000)))  # at this rate, minutes
        ann.line()
        flood.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        flood.close()
        ann.expect("flood 退出了聊天室\n")
        assert broker.client("flood")
