"""What a delivery costs, in counts that are the same on every machine: no clock is read.

Router and workers run in the simulated kernel of `tests.simulation`, without any chance in it: everybody takes all that
is there, in turn. In each load a few people of every room speak, round after round. Counted are the calls to the
kernel by kind, the stores into the ledger, frames, batches, and calls of functions: those of the broker's own, and
those of C that they call.

`python -m tests.delivery_cost` prints the counts, as `delivery_cost.json` beside it has them; with `--renew` it writes
them there. Look at what the difference says before it is committed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType, SimpleNamespace
from typing import Any, Final

from broker.messages import ASSIGN
from broker.router_state import FRAME
from broker.settings import Settings, resolve
from broker.urls import parse_listener_url
from tests.simulation.clients import Client
from tests.simulation.kernel import Connection
from tests.simulation.world import SimulatedChild, World
from workers.router import RouterProcess

FILE: Final = Path(__file__).with_suffix(".json")
FUNCTIONS: Final = "functions"
_ROOT: Final = Path(__file__).parent.parent
_OURS: Final = (f"{_ROOT / 'broker'}/", f"{_ROOT / 'workers'}/")
ROUNDS: Final = 10
_WARM_UP_ROUNDS: Final = 2
_SPACE: Final = 1 << 20
_TEXT: Final = "x" * 64

Counts = dict[str, int]


@dataclass(frozen=True)
class Load:
    """`senders` people of each room say `run` lines each in one go, in every round.

    `merged`: the router has a turn after each worker, so that several batches are there when a worker has its own.
    """

    protocol: str
    rooms: int
    members: int
    senders: int
    run: int
    merged: bool = False

    @property
    def name(self) -> str:
        """In words."""
        rooms = "1 room" if self.rooms == 1 else f"{self.rooms} rooms"
        lines = "1 line" if self.run == 1 else f"{self.run} lines"
        return f"{self.protocol}: {rooms} of {self.members}, {lines}{', merged' if self.merged else ''}"

    @property
    def messages(self) -> int:
        """That are counted."""
        return self.rooms * self.senders * self.run * ROUNDS


PROTOCOLS: Final = ("chat", "irc")
LOADS: Final = {
    load.name: load
    for protocol in PROTOCOLS
    for rooms, members, merged in ((5, 10, False), (5, 10, True), (1, 100, False))
    for run in (1, 8)
    for load in [Load(protocol, rooms, members, 2, run, merged)]
}


class _Steady(Random):
    """The last of what there is to choose, the most that may be, and everything in the order in which it is."""

    def choice(self, seq: Any) -> Any:
        return seq[-1]

    def randint(self, a: int, b: int) -> int:
        return b

    def shuffle(self, x: Any) -> None:
        pass


class CountedWorld(World):
    """Everybody of a load where nothing goes wrong, with a router, three workers and the default settings."""

    chance = _Steady
    listeners = tuple(SimpleNamespace(url=parse_listener_url(f"{name}://127.0.0.1:1"), fd=-1) for name in PROTOCOLS)
    places = 128

    def __init__(self, load: Load) -> None:
        self._load = load
        self._functions: Counter[str] = Counter()
        super().__init__(0, kill_rate=0.0)
        self.disturbing = False
        self._settle()
        for number in range(load.rooms * load.members):
            self._enter(number)
        self.now += 60.0  # nobody is a newcomer any more

    def count(self, rounds: int) -> tuple[Counts, int]:
        """What so many rounds cost, and how many lines are delivered in them."""
        before, had = self._counts(), self._lines()
        for _ in range(rounds):
            self._speak()
        after = self._counts()
        return {what: number for what in after if (number := after[what] - before[what])}, self._lines() - had

    def _settings(self, lines_per_second: float) -> Settings:
        return resolve({}, {"HOME": "/"}).settings

    def _enter(self, number: int) -> None:
        """Somebody new enters the next room in turn."""
        connection = Connection(f"client {number}", False, _SPACE, _SPACE, self.random)
        listener = PROTOCOLS.index(self._load.protocol)
        held = self.custodian.custody.take(self.supervisor.open(connection), listener, "peer", "::1", False)
        self.custodian.ledger.clear(held.slot)
        workers = self.custodian.available_workers()
        self.custodian.apply(None, (ASSIGN, [(held.session, workers[number % len(workers)])]))  # type: ignore[arg-type]
        self.clients.append(Client(number, connection, b"", "stays", _SPACE, held.session))
        name, room = f"n{number}", f"r{number % self._load.rooms}"
        entry = f"NICK {name}\nUSER u 0 * :r\nJOIN #{room}\n" if listener else f"{name}\n/join {room}\n"
        connection.client_sends(entry.encode())
        self._settle()

    def _speak(self) -> None:
        """One round."""
        load = self._load
        for client in self.clients[: load.rooms * load.senders]:
            start = f"PRIVMSG #r{client.number % load.rooms} :" if load.protocol == "irc" else ""
            client.connection.client_sends(f"{start}{_TEXT}\n".encode() * load.run)
        self._settle()

    def _settle(self) -> None:
        """Let everybody have turns until nothing is left to do; then the clients read."""
        workers, (router,) = list(self.of_role("worker")), self.of_role("router")
        turns = [child for worker in workers for child in (worker, router)] if self._load.merged else [*workers, router]
        busy = True
        while busy:
            busy = False
            for child in turns:
                if child.runnable():
                    busy = True
                    self._run(child, partial(self._wake, child))
                if child.control.queue:
                    busy = True
                    self._hear(child)
        for client in self.clients:
            client.connection.client_reads(_SPACE)

    def _lines(self) -> int:
        """That the clients have read so far."""
        return sum(client.connection.received.count(b"\n") for client in self.clients)

    # Counting.

    def _counts(self) -> Counter[str]:
        """So far, by role and kind."""
        counts: Counter[str] = Counter()
        for child in self.children.values():
            for call, number in child.life.calls.items():
                counts[f"{child.spec.role}: {call}"] += number
        counts.update({f"{role}: {FUNCTIONS}": number for role, number in self._functions.items()})
        router = self.children["router"].process
        assert isinstance(router, RouterProcess)
        counts["batches"] = sum(view.batch for view in router.state.views.values())
        counts["frames"] = sum(item[0] == FRAME for _, inputs in self.records() for item in inputs)
        return counts

    def _wake(self, child: SimulatedChild) -> None:
        before = sys.getprofile()
        sys.setprofile(partial(self._on_event, child.spec.role))
        try:
            super()._wake(child)
        finally:
            sys.setprofile(before)

    def _on_event(self, role: str, frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_OURS):
            self._functions[role] += 1


def count(load: Load) -> Counts:
    """What the load costs in ROUNDS rounds, once the caches are warm; AssertionError if not all is delivered."""
    world = CountedWorld(load)
    world.count(_WARM_UP_ROUNDS)
    counts, lines = world.count(ROUNDS)
    assert lines == load.messages * (load.members - 1)
    return {"messages": load.messages, "deliveries": lines, **dict(sorted(counts.items()))}


def dearer(counts: Mapping[str, int], allowed: Mapping[str, int], margin: float) -> list[str]:
    """What costs more than is allowed, a line for a person each; calls of functions may be more by `margin` of them."""
    found = []
    for what, number in counts.items():
        limit = allowed.get(what, 0) * (1 + margin if what.endswith(FUNCTIONS) else 1)
        if number > limit:
            found.append(f"{what}: {number} instead of {allowed.get(what, 0)}")
    return found


def main() -> None:
    """Count, and print or write it."""
    if sys.argv[1:] not in ([], ["--renew"]):
        sys.exit(__doc__)
    counts = {name: count(load) for name, load in LOADS.items()}
    text = json.dumps({"python": list(sys.version_info[:2]), "counts": counts}, indent=2) + "\n"
    if sys.argv[1:]:
        FILE.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
