"""The output half of a worker: merged batches to clients' sockets, who is behind, and what may be acknowledged.

Each session gets one `send()` for all that has arrived for it; before it, the ledger is told up to which batch its
bytes are counted. What the kernel does not take waits as references to shared bytes. A client that is too far behind,
in bytes, in seconds, or in what the router has to keep for its sake, is ended with the reason; nobody waits for it.
It is given the time to read what comes at once after the broker itself has stood still. Knows nothing of input, and of
the router only the numbers of the batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from broker import faults
from broker.fanout import Fanout
from broker.ledger import Ledger
from broker.messages import EndCause, Operation
from broker.settings import Settings
from broker.stream_position import DUE_MODULUS, pack_output
from workers.session import Session

_LAST_WORDS_SECONDS: Final = 5.0
"""How long a session that is to be closed may take to read what it still has to get."""
HELD_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""Of batches that are not acknowledged: past it those clients for whose sake they are kept are too slow. The same is
the limit for bytes that wait for one session each, rather than for many that share them.
"""
_HELD_OF_ALL_BYTES: Final = 64 * 1024 * 1024
"""What all workers together may have the router keep. It stops listening to them at half as much again."""
_PATIENCE_SECONDS: Final = 5.0
"""For so long a client may have left more unread than `max_behind_bytes`."""
_HELD_PATIENCE_SECONDS: Final = 1.0
"""And for so long batches are kept for its sake, past the limit, but never past twice the limit."""
_STALL_SECONDS: Final = 2.0
"""Whoever is behind is looked at once a second: when it took so long, it was this process that did nothing."""
_REFRESH_BATCHES: Final = 1 << 30
"""Output words are stored anew that often: half of what their batch number can tell apart."""


class Writer:
    """Writes to the sessions of one worker. What happens to them otherwise is for the callbacks."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        adopt: Callable[[int], Session],
        end: Callable[[Session, EndCause], None],
        look: Callable[[Session], None],
        log: Callable[[str, str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._end = end
        self._look = look
        self._log = log
        self._monotonic = monotonic
        self.fanout: Fanout[Session] = Fanout(adopt)
        self.batch = 0  # the last one that was delivered
        self.messages_out = 0
        self.behind: dict[int, Session] = {}  # have pending output
        self.muted: set[int] = set()
        self.finished: list[Session] = []  # nothing is left for them: to be closed
        self.detaching: dict[int, tuple[Session, int, int]] = {}  # to which worker, and the last batch before that
        self._ends: dict[int, int] = {}  # sessions that cannot be closed yet, and the last batch before they were to be
        self._sizes: deque[tuple[int, int]] = deque()  # batches that are not acknowledged, and their sizes
        self._held_bytes = 0
        self._held_limit_bytes = min(HELD_LIMIT_BYTES, _HELD_OF_ALL_BYTES // settings.workers)
        self._own_bytes = 0  # that wait for one session each
        self._stalled_seconds = 0.0
        self._looked_at = monotonic()
        self._refreshed = 0
        self._resumed_from = 0

    def moment(self) -> float:
        """Now, in seconds in which this process did not stand still while somebody was behind: they could not be sent
        anything.
        """
        now = self._monotonic()
        since, self._looked_at = now - self._looked_at, now
        if self.behind and since > _STALL_SECONDS:
            self._stalled_seconds += since
        return now - self._stalled_seconds

    # Batches.

    def deliver(self, operations: Iterable[Operation], batch: int, size: int) -> None:
        """Carry out the operations of all batches up to `batch`, of `size` bytes together."""
        before, self.batch = self.batch, batch
        self._sizes.append((batch, size))
        self._held_bytes += size
        merged = self.fanout.merge(operations, self.muted)
        broken: list[Session] = []
        now = self.moment()
        words = self._ledger.output
        counted = pack_output(batch, 0)
        if faults.ENABLED and merged.deliveries:
            faults.point("worker.delivering")
        for targets, data, messages in merged.deliveries:
            length = len(data)
            self.messages_out += len(targets) * messages
            for session in targets:
                # Before the send: whatever becomes of this process, the kernel tells how much of it was done.
                session.due = due = session.due + length
                words[session.word_slot] = counted | due % DUE_MODULUS
                if session.pending:
                    session.queue(data, now, before)
                    self._count_own(session, targets, length)
                else:
                    try:
                        sent = session.send(data)
                    except BlockingIOError:
                        sent = 0
                    except OSError:
                        broken.append(session)
                        self.messages_out -= messages
                        continue
                    if sent < length:
                        session.queue(memoryview(data)[sent:], now, before)
                        self.behind[session.number] = session
                        self._count_own(session, targets, length)
        if faults.ENABLED and merged.deliveries:
            faults.point("worker.delivered")
        for session in broken:
            self.lose(session)
        for number in merged.closes:
            self.finish(self.fanout.target(number), now, before)
        for number, worker in merged.detached:
            self.detach(self.fanout.target(number), worker, before)
        if self._held_bytes > self._held_limit_bytes or self._own_bytes > HELD_LIMIT_BYTES:
            self.check_behind()  # otherwise once a second is enough
        if batch - self._refreshed >= _REFRESH_BATCHES:
            self._refresh(batch)

    def _count_own(self, session: Session, targets: Iterable[Session], length: int) -> None:
        """Bytes that were put together for one session alone are not shared with the others of its group."""
        if isinstance(targets, tuple):
            self._set_own(session, session.own_bytes + length)

    def _set_own(self, session: Session, own_bytes: int) -> None:
        """It has so many of them, but no more than wait for it."""
        own_bytes = min(own_bytes, session.pending_bytes)
        self._own_bytes += own_bytes - session.own_bytes
        session.own_bytes = own_bytes

    def acknowledged(self) -> int:
        """The last batch of which, and before which, every byte is in the kernel and every end is done."""
        number = self.batch
        for session in self.behind.values():
            if session.pending and not session.muted:
                number = min(number, session.pending[0][1])
        for _, _, before in self.detaching.values():
            number = min(number, before)
        if self._ends:
            number = min(number, *self._ends.values())
        while self._sizes and self._sizes[0][0] <= number:
            self._held_bytes -= self._sizes.popleft()[1]
        return number

    @property
    def held_bytes(self) -> int:
        """How much the router keeps until it is acknowledged, as far as `acknowledged` has looked."""
        return self._held_bytes

    def _refresh(self, batch: int) -> None:
        """So that no batch number in the ledger is ever so old that it could be taken for a new one."""
        self._refreshed = batch
        for session in self.fanout.targets():
            if not session.pending:
                self._ledger.output[session.word_slot] = pack_output(batch, session.due)

    # Sessions.

    def take_up(self, acknowledged: int, last: int, size: int) -> None:
        """All batches up to `last` are going to be resumed; those after `acknowledged` have `size` bytes."""
        self.batch = last
        self._resumed_from = acknowledged
        self._sizes = deque([(last, size)])
        self._held_bytes = size

    def resume(self, session: Session, data: bytes, due: int) -> None:
        """Send what is unsent as of the last batch; `due` is what it comes to with all before."""
        session.due = due
        self._ledger.output[session.word_slot] = pack_output(self.batch, due)
        if data:
            session.queue(data, self.moment(), self._resumed_from)
            self.behind[session.number] = session
            self.flush(session)

    def resume_muted(self, session: Session, own: bytes) -> None:
        """The predecessor found it too slow. What its peer has half is not known: only its last words are left."""
        self.take_muted(session)
        if own:
            self.resume(session, b"\n" + own, 0)

    def take_muted(self, session: Session) -> None:
        """Somebody else found it too slow: from here on it gets only what is for it alone."""
        session.muted = True
        self.muted.add(session.number)
        session.word_slot = self._ledger.scratch

    def lose_track(self, session: Session, why: str) -> None:
        """What is due to it cannot be made out, which is a bug: end it rather than send something wrong."""
        self._log("error", f"session {session.number} ({session.address}) cannot be resumed: {why}; closing it")
        self.lose(session)

    def finish(self, session: Session, now: float, before: int) -> None:
        """Close it, at once or when its last bytes are out; it was to be closed after batch `before`."""
        session.ended = True
        session.closing_since = now
        if session.socket is None or session.pending:
            self._ends[session.number] = before
        else:
            self.finished.append(session)

    def flush(self, session: Session) -> None:
        """The kernel may take more of what is pending."""
        try:
            done = session.flush()
        except OSError:
            self.lose(session)
            done = True
        if done:
            self._not_behind(session)
            if session.closing_since is not None:
                self.finished.append(session)
        else:
            self._set_own(session, session.own_bytes)

    def lose(self, session: Session) -> None:
        """Nobody reads there any more. What they said before they went is read to its end all the same."""
        session.lose_output()
        self._not_behind(session)
        if not session.ended:
            self._look(session)

    def forget(self, session: Session) -> None:
        """The session is no longer this worker's."""
        self.fanout.remove_session(session.number)
        self._not_behind(session)
        self.detaching.pop(session.number, None)
        self._ends.pop(session.number, None)
        self.muted.discard(session.number)

    def _not_behind(self, session: Session) -> None:
        self.behind.pop(session.number, None)
        self._set_own(session, 0)

    def detach(self, session: Session, worker: int, before: int) -> None:
        """Give it to another worker when all that is due to it is written and all that it said is consumed."""
        session.detaching = True
        self.detaching[session.number] = (session, worker, before)

    def detached(self) -> list[tuple[Session, int]]:
        """Those that can be given away now, and to which worker."""
        return [
            (session, worker)
            for session, worker, _ in self.detaching.values()
            if session.socket is not None and not session.pending and not session.in_flight
        ]

    # Who is behind.

    def check_behind(self) -> None:
        """End whoever is too far behind; nobody else ever waits for them."""
        now = self.moment()
        held_from = self._too_long_held()
        for session in list(self.behind.values()):
            if session.closing_since is not None:
                if now - session.closing_since > _LAST_WORDS_SECONDS and session.socket is not None:
                    self.finished.append(session)
            elif (
                session.socket is not None
                and not session.muted
                and self._is_too_slow(session, now - session.pending[0][0], held_from)
            ):
                self._log(
                    "info",
                    f"session {session.number} ({session.address}) does not read: {session.pending_bytes} bytes and "
                    f"{now - session.pending[0][0]:.0f} s behind; closing it",
                )
                session.mute(self.batch)
                self._set_own(session, 0)
                self.muted.add(session.number)
                self._end(session, "slow")

    def _is_too_slow(self, session: Session, waited_seconds: float, held_from: int) -> bool:
        settings = self._settings
        patience = 0.0 if self._own_bytes > HELD_LIMIT_BYTES else _PATIENCE_SECONDS
        if session.pending_bytes > settings.max_behind_bytes and waited_seconds >= patience:
            return True
        patience = 0.0 if self._held_bytes > 2 * self._held_limit_bytes else _HELD_PATIENCE_SECONDS
        if session.pending[0][1] <= held_from and waited_seconds >= patience:
            return True
        return waited_seconds > settings.max_behind_seconds

    def _too_long_held(self) -> int:
        """Up to which batch everybody has to be done, so that the router need not keep more than the limit."""
        if self._held_bytes <= self._held_limit_bytes:
            return -1
        self.acknowledged()  # it may have fallen
        excess = self._held_bytes - self._held_limit_bytes // 2
        if self._held_bytes <= self._held_limit_bytes:
            return -1
        for number, size in self._sizes:
            excess -= size
            if excess <= 0:
                return number
        return self.batch
