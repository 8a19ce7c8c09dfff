"""The custodian: the part of the supervisor that has to do with clients' sockets, without reading or writing them.

Accepts for the acceptor, keeps every socket in custody with its slot in the ledger, gives it to the worker that the
acceptor chose, to a worker's replacement, or to another worker, and lets go of it when the worker has closed it. Knows
nothing of how children live and die; the supervisor tells it when one has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from broker.child import Child
from broker.child_state import State
from broker.custody import UNDECIDED, Custody, Descriptors
from broker.event_log import EventLog
from broker.ledger import Ledger
from broker.listeners import Listener, accept
from broker.messages import (
    ASSIGN,
    ATTACH,
    CENSUS,
    CLOSED,
    DETACHED,
    MOVED,
    REFUSE,
    REFUSED,
    RELEASED,
    TAKE,
    TAKEN,
    WORKERS,
)
from broker.stream_position import NO_BATCH, pack_output, unpack_output

_PROMPT_BYTES: Final = 16 * 1024
"""A worker whose control pipe has more than this waiting gets no new sessions while another one can take them."""
_HAND_OVER_AGAIN_SECONDS: Final = 0.2
"""A socket that is to go from worker to worker, and for which there is no descriptor now, is given that much later."""
_SLOTS_TO_REFUSE: Final = 256
"""Beyond the maximum number of connections: for those who are told that there is no place."""


class Staff(Protocol):
    """What the custodian wants of the supervisor."""

    def of_role(self, role: str) -> Iterator[Child]:
        """The children of a role."""

    def tell(self, child: Child, message: tuple[Any, ...], descriptors: list[int] | None = None) -> None:
        """Send to a child, never waiting."""


class Custodian:
    """`on_released` is called with the workers whose sessions have become fewer; `call_later` is the loop's."""

    def __init__(
        self,
        staff: Staff,
        listeners: list[Listener],
        max_connections: int,
        events: EventLog,
        on_released: Callable[[set[int]], None],
        descriptors: Descriptors,
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        slots = max_connections + _SLOTS_TO_REFUSE
        self.custody = Custody(slots, descriptors)
        self.ledger = Ledger(slots)
        self.closing = False
        """Set when the broker stops: whoever still comes is turned away."""
        self._staff = staff
        self._listeners = listeners
        self._events = events
        self._on_released = on_released
        self._descriptors = descriptors
        self._call_later = call_later
        self._delayed: dict[int, None] = {}  # sessions that cannot be given to their new worker now
        self._unassigned: dict[int, int] = {}  # sessions for which there is no worker, and who was chosen for them
        self._handlers: dict[int, Callable[..., None]] = {
            TAKE: self._take,
            ASSIGN: self._assign,
            REFUSE: self._refuse,
            CLOSED: self._closed,
            DETACHED: self._detached,
        }

    def handles(self, code: int) -> bool:
        """True for the messages of children that are the custodian's."""
        return code in self._handlers

    def apply(self, child: Child, message: tuple[Any, ...]) -> None:
        """Carry out such a message."""
        self._handlers[message[0]](child, *message[1:])

    # Children come and go.

    def brief_acceptor(self, acceptor: Child) -> None:
        """Tell a new acceptor what there is, and have it decide what its predecessor has not."""
        self._unassigned.clear()
        self._staff.tell(acceptor, (CENSUS, *self.custody.census()))
        self._staff.tell(acceptor, (WORKERS, self.available_workers()))
        undecided: dict[int, list[tuple[int, str]]] = {}
        for held in self.custody.held_of(UNDECIDED):
            undecided.setdefault(held.listener, []).append((held.session, held.address))
        for listener, connections in undecided.items():
            self._staff.tell(acceptor, (TAKEN, listener, connections, None, self._talking()))

    def workers_changed(self) -> None:
        """A worker has come or gone: the acceptors choose among those that there are, and those who wait go to them."""
        self._tell_acceptors((WORKERS, self.available_workers()))
        if self._unassigned and self.available_workers():
            waiting, self._unassigned = self._unassigned, {}
            for session, worker in waiting.items():
                self._give(session, worker)

    def available_workers(self) -> list[int]:
        """Those that take connections, by index."""
        return [child.spec.index for child in self._staff.of_role("worker") if _takes_sessions(child)]

    def turn_away_undecided(self) -> None:
        """The broker stops: those for whom nobody has chosen a worker get none."""
        self._unassigned.clear()
        self._release([held.session for held in self.custody.held_of(UNDECIDED)], shut_down=True)

    def release_all_of(self, worker: int) -> None:
        """End the connections of a worker that nobody will replace."""
        self._release([held.session for held in self.custody.held_of(worker)], shut_down=True)

    # What the acceptor says.

    def _take(self, acceptor: Child, listener: int, number: int) -> None:
        """Accept for the acceptor; whoever has been accepted is in custody at once."""
        taken: list[tuple[int, str]] = []
        trouble = None
        while len(taken) < number and not self.closing:
            if self.custody.full:
                trouble = "there is no place in the ledger"
                break
            try:
                accepted = accept(self._listeners[listener])
            except OSError as error:
                trouble = error.strerror
                break
            if accepted is None:
                break
            held = self.custody.take(accepted.fd, listener, accepted.peer, accepted.address, accepted.local)
            self.ledger.clear(held.slot)
            taken.append((held.session, held.address))
        self._staff.tell(acceptor, (TAKEN, listener, taken, trouble, self._talking()))

    def _talking(self) -> bool:
        """Whether people say things, as of the workers' last heartbeats."""
        return any(worker.counters.get("talking") for worker in self._staff.of_role("worker"))

    def _assign(self, _acceptor: Child, choices: list[tuple[int, int]]) -> None:
        for session, worker in choices:
            if self.custody.worker_of(session) == UNDECIDED:
                self._give(session, worker)

    def _give(self, session: int, worker: int) -> None:
        """Give a connection to the worker that was chosen, or to another if that one cannot have it now."""
        if self.closing:
            self._release([session], shut_down=True)
            return
        available = self.available_workers()
        prompt = [index for index in available if _reads_promptly(self._child(index))] or available
        if not prompt:
            self._unassigned[session] = worker  # until a worker is back; the acceptor knows not to send more
            return
        if worker not in prompt:
            chosen = min(prompt, key=self.custody.count_of)
            self._tell_acceptors((MOVED, worker, chosen))
            worker = chosen
        self.custody.assign(session, worker)
        self._hand_over(session, worker, moved=False)

    def _refuse(self, acceptor: Child, session: int) -> None:
        """The acceptor says why; a connection that is to end needs no custodian."""
        held = self.custody.get(session)
        if held is None:
            return
        with contextlib.suppress(OSError):
            self._staff.tell(acceptor, (REFUSED, session), [self._descriptors.duplicate(held.fd)])
        self._release([session])

    # What the workers say.

    def _closed(self, _worker: Child, sessions: list[int]) -> None:
        self._release(sessions)

    def _detached(self, source: Child, sessions: list[tuple[int, int]]) -> None:
        """A worker has done its part of a move: its sessions go where the router has sent them."""
        for session, target in sessions:
            held = self.custody.get(session)
            if held is None or self.custody.worker_of(session) != source.spec.index:
                continue
            self.custody.assign(session, target)
            # With the session, not before: to the source's replacement the number still means a batch, to the target
            # it never does.
            word = unpack_output(self.ledger.output[held.slot])
            self.ledger.output[held.slot] = pack_output(NO_BATCH, word.due, word.muted)
            self._tell_acceptors((MOVED, source.spec.index, target))
            worker = self._child(target)
            if worker is not None and worker.alive:
                self._hand_over(session, target, moved=True)
            elif self.closing:
                self._release([session], shut_down=True)  # nobody will come to take it over
        self._on_released({source.spec.index})

    # Within.

    def _hand_over(self, session: int, worker: int, moved: bool) -> None:
        held = self.custody.get(session)
        child = self._child(worker)
        assert held is not None and child is not None
        try:
            duplicate = self._descriptors.duplicate(held.fd)
        except OSError as error:
            if moved:
                self._hand_over_later(session, child, error)
            else:
                self._events.record("warning", "closed", f"{held.peer} is turned away: {error.strerror}")
                self._release([session], shut_down=True)
            return
        self._staff.tell(child, (ATTACH, tuple(held), moved), [duplicate])

    def _hand_over_later(self, session: int, child: Child, error: OSError) -> None:
        """The worker waits for it, and others for nothing. Its replacement would be born with it."""
        if not self._delayed:
            text = f"sessions that are to go to {child.name} have to wait: {error.strerror}"
            self._events.record("warning", "log", text, child.name)
        self._delayed[session] = None
        incarnation = child.incarnation

        def again() -> None:
            del self._delayed[session]
            worker = child.spec.index
            if self.custody.worker_of(session) == worker and child.alive and child.incarnation == incarnation:
                self._hand_over(session, worker, moved=True)

        self._call_later(_HAND_OVER_AGAIN_SECONDS, again)

    def _child(self, worker: int) -> Child | None:
        return next((child for child in self._staff.of_role("worker") if child.spec.index == worker), None)

    def _release(self, sessions: list[int], shut_down: bool = False) -> None:
        released = self.custody.release(sessions, shut_down=shut_down)
        if released:
            self._tell_acceptors((RELEASED, released))
            self._on_released({worker for worker, _ in released})

    def _tell_acceptors(self, message: tuple[Any, ...]) -> None:
        for child in self._staff.of_role("acceptor"):
            self._staff.tell(child, message)


def _takes_sessions(child: Child) -> bool:
    return child.state in (State.STARTING, State.READY) and not child.retiring


def _reads_promptly(child: Child | None) -> bool:
    """Not stopped for so long that what it is told piles up here, descriptors and all."""
    return child is not None and child.channel is not None and child.channel.outbox_bytes < _PROMPT_BYTES
