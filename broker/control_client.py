"""The client's side of the control socket: one request, one answer, with a deadline; and the stream of events.

Used by the commands and the dashboard; `docs/control-protocol.md` is the specification. It never waits longer than it
was told: a stopped supervisor costs the caller one timeout.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from broker.errors import ControlError, NotRunningError

PROTOCOL_VERSION = 1
DEFAULT_TIMEOUT_SECONDS = 5.0


class ControlClient:
    """A connection to the supervisor that runs on `state_dir`.

    Raises NotRunningError when nobody listens there, and ControlError with the code `timeout` when the supervisor
    does not answer within `timeout_seconds` (stopped, or not the one who listens).
    """

    def __init__(self, state_dir: Path, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self.path = state_dir / "control.sock"
        self.timeout_seconds = timeout_seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_seconds)
        self._received = b""
        self._last_id = 0
        try:
            self._socket.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            self._socket.close()
            raise NotRunningError(f"no broker runs on {state_dir}; `broker start` starts one") from None
        except PermissionError:
            self._socket.close()
            raise ControlError(f"{self.path} belongs to another user", "permission") from None
        except (TimeoutError, BlockingIOError):
            self._socket.close()
            raise self._timeout() from None
        except OSError as error:
            self._socket.close()
            raise ControlError(f"cannot connect to {self.path}: {error.strerror}") from None

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return its result; ControlError if it was refused or not answered in time."""
        self.send(command, **arguments)
        return self.receive()

    def send(self, command: str, **arguments: Any) -> None:
        """Send one request; its result is for receive() to fetch. ControlError if the connection is broken."""
        self._last_id += 1
        request = {"version": PROTOCOL_VERSION, "id": self._last_id, "command": command, "arguments": arguments}
        self._socket.settimeout(self.timeout_seconds)
        try:
            self._socket.sendall(json.dumps(request, ensure_ascii=False).encode(errors="replace") + b"\n")
        except TimeoutError:
            raise self._timeout() from None
        except OSError:
            raise ControlError("the supervisor closed the control connection") from None

    def receive(self, timeout_seconds: float | None = None) -> dict[str, Any]:
        """The result of the oldest request that has none yet; ControlError if it was refused or does not come in time.

        After the code `timeout` the answer is still to come, and a later call returns it: so that whoever looks again
        and again, as the dashboard does, need not ask a stopped supervisor more than once.
        """
        answer = self._read(self.timeout_seconds if timeout_seconds is None else timeout_seconds)
        if not answer.get("ok"):
            error = answer.get("error") or {}
            raise ControlError(str(error.get("message", "refused without a reason")), str(error.get("code", "failed")))
        result: dict[str, Any] = answer["result"]
        return result

    def follow(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events numbered above `since`, then each new one as it happens, until the supervisor ends."""
        yield from self.request("events", since=since, follow=True)["events"]
        while True:
            try:
                yield self._read(None)["event"]
            except ControlError:
                return

    def _read(self, timeout_seconds: float | None) -> dict[str, Any]:
        """One line; `timeout_seconds` is for the whole of it, however it dribbles in (None: no limit)."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while b"\n" not in self._received:
            self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.0))
            try:
                chunk = self._socket.recv(65536)
            except (TimeoutError, BlockingIOError):
                raise self._timeout() from None
            except OSError:
                chunk = b""
            if not chunk:
                raise ControlError("the supervisor closed the control connection")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _timeout(self) -> ControlError:
        return ControlError(
            f"the supervisor did not answer within {self.timeout_seconds:g} s (stopped? `broker ps` shows its STAT)",
            "timeout",
        )


def ask(
    state_dir: Path, command: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, **arguments: Any
) -> dict[str, Any]:
    """Connect, ask once, close; raises as ControlClient does."""
    with ControlClient(state_dir, timeout_seconds) as client:
        return client.request(command, **arguments)
