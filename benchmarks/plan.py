"""Who is where under a load: which client is in which room and in which load process, who talks, who observes. Pure.

Every load process works with the same plan, made before it was forked. It knows numbers of clients and rooms, and
nothing of sockets or of what is said.

A room's *authors* are the clients that may say something: its senders, and at least two, because two *heralds* of each
room announce the beginning of the measured stream to everybody else and to each other. All its other clients are
*listeners*. A room's clients in one load process are a *part* of the room; every part has a listener, whose bytes the
others' are compared with. A sender's *observer* is a listener of the same part: the sender's message is back when its
observer has it, as servers do not echo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.texts import LARGEST_AUTHOR, TAIL_BYTES
from broker.errors import UsageError

HERALDS: Final = 2
LARGEST_SIZE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Load:
    """What to do to a server. `rate` is messages per second of all senders together; None keeps `window` messages of
    each sender in flight instead. `size_bytes` is the text's, `seconds` what is measured, after `warm_up_seconds`. What
    has not come when nothing at all came for `patience_seconds` is lost. `talking` of the rooms have senders, all if
    None.
    """

    clients: int = 200
    rooms: int = 1
    senders: int = 4
    window: int = 8
    rate: float | None = None
    size_bytes: int = 64
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    processes: int = 1
    patience_seconds: float = 5.0
    talking: int | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """What clients and rooms are called: 9 letters and digits, as IRC servers may allow no more (RFC 2812, 1.2.1).

    `run` is three letters or digits, so that a server may see several runs at once, or soon after each other.
    """

    run: str

    def client(self, number: int) -> str:
        """The name of a client."""
        return f"c{self.run}{number:05d}"

    def room(self, number: int) -> str:
        """The name of a room."""
        return f"r{self.run}{number:05d}"


@dataclass(frozen=True, slots=True)
class Part:
    """The clients of one room in one load process."""

    process: int
    authors: tuple[int, ...]
    listeners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """One room: all its clients by number; the first of its authors are its senders, or its heralds."""

    number: int
    clients: range
    authors: tuple[int, ...]
    senders: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def heralds(self) -> tuple[int, ...]:
        """Who announces the beginning and the end to the others."""
        return self.authors[:HERALDS]

    def observer(self, sender: int) -> int:
        """Whose receiving a message of this sender means that it is back; the senders share out their listeners."""
        part = next(part for part in self.parts if sender in part.authors)
        return part.listeners[part.authors.index(sender) % len(part.listeners)]


def plan(load: Load) -> tuple[Room, ...]:
    """Give every client its room, its process and its task; UsageError if the load makes no sense."""
    _check(load)
    rooms = []
    smallest, larger_ones = divmod(load.clients, load.rooms)
    first = 0
    for number in range(load.rooms):
        size = smallest + (number < larger_ones)
        rooms.append(_plan_room(load, number, range(first, first + size)))
        first += size
    return tuple(rooms)


def _plan_room(load: Load, number: int, clients: range) -> Room:
    authors = tuple(clients[: max(load.senders, HERALDS)])
    listeners = clients[len(authors) :]
    # A room in one process is cheaper to check; but a few large ones have to be shared, to share the work.
    processes = [number % load.processes] if load.rooms >= load.processes else range(load.processes)
    count = len(processes)
    parts = tuple(
        Part(process, authors[index::count], tuple(listeners[index::count])) for index, process in enumerate(processes)
    )
    senders = authors[: load.senders] if load.talking is None or number < load.talking else ()
    return Room(number, clients, authors, senders, parts)


def _check(load: Load) -> None:
    for name, value in (("clients", load.clients), ("rooms", load.rooms), ("senders", load.senders),
                        ("window", load.window), ("processes", load.processes)):  # fmt: skip
        if value < 1:
            raise UsageError(f"--{name} {value}: at least 1")
    if load.clients > LARGEST_AUTHOR:
        raise UsageError(f"--clients {load.clients}: at most {LARGEST_AUTHOR}")
    if not TAIL_BYTES <= load.size_bytes <= LARGEST_SIZE_BYTES:
        raise UsageError(f"--size {load.size_bytes}: {TAIL_BYTES} to {LARGEST_SIZE_BYTES} bytes")
    if load.seconds <= 0 or load.patience_seconds <= 0 or load.warm_up_seconds < 0:
        raise UsageError("--seconds and --patience must be more than 0, --warm-up not less")
    if load.talking is not None and not 1 <= load.talking <= load.rooms:
        raise UsageError(f"{load.talking} talking rooms of {load.rooms}: 1 to all")
    if load.rate is not None and load.rate <= 0:
        raise UsageError(f"--rate {load.rate:g}: more than 0, in messages per second")
    parts_of_a_room = 1 if load.rooms >= load.processes else load.processes
    least = max(load.senders, HERALDS) + parts_of_a_room
    if load.clients // load.rooms < least:
        raise UsageError(
            f"--clients {load.clients} --rooms {load.rooms}: with {load.senders} senders in a room, and its clients in "
            f"{parts_of_a_room} load processes, a room must have at least {least} clients"
        )
