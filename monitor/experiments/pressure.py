"""Work that keeps the target busy, so that its share of a CPU is decided by weights and not by its own idleness.

A process of `broker experiment`. There is always work for the target and never more than so much, whatever its share,
so that the queue in front of the measured chat is of the same length in every arm. Two kinds:

    typing    people type, a byte at a time, and nobody listens. The work is the worker's: it is woken for each byte,
              looks, and mostly finds no whole line yet. That takes nobody's answer, so that the worker is never kept
              waiting; bytes that come while it is away are found together.
    lines     people talk to themselves. The work is the router's: it applies each line, and there is nobody to deliver
              it to. So many lines are in flight, and each answer to the question at the end of a burst is followed by
              another burst.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence
from typing import Any, Final

from broker.linux import raise_descriptor_limit
from monitor.experiments.chat_clients import ChatClient, chosen, enter
from monitor.experiments.conductor_line import Conductor, run

LONERS: Final = 16
"""Who talk to themselves."""
_LINE_BYTES: Final = 60
_REST_SECONDS: Final = 0.001
_WAIT_SECONDS: Final = 0.02
_TEXT: Final = b"." * (_LINE_BYTES - 1) + b"\n"
_QUESTION: Final = b"/who\n"
_NANOSECONDS: Final = 1_000_000_000


class Typing:
    """Typists in rooms of their own, a byte at a time, each at another place of his line. Counts bytes.

    With each byte the worker looks through all that the line has so far, packet by packet: that is what makes it work
    for much longer than this process does.
    """

    def __init__(self, clients: Sequence[ChatClient], line_bytes: int) -> None:
        self._clients = clients
        self._line_bytes = line_bytes
        self._typed = [line_bytes * index // len(clients) for index in range(len(clients))]

    def begin(self) -> None:
        """Nothing is to be said in advance."""

    def turn(self) -> int:
        """One byte of each, and a rest."""
        time.sleep(_REST_SECONDS)
        for index, client in enumerate(self._clients):
            self._typed[index] = (self._typed[index] + 1) % self._line_bytes
            with contextlib.suppress(BlockingIOError):
                client.socket.send(b"." if self._typed[index] else b"\n")
        return len(self._clients)


class Lines:
    """A room for each client. Counts lines."""

    def __init__(self, clients: Sequence[ChatClient], in_flight: int) -> None:
        self._clients = {client.fd: client for client in clients}
        self._burst = max(in_flight // len(clients) // 2, 1)
        self._poll = select.poll()
        for fd in self._clients:
            self._poll.register(fd, select.POLLIN)

    def begin(self) -> None:
        """Two bursts of everybody's in flight: while one is answered the other is there to be worked on."""
        for client in self._clients.values():
            client.send((_TEXT * self._burst + _QUESTION) * 2)

    def turn(self) -> int:
        """Wait a little for answers, and follow each with a burst; the number of lines that were answered for."""
        lines = 0
        for fd, _ in self._poll.poll(_WAIT_SECONDS * 1000):
            client = self._clients[fd]
            client.flush()
            answers = client.receive().count(b"\n")
            client.send((_TEXT * self._burst + _QUESTION) * answers)
            lines += answers * (self._burst + 1)
        return lines


_KINDS: Final[dict[str, type[Typing] | type[Lines]]] = {"typing": Typing, "lines": Lines}


def live(conductor: Conductor, arguments: list[str]) -> None:
    """URL ROOM KIND AMOUNT CLIENTS SPARE; connects SPARE clients more than CLIENTS, of which the conductor chooses."""
    url, room, kind, amount, count, spare = arguments
    raise_descriptor_limit()
    everybody = [ChatClient(url, f"p{os.getpid():x}-{index}") for index in range(int(count) + int(spare))]
    clients = chosen(everybody, int(count), conductor)
    enter(clients, [f"{room}-{index}" for index in range(len(clients))])
    conductor.say("entered")
    begins, ends = conductor.hear()[1]
    load = _KINDS[kind](clients, int(amount))
    load.begin()
    conductor.say("outcome", _work(load, begins, ends))
    while True:
        load.turn()


def _work(load: Typing | Lines, begins: int, ends: int) -> dict[str, Any]:
    """Until the window is over; how much was done in it."""
    done = 0
    while (now := time.monotonic_ns()) < ends:
        count = load.turn()
        if now >= begins:
            done += count
    return {"done": done, "seconds": (ends - begins) / _NANOSECONDS}


if __name__ == "__main__":
    run("load-pressure", live)
