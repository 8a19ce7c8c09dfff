"""One client's way in: from connecting to the first byte of the stream that is checked. Pure.

While clients come in, the room is full of notices whose wording is the server's business. So the stream begins where
the heralds say: each says one text with the number START once everybody is in, and a client's stream begins after the
last of them (a herald's own, after the other's, for it does not get its own). As the room has one order, this is
the same point for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import texts
from benchmarks.protocols import ChatProtocol


class Entrance:
    """What one client has received so far. `heralds` are the authors whose beginning it waits for.

    `entered` becomes true when it is in the room, `done` when the stream begins; `rest` is what came of that already.
    """

    def __init__(self, protocol: ChatProtocol, name: str, room: str, heralds: Iterable[int]) -> None:
        self.name = name
        self.room = room
        self.entered = False
        self.rest = b""
        self.last_line = b""
        self._protocol = protocol
        self._awaited = {texts.key(texts.START, texts.tag(herald)) for herald in heralds}

    @property
    def done(self) -> bool:
        """Nothing more is awaited: what comes from here on is the stream."""
        return self.entered and not self._awaited

    def feed(self, data: bytes) -> bytes:
        """Take what came, however it was cut; returns what to send because of it."""
        answers = b""
        self.rest += data
        while not self.done:
            line, end, rest = self.rest.partition(self._protocol.line_end)
            if not end:
                break
            self.rest = rest
            self.last_line = line
            answers += self._protocol.answer(line, self.name, self.room)
            if not self.entered:
                self.entered = self._protocol.has_entered(line, self.name, self.room)
            for mark in self._awaited:
                if line.endswith(mark):
                    self._awaited.remove(mark)
                    break
        return answers
