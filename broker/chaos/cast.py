"""Who the load's people are: how many of each kind are in a room, and who is in which load process. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from broker.errors import UsageError

SMALLEST_ROOM: Final = 4
"""Two who only listen, to be each other's witness, and two who talk."""
LARGEST_LOAD: Final = 99_999
_TALKING_SHARE: Final = 0.2
_SLOW_SHARE: Final = 0.04
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Load:
    """`clients` people in `rooms` rooms, who send `rate` inputs per second in all, from `processes` load processes.

    `unix_fraction` of them come by the local socket. What has not come when nothing at all came for `patience_seconds`
    is lost.
    """

    clients: int = 100
    rooms: int = 5
    rate: float = 100.0
    unix_fraction: float = 0.0
    processes: int = 1
    patience_seconds: float = 20.0

    def check(self) -> None:
        """UsageError if it makes no sense."""
        if self.rooms < 1:
            raise UsageError(f"--rooms {self.rooms}: at least 1")
        if not self.rooms * SMALLEST_ROOM <= self.clients <= LARGEST_LOAD:
            raise UsageError(
                f"--clients {self.clients}: {SMALLEST_ROOM} for each room at least, so {self.rooms * SMALLEST_ROOM} to "
                f"{LARGEST_LOAD:,} for --rooms {self.rooms}"
            )
        if not 0 < self.rate <= 1_000_000:
            raise UsageError(f"--rate {self.rate:g}: more than 0, in inputs per second of all clients together")
        if not 0 <= self.unix_fraction <= 1:
            raise UsageError(f"--unix-fraction {self.unix_fraction:g}: 0 to 1")
        if not 1 <= self.processes <= self.rooms:
            raise UsageError(f"--processes {self.processes}: 1 to {self.rooms}, as each has whole rooms")


@dataclass(frozen=True, slots=True)
class Role:
    """One person before it has come: `number` is unique in the run, `variant` the one it begins with.

    `talks`: sends what others hear; `steady`: keeps name, room and connection; `slow`: reads late; `witness`: quick,
    silent, and on TCP, so that its word counts.
    """

    number: int
    variant: int
    talks: bool = False
    steady: bool = True
    slow: bool = False
    unix: bool = False

    @property
    def witness(self) -> bool:
        """Whether the log of the room may go by what it hears."""
        return not (self.talks or self.slow or self.unix)


def cast(load: Load, variants: int) -> list[tuple[Role, ...]]:
    """Everybody, by room; the first of each room is a witness, who founds it."""
    rooms = []
    smallest, larger_ones = divmod(load.clients, load.rooms)
    first = 0
    for number in range(load.rooms):
        size = smallest + (number < larger_ones)
        rooms.append(tuple(_cast_room(range(first, first + size), load.unix_fraction, variants)))
        first += size
    return rooms


def _cast_room(numbers: range, unix_fraction: float, variants: int) -> Iterator[Role]:
    size = len(numbers)
    talkers = max(2, int(size * _TALKING_SHARE))
    roamers = talkers // 2
    slow = int(size * _SLOW_SHARE)
    # Those that roam are on TCP: what is promised them is exact, so that more can be asked of them.
    unix = min(round(size * unix_fraction), size - 2 - roamers - slow)
    unix_talkers = min(unix // 5, talkers - roamers - 1)
    for place, number in enumerate(numbers):
        variant = number % variants
        if place < 2:
            yield Role(number, variant)
        elif place < 2 + talkers:
            nth = place - 2
            yield Role(number, variant, talks=True, steady=nth >= roamers, unix=nth >= talkers - unix_talkers)
        elif place < 2 + talkers + slow:
            yield Role(number, variant, slow=True)
        else:
            yield Role(number, variant, unix=place >= size - (unix - unix_talkers))


@dataclass(frozen=True, slots=True)
class Names:
    """What people and rooms are called: letters and digits, 9 at most, as IRC servers may allow no more (RFC 2812,
    1.2.1). `run` is three of them, so that several runs can be at one broker.
    """

    run: str

    def person(self, number: int, times: int = 0) -> str:
        """A person's name, and its other names."""
        letter = "abcdefghijklmnopqrstuvwxyz"[times % 26]
        return f"{letter}{self.run}{number:05d}"

    def room(self, number: int) -> str:
        """The name of a room."""
        return f"r{self.run}{number:05d}"


def run_name(pid: int) -> str:
    """Three letters or digits of a PID, rarely those of another run's."""
    return "".join(_DIGITS[pid // 36**place % 36] for place in (2, 1, 0))
