"""All that a router knows, as a deterministic state machine: the chat, and where it is with each worker. Pure.

Theory of operation. The router writes each record of inputs to its journal, then applies it here, then sends what comes
out. So a router that replays the journal makes the same batches with the same numbers, and nothing that anybody has
seen is ever unsaid. For that, everything that could differ between two runs is an input: what came from whom, the
time, and even that a worker has been slow (`GO_ON`, `held`).

A record is `(now, [input, ...])`; `now` is in seconds of Unix time and never goes back.

    (BEGIN, run)                    the first one of all: a name for this state that no other one has
    (FRAME, worker, body, held)     a frame of a worker; `held`: it has much to take, what it says has to wait
    (GO_ON, worker)                 it has taken enough: go on with what waits
    (TICK,)                         time has passed
    (KICK, request, name, reason)   as the supervisor said (`broker.messages`), once or again
    (MOVE, worker, {worker: sessions})
    (SHUTDOWN,)
    (ANSWER, number, answer)
    (CONFIGURED,)                   a router has begun whose settings may be others than those before
    (FORGET, worker)                it is gone for good, and so are its sessions
    (RENUMBER, worker, batch)       it has had batches up to this one, from a router whose code was taken back

What one record orders is cut into batches of about BATCH_BYTES. A worker for which one record has ordered
PATIENCE_BYTES is not heard any further, until a GO_ON says that it has taken them: its further events wait here, which
is bounded by what a worker may send unacknowledged.
"""

from __future__ import annotations

import dataclasses
import pickle
import traceback
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from broker.chat import Chat, ChatConfig
from broker.errors import LocalProtocolError
from broker.framing import HEADER_BYTES, decode, encode
from broker.messages import ANSWER, ATTACHED, KICK, KICKED, MOVE, SHUTDOWN, Event, Operation
from broker.past import Past
from broker.protocols.irc.state import IrcState, OpenBatch
from broker.replay import rewound
from broker.rooms import Group, Room
from broker.sessions import Session

BATCH_BYTES: Final = 1024 * 1024
PATIENCE_BYTES: Final = 8 * 1024 * 1024
_KICKS_REMEMBERED: Final = 1000
"""More than are ever asked for at once: of these a new router knows what the one before has answered."""

FRAME: Final = 1
GO_ON: Final = 2
TICK: Final = 3
BEGIN: Final = 4
CONFIGURED: Final = 5
RENUMBER: Final = 6
FORGET: Final = 7

Input: TypeAlias = tuple[Any, ...]
Resume: TypeAlias = tuple[int, int, dict[int, list[int]], dict[int, tuple[bool, int]]]


@dataclass(slots=True)
class WorkerView:
    """Where the router is with one worker, whichever process that is at the time."""

    received: int = 0
    """The last frame that has come."""
    applied: int = 0
    """The last frame all of whose events have been applied."""
    owed: bool = False
    """Frames with events have been applied that no batch has acknowledged."""
    batch: int = 0
    """The last batch that has been made."""
    acknowledged: int = 0
    """The last batch that has been acknowledged."""
    retained: deque[tuple[int, bytes]] = field(default_factory=deque)
    """Batches that have not been acknowledged, as frames."""
    retained_bytes: int = 0
    waiting: deque[tuple[int, deque[Event]]] = field(default_factory=deque)
    """Frames with events that are still to be applied."""
    ordered_bytes: int = 0
    """In batches of the record at hand."""
    given: dict[int, int] = field(default_factory=dict)
    """Sessions that it was told to give away, and by which batch."""

    @property
    def gives_away(self) -> bool:
        """Whether it has still to give away some of them."""
        return any(batch > self.acknowledged for batch in self.given.values())


def schema_of(*kinds: type[Any]) -> tuple[tuple[str, ...], ...]:
    """The fields of dataclasses, by which states of different code are told apart."""
    return tuple((kind.__name__, *(item.name for item in dataclasses.fields(kind))) for kind in kinds)


SCHEMA: Final = schema_of(WorkerView, Session, Room, Group, Past, IrcState, OpenBatch)


class Outcome:
    """What a record leads to: frames for workers; replies to the supervisor, and requests, as `Chat.take_requests` has
    them; workers who broke the rules; bugs.
    """

    __slots__ = ("broken", "bugs", "frames", "replies", "requests")

    def __init__(self) -> None:  # by hand, as a dataclass's five factories took the router 4 % of its time
        self.frames: list[tuple[int, bytes]] = []
        self.replies: list[tuple[Any, ...]] = []
        self.requests: list[tuple[Any, ...]] = []
        self.broken: dict[int, str] = {}
        self.bugs: list[str] = []


class RouterState:
    """Inputs in, batches out. `run` names this state: a worker that has served another one has to begin anew."""

    def __init__(self, config: ChatConfig) -> None:
        self.run = b""
        self.schema = SCHEMA
        self.chat = Chat(config)
        self.now = 0.0
        self.views: dict[int, WorkerView] = {}
        self.outstanding: dict[int, tuple[Any, ...]] = {}
        """Requests by number that have not been answered: a new router makes them again."""
        self.kicked: dict[int, str | None] = {}
        """Answers to the latest kicks, by number: a new router is asked again."""

    def view(self, worker: int) -> WorkerView:
        """What is known of a worker."""
        view = self.views.get(worker)
        if view is None:
            view = self.views[worker] = WorkerView()
        return view

    # Inputs.

    def apply(self, now: float, inputs: Iterable[Input]) -> Outcome:
        """Apply one record. Nothing in it can make this raise: whatever is wrong is part of the outcome."""
        self.now = max(self.now, now)
        outcome = Outcome()
        for view in self.views.values():
            view.ordered_bytes = 0
        for item in inputs:
            code, *arguments = item
            if code == FRAME:
                self._frame(outcome, *arguments)
            else:
                try:
                    _HANDLERS[code](self, outcome, *arguments)
                except Exception:
                    outcome.bugs.append(traceback.format_exc())
        self._cut(outcome)
        outcome.requests = self.chat.take_requests()
        for request in outcome.requests:
            self.outstanding[request[1]] = request
        return outcome

    def _frame(self, outcome: Outcome, worker: int, body: bytes, held: bool) -> None:
        view = self.view(worker)
        try:
            number, acknowledged, events = decode(body)
            if number != view.received + 1:
                raise LocalProtocolError(f"frame {number} came where frame {view.received + 1} should")
            beyond = acknowledged > view.batch
            waiting = deque(events)
        except (LocalProtocolError, ValueError, TypeError) as error:
            outcome.broken[worker] = str(error)
            return
        view.received = number
        if beyond:  # as with RENUMBER, seen by whoever replays
            view.batch = acknowledged
            view.owed = True
        while view.retained and view.retained[0][0] <= acknowledged:
            view.retained_bytes -= len(view.retained.popleft()[1])
        view.acknowledged = max(view.acknowledged, acknowledged)
        view.waiting.append((number, waiting))
        if not held:
            self._go_on(outcome, worker)

    def _go_on(self, outcome: Outcome, worker: int) -> None:
        view = self.view(worker)
        chat, now = self.chat, self.now
        while view.waiting:
            number, events = view.waiting[0]
            owing = bool(events)
            while events:
                if view.ordered_bytes >= PATIENCE_BYTES:
                    return
                event = events.popleft()
                try:
                    chat.apply(now, worker, event)
                except LocalProtocolError as error:
                    outcome.broken[worker] = str(error)
                except Exception:
                    # The next router would stumble over it too: whoever said it goes, nobody else.
                    outcome.bugs.append(traceback.format_exc())
                    self._expel(outcome, event)
                if chat.ordered_bytes >= BATCH_BYTES:
                    self._cut(outcome)
            view.applied = number
            view.owed |= owing  # only now: what was cut meanwhile has acknowledged no more than the frame before
            view.waiting.popleft()

    def _expel(self, outcome: Outcome, event: Event) -> None:
        try:
            self.chat.expel(self.now, event[1])
        except Exception:
            outcome.bugs.append(traceback.format_exc())

    def _begin(self, _outcome: Outcome, run: bytes) -> None:
        self.run = run

    def _tick(self, _outcome: Outcome) -> None:
        self.chat.tick(self.now)

    def _kick(self, outcome: Outcome, request: int, name: str, reason: str) -> None:
        if request not in self.kicked:
            self.kicked[request] = self.chat.kick(self.now, name, reason)
            if len(self.kicked) > _KICKS_REMEMBERED:
                del self.kicked[next(iter(self.kicked))]
        outcome.replies.append((KICKED, request, self.kicked[request]))

    def _move(self, _outcome: Outcome, source: int, targets: dict[int, int]) -> None:
        """Sessions whose last move is not over, here or there, stay; whoever asked asks again."""
        sessions = iter([session for session in self.chat.sessions_of(source) if not session.awaited])
        view = self.view(source)
        for target, count in targets.items():
            given = self.view(target).given
            for session in sessions:
                if given.get(session.number, 0) <= self.view(target).acknowledged:
                    self.chat.move_session(session, target)
                    view.given[session.number] = view.batch + 1
                    count -= 1
                if count <= 0:
                    break
        view.given = {number: batch for number, batch in view.given.items() if batch > view.acknowledged}

    def _answer(self, _outcome: Outcome, number: int, answer: Any) -> None:
        request = self.outstanding.pop(number, None)
        if request is not None:  # or it was made twice
            getattr(self.chat, _ANSWERED[request[0]])(self.now, number, answer)

    def _configured(self, _outcome: Outcome) -> None:
        self.chat.configured(self.now)

    def _forget(self, _outcome: Outcome, worker: int) -> None:
        self.views.pop(worker, None)

    def _renumber(self, _outcome: Outcome, worker: int, batch: int) -> None:
        view = self.view(worker)
        view.batch = max(view.batch, batch)
        view.owed = True  # a batch that acknowledged something may have had a number that will not be sent again

    def _shutdown(self, _outcome: Outcome) -> None:
        self.chat.shutdown(self.now)

    # Output.

    def _cut(self, outcome: Outcome) -> None:
        """Make the next batch for each worker that is to get something, or whose frames are to be acknowledged."""
        operations = self.chat.take_operations()
        for worker in operations:
            self.view(worker)
        for worker, view in self.views.items():
            batch: list[Operation] | None = operations.get(worker)
            if batch is None and not view.owed:
                continue
            view.batch += 1
            view.owed = False
            frame = encode((view.batch, view.applied, batch or []))
            view.retained.append((view.batch, frame))
            view.retained_bytes += len(frame)
            view.ordered_bytes += len(frame)
            outcome.frames.append((worker, frame))

    def resume(self, worker: int) -> Resume:
        """What a new process has to know that is to be this worker; then it needs all that is retained."""
        view = self.view(worker)
        operations = [operation for _, frame in view.retained for operation in decode(frame[HEADER_BYTES:])[2]]
        groups: dict[int, list[int]] = {}
        for group, session in self.chat.memberships(worker):
            groups.setdefault(group, []).append(session)
        known = {session.number: (session.awaited, session.consumed) for session in self.chat.sessions_of(worker)}
        for _, events in view.waiting:  # of these it need not be told again
            known.update({event[1]: (False, 0) for event in events if event[0] == ATTACHED})
        return view.acknowledged, view.batch, rewound(groups, operations), known

    def is_done_with(self, worker: int) -> bool:
        """Whether nothing is known of a worker that matters to anybody but itself."""
        return not self.view(worker).waiting and not self.chat.sessions_of(worker)

    @property
    def retained_bytes(self) -> int:
        """Of all workers together."""
        return sum([view.retained_bytes for view in self.views.values()])

    # Snapshots.

    def dump(self) -> bytes:
        """The whole state; flows, which are none of it, are forgotten."""
        self.chat.forget_flows()
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)


def load(data: bytes, config: ChatConfig) -> RouterState:
    """The state that `dump` gave, with the configuration of today. Only for bytes of our own.

    It may have been dumped by code of another day: what that did not know has its default.
    """
    state = pickle.loads(data)
    assert isinstance(state, RouterState)
    counted = hasattr(state.chat, "invisible")
    for old, new in ((state, RouterState(config)), (state.chat, Chat(config))):
        for name, value in vars(new).items():
            vars(old).setdefault(name, value)
    if state.schema != SCHEMA:
        complete(state)
        state.schema = SCHEMA
    if not counted:
        for person in state.chat.people():
            state.chat.note_modes(person)
    state.chat.config = config
    return state


def complete(root: object) -> None:
    """Give every dataclass instance in a graph of plain data the defaults of the fields that it lacks."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (str, bytes, int, float, type(None))):
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, deque)):
            waiting += item
        elif dataclasses.is_dataclass(item):
            for field in dataclasses.fields(item):
                if not hasattr(item, field.name):
                    made = field.default_factory is not dataclasses.MISSING
                    setattr(item, field.name, field.default_factory() if made else field.default)  # type: ignore[operator]
                waiting.append(getattr(item, field.name))
        elif hasattr(item, "__dict__"):
            waiting += vars(item).values()


_HANDLERS: Final[dict[int, Any]] = {
    BEGIN: RouterState._begin,
    GO_ON: RouterState._go_on,
    TICK: RouterState._tick,
    KICK: RouterState._kick,
    MOVE: RouterState._move,
    SHUTDOWN: RouterState._shutdown,
    ANSWER: RouterState._answer,
    CONFIGURED: RouterState._configured,
    RENUMBER: RouterState._renumber,
    FORGET: RouterState._forget,
}
_ANSWERED: Final = {"verify": "verified", "processes": "processes", "rehash": "rehashed"}
"""Which input of the chat has the answer to a kind of request."""
