"""The chat whose latency is measured: an open loop, in which messages come when they are due and not when they can.

A process of `broker experiment`. Arrivals are a Poisson process of a given rate, drawn from a seed. Each message
carries the moment at which it was due, and a delivery's latency runs from that moment to the receiving client's read:
if this process is late with sending, or the broker with reading, that counts. So an arm that is slow cannot slow its
own load down and look better for it ("coordinated omission").

Messages that are due within the measured window are followed to every receiver. Those before it warm up; those after
it only keep the load as it is until the last one that is measured has come, or the patience is over.
"""

from __future__ import annotations

import os
import random
import select
import time
from dataclasses import dataclass
from typing import Any, Final

from monitor.experiments.chat_clients import ChatClient, chosen, enter
from monitor.experiments.conductor_line import Conductor, run

_TAIL_BYTES: Final = 17
"""The moment, 16 hexadecimal digits, and a mark: what every text ends with."""
_MARK: Final = b"="
_NANOSECONDS: Final = 1_000_000_000
SMALLEST_TEXT_BYTES: Final = _TAIL_BYTES + 1


@dataclass(slots=True)
class Window:
    """What is measured, in monotonic nanoseconds, and for how long after it what is missing is waited for."""

    begins: int
    ends: int
    patience: int


class OpenLoop:
    """The clients of one room, each of which may be the next to speak."""

    def __init__(self, clients: list[ChatClient], rate: float, text_bytes: int, seed: int) -> None:
        self._clients = {client.fd: client for client in clients}
        self._speakers = clients
        self._rate = rate
        self._padding = b"x" * (text_bytes - _TAIL_BYTES)
        self._random = random.Random(seed)
        self._latencies: list[int] = []
        self._lateness: list[int] = []
        self._delivered = 0
        self._epoll = select.epoll()
        for client in clients:
            self._epoll.register(client.fd, select.EPOLLIN)

    def run(self, window: Window) -> dict[str, Any]:
        """Talk through the window and until all is there; the outcome."""
        due = time.monotonic_ns() + self._gap()
        measured = 0
        while True:
            now = time.monotonic_ns()
            while due <= now:
                if window.begins <= due < window.ends:
                    measured += 1
                    self._lateness.append(now - due)
                self._speak(due)
                due += self._gap()
            expected = measured * (len(self._speakers) - 1)
            is_over = now >= window.ends and due >= window.ends
            if is_over and (len(self._latencies) >= expected or now >= window.ends + window.patience):
                return {
                    "latencies_ns": self._latencies,
                    "lateness_ns": self._lateness,
                    "messages": measured,
                    "expected": expected,
                    "delivered_in_window": self._delivered,
                }
            self._wait((due - now) / _NANOSECONDS)
            self._receive(window)

    def _gap(self) -> int:
        return int(self._random.expovariate(self._rate) * _NANOSECONDS)

    def _speak(self, due: int) -> None:
        self._random.choice(self._speakers).send(b"%b%016x%b\n" % (self._padding, due, _MARK))

    def _wait(self, seconds: float) -> None:
        # epoll.poll rounds up to milliseconds, select does not.
        select.select([self._epoll], [], [], max(seconds, 0.0))

    def _receive(self, window: Window) -> None:
        for fd, _ in self._epoll.poll(0):
            client = self._clients[fd]
            client.flush()
            data = client.receive()
            now = time.monotonic_ns()
            *lines, client.received = (client.received + data).split(b"\n")
            for line in lines:
                if not line.endswith(_MARK):
                    continue  # somebody came or went
                due = int(line[-_TAIL_BYTES:-1], 16)
                if window.begins <= due < window.ends:
                    self._latencies.append(now - due)
                if window.begins <= now < window.ends:
                    self._delivered += 1


def live(conductor: Conductor, arguments: list[str]) -> None:
    """URL ROOM CLIENTS SPARE RATE TEXT_BYTES SEED; connects CLIENTS + SPARE, of which the conductor chooses."""
    url, room, count, spare, rate, text_bytes, seed = arguments
    everybody = [ChatClient(url, f"m{os.getpid():x}-{index}") for index in range(int(count) + int(spare))]
    clients = chosen(everybody, int(count), conductor)
    enter(clients, [room] * len(clients))
    conductor.say("entered")
    begins, ends, patience = conductor.hear()[1]
    loop = OpenLoop(clients, float(rate), int(text_bytes), int(seed))
    conductor.say("outcome", loop.run(Window(begins, ends, patience)))
    conductor.hear()


if __name__ == "__main__":
    run("load-chat", live)
