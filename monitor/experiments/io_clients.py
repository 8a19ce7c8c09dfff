"""The clients of the echo server: many that are connected and silent, and a few that never stop.

A process of `broker experiment io`. Each active client has one message under way: as soon as it is back, the next one
goes out.
"""

from __future__ import annotations

import select
import socket
import time

from broker.linux import raise_descriptor_limit
from monitor.experiments.conductor_line import Conductor, run
from monitor.experiments.placement import ExperimentError

_CONNECT_SECONDS = 20.0
_RETRY_SECONDS = 0.002
_EVERY = 16
"""One round trip of so many is noted."""


def live(conductor: Conductor, arguments: list[str]) -> None:
    """PATH CONNECTIONS ACTIVE; says when all are connected, and plays from then on."""
    path, count, active = arguments
    raise_descriptor_limit()
    connections = [_connect(path) for _ in range(int(count))]
    step = len(connections) / int(active)
    # Spread over the descriptors, lest a multiplexer that looks at the low ones first seem fast.
    players = {connections[int(index * step)].fileno(): connections[int(index * step)] for index in range(int(active))}
    epoll = select.epoll()
    epoll.register(conductor.fd, select.EPOLLIN)
    for fd in players:
        epoll.register(fd, select.EPOLLIN)
    conductor.say("connected", len(connections))
    sent_at = {}
    latencies_ns: list[int] = []
    for fd, player in players.items():
        sent_at[fd] = time.monotonic_ns()
        player.send(b"x")
    played = 0
    while True:
        for fd, _ in epoll.poll():
            if fd == conductor.fd:
                conductor.hear()
                conductor.say("latencies", latencies_ns)
                latencies_ns = []
                continue
            players[fd].recv(16)
            now = time.monotonic_ns()
            played += 1
            if played % _EVERY == 0:
                latencies_ns.append(now - sent_at[fd])
            sent_at[fd] = now
            players[fd].send(b"x")


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            connection.connect(path)
            return connection
        except OSError as error:
            # EAGAIN: more wait to be accepted than the listener's backlog holds, unix(7).
            if not isinstance(error, BlockingIOError) or time.monotonic() > deadline:
                raise ExperimentError(f"the echo server cannot be reached: {error.strerror}") from None
            time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    run("io-clients", live)
