"""The router process: one brain. Applies every worker's frames to the chat in one order and answers with batches.

An I/O shell around `broker.router_state`, which is pure and deterministic. At the end of each wake-up it takes all that
has come, appends it to the journal in one write, applies it, and sends what comes out: in this order, so that whatever
a worker has seen can be made again. A router that replaces another one replays the journal and finds the workers where
they are. Touches no client's socket, and blocks on nothing but the journal's append.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
from typing import Any, Final, Literal

from broker import faults
from broker.channel import Channel, ChannelClosed, ChannelOverflow, watch
from broker.errors import BrokerError, LocalProtocolError
from broker.framing import decode
from broker.journal import Journal
from broker.loop import READ, WRITE, Timer
from broker.messages import (
    ANSWER,
    GIVEN_UP,
    HELLO,
    KICK,
    LINK,
    MOVE,
    REPORT_BEAT,
    REPORT_RECOVERED,
    REQUEST,
    SHUTDOWN,
    STAFF,
    WELCOME,
)
from broker.router_state import BEGIN, CONFIGURED, FRAME, GO_ON, RENUMBER, TICK, Input, Outcome, RouterState, load
from broker.state_dir import JOURNAL_DIR
from workers.chat_settings import chat_config
from workers.harness import Birth, ChildProcess
from workers.leavers import Leavers

_OUTBOX_BYTES_TO_WAIT_AT: Final = 8 * 1024 * 1024
"""With more than this to take, a worker has to wait for its own input to be applied."""
_RETAINED_BYTES_TO_WAIT_AT: Final = 96 * 1024 * 1024
"""With more than this kept for workers that do not acknowledge it, nothing is applied until they have."""
_HEARING_SECONDS: Final = 1.0
"""After a time without a router, or in which it stood still, input is heard for so long before silence counts."""
_LONGEST_HEARING_SECONDS: Final = 10.0
"""For so long, if one of the workers does not come."""
_PROBATION_SECONDS: Final = 10.0
"""Longer than the probation of a reload is."""


def _emptied(journal: Journal) -> Journal | None:
    """The journal without what is in it; None if that cannot be removed, as it must never be replayed."""
    try:
        journal.discard()
    except BrokerError:
        return None
    return journal


class _Link:
    """The Pipe to one worker."""

    __slots__ = ("channel", "greeted", "incarnation", "worker")

    def __init__(self, worker: int, incarnation: int, channel: Channel) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self.channel = channel
        self.greeted = False


class RouterProcess(ChildProcess):
    """`router`."""

    def __init__(self, birth: Birth) -> None:
        super().__init__(birth)
        settings = birth.settings
        self._config = chat_config(settings, birth.listeners, birth.run.hex()[:8])
        self._links: dict[int, _Link] = {}
        self._inputs: list[Input] = []
        self._timer: Timer | None = None
        self._timer_at: float | None = None
        self._no_tick_until = 0.0
        self._unheard: set[int] = set()  # workers that the predecessor had, and that have not said where they are
        self._recovered: dict[str, Any] | None = None
        # On probation it leaves what it found: the code before may have to begin with that once more.
        self._no_snapshot_until = self.platform.monotonic() + (_PROBATION_SECONDS if birth.on_probation else 0.0)
        self.journal: Journal | None = None
        if settings.durability != "none":
            durability: Literal["process", "power"] = "power" if settings.durability == "power" else "process"
            self.journal = self.platform.journal(settings.state_dir / JOURNAL_DIR, durability, birth.run)
        gc.disable()  # nothing of what is recovered is garbage, and looking at it again and again would take as long
        try:
            self.state = self._recover()
        finally:
            gc.freeze()
            gc.enable()
        self._leavers = Leavers(self.state, self._links, lambda item: self._inputs.append(item), self.loop.call_later)
        self._journal_state = "off" if self.journal is None else "ok"

    def _recover(self) -> RouterState:
        """What the predecessor knew, from its journal; a new state if there is none."""
        state = RouterState(self._config)
        started = self.platform.monotonic()
        records: list[bytes] = []
        if self.journal is not None and self.birth.journal_void:
            # It gives its files up itself when it has to; this is for a disk that does not even let go of them.
            self.journal = _emptied(self.journal)
        if self.journal is not None:
            recovered = self.journal.recover()
            records = recovered.records
            for warning in recovered.warnings:
                self.log("warning", warning)
            if recovered.snapshot is not None:
                state = load(recovered.snapshot, self._config)
        for record in records:
            state.apply(*marshal.loads(record))
            if faults.ENABLED:
                faults.point("router.replaying")
        if faults.ENABLED:
            faults.point("router.replayed")
        if not state.run:
            self._inputs.append((BEGIN, self.platform.random_bytes(8)))
            return state
        self._inputs.append((CONFIGURED,))
        self._unheard = set(state.views)
        self._no_tick_until = self._now() + _LONGEST_HEARING_SECONDS
        self._recovered = {
            "sessions": state.chat.session_count,
            "records": len(records),
            "seconds": self.platform.monotonic() - started,
        }
        return state

    def begin(self) -> None:
        if self._recovered is not None:
            self.report(REPORT_RECOVERED, **self._recovered)
            for kind, number, *arguments in self.state.outstanding.values():
                self.tell_supervisor((REQUEST, number, kind, arguments))
        super().begin()

    def finish(self) -> None:
        self._apply_inputs()
        if self.journal is not None:
            # What comes next may have other code and other settings: it is to begin with a state, not with inputs.
            self.journal.snapshot_finished(self.platform.monotonic())
            if self.journal.begin_snapshot(self._serialise, self.platform.monotonic()) is not None:
                self.journal.snapshot_finished(self.platform.monotonic())
            self.journal.close()

    def counters(self) -> dict[str, Any]:
        return {
            "sessions": self.state.chat.session_count,
            "messages_in": self.state.chat.messages_in,
            "messages_out": self.state.chat.messages_out,
            "rooms": self.state.chat.room_count,
            "retained_bytes": self.state.retained_bytes,
            "journal": self._journal_state,
        }

    def on_message(self, message: tuple[Any, ...]) -> None:
        if message[0] == LINK:
            _, worker, incarnation = message
            self._new_link(worker, incarnation, self.control.take_descriptor())
        elif message[0] == STAFF:
            self._leavers.staff(message[1])
        elif message[0] in (KICK, MOVE, SHUTDOWN, ANSWER):
            self._inputs.append(message)
        else:
            raise LocalProtocolError(f"the router does not know the message {message[0]!r}")

    def after_wake_up(self) -> None:
        self._let_go_on()
        self._apply_inputs()
        self._set_timer()
        if self.journal is not None:
            self._look_after_journal(self.journal)

    def _apply_inputs(self) -> None:
        while self._inputs:
            inputs, self._inputs = self._inputs, []
            now = self._now()
            if faults.ENABLED:
                faults.point("router.heard")
            if self.journal is not None:
                self.journal.append(marshal.dumps((now, inputs)))
            if faults.ENABLED:
                faults.point("router.journaled")
            outcome = self.state.apply(now, inputs)
            if faults.ENABLED:
                faults.point("router.applied")
            self._act(outcome)
            if faults.ENABLED:
                faults.point("router.answered")
            self._let_go_on()

    # Outcomes.

    def _act(self, outcome: Outcome) -> None:
        for worker, frame in outcome.frames:
            link = self._links.get(worker)
            if link is None or not link.greeted:
                continue  # it is retained, and will be sent when somebody is there
            self._send(link, frame)
            if faults.ENABLED:
                faults.point("router.batch-sent")
        for worker, link in list(self._links.items()):
            watch(self.loop, link.channel)
            if worker in outcome.broken:
                self._give_up(link, f"it broke the rules of its link: {outcome.broken[worker]}")
        for reply in outcome.replies:
            self.tell_supervisor(reply)
        for kind, number, *arguments in outcome.requests:
            self.tell_supervisor((REQUEST, number, kind, arguments))
        for bug in outcome.bugs:
            self.log("error", f"a bug, and what it concerned was ended: {bug}")

    def _send(self, link: _Link, frame: bytes) -> None:
        try:
            link.channel.send_frame(frame)
        except ChannelClosed:
            self._drop(link)
        except ChannelOverflow as error:
            self._give_up(link, f"it does not take its batches: {error}")

    def _let_go_on(self) -> None:
        """Let those workers be heard again that had to wait and have taken enough."""
        for worker, view in self.state.views.items():
            if view.waiting and not self._must_wait(worker):
                self._inputs.append((GO_ON, worker))

    def _must_wait(self, worker: int) -> bool:
        link = self._links.get(worker)
        if link is not None and link.channel.outbox_bytes >= _OUTBOX_BYTES_TO_WAIT_AT:
            return True
        if self.state.retained_bytes < _RETAINED_BYTES_TO_WAIT_AT:
            return False
        # It gives sessions away only when their input is applied, and what they get meanwhile is kept until they come.
        return not self.state.view(worker).gives_away

    # Links.

    def _new_link(self, worker: int, incarnation: int, fd: int) -> None:
        old = self._links.get(worker)
        if old is not None:
            self._drain(old)
        link = self._links[worker] = _Link(worker, incarnation, self.platform.pipe(fd))
        self.loop.register(fd, READ, lambda events: self._on_link(link, events))
        if faults.ENABLED:
            faults.point("router.linked")

    def _on_link(self, link: _Link, events: int) -> None:
        try:
            if events & WRITE:
                link.channel.flush()
                watch(self.loop, link.channel)
            if events & ~WRITE:
                self._receive(link)
        except ChannelClosed:
            self._drain(link)
        except LocalProtocolError as error:
            self._give_up(link, f"it broke the rules of its link: {error}")

    def _receive(self, link: _Link) -> int:
        """Take all frames that are there, and say how many; ChannelClosed once there will be no more.

        Their number is bounded by the worker: it has at most so much unacknowledged input.
        """
        bodies = link.channel.receive_bodies()
        count = len(bodies)
        if bodies and not link.greeted:
            self._greet(link, decode(bodies.pop(0)))
        held = bool(bodies) and self._must_wait(link.worker)
        self._inputs += [(FRAME, link.worker, body, held) for body in bodies]
        return count

    def _greet(self, link: _Link, hello: tuple[Any, ...]) -> None:
        """The first frame of a worker says where it is; the first one to it says where this router is."""
        if hello[0] != HELLO:
            raise LocalProtocolError(f"its first frame is of kind {hello[0]!r}")
        _, run, batch = hello
        self._apply_inputs()  # its predecessor's last frames count
        view = self.state.view(link.worker)
        resume = None
        if run == self.state.run and batch > view.batch:
            self._inputs.append((RENUMBER, link.worker, batch))
            self._apply_inputs()
        if run != self.state.run:
            resume = self.state.resume(link.worker)
            batch = view.acknowledged
        if faults.ENABLED:
            faults.point("router.welcoming")
        link.channel.send((WELCOME, self.state.run, view.received, resume))
        if faults.ENABLED:
            faults.point("router.welcomed")
        link.greeted = True
        self._heard(link.worker)
        # What is retained for it is here anyway: it is not its fault that it has all of that to take.
        link.channel.outbox_limit_bytes += view.retained_bytes
        for number, frame in view.retained:
            if number > batch:
                link.channel.send_frame(frame)
        watch(self.loop, link.channel)
        if faults.ENABLED:
            faults.point("router.resent")

    def _drain(self, link: _Link) -> None:
        """Take what a dead worker still had to say, then forget its Pipe."""
        with contextlib.suppress(ChannelClosed, LocalProtocolError):
            while link.greeted and self._receive(link):
                pass
        self._drop(link)

    def _give_up(self, link: _Link, why: str) -> None:
        """Have the supervisor replace a worker: its replacement finds everything as it was."""
        self.log("error", f"worker-{link.worker} is given up: {why}")
        self.tell_supervisor((GIVEN_UP, link.worker, link.incarnation))
        self._drop(link)

    def _drop(self, link: _Link) -> None:
        if self._links.get(link.worker) is not link:
            return
        self.loop.unregister(link.channel.fileno())
        link.channel.close()
        del self._links[link.worker]

    # Time.

    def _set_timer(self) -> None:
        deadline = self.state.chat.next_deadline()
        if deadline is not None:
            deadline = max(deadline, self._no_tick_until)
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = None
        if deadline is not None:
            self._timer = self.loop.call_later(max(0.0, deadline - self._now()), self._tick)

    def _heard(self, worker: int) -> None:
        """A worker is here again; once all are, what has waited with them comes within moments."""
        if self._unheard:
            self._unheard.discard(worker)
            if not self._unheard:
                self._no_tick_until = min(self._no_tick_until, self._now() + _HEARING_SECONDS)

    def _now(self) -> float:
        """Unix time as it was when the broker started, and what has passed since: it never goes back."""
        return self.birth.clock_offset + self.platform.monotonic()

    def _tick(self) -> None:
        due, now = self._timer_at, self._now()
        self._timer = self._timer_at = None
        assert due is not None
        if now - due > _HEARING_SECONDS and due != self._no_tick_until:  # or it might be put off for ever
            self._no_tick_until = now + _HEARING_SECONDS
        else:
            self._inputs.append((TICK,))

    # The journal.

    def _look_after_journal(self, journal: Journal) -> None:
        """Keep it short by snapshots; while it is suspended, try to get the guarantee back."""
        now = self.platform.monotonic()
        if journal.wants_snapshot(now) and now >= self._no_snapshot_until:
            self._await_snapshot(journal, journal.begin_snapshot(self._serialise, now))
        elif journal.suspended:
            self._await_snapshot(journal, journal.retry(now, self._serialise))
        if journal.state != self._journal_state:
            self._journal_state = journal.state
            if journal.suspended:
                text = f"the journal is {journal.state}: if the router died now, everybody would be disconnected"
                self.log("error", text)
            else:
                self.log("info", "the journal is complete again")
            self.report(REPORT_BEAT, counters=self.counters())

    def _serialise(self) -> list[bytes]:
        return [self.state.dump()]

    def _await_snapshot(self, journal: Journal, pidfd: int | None) -> None:
        if pidfd is None:
            return

        def finished(_events: int) -> None:
            self.loop.unregister(pidfd)
            warning = journal.snapshot_finished(self.platform.monotonic())
            if warning is not None:
                self.log("warning", warning)

        self.loop.register(pidfd, READ, finished)
