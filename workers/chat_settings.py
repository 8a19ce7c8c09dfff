"""From the broker's settings to what the chat has to be told. Runs in the router, at its birth.

Knows what settings there are, and nothing of what the chat does with them. The same settings give the same result in
every process: what is replayed must not depend on a file that may be another one by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker import __version__
from broker.chat_config import ChatConfig
from broker.listeners import Listener
from broker.settings import Settings


def chat_config(settings: Settings, listeners: Sequence[Listener], run: str = "0") -> ChatConfig:
    """What the chat has to be told; ConfigError if it makes no sense.

    `run` makes the names of messages those of this run of the broker.
    """
    return ChatConfig(
        language=settings.lang,
        listener_protocols=tuple(listener.url.protocol for listener in listeners),
        name_timeout_seconds=settings.name_timeout_seconds,
        max_line_bytes=settings.max_line_bytes,
        run=run,
        version=__version__,
        server_name=settings.irc_server_name,
        server_description=settings.irc_server_description,
        network_name=settings.irc_network_name,
        password=settings.irc_password,
        motd=() if settings.irc_motd_file is None else settings.irc_motd_file.lines,
        admin=settings.irc_admin,
        operators=settings.irc_operators,
        ping_seconds=settings.irc_ping_seconds,
        disabled_capabilities=settings.irc_disabled_capabilities,
    )
