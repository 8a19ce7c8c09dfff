"""What the children run: code and settings as they were loaded once, at the start or by a reload.

The supervisor holds the one that is in force, and each child the one that its next incarnation gets. Several may be in
memory at once, so each brings its modules along: what a child imports by name, or unpickles, is of its own code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from broker.errors import UsageError
from broker.messages import VERSION, Role
from broker.settings import Settings

PACKAGES: Final = ("broker", "monitor", "workers")

Entries = Mapping[Role, Callable[..., None]]


def loaded_modules() -> dict[str, ModuleType]:
    """Those of our packages that an `import` finds now."""
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES}


_exchanged = False
"""Whether modules were ever put in the place of others: a reload has been tried."""


def put_modules(modules: Mapping[str, ModuleType]) -> None:
    """Have an `import` find these of our packages, and read others from disk."""
    global _exchanged
    _exchanged = True
    for name in loaded_modules():
        del sys.modules[name]
    sys.modules.update(modules)


@contextmanager
def fresh_modules() -> Iterator[None]:
    """Whatever of our packages is imported in here is read from disk; afterwards there is what was there before."""
    before = loaded_modules()
    put_modules({})
    importlib.invalidate_caches()
    try:
        yield
    finally:
        put_modules(before)


@dataclass(frozen=True)
class Code:
    """What children run: the settings, what is run by each role, and what builds its argument.

    `vocabulary` is the version of the messages that they exchange (`broker.messages`); `modules` are those that were
    loaded when this was made.
    """

    settings: Settings
    entries: Entries
    birth: Callable[..., Any]
    vocabulary: int = VERSION
    modules: Mapping[str, ModuleType] = field(default_factory=loaded_modules, repr=False)

    def run(self, role: Role, birth: Any) -> None:
        """The whole life of a child, in its process."""
        if _exchanged:  # otherwise they are there; touching each would cost a child 0.5 MB of copied pages
            put_modules(self.modules)
        self.entries[role](birth)

    def check(self) -> None:
        """UsageError if children with this code would not understand this supervisor."""
        if self.vocabulary != VERSION:
            raise UsageError(
                f"the new code speaks version {self.vocabulary} of the internal messages, the supervisor {VERSION}: "
                "restart the broker (`broker stop`, `broker start`)"
            )
