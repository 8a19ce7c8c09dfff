"""A stage for tests of the chat: people, the workers between, and what each person has received.

It interprets operations in the simplest way that can be right, one at a time, and complains of every one that makes no
sense: it is the reference for what workers do faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.chat import Chat, ChatConfig
from broker.messages import (
    ADD,
    ADOPT,
    ARRIVED,
    ATTACHED,
    CLOSE,
    DETACH,
    ENDED,
    LINES,
    OVERLONG,
    PUBLISH,
    REMOVE,
    SEND,
    Event,
    Operation,
)


@dataclass(eq=False)
class Person:
    """One connection as its owner sees it."""

    number: int
    worker: int
    sent: int = 0
    received: bytearray = field(default_factory=bytearray)
    read_to: int = 0
    closed: bool = False


class Stage:
    """A chat with workers that only exist as their groups."""

    def __init__(self, config: ChatConfig | None = None, chat: Chat | None = None) -> None:
        self.chat = chat or Chat(config or ChatConfig())
        self.now = 1000.0
        self.people: dict[int, Person] = {}
        self.groups: dict[int, dict[int, set[int]]] = {}  # worker, group: members

    # What people do.

    def connect(self, worker: int = 0, listener: int = 0) -> Person:
        person = Person(len(self.people) + 1, worker)
        self.people[person.number] = person
        self.apply(worker, (ATTACHED, person.number, listener, "127.0.0.1:1"))
        return person

    def join(self, name: str, worker: int = 0, language: str = "zh") -> Person:
        """Somebody with a name, in the lobby, who has read what there was."""
        person = self.connect(worker)
        self.type(person, name)
        if language != "zh":
            self.type(person, f"/lang {language}")
        for other in self.people.values():
            self.read(other)
        return person

    def type(self, person: Person, *lines: str) -> None:
        self.send(person, "".join(f"{line}\n" for line in lines).encode())

    def send(self, person: Person, data: bytes) -> None:
        offset, person.sent = person.sent, person.sent + len(data)
        self.apply(person.worker, (LINES, person.number, offset, data))

    def send_overlong(self, person: Person, length: int) -> None:
        offset, person.sent = person.sent, person.sent + length
        self.apply(person.worker, (OVERLONG, person.number, offset, length))

    def hang_up(self, person: Person, cause: str = "eof") -> None:
        self.apply(person.worker, (ENDED, person.number, cause))

    def read(self, person: Person) -> str:
        """What the person has got since the last look."""
        data = bytes(person.received[person.read_to :])
        person.read_to = len(person.received)
        return data.decode()

    # What the machine does.

    def apply(self, worker: int, *events: Event) -> None:
        for event in events:
            self.chat.apply(self.now, worker, event)
        self.pump()

    def move(self, person: Person, worker: int) -> None:
        """The person's socket goes to another worker."""
        source, person.worker = person.worker, worker
        session = next(session for session in self.chat.sessions_of(source) if session.number == person.number)
        self.chat.move_session(session, worker)
        self.pump()
        self.apply(worker, (ARRIVED, person.number))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.chat.tick(self.now)
        self.pump()

    def pump(self) -> None:
        for worker, operations in self.chat.take_operations().items():
            assert operations, "a worker without operations is not to be in the result"
            for operation in operations:
                self.interpret(worker, operation)

    def interpret(self, worker: int, operation: Operation) -> None:
        groups = self.groups.setdefault(worker, {})
        code = operation[0]
        if code == PUBLISH:
            _, group, data, excepted = operation
            assert group in groups, "published to a worker that has no member of the group"
            assert data.endswith(b"\n")
            for number in groups[group]:
                if number != excepted:
                    self.people[number].received += data
            return
        number = operation[2] if code in (ADD, REMOVE) else operation[1]
        person = self.people[number]
        if code == DETACH:
            assert person.worker == operation[2] != worker
            assert not any(number in members for members in groups.values()), "given away while in a group"
            return
        if code == REMOVE and person.worker != worker:
            pass  # it is about to be given away
        else:
            assert person.worker == worker
        assert not person.closed, "told something after the end"
        if code == SEND:
            person.received += operation[2]
        elif code == ADD:
            members = groups.setdefault(operation[1], set())
            assert number not in members
            members.add(number)
        elif code == REMOVE:
            groups[operation[1]].remove(number)
            if not groups[operation[1]]:
                del groups[operation[1]]
        elif code == ADOPT:
            pass
        elif code == CLOSE:
            assert not any(number in members for members in groups.values()), "closed while in a group"
            person.closed = True
        else:
            raise AssertionError(f"no such operation: {operation!r}")
