"""Ten thousand connections at once: all enter, all hear one message, all leave."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

from broker.linux import raise_descriptor_limit
from tests.running import running_broker, wait_until

CONNECTIONS = 10_000


def test_ten_thousand_connections(tmp_path: Path) -> None:
    assert raise_descriptor_limit() > CONNECTIONS + 100
    with running_broker(tmp_path / "state") as broker:
        port = broker.port
        crowd = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(CONNECTIONS)]
        for number, sock in enumerate(crowd):
            sock.sendall(f"p{number}\n/join room{number % 500}\n".encode())
        wait_until(lambda: broker.ask("status")["rooms"] == 501, "all rooms are there", 120)
        # The router's own count: what a worker has read, the router may still have to apply.
        wait_until(
            lambda: broker.processes()["router"]["counters"]["messages_in"] == 2 * CONNECTIONS, "all entered", 60
        )
        for sock in crowd[:500]:
            sock.sendall("到此一游\n".encode())
        waiting = set(range(500, CONNECTIONS))
        poll = select.epoll()
        by_fd = {sock.fileno(): number for number, sock in enumerate(crowd)}
        tail = dict.fromkeys(range(CONNECTIONS), b"")
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        deadline = time.monotonic() + 120
        while waiting:
            assert time.monotonic() < deadline, f"{len(waiting)} have not heard the message"
            for fd, _ in poll.poll(1):
                number = by_fd[fd]
                data = tail[number] + crowd[number].recv(65536)
                if f"p{number % 500}说: 到此一游\n".encode() in data:
                    waiting.discard(number)
                tail[number] = data[-200:]
        for sock in crowd:
            sock.close()
        wait_until(lambda: broker.ask("status")["sessions"] == 0, "all have left", 120)
        assert broker.client("late")
