"""What the children run: code and settings as they were loaded once, at the start or by a reload.

The supervisor holds the one that is in force, and each child the one that its next incarnation gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import UsageError
from broker.messages import VERSION, Role
from broker.settings import Settings

Entries = Mapping[Role, Callable[..., None]]


@dataclass(frozen=True)
class Code:
    """What children run: the settings, what is run by each role, and what builds its argument.

    `vocabulary` is the version of the messages that they exchange (`broker.messages`).
    """

    settings: Settings
    entries: Entries
    birth: Callable[..., Any]
    vocabulary: int = VERSION

    def check(self) -> None:
        """UsageError if children with this code would not understand this supervisor."""
        if self.vocabulary != VERSION:
            raise UsageError(
                f"the new code speaks version {self.vocabulary} of the internal messages, the supervisor {VERSION}: "
                "restart the broker (`broker stop`, `broker start`)"
            )
