"""What a message costs in the router's state machine alone: no process, no Pipe, no disk. Pure but for the clock.

It is what the router does with a record: serialise it, as for the journal, and apply it, which makes the batches as
bytes. Records are as under load: one frame of each worker, with a few lines of every sender. The time is that of the
CPU (`time.thread_time`), so that a machine that others use makes it little longer; making the records does not count.
"""

from __future__ import annotations

import marshal
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.errors import LoadError
from benchmarks.plan import Names
from benchmarks.protocols import PROTOCOLS
from broker.chat_config import ChatConfig
from broker.framing import HEADER_BYTES, encode
from broker.messages import ATTACHED, LINES, Event
from broker.router_state import BEGIN, FRAME, Input, RouterState

_BEGAN: Final = 1_000_000.0
"""In Unix time; each record is a little later than the one before."""
_BETWEEN_SECONDS: Final = 0.001


@dataclass(frozen=True, slots=True)
class Script:
    """`senders` of each room say `run` lines each in every record; people are spread over the workers."""

    protocol: str
    rooms: int
    members: int
    senders: int
    run: int
    workers: int = 2
    size_bytes: int = 64

    @property
    def messages(self) -> int:
        """In one record."""
        return self.rooms * self.senders * self.run


class Rehearsal:
    """A router's state in which everybody of a script is in the room, and what they say."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.state = RouterState(ChatConfig(listener_protocols=(script.protocol,)))
        self._now = _BEGAN
        self._frames = dict.fromkeys(range(script.workers), 0)
        self._offsets: dict[int, int] = {}
        protocol, names = PROTOCOLS[script.protocol], Names("stm")
        self._said: dict[int, bytes] = {}
        self.apply([(BEGIN, b"rehearse")])
        for number in range(script.rooms * script.members):
            room = names.room(number // script.members)
            opening = protocol.opening(names.client(number), room)
            if script.protocol == "irc":
                opening += protocol.answer(b": 001", names.client(number), room)  # its welcome
            self._enter(number, opening)
            if number % script.members < script.senders:
                line = protocol.saying(room) + b"x" * script.size_bytes + protocol.line_end
                self._said[number] = line * script.run

    def record(self) -> list[Input]:
        """Everybody says what there is to say."""
        return self._frames_of({number: self._lines(number, said) for number, said in self._said.items()})

    def apply(self, inputs: list[Input]) -> int:
        """Do what the router does with a record; the bytes of its batches. LoadError if anything is wrong with it."""
        self._now += _BETWEEN_SECONDS
        marshal.dumps((self._now, inputs))
        outcome = self.state.apply(self._now, inputs)
        if outcome.bugs or outcome.broken:
            raise LoadError(
                f"the router's state does not take its input: {[*outcome.bugs, *outcome.broken.values()][0]}"
            )
        return sum(len(frame) for _, frame in outcome.frames)

    def _enter(self, number: int, opening: bytes) -> None:
        worker = number % self.script.workers
        attached: Event = (ATTACHED, number + 1, 0, "127.0.0.1:1")
        self.apply([self._frame(worker, [attached, self._lines(number, opening)])])

    def _frames_of(self, events: dict[int, Event]) -> list[Input]:
        by_worker: dict[int, list[Event]] = {worker: [] for worker in self._frames}
        for number, event in events.items():
            by_worker[number % self.script.workers].append(event)
        return [self._frame(worker, events) for worker, events in by_worker.items()]

    def _frame(self, worker: int, events: list[Event]) -> Input:
        """One that acknowledges all batches, as when the worker keeps up."""
        self._frames[worker] += 1
        body = encode((self._frames[worker], self.state.view(worker).batch, events))[HEADER_BYTES:]
        return FRAME, worker, body, False

    def _lines(self, number: int, data: bytes) -> Event:
        offset = self._offsets.get(number, 0)
        self._offsets[number] = offset + len(data)
        return LINES, number + 1, offset, data


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one message, and the bytes that it becomes in all batches together."""

    seconds: float
    bytes: float


def cost_of(script: Script, messages: int) -> Cost:
    """The cost of a message, over at least so many of them, after a tenth as many; LoadError if any is not heard."""
    rehearsal = Rehearsal(script)
    records = -(-messages // script.messages)
    for _ in range(records // 10):
        rehearsal.apply(rehearsal.record())
    heard_before = rehearsal.state.chat.messages_in
    seconds = 0.0
    size = 0
    for _ in range(records):
        record = rehearsal.record()
        began = time.thread_time()
        size += rehearsal.apply(record)
        seconds += time.thread_time() - began
    said = records * script.messages
    heard = rehearsal.state.chat.messages_in - heard_before
    if heard != said:
        raise LoadError(f"the router's state has heard {heard} of {said} messages")
    return Cost(seconds / said, size / said)
