"""The router process: one brain. Applies every worker's frames to the chat in one order and answers with batches.

An I/O shell around `broker.chat.Chat`, which is pure and deterministic: everything that the chat learns, the time
included, goes through `Chat`'s inputs, in the order in which this process calls them. Touches no client's socket.

Before it answers, it drains all frames that are there; then each worker concerned gets one numbered batch, which also
acknowledges the worker's frames. Nothing waits for a reply. What a few bytes of input can order (`/who` in a full room)
is bounded twice: a batch is sent when it has grown large, and while a worker has much to take, what came from it waits.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Any, Final

from broker.channel import Channel, ChannelClosed, ChannelOverflow, watch
from broker.chat import Chat, ChatConfig
from broker.errors import LocalProtocolError
from broker.loop import READ, WRITE, Timer
from broker.messages import GIVEN_UP, KICK, KICKED, LINK, RETIRE, SHUTDOWN, Event
from workers.harness import Birth, ChildProcess

_BATCH_BYTES: Final = 1024 * 1024
"""A batch is sent when this much has been ordered, and not at the end of the wake-up only."""
_OUTBOX_BYTES_TO_WAIT_AT: Final = 8 * 1024 * 1024
"""With more than this to take, a worker has to wait for its own input to be applied."""


class _Link:
    """The Pipe to one worker, and where both sides are in their numbering."""

    __slots__ = ("acknowledged", "backlog", "batch", "channel", "frame", "incarnation", "worker")

    def __init__(self, worker: int, incarnation: int, fd: int) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self.channel = Channel(fd)
        self.backlog: deque[tuple[int, deque[Event]]] = deque()  # frames with events that are still to be applied
        self.frame = 0  # the last frame that has been applied
        self.acknowledged = 0  # the last frame that the worker knows has been applied
        self.batch = 0  # the last batch that went


class RouterProcess(ChildProcess):
    """`router`."""

    def __init__(self, birth: Birth) -> None:
        super().__init__(birth)
        settings = birth.settings
        self.chat = Chat(
            ChatConfig(
                language=settings.lang,
                listener_protocols=tuple(listener.url.protocol for listener in birth.listeners),
                name_timeout_seconds=settings.name_timeout_seconds,
                max_line_bytes=settings.max_line_bytes,
            )
        )
        self._links: dict[int, _Link] = {}
        self._timer: Timer | None = None
        self._timer_at: float | None = None

    def counters(self) -> dict[str, int]:
        return {
            "sessions": self.chat.session_count,
            "messages_in": self.chat.messages_in,
            "messages_out": self.chat.messages_out,
            "rooms": self.chat.room_count,
        }

    def on_message(self, message: tuple[Any, ...]) -> None:
        code, *arguments = message
        if code == LINK:
            worker, incarnation = arguments
            self._new_link(worker, incarnation, self.control.take_descriptor())
        elif code == KICK:
            request, name, reason = arguments
            self.tell_supervisor((KICKED, request, self.chat.kick(time.monotonic(), name, reason)))
        elif code == RETIRE:
            self.chat.retire_worker(time.monotonic(), arguments[0])
        elif code == SHUTDOWN:
            self.chat.shutdown(time.monotonic())
        else:
            raise LocalProtocolError(f"the router does not know the message {code!r}")

    def after_wake_up(self) -> None:
        while not self._answer():
            pass  # a link broke: those who were told of it by the chat are to be answered too
        self._set_timer()

    def _answer(self) -> bool:
        """Send each worker its batch; False if one could not be sent."""
        operations = self.chat.take_operations()
        links = list(self._links.values())
        for link in links:
            batch = operations.get(link.worker, [])
            if not batch and link.acknowledged == link.frame:
                continue
            link.batch += 1
            link.acknowledged = link.frame
            try:
                link.channel.send((link.batch, link.frame, batch))
            except ChannelClosed:
                self._drop(link)
            except ChannelOverflow as error:
                self._give_up(link, f"it does not take its batches: {error}")
            else:
                watch(self.loop, link.channel)
        return len(self._links) == len(links)

    def _new_link(self, worker: int, incarnation: int, fd: int) -> None:
        old = self._links.get(worker)
        if old is not None:
            self._drain(old)
        link = _Link(worker, incarnation, fd)
        self._links[worker] = link
        self.loop.register(fd, READ, lambda events: self._on_link(link, events))

    def _on_link(self, link: _Link, events: int) -> None:
        try:
            if events & WRITE:
                link.channel.flush()
                watch(self.loop, link.channel)
            if events & ~WRITE:
                self._receive(link)
            self._apply(link)
        except ChannelClosed:
            self._drain(link)
        except LocalProtocolError as error:
            self._give_up(link, f"it broke the rules of its link: {error}")

    def _receive(self, link: _Link) -> None:
        """Take all frames that are there; ChannelClosed once there will be no more.

        Their number is bounded by the worker: it has at most so much unacknowledged input.
        """
        for number, events in link.channel.receive():
            expected = link.backlog[-1][0] + 1 if link.backlog else link.frame + 1
            if number != expected:
                raise LocalProtocolError(f"frame {number} came where frame {expected} should")
            link.backlog.append((number, deque(events)))

    def _apply(self, link: _Link) -> None:
        """Apply what has come from a worker, as far as it takes what it is answered."""
        now = time.monotonic()
        while link.backlog and link.channel.outbox_bytes < _OUTBOX_BYTES_TO_WAIT_AT:
            number, events = link.backlog[0]
            while events and self.chat.ordered_bytes < _BATCH_BYTES:
                self.chat.apply(now, link.worker, (events.popleft(),))
            if not events:
                link.frame = number
                link.backlog.popleft()
            if self.chat.ordered_bytes >= _BATCH_BYTES:
                self._answer()

    def _drain(self, link: _Link) -> None:
        """Take what a dead worker still had to say, then forget it."""
        with contextlib.suppress(ChannelClosed, LocalProtocolError):
            while True:
                before = len(link.backlog)
                self._receive(link)
                if len(link.backlog) == before:
                    break
        now = time.monotonic()
        for _, events in link.backlog:
            self.chat.apply(now, link.worker, events)
        link.backlog.clear()
        self._drop(link)

    def _give_up(self, link: _Link, why: str) -> None:
        """A worker without a link would take clients and serve none: have the supervisor replace it."""
        self.log("error", f"worker-{link.worker} is given up: {why}")
        self.tell_supervisor((GIVEN_UP, link.worker, link.incarnation))
        self._drop(link)

    def _drop(self, link: _Link) -> None:
        if self._links.get(link.worker) is not link:
            return
        self.loop.unregister(link.channel.fileno())
        link.channel.close()
        del self._links[link.worker]
        self.chat.worker_lost(time.monotonic(), link.worker)

    def _set_timer(self) -> None:
        deadline = self.chat.next_deadline()
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = None
        if deadline is not None:
            self._timer = self.loop.call_later(max(0.0, deadline - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = self._timer_at = None
        self.chat.tick(time.monotonic())
