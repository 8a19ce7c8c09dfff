"""How a worker takes over the sessions that another process had: its predecessor, or another worker.

It was born with their sockets. The router tells it the groups as of the last acknowledged batch and sends all batches
since (`broker.messages`, WELCOME); the ledger and the kernel tell, for each session, where its predecessor stopped
(`broker.replay`). When this is done nothing distinguishes the sessions from others.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from broker import faults
from broker.errors import LocalProtocolError
from broker.kernel_position import peek_offset, set_peek_offset
from broker.ledger import Ledger
from broker.messages import ADD, CLOSE, Operation
from broker.replay import boundaries, to_send
from broker.stream_position import NO_BATCH, TCPPosition, latest_batch, pack_progress, unpack_output, unpack_progress
from workers.reader import Reader
from workers.session import Session
from workers.writer import Writer


class Batch(NamedTuple):
    """One batch: its number, its operations, and its size in bytes."""

    number: int
    operations: list[Operation]
    size: int


PositionOfTCP: TypeAlias = Callable[[socket.socket], TCPPosition]


@dataclass(slots=True)
class Takeover:
    """What the router said in its WELCOME, and the batches that have come since.

    `known` has, for each session that the router knows here, whether it is awaited from another worker, and how much
    of its input has been applied. `started` is when the WELCOME came, in monotonic seconds.
    """

    started: float
    acknowledged: int
    last: int
    groups: dict[int, list[int]]
    known: dict[int, tuple[bool, int]]
    batches: list[Batch] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True when every batch is here that a predecessor may have had."""
        return len(self.batches) >= self.last - self.acknowledged


class Standing(NamedTuple):
    """Where a session's stream stands: bytes consumed and written, and whether nothing can be sent any more."""

    consumed: int
    written: int
    over: bool
    reset: bool


def standing_of(session: Session, ledger: Ledger, position_of_tcp: PositionOfTCP) -> Standing:
    """Ask the kernel, or of a local socket the ledger; to be asked once, when the socket has come from elsewhere."""
    sock = session.socket
    assert sock is not None
    if not session.local:
        position = position_of_tcp(sock)
        return Standing(position.consumed, position.written, position.shut_down, position.ended)
    consumed, length = unpack_progress(ledger.consumed[session.slot])
    offset = peek_offset(sock)
    if offset >= 0:
        # The predecessor had set it to the length that was to be consumed, and the kernel has lowered it since.
        consumed += max(0, length - offset)
        ledger.consumed[session.slot] = pack_progress(consumed)  # first: once it is unset, nothing else tells
        set_peek_offset(sock, -1)
    # Whether a send that was under way has been done cannot be known: "at most once" is what is promised.
    written, under_way = unpack_progress(ledger.sent[session.slot])
    session.written = written + under_way
    return Standing(consumed, session.written, False, False)


def take_over(
    takeover: Takeover,
    inherited: dict[int, Session],
    reader: Reader,
    writer: Writer,
    ledger: Ledger,
    position_of_tcp: PositionOfTCP,
    may_come: Callable[[int], bool],
) -> int:
    """Bring the inherited sessions up to the last batch and send what is unsent; returns how many bytes that was.

    `may_come` says of a session that is not here whether its socket can still come from another worker.
    """
    fanout = writer.fanout
    counted_up_to: dict[int, int] = {}
    for number, session in inherited.items():
        fanout.add_session(number, session)
        word = unpack_output(ledger.output[session.slot])
        session.muted = word.muted
        last = latest_batch(word.batch, takeover.last) if word.batch != NO_BATCH else 0
        counted_up_to[number] = max(last, takeover.acknowledged)
    muted = {number for number, session in inherited.items() if session.muted}
    # One that has ended is not known any more, but may still have to come, to be closed.
    ended = {op[1] for batch in takeover.batches for op in batch.operations if op[0] == CLOSE and may_come(op[1])}
    for number in [*takeover.known, *(ended - takeover.known.keys())]:
        if not fanout.has(number):
            fanout.add_session(number, Session(number, ledger))  # its socket is on its way, or nowhere
    fanout.merge([(ADD, group, number) for group, members in takeover.groups.items() for number in members])
    counted: defaultdict[int, list[bytes]] = defaultdict(list)
    fresh: defaultdict[int, list[bytes]] = defaultdict(list)
    closes: list[int] = []
    detached: list[tuple[int, int, int]] = []
    for end, operations, before in _segments(takeover, counted_up_to):
        merged = fanout.merge(operations, muted)
        for targets, data, _ in merged.deliveries:
            for session in targets:
                part = counted if end <= counted_up_to.get(session.number, -1) else fresh
                part[session.number].append(data)
        closes += merged.closes
        # One that the router knows here again has been away meanwhile.
        detached += [(number, to, before) for number, to in merged.detached if number not in takeover.known]
        if faults.ENABLED:
            faults.point("worker.replaying")
    if faults.ENABLED and inherited:
        faults.point("worker.resuming")
    writer.take_up(takeover.acknowledged, takeover.last, sum(batch.size for batch in takeover.batches))
    replayed = 0
    for number, session in inherited.items():
        standing = standing_of(session, ledger, position_of_tcp)
        session.consumed = standing.consumed
        session.hangup = session.reset = standing.reset
        own, new = b"".join(counted.get(number, ())), b"".join(fresh.get(number, ()))
        replayed += _resume_output(session, standing, own, new, writer, ledger)
        if faults.ENABLED:
            faults.point("worker.resumed-one")
    _forget_those_who_were_here(inherited, closes, detached, writer, may_come)
    for number in fresh.keys() - inherited.keys():
        if fanout.has(number):
            session, data = fanout.target(number), b"".join(fresh[number])
            writer.resume(session, data, session.due + len(data))
    now = writer.moment()
    for number in closes:
        if fanout.has(number):
            writer.finish(fanout.target(number), now, takeover.acknowledged)
    for number, to, before in detached:
        if fanout.has(number):
            writer.detach(fanout.target(number), to, before)
    gone = {*closes, *(number for number, _, _ in detached)}
    for number, session in inherited.items():
        if number not in gone:
            _resume_input(session, takeover, reader)
    for number, (awaited, _) in takeover.known.items():
        if not awaited and number not in gone and fanout.target(number).socket is None:
            reader.missing(number)
    return replayed


def _forget_those_who_were_here(
    inherited: dict[int, Session],
    closes: list[int],
    detached: list[tuple[int, int, int]],
    writer: Writer,
    may_come: Callable[[int], bool],
) -> None:
    """Sessions that came, and were closed or given away again, all in batches that were not yet acknowledged."""
    # Nobody is given away who has not come.
    for number in [*(number for number in closes if not may_come(number)), *(number for number, _, _ in detached)]:
        if number not in inherited and writer.fanout.has(number):
            session = writer.fanout.target(number)
            if session.socket is None:
                writer.forget(session)


def _segments(takeover: Takeover, counted_up_to: dict[int, int]) -> Iterator[tuple[int, list[Operation], int]]:
    """The batches in runs, between the points at which some session's counted part ends: (end, operations, before)."""
    ends = iter(boundaries(counted_up_to.values(), takeover.acknowledged, takeover.last))
    end, before = next(ends), takeover.acknowledged
    operations: list[Operation] = []
    for batch in takeover.batches:
        operations += batch.operations
        if batch.number == end:
            yield end, operations, before
            operations, before = [], end
            end = next(ends, end)


def _resume_output(
    session: Session, standing: Standing, counted: bytes, fresh: bytes, writer: Writer, ledger: Ledger
) -> int:
    if session.muted:
        writer.resume_muted(session, fresh)
        return 0
    if standing.over:
        writer.lose(session)
        return 0
    word = ledger.output[session.slot]
    try:
        data = to_send(counted, fresh, unpack_output(word).due, standing.written)
    except LocalProtocolError as error:
        writer.lose_track(session, str(error))
        return 0
    writer.resume(session, data, unpack_output(word).due + len(fresh))
    return len(data)


def _resume_input(session: Session, takeover: Takeover, reader: Reader) -> None:
    known = takeover.known.get(session.number)
    if known is None:
        reader.announce(session)
    else:
        awaited, applied = known
        if awaited:
            reader.arrived(session)
        if session.reset:
            session.consumed = min(session.consumed, applied)  # a FIN before the reset was counted, unseen
        try:
            if applied > session.consumed:
                if faults.ENABLED:
                    faults.point("worker.catching-up")
                session.consume(applied - session.consumed)
        except OSError:
            reader.end(session, "reset")
    if session.muted:
        reader.end(session, "slow")
    session.readable = True
    reader.look(session)
