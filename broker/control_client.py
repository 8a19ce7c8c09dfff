"""The client's side of the control socket: one request, one answer, with a deadline; and the stream of events.

Used by the commands and the dashboard; `docs/control-protocol.md` is the specification. It never waits longer than it
was told: a stopped supervisor costs the caller one timeout.
"""

from __future__ import annotations

import json
import socket
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
        self._last_id += 1
        request = {"version": PROTOCOL_VERSION, "id": self._last_id, "command": command, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(request, ensure_ascii=False).encode() + b"\n")
        except TimeoutError:
            raise self._timeout() from None
        except OSError:
            raise ControlError("the supervisor closed the control connection") from None
        answer = self._read()
        if not answer.get("ok"):
            error = answer.get("error") or {}
            raise ControlError(str(error.get("message", "refused without a reason")), str(error.get("code", "failed")))
        result: dict[str, Any] = answer["result"]
        return result

    def follow(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events numbered above `since`, then each new one as it happens, until the supervisor ends."""
        yield from self.request("events", since=since, follow=True)["events"]
        self._socket.settimeout(None)
        while True:
            try:
                yield self._read()["event"]
            except ControlError:
                return

    def _read(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
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
