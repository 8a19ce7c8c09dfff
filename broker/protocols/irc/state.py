"""What the IRC protocol remembers of a session beside what every session has. Runs in the router; pure data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class OpenBatch:
    """A message of several lines that is being sent: what its opening line said, and the lines so far.

    A line is (text, whether it goes on the one before).
    """

    reference: str
    target: str
    label: str
    tags: tuple[tuple[str, str], ...]
    lines: list[tuple[str, bool]] = field(default_factory=list)
    size_bytes: int = 0
    notice: bool = False
    refused: bool = False
    """Something was wrong with it, and has been told: what still comes of it is swallowed."""


@dataclass(slots=True)
class IrcState:
    """`capabilities` as the bits of `broker.protocols.irc.capabilities`; `version` is that of CAP LS, 0 without one.

    While registration goes on: the nick that is asked for, what PASS said, and whether CAP has it wait for its END.
    """

    capabilities: int = 0
    version: int = 0
    negotiating: bool = False
    nick: str = ""
    password: str = ""
    user_given: bool = False
    pinged_at: float = -1.0
    """When the last PING went out."""
    batches: int = 0
    """Batches opened for this session: each has a reference of its own."""
    batch: OpenBatch | None = None
    read: dict[str, str] = field(default_factory=dict)
    """Until when a target has been read, by its key (read-marker)."""
    failures: int = 0
    """Wrong passwords for OPER so far."""
