"""What happened to the processes: numbered events, kept in memory, in a file, in the log, and sent to followers.

The supervisor records; `docs/control-protocol.md` says what an event holds. Text from elsewhere (a child's last words)
is made safe for terminals here, once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from broker.text import clean

_KEPT: Final = 1000
_FILE_LIMIT_BYTES: Final = 4 * 1024 * 1024
_log = logging.getLogger("broker")

Event = dict[str, Any]


class EventLog:
    """The last events in memory, all of them in `path` (and its predecessor, once it has grown too large)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: deque[Event] = deque(maxlen=_KEPT)
        self.listeners: list[Callable[[Event], None]] = []
        self._number = 0

    def record(
        self, level: str, kind: str, text: str, process: str | None = None, pid: int | None = None, **more: Any
    ) -> None:
        """Record one event. `more` are the keys that the kind has besides the common ones."""
        self._number += 1
        event: Event = {
            "number": self._number, "at": time.time(), "level": level, "kind": kind,
            "process": process, "pid": pid, "text": clean(text), **more,
        }  # fmt: skip
        self.events.append(event)
        _log.log(logging.getLevelNamesMapping()[level.upper()], "%s", event["text"])
        with contextlib.suppress(OSError):  # a full disk must not stop the supervisor
            self._append(json.dumps(event, ensure_ascii=False))
        for listener in list(self.listeners):
            listener(event)

    def since(self, number: int) -> list[Event]:
        """The kept events above `number`, oldest first."""
        return [event for event in self.events if event["number"] > number]

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            size = file.tell()
        if size > _FILE_LIMIT_BYTES:
            self.path.replace(self.path.with_suffix(".jsonl.1"))
