"""Reads what a broker that has ended wrote to its event file: the story that nobody can be asked for any more.

Runs in `broker top` and `broker events`. The file is the supervisor's (`broker.event_log`); one that was killed leaves
no word of it, and a torn line, or one that is no event, is passed over.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from broker.state_dir import EVENT_FILE

_TAIL_BYTES: Final = 65536
_LATEST: Final = 253402300799
"""The last second of the year 9999, which is as far as dates can be shown."""


def all_events(state_dir: Path) -> tuple[dict[str, Any], ...]:
    """Every event in the file, oldest first; none if there is no file."""
    return _parse(_read(state_dir))


def events_after(state_dir: Path, at: float) -> tuple[dict[str, Any], ...]:
    """The events in the file's end that happened after `at` (seconds since the epoch), oldest first."""
    return tuple(event for event in _parse(_read(state_dir, _TAIL_BYTES)) if event["at"] > at)


def _read(state_dir: Path, tail_bytes: int | None = None) -> bytes:
    try:
        with (state_dir / EVENT_FILE).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0 if tail_bytes is None else max(size - tail_bytes, 0))
            return file.read()
    except OSError:
        return b""


def _parse(data: bytes) -> tuple[dict[str, Any], ...]:
    return tuple(event for line in data.split(b"\n") if (event := _event(line)) is not None)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not all(isinstance(event.get(key), str) for key in ("level", "kind", "text")):
        return None
    at = event.get("at")
    return event if isinstance(at, int | float) and 0 <= at <= _LATEST else None
