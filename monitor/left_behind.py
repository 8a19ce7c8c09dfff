"""Reads what a broker that has ended wrote to its event file last: the end of the story that nobody can be asked for.

Runs in `broker top`. The file is the supervisor's (`broker.event_log`); one that was killed leaves no word of it, and
a torn last line is no error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from broker.state_dir import EVENT_FILE

_TAIL_BYTES: Final = 65536


def events_after(state_dir: Path, at: float) -> tuple[dict[str, Any], ...]:
    """The events in the file's end that happened after `at` (seconds since the epoch), oldest first."""
    try:
        with (state_dir / EVENT_FILE).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL_BYTES, 0))
            lines = file.read().split(b"\n")
    except OSError:
        return ()
    events = (event for line in lines if (event := _parse(line)) is not None)
    return tuple(event for event in events if event["at"] > at)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("at"), int | float) else None
