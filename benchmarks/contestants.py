"""Who is measured: the broker in its variants, and whichever peers are installed. Each starts and stops by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.conductor import Server
from benchmarks.fresh_broker import fresh_broker
from benchmarks.peers.program import INSPIRCD, LIMIT, NGIRCD, Peer, build_limit, ergo
from broker.errors import UsageError
from broker.urls import SCHEMES, parse_listener_url


@dataclass(frozen=True, slots=True)
class Contestant:
    """`running` starts it and yields where it is, as often as one likes. It takes no load of more clients than that."""

    name: str
    running: Callable[[], AbstractContextManager[Server]]
    most_clients: int = 100_000


BROKERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "broker": ("chat", ()),
    "broker, IRC": ("irc", ()),
    "broker, no journal": ("chat", ("--durability", "none")),
}
"""The protocol and the further options of each; all else has its default."""


def contestants(
    directory: Path, ergo_program: str | None, wanted: tuple[str, ...]
) -> tuple[list[Contestant], list[str]]:
    """All that can run here, or those of them that are wanted, and a line about each that cannot.

    UsageError if nobody is left. `directory` is for what has to be built.
    """
    found, absent = [], []
    for name, (scheme, options) in BROKERS.items():
        if scheme in SCHEMES:
            found.append(Contestant(name, _broker(scheme, options)))
    peers = [INSPIRCD, NGIRCD] if ergo_program is None else [INSPIRCD, NGIRCD, ergo(ergo_program)]
    for peer in peers:
        path = peer.find()
        if path is None:
            absent.append(f"{peer.name} is not measured: there is no program {peer.program}")
        else:
            found.append(Contestant(peer.name, _peer(peer, path), peer.most_clients))
    limit = build_limit(directory)
    if limit is None:
        absent.append("the limit is not measured: there is no C compiler (cc)")
    else:
        found.append(Contestant(LIMIT.name, _peer(LIMIT, limit)))
    if wanted:
        names = {contestant.name.lower(): contestant for contestant in found}
        unknown = [name for name in wanted if name.lower() not in names]
        if unknown:
            raise UsageError(f"--server {unknown[0]}: choose of {'; '.join(one.name for one in found)}")
        found = [names[name.lower()] for name in wanted]
        absent = []
    return found, absent


def _broker(scheme: str, options: tuple[str, ...]) -> Callable[[], AbstractContextManager[Server]]:
    @contextlib.contextmanager
    def running() -> Iterator[Server]:
        with fresh_broker(f"{scheme}://127.0.0.1:0", None, options) as status:
            yield Server(parse_listener_url(status["listeners"][0]), status["pid"], "supervisor")

    return running


def _peer(peer: Peer, path: str) -> Callable[[], AbstractContextManager[Server]]:
    return lambda: peer.running(path)
