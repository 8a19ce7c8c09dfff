"""What the supervisor says of its processes, asked in such a way that it can never hold the asker up.

Runs in `broker ps`, `top` and `renice`. One connection to the control socket is kept and asked once a look. A
supervisor that does not answer in time (stopped, hung) is not asked again: the look goes on with what it said last, and
each later look only checks, without waiting, whether the answer has come. So a dashboard keeps its rate, and no heap of
requests and connections waits for a supervisor that is continued after an hour. Knows nothing of /proc.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from broker.control_client import ControlClient
from broker.errors import ControlError

EVENTS_KEPT: Final = 200
FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 8.0


class Roster:
    """The last answers to `processes` and `events` (docs/control-protocol.md); `fresh`: they came with this look.

    `answered_at` is when they came, as monotonic seconds; None if they never did.
    """

    def __init__(self, state_dir: Path, timeout_seconds: float) -> None:
        self.fresh = False
        self.answered_at: float | None = None
        self.status: dict[str, Any] = {}
        self.processes: list[dict[str, Any]] = []
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._state_dir = state_dir
        self._timeout_seconds = timeout_seconds
        self._client: ControlClient | None = None
        self._awaited: deque[str] = deque()
        self._overdue = False
        self._since = 0
        self._retry_at = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS

    def refresh(self) -> None:
        """Look once, for at most the timeout; the outcome is in `fresh`.

        Raises NotRunningError if nobody listens, ControlError if the state directory is another user's.
        """
        deadline = time.monotonic() + self._timeout_seconds
        self.fresh = False
        if self._client is not None:
            self._look(self._client, deadline)
        if self._client is None and time.monotonic() >= self._retry_at:  # none yet, or the one kept has just ended
            client = self._connect()
            if client is not None:
                self._look(client, deadline)
            if self._client is None:
                self._retry_at = time.monotonic() + self._retry_seconds
                self._retry_seconds = min(self._retry_seconds * 2, LONGEST_RETRY_SECONDS)

    def forget(self) -> None:
        """Drop what was said: another broker said it."""
        self.answered_at, self.status, self.processes = None, {}, []
        self.events.clear()

    def close(self) -> None:
        """Close the connection; a later refresh() opens another."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def _connect(self) -> ControlClient | None:
        try:
            self._client = ControlClient(self._state_dir, self._timeout_seconds)
        except ControlError as error:
            if error.code == "permission":
                raise
            return None
        self._awaited.clear()
        self._overdue = False
        self._since = 0
        return self._client

    def _look(self, client: ControlClient, deadline: float) -> None:
        """Fetch what is owed, asking first if nothing is; closes a connection that has ended."""
        try:
            if not self._awaited:
                client.send("processes")
                client.send("events", since=self._since)
                self._awaited.extend(("processes", "events"))
            while self._awaited:
                result = client.receive(0.0 if self._overdue else max(deadline - time.monotonic(), 0.0))
                self._take(self._awaited.popleft(), result)
        except ControlError as error:
            if error.code == "timeout":
                self._overdue = True
            else:
                self.close()
            return
        self._overdue = False
        self._retry_seconds = FIRST_RETRY_SECONDS
        self.fresh = True
        self.answered_at = time.monotonic()

    def _take(self, command: str, result: dict[str, Any]) -> None:
        if command == "processes":
            self.status = result["status"]
            self.processes = result["processes"]
            return
        if self._since == 0:  # the first answer on this connection, perhaps of a new broker
            self.events.clear()
        self.events.extend(result["events"])
        if self.events:
            self._since = self.events[-1]["number"]
