"""What the chat has to be told before it can begin. Runs in the router; pure.

A restored chat gets a new one, so nothing of it may be copied into the chat's state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from broker.errors import ConfigError
from broker.names import Name, parse_room_name
from broker.operators import Operator
from broker.phrases import LANGUAGES
from broker.protocols import PROTOCOLS

_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
SERVER_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
"""RFC 2812, 2.3.1, `hostname`; a dot must be in it, or it could be taken for somebody's nick."""
SERVER_NAME_BYTES: Final = 63
"""RFC 2812, 1.1."""


@dataclass(frozen=True)
class ChatConfig:
    """What the chat has to be told; ConfigError if it makes no sense.

    `language` is the one that a session begins with, `listener_protocols` the name of the protocol of each listener.
    `max_line_bytes` is without the line's end, `max_name_length` in code points. `run` makes the names of messages
    those of this run of the broker. The rest is for IRC people: `server_name`, `network_name`, `password` (nothing:
    none is asked for), the lines of `motd`, `admin`, the operators, how long a silent client is left alone
    (`ping_seconds`), and capabilities that are not to be offered.
    """

    language: str = "zh"
    listener_protocols: tuple[str, ...] = ("chat",)
    name_timeout_seconds: float = 60.0
    max_line_bytes: int = 4096
    max_name_length: int = 32
    default_room: str = "lobby"
    run: str = "0"
    server_name: str = "irc.broker.local"
    server_description: str = "a group chat made of processes"
    network_name: str = "Broker"
    version: str = "0"
    password: str = ""
    motd: tuple[str, ...] = ()
    admin: str = ""
    operators: tuple[Operator, ...] = ()
    ping_seconds: float = 120.0
    disabled_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ConfigError(f"there is no language {self.language!r}; choose one of {', '.join(LANGUAGES)}")
        for protocol in self.listener_protocols:
            if protocol not in PROTOCOLS:
                raise ConfigError(f"there is no chat protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
        if not self.listener_protocols:
            raise ConfigError("the chat needs the protocol of at least one listener")
        if not isinstance(parse_room_name(self.default_room, self.max_name_length), Name):
            raise ConfigError(f"{self.default_room!r} cannot be the name of a room; see docs/chat-protocol.md")
        if not SERVER_NAME.fullmatch(self.server_name) or len(self.server_name) > SERVER_NAME_BYTES:
            raise ConfigError(f"{self.server_name!r} cannot be the name of a server; give one such as irc.example.org")
