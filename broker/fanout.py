"""Fan-out: from operations on groups to one run of bytes per session, merged over any number of batches. Pure.

Theory of operation. A session's byte stream is its operations in order; how many batches they came in, and how many
`send()`s they leave in, does not matter. So a worker collects all operations that have arrived, joins the bytes of each
group once, and hands every member the same object. Python then runs once per (wake-up, group, member), never once per
(message, member).

That is right for a session to which nothing else happened. One that was excepted from some of a group's messages, as
who says something is, gets the others joined. One that got bytes of its own, entered or left a group, or is a member of
two groups that both have bytes, is *gathered*: its stream is put together from the log of its groups, by sequence
number. There are few of those in a merge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from sys import maxsize
from typing import Generic, TypeAlias, TypeVar

from broker.errors import LocalProtocolError
from broker.messages import ADD, ADOPT, CLOSE, DETACH, PUBLISH, REMOVE, SEND, Operation

Target = TypeVar("Target")
_Entry: TypeAlias = tuple[int, bytes, int, int]
"""Something published: its sequence number, the bytes, who is excepted (0: nobody), and how many messages it is."""


@dataclass(slots=True)
class _Gathered:
    """What happened to one session in this merge: spans of membership (group, from, until) and bytes of its own."""

    spans: list[tuple[int, int, int]]
    own: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Merged(Generic[Target]):
    """One merge: `deliveries` to make in any order (each target once), then sessions to close, or to give away.

    A delivery is the targets, the bytes for each of them, and how many messages these are.
    """

    deliveries: list[tuple[Collection[Target], bytes, int]]
    closes: list[int]
    detached: list[tuple[int, int]]


class Fanout(Generic[Target]):
    """The members of each group. A target is whatever the caller wants back for a session.

    `adopt` gives the target of a session that is to come from elsewhere.
    """

    def __init__(self, adopt: Callable[[int], Target]) -> None:
        self._adopt = adopt
        self._targets: dict[int, Target] = {}
        self._members: dict[int, dict[int, Target]] = {}
        self._groups_of: dict[int, tuple[int, ...]] = {}
        self._several: set[int] = set()  # sessions in more than one group

    def __len__(self) -> int:
        return len(self._targets)

    def add_session(self, session: int, target: Target) -> None:
        """A session is here; it gets nothing but what operations say."""
        self._targets[session] = target
        self._groups_of[session] = ()

    def has(self, session: int) -> bool:
        """True from `add_session` or an ADOPT until `remove_session`."""
        return session in self._targets

    def target(self, session: int) -> Target:
        """What was given for the session; KeyError if it is not here."""
        return self._targets[session]

    def targets(self) -> Iterable[Target]:
        """Of all sessions."""
        return self._targets.values()

    def remove_session(self, session: int) -> None:
        """Forget a session and its memberships; operations on it are ignored from here on."""
        if self._targets.pop(session, None) is None:
            return
        for group in self._groups_of.pop(session):
            self._leave(group, session)
        self._several.discard(session)

    def merge(self, operations: Iterable[Operation], muted: Container[int] = ()) -> Merged[Target]:
        """Apply operations in order. A muted session gets only the bytes that are for it alone.

        Raises LocalProtocolError for an operation that does not exist.
        """
        log: dict[int, list[_Entry]] = {}
        gathered: dict[int, _Gathered] = {}
        closes: list[int] = []
        detached: list[tuple[int, int]] = []
        for sequence, operation in enumerate(operations):
            code = operation[0]
            if code == PUBLISH:
                _, group, data, excepted = operation
                entries = log.get(group)
                if entries is None:
                    entries = log[group] = []
                entries.append((sequence, data, excepted, data.count(b"\n")))
                continue
            session = operation[2] if code in (ADD, REMOVE) else operation[1]
            if code == ADOPT:
                if session not in self._targets:
                    self.add_session(session, self._adopt(session))
                continue
            if session not in self._targets:
                continue  # it ended here while the operation was on its way
            stream = self._gather(gathered, session)
            if code == SEND:
                stream.own.append((sequence, operation[2]))
            elif code == ADD:
                stream.spans.append((operation[1], sequence, maxsize))
                self._enter(operation[1], session)
            elif code == REMOVE:
                stream.spans = [_ended(span, operation[1], sequence) for span in stream.spans]
                self._leave(operation[1], session)
                self._forget_group(operation[1], session)
            elif code == CLOSE:
                closes.append(session)
            elif code == DETACH:
                detached.append((session, operation[2]))
            else:
                raise LocalProtocolError(f"there is no operation {code!r}")
        self._gather_members_of_several(gathered, log)
        return Merged(list(self._deliveries(log, gathered, muted)), closes, detached)

    def _deliveries(
        self, log: dict[int, list[_Entry]], gathered: dict[int, _Gathered], muted: Container[int]
    ) -> Iterator[tuple[Collection[Target], bytes, int]]:
        for session, stream in gathered.items():
            data = _stream_bytes(session, stream, log, session in muted)
            if data:
                yield (self._targets[session],), data, data.count(b"\n")
        for group, entries in log.items():
            members = self._members.get(group)
            if not members:
                continue
            messages = 0
            authors: dict[int, int] = {}  # who are members, and how many of the messages are theirs
            for _, _, excepted, count in entries:
                messages += count
                if excepted in members:
                    authors[excepted] = authors.get(excepted, 0) + count
            for author, own in authors.items():
                if author not in gathered and author not in muted:
                    others = b"".join([entry[1] for entry in entries if entry[2] != author])
                    if others:
                        yield (members[author],), others, messages - own
            data = b"".join([entry[1] for entry in entries])
            if authors or gathered or muted:
                yield (
                    [
                        target
                        for session, target in members.items()
                        if session not in authors and session not in gathered and session not in muted
                    ],
                    data,
                    messages,
                )
            else:
                yield members.values(), data, messages

    def _gather(self, gathered: dict[int, _Gathered], session: int) -> _Gathered:
        stream = gathered.get(session)
        if stream is None:
            stream = gathered[session] = _Gathered([(group, 0, maxsize) for group in self._groups_of[session]])
        return stream

    def _gather_members_of_several(self, gathered: dict[int, _Gathered], log: dict[int, list[_Entry]]) -> None:
        if len(log) < 2 or not self._several:
            return
        touched = log.keys()
        for group in touched:
            for session in self._members.get(group, {}).keys() & self._several:
                if session not in gathered and sum(other in touched for other in self._groups_of[session]) > 1:
                    self._gather(gathered, session)

    def _enter(self, group: int, session: int) -> None:
        members = self._members.setdefault(group, {})
        if session not in members:
            members[session] = self._targets[session]
            self._groups_of[session] += (group,)
            if len(self._groups_of[session]) > 1:
                self._several.add(session)

    def _leave(self, group: int, session: int) -> None:
        members = self._members.get(group)
        if members is not None:
            members.pop(session, None)
            if not members:
                del self._members[group]

    def _forget_group(self, group: int, session: int) -> None:
        self._groups_of[session] = tuple(other for other in self._groups_of[session] if other != group)
        if len(self._groups_of[session]) < 2:
            self._several.discard(session)


def _ended(span: tuple[int, int, int], group: int, sequence: int) -> tuple[int, int, int]:
    return (group, span[1], sequence) if span[0] == group and span[2] == maxsize else span


def _stream_bytes(session: int, stream: _Gathered, log: dict[int, list[_Entry]], muted: bool) -> bytes:
    """The bytes of one gathered session, in the order of the operations."""
    if muted:
        return b"".join([data for _, data in stream.own])
    pieces = list(stream.own)
    for group, start, end in stream.spans:
        entries = log.get(group, ())
        pieces += [(at, data) for at, data, excepted, _ in entries if excepted != session and start <= at < end]
    pieces.sort(key=lambda piece: piece[0])
    return b"".join([data for _, data in pieces])
