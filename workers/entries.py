"""What the supervisor's children run, by role. Loaded by whoever starts the broker, and anew by a reload."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from broker.code import Entries
from broker.listeners import Listener
from broker.protocols import longest_line_bytes
from broker.router_state import RouterState
from broker.settings import Settings
from workers.acceptor import AcceptorProcess
from workers.chat_settings import chat_config
from workers.harness import Birth, live
from workers.router import RouterProcess
from workers.worker import WorkerProcess

ENTRIES: Final[Entries] = {
    "router": partial(live, RouterProcess),
    "worker": partial(live, WorkerProcess),
    "acceptor": partial(live, AcceptorProcess),
}


def birth_with(settings: Settings) -> Callable[..., Birth]:
    """What makes the argument of a child, for these settings: workers know no protocols, only how long lines are."""
    protocols = {url.protocol for url in settings.listen}
    return partial(Birth, longest_line_bytes=longest_line_bytes(protocols, settings.max_line_bytes))


def rehearse(settings: Settings, listeners: tuple[Listener, ...]) -> None:
    """Do what the children do before they are ready, as far as it touches nothing; raises what they would raise."""
    state = RouterState(chat_config(settings, listeners))
    state.apply(0.0, [])
    state.dump()
