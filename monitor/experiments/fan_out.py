"""Rooms full of people who get as much as the broker can deliver: for its throughput.

A process of `broker experiment workers`. A closed loop: in each room so many messages are under way, and each that
comes back to the room's observer is followed by another. Every client reads all that it gets, and all of it is counted.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from typing import Final

from broker.linux import raise_descriptor_limit
from monitor.experiments.chat_clients import ChatClient, chosen, enter
from monitor.experiments.conductor_line import Conductor, run

SPEAKERS: Final = 2
"""In each room."""
_TEXT: Final = b"." * 63 + b"\n"
_START: Final = b"let it begin\n"
_WAIT_SECONDS: Final = 0.05


class Rooms:
    """All rooms of this process; `delivered` counts lines."""

    def __init__(self, rooms: Sequence[Sequence[ChatClient]], window: int) -> None:
        self.delivered = 0
        self._window = window
        self._clients = {client.fd: client for room in rooms for client in room}
        self._speakers = {room[0].fd: room[1 : 1 + SPEAKERS] for room in rooms}
        """By the descriptor of each room's observer, who is its first client and says nothing."""
        self._turn = 0
        self._poll = select.epoll()
        for fd in self._clients:
            self._poll.register(fd, select.EPOLLIN)

    def begin(self) -> None:
        """Wait until all notices of who has come are over, and let the messages begin."""
        for fd, speakers in self._speakers.items():
            speakers[0].send(_START)
            observer = self._clients[fd]
            while not observer.received.endswith(_START):
                observer.received += observer.receive()
                time.sleep(0.001)
            observer.received = b""
        for speakers in self._speakers.values():
            self._say(speakers, self._window)

    def turn(self) -> None:
        """Read what there is; say as much anew."""
        for fd, _ in self._poll.poll(_WAIT_SECONDS):
            client = self._clients[fd]
            lines = client.receive().count(b"\n")
            self.delivered += lines
            if fd in self._speakers and lines:
                self._say(self._speakers[fd], lines)
            client.flush()

    def _say(self, speakers: Sequence[ChatClient], messages: int) -> None:
        self._turn += 1
        speakers[self._turn % len(speakers)].send(_TEXT * messages)


def live(conductor: Conductor, arguments: list[str]) -> None:
    """URL ROOM ROOMS CLIENTS WINDOW; CLIENTS are those of each room."""
    url, room = arguments[:2]
    number_of_rooms, size, window = map(int, arguments[2:])
    raise_descriptor_limit()
    count = number_of_rooms * size
    everybody = [ChatClient(url, f"f{os.getpid():x}-{index}") for index in range(count)]
    clients = chosen(everybody, count, conductor)
    enter(clients, [f"{room}-{index % number_of_rooms}" for index in range(count)])
    conductor.say("entered")
    begins, ends = conductor.hear()[1]
    rooms = Rooms([clients[index::number_of_rooms] for index in range(number_of_rooms)], window)
    rooms.begin()
    while time.monotonic_ns() < begins:
        rooms.turn()
    before = rooms.delivered
    while time.monotonic_ns() < ends:
        rooms.turn()
    conductor.say("outcome", {"done": rooms.delivered - before})
    while True:
        rooms.turn()


if __name__ == "__main__":
    run("load-rooms", live)
