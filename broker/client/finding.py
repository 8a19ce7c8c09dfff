"""From what the command line says to a connection: a URL, or the broker that runs on a state directory.

Used by the process of `broker chat`. The local broker is found by its chat socket, else by what its supervisor says
that it listens on (`status` in docs/control-protocol.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from broker.client.connection import ConnectError, Connection, connect
from broker.control_client import ask
from broker.errors import NotRunningError
from broker.state_dir import CHAT_SOCKET
from broker.urls import ListenerURL, parse_listener_url

Find = Callable[[], Awaitable[Connection]]
"""Makes a connection, to wherever the broker is now; raises BrokerError if there is none to be had."""


def at_url(text: str) -> Find:
    """Find the broker at a URL; UsageError if that is none."""
    url = parse_listener_url(text)
    return lambda: connect(url)


def on_state_dir(state_dir: Path) -> Find:
    """Find the broker that runs on a state directory; the finder raises NotRunningError if none does."""

    async def find() -> Connection:
        chat_socket = state_dir / CHAT_SOCKET
        if chat_socket.exists():
            try:
                return await connect(parse_listener_url(f"chat+unix:{chat_socket}"))
            except ConnectError:
                pass  # a stale file, perhaps of a broker that listens elsewhere now
        failure = None
        for url in await asyncio.to_thread(_listeners, state_dir):
            try:
                return await connect(url)
            except ConnectError as error:
                failure = error
        raise failure or NotRunningError(
            f"the broker on {state_dir} listens for no chat; `broker status` says for what"
        )

    return find


def _listeners(state_dir: Path) -> list[ListenerURL]:
    texts = ask(state_dir, "status")["listeners"]
    urls = [parse_listener_url(text) for text in texts if text.startswith(("chat:", "chat+unix:"))]
    return sorted(urls, key=lambda url: url.scheme != "chat+unix")
