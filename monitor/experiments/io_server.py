"""A server on the broker's own loop, with one multiplexer or another: it sends back whatever it gets.

A process of `broker experiment io`. It counts the turns of its loop and the events in them, and knows the CPU time that
it used, in user mode and in the kernel.
"""

from __future__ import annotations

import os
import socket
import time
from functools import partial
from typing import Any

from broker.linux import raise_descriptor_limit
from broker.loop import READ, Loop
from monitor.experiments.conductor_line import Conductor, run
from monitor.experiments.multiplexers import MULTIPLEXERS

_BACKLOG = 1024


class EchoServer:
    """Serves until told to end."""

    def __init__(self, conductor: Conductor, multiplexer: str, path: str) -> None:
        self._conductor = conductor
        self._loop = Loop(MULTIPLEXERS[multiplexer]())
        self._loop.after_wake_up = self._count_wake_up
        self._connections: dict[int, socket.socket] = {}
        self._wake_ups = 0
        self._events = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        self._loop.register(self._listener.fileno(), READ, self._accept)
        self._loop.register(conductor.fd, READ, self._hear)

    def serve(self) -> None:
        """Until the conductor ends this process."""
        self._conductor.say("listening")
        self._loop.run()

    def _accept(self, _events: int) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        self._connections[connection.fileno()] = connection
        self._loop.register(connection.fileno(), READ, partial(self._echo, connection))

    def _echo(self, connection: socket.socket, _events: int) -> None:
        self._events += 1
        try:
            data = connection.recv(4096)
            if data:
                connection.send(data)
        except OSError:  # the clients are ended, not asked to end
            data = b""
        if not data:
            self._loop.unregister(connection.fileno())
            del self._connections[connection.fileno()]
            connection.close()

    def _count_wake_up(self) -> None:
        self._wake_ups += 1

    def _hear(self, _events: int) -> None:
        self._conductor.hear()
        times = os.times()
        figures: dict[str, Any] = {
            "at": time.monotonic(),
            "wake_ups": self._wake_ups,
            "events": self._events,
            "cpu": time.process_time(),
            "user": times.user,
            "system": times.system,
            "connections": len(self._connections),
        }
        self._conductor.say("figures", figures)


def live(conductor: Conductor, arguments: list[str]) -> None:
    """MULTIPLEXER PATH."""
    raise_descriptor_limit()
    EchoServer(conductor, *arguments).serve()


if __name__ == "__main__":
    run("io-server", live)
