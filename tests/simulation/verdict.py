"""What must hold when a simulation has come to rest: nobody has noticed anything, and nothing is left behind.

The reference is `tests.chat_stage`, which interprets operations one at a time, given what the routers journaled in the
order in which they did. So whatever the workers merged, sent, or sent again, each client must have got those bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from broker.chat import Chat, ChatConfig
from broker.framing import HEADER_BYTES, decode
from broker.messages import ATTACHED, ENDED, LINES, OVERLONG, Event
from broker.router_state import RouterState
from broker.stream_position import DUE_MODULUS, unpack_output, unpack_progress
from tests.chat_stage import Person, Stage
from tests.simulation.clients import MAX_LINE_BYTES, Client
from tests.simulation.world import World
from workers.router import RouterProcess
from workers.worker import WorkerProcess


class ListeningChat(Chat):
    """A chat that tells what it is given."""

    def __init__(self, config: ChatConfig, listener: Callable[..., None]) -> None:
        super().__init__(config)
        self._listener = listener

    def apply(self, now: float, worker: int, event: Event) -> None:
        self._listener("event", now, worker, event)
        super().apply(now, worker, event)

    def tick(self, now: float) -> None:
        self._listener("tick", now)
        super().tick(now)

    def kick(self, now: float, name: str, reason: str) -> str | None:
        self._listener("kick", now, name, reason)
        return super().kick(now, name, reason)

    def shutdown(self, now: float) -> None:
        self._listener("shutdown", now)
        super().shutdown(now)


class Reference:
    """The chat as it would have been without any process dying.

    A router that no worker listens to says in which order things were applied; that nothing was applied twice, or left
    out, is seen from the inputs.
    """

    def __init__(self, world: World) -> None:
        config = ChatConfig("zh", ("chat", "chat"), 60.0, MAX_LINE_BYTES)
        self.stage = Stage(config)
        self.inputs: defaultdict[int, bytearray] = defaultdict(bytearray)  # what was applied of each session
        self.sent_away: set[int] = set()  # sessions that the operator has ended
        self.closing = False
        self.slow: set[int] = set()  # sessions that did not read
        state = RouterState(config)
        state.chat = ListeningChat(config, lambda kind, *arguments: getattr(self, f"_{kind}")(*arguments))
        for record in world.records():
            outcome = state.apply(*record)
            assert not outcome.broken and not outcome.bugs, (outcome.broken, outcome.bugs)
        assert not any(view.waiting for view in state.views.values())

    def _tick(self, now: float) -> None:
        self.stage.now = now
        self.stage.chat.tick(now)
        self.stage.pump()

    def _kick(self, now: float, name: str, reason: str) -> None:
        self.stage.now = now
        person = self.stage.chat.find_person(name)
        if person is not None:
            self.sent_away.add(person.number)
        self.stage.chat.kick(now, name, reason)
        self.stage.pump()

    def _shutdown(self, now: float) -> None:
        self.stage.now = now
        self.closing = True
        self.sent_away.update(number for number, person in self.stage.people.items() if not person.closed)
        self.stage.chat.shutdown(now)
        self.stage.pump()

    def _event(self, now: float, worker: int, event: Event) -> None:
        self.stage.now = now
        code, session = event[:2]
        if code == ATTACHED:
            assert session not in self.stage.people, "one session, twice"
            self.stage.people[session] = Person(session, worker)
            if self.closing:
                self.sent_away.add(session)
        elif code in (LINES, OVERLONG):
            applied, offset = self.inputs[session], event[2]
            assert offset <= len(applied), "a part of the input has been skipped"
            data = event[3] if code == LINES else b"?" * event[3]
            applied += data[len(applied) - offset :]
        elif code == ENDED and event[2] == "slow":
            self.slow.add(session)
        self.stage.apply(worker, event)


def check(world: World) -> None:
    """AssertionError, saying what is wrong, if anybody could tell this run from one without kills."""
    trouble = [line for line in world.log if line.startswith("error")]
    assert not trouble, trouble
    reference = Reference(world)
    for client in world.clients:
        check_client(world, client, reference)
    check_books(world, reference)


def check_client(world: World, client: Client, reference: Reference) -> None:
    link, person = client.connection, reference.stage.people.get(client.session)
    who = f"client {client.number} (session {client.session}, {'local' if link.local else 'TCP'}, {client.ending})"
    assert person is not None, f"{who} never came in"
    expected = bytes(person.received)
    for start, end in reversed(link.losses):
        expected = expected[:start] + expected[end:]
    assert not reference.slow or world.behind_bytes is not None, "somebody was taken for one who does not read"
    # One who had finished already is not ended a second time for being slow.
    dropped = any(f"session {client.session} (::1) does not read" in line for line in world.log)
    if client.session in reference.slow or (client.ending != "stays" and (dropped or client.deaf)):
        check_slow(client, expected, who)
    elif client.ending == "resets":
        assert expected.startswith(bytes(link.received)), who
    else:
        assert bytes(link.received) == expected, f"{who} has got {bytes(link.received)!r} for {expected!r}"
    sent_away = client.session in reference.sent_away or client.session in reference.slow
    gone = client.ending != "stays" or sent_away
    assert link.shut_down == gone == person.closed, f"{who}: shut down {link.shut_down}, closed {person.closed}"
    assert (world.custodian.custody.get(client.session) is None) == gone, f"{who} is still in custody"
    assert link.closed == gone
    sent = client.whole_lines
    applied = bytes(reference.inputs[client.session])
    assert client.sent == len(client.script) or sent_away, f"{who} could not send it all"
    if client.ending == "resets" or sent_away:
        sent = sent[: len(applied)]
    assert len(applied) == len(sent) and all(a in (s, ord("?")) for a, s in zip(applied, sent, strict=True)), (
        f"{who} has said {sent!r}, applied was {applied!r}"
    )


def check_slow(client: Client, expected: bytes, who: str) -> None:
    """Somebody who does not read gets a beginning of what was due, to the end of a line, and then only last words.

    If its worker was killed while it was being closed, a line may have been cut, and the last words begun again.
    """
    link = client.connection
    got = bytes(link.received + link.outgoing)
    same = next((place for place, pair in enumerate(zip(got, expected, strict=False)) if pair[0] != pair[1]), len(got))
    same = min(same, len(expected))
    rest = got[got.rfind(b"\n", 0, same) + 1 :].split(b"\n")
    due = expected.split(b"\n")
    for line in rest[1:]:
        assert any(whole.startswith(line) for whole in due), f"{who} has got {got!r} for {expected!r}"


def check_books(world: World, reference: Reference) -> None:
    """Everything is acknowledged, and the ledger, the kernel, the router and custody agree."""
    router = world.children["router"].process
    assert isinstance(router, RouterProcess)
    for index, view in router.state.views.items():
        assert f"worker-{index}" in world.children, f"worker {index} has gone, and is not forgotten"
        assert not view.waiting, f"worker {index} still waits"
        assert view.acknowledged == view.batch, f"worker {index} has acknowledged {view.acknowledged} of {view.batch}"
        assert not view.retained and not view.retained_bytes, f"batches are kept for worker {index}"
    sessions = {session.number: session for session in router.state.chat._sessions.values()}
    present = {
        client.session: client
        for client in world.clients
        if client.ending == "stays" and client.session not in reference.sent_away | reference.slow
    }
    assert sessions.keys() == present.keys(), f"the chat has {set(sessions)}, there are {set(present)}"
    ledger, custody = world.custodian.ledger, world.custodian.custody
    for number, client in present.items():
        held, session = custody.get(number), sessions[number]
        assert held is not None
        assert custody.worker_of(number) == session.worker, f"session {number} is at the wrong worker"
        assert not session.awaited, f"session {number} never arrived"
        worker = world.children[f"worker-{session.worker}"].process
        assert isinstance(worker, WorkerProcess) and number in worker.sessions
        mine, link = worker.sessions[number], client.connection
        assert not mine.pending and not mine.in_flight and not mine.detaching and not mine.ended
        assert mine.consumed == session.consumed == len(client.whole_lines)
        assert bytes(link.incoming) == client.script[mine.consumed :]
        if client.connection.local:
            lost = sum(end - start for start, end in link.losses)
            assert sum(unpack_progress(ledger.sent[held.slot])) == link.taken + lost
            assert unpack_progress(ledger.consumed[held.slot]) == (mine.consumed, 0)
            assert link.peek_offset == -1
        else:
            assert unpack_output(ledger.output[held.slot]).due == link.taken % DUE_MODULUS
        assert mine.due == link.taken + sum(end - start for start, end in link.losses)
    for child in world.of_role("worker"):
        worker = child.process
        assert isinstance(worker, WorkerProcess)
        assert not any(decode(frame[HEADER_BYTES:])[2] for _, frame in worker._frames), "events are not acknowledged"
        assert not worker.writer.behind and not worker.writer.detaching
        assert worker.sessions.keys() == {held.session for held in custody.held_of(child.spec.index)}
        assert len(worker.writer.fanout) == len(worker.sessions)
