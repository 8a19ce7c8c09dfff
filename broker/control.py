"""The control socket's server, inside the supervisor: reads requests, finds their handler, writes answers.

`docs/control-protocol.md` is the specification. Nobody out there can make the supervisor wait: sockets are
non-blocking, lines and answers are bounded, and a client that breaks a rule is closed. What the commands do is the
handlers' business (`broker.supervisor`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from broker.errors import BrokerError, ControlError
from broker.linux import peer_credentials
from broker.loop import READ, WRITE, Loop
from broker.state_dir import clear_stale_socket

PROTOCOL_VERSION: Final = 1
_LINE_LIMIT_BYTES: Final = 65536
_OUTBOX_LIMIT_BYTES: Final = 1024 * 1024
_UNREAD_BYTES_TO_WAIT_AT: Final = 64 * 1024
_CONNECTIONS: Final = 64
_FIRST_LINE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.2

_log = logging.getLogger("broker")
Handler = Callable[["Request"], None]


class Request:
    """One request; its handler calls `reply` exactly once, now or later."""

    def __init__(self, connection: Connection, identifier: Any, arguments: dict[str, Any]) -> None:
        self.connection = connection
        self.identifier = identifier
        self.arguments = arguments

    def argument(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """An argument of that type; ControlError (`bad_request`) if it is missing without a default, or another."""
        value = self.arguments.get(name, default)
        if value is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ControlError(f"the argument {name!r} must be of type {wanted}", "bad_request")
        return value

    def reply(self, result: dict[str, Any] | ControlError) -> None:
        """Answer, and let the connection's next request come."""
        if isinstance(result, ControlError):
            answer: dict[str, Any] = {"ok": False, "error": {"code": result.code, "message": str(result)}}
        else:
            answer = {"ok": True, "result": result}
        self.connection.write({"version": PROTOCOL_VERSION, "id": self.identifier, **answer})
        self.connection.next_request()


class Connection:
    """One client of the control socket."""

    def __init__(self, server: ControlServer, sock: socket.socket, peer: tuple[int, int]) -> None:
        self.server = server
        self.socket = sock
        self.pid, self.uid = peer
        self.on_close: Callable[[], None] | None = None
        self._inbox = b""
        self._outbox = b""
        self._busy = False
        self._at_end = False
        self._closed = False
        self._spoke = False

    def write(self, message: dict[str, Any]) -> None:
        """Send one line, now or when the client reads; a client that does not is closed."""
        if self._closed:
            return
        self._outbox += json.dumps(message, ensure_ascii=False).encode(errors="replace") + b"\n"
        self._flush()
        if len(self._outbox) > _OUTBOX_LIMIT_BYTES:
            self.close()

    def follow(self, on_close: Callable[[], None]) -> None:
        """This connection stays open for what happens; `on_close` is called once it is closed."""
        if self._closed:
            on_close()
        else:
            self.on_close = on_close

    def next_request(self) -> None:
        """The request at hand is answered. The next one gets its turn after everybody else's: nobody hogs the loop."""
        self._busy = False
        if b"\n" in self._inbox:
            self.server.loop.call_later(0, self._handle_request)
        elif self._at_end and not self.on_close:
            self.close_when_written()

    def _handle_request(self) -> None:
        """Handle one of the requests that have arrived, unless the answers to earlier ones are not read."""
        if self._busy or self._closed or len(self._outbox) > _UNREAD_BYTES_TO_WAIT_AT:
            return
        line, lf, rest = self._inbox.partition(b"\n")
        if lf:
            self._inbox = rest
            self._spoke = self._busy = True
            self.server.handle(self, line)

    def close_when_written(self) -> None:
        """Close once the answers are out."""
        self._at_end = True
        if not self._outbox:
            self.close()

    def close(self) -> None:
        """Close at once."""
        if self._closed:
            return
        self._closed = True
        self.server.forget(self)
        self.socket.close()
        if self.on_close is not None:
            self.on_close()

    def on_ready(self, events: int) -> None:
        """The loop's handler."""
        if events & WRITE:
            self._flush()
        if events & ~WRITE and not self._closed:
            if not self._at_end:
                self._read()
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self.close()  # it wants no answer any more

    def expect_first_line(self) -> None:
        """A client that has not asked anything by now is not one."""
        if not self._spoke:
            self.close()

    def _read(self) -> None:
        try:
            data = self.socket.recv(_LINE_LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._at_end = True
            if self.on_close is not None:  # a follower that closed
                self.close()
                return
        self._inbox += data
        if len(self._inbox) > _LINE_LIMIT_BYTES and b"\n" not in self._inbox[:_LINE_LIMIT_BYTES]:
            self.close()
            return
        self._handle_request()
        if self._at_end and not self._busy and b"\n" not in self._inbox:
            self.close_when_written()
        self._watch()

    def _flush(self) -> None:
        try:
            while self._outbox:
                self._outbox = self._outbox[self.socket.send(self._outbox) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._at_end and not self._outbox and not self._busy and b"\n" not in self._inbox:
            self.close()
            return
        self._handle_request()
        self._watch()

    def _watch(self) -> None:
        """Read on unless there is enough to do already."""
        if not self._closed:
            reading = 0 if self._at_end or len(self._inbox) > _LINE_LIMIT_BYTES else READ
            self.server.loop.modify(self.socket.fileno(), reading | (WRITE if self._outbox else 0))


class ControlServer:
    """Listens on `path`; `handlers` maps a command to what carries it out."""

    def __init__(self, loop: Loop, path: Path, handlers: dict[str, Handler]) -> None:
        self.loop = loop
        self.path = path
        self.handlers = handlers
        self.connections: set[Connection] = set()
        clear_stale_socket(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        old_mask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(old_mask)
        self._socket.listen(4 * _CONNECTIONS)
        self._listen()

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self.loop.register(self._socket.fileno(), READ, self._on_connection)

    def handle(self, connection: Connection, line: bytes) -> None:
        """Find out what a line wants, and have it done; answers what cannot be."""
        request = Request(connection, None, {})
        try:
            self._understand(request, line)(request)
        except ControlError as error:
            request.reply(error)
        except BrokerError as error:
            request.reply(ControlError(str(error)))
        except Exception:  # a bug of ours must not end the supervisor because of what somebody asked
            _log.exception("the control request %.200r failed", line)
            request.identifier = None  # it may be what could not be answered
            request.reply(ControlError("the supervisor could not do that because of a bug; its log has the details"))

    def forget(self, connection: Connection) -> None:
        """A connection is about to be closed."""
        self.connections.discard(connection)
        self.loop.unregister(connection.socket.fileno())

    def close(self) -> None:
        """Close all connections, stop listening and remove the socket file."""
        for connection in list(self.connections):
            connection.close()
        with contextlib.suppress(KeyError):  # it may be pausing
            self.loop.unregister(self._socket.fileno())
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _understand(self, request: Request, line: bytes) -> Handler:
        """Fill in the request from its line, and find its handler."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise ControlError("the request is not a line of JSON", "bad_request") from None
        if not isinstance(message, dict):
            raise ControlError("the request is not a JSON object", "bad_request")
        identifier = message.get("id")
        if not _is_identifier(identifier):
            raise ControlError("the id must be a string, a finite number or null", "bad_request")
        request.identifier = identifier
        if message.get("version") != PROTOCOL_VERSION:
            raise ControlError(f"this supervisor speaks version {PROTOCOL_VERSION}", "version")
        arguments = message.get("arguments", {})
        if not isinstance(arguments, dict):
            raise ControlError("arguments must be an object", "bad_request")
        request.arguments = arguments
        command = message.get("command")
        if not isinstance(command, str):
            raise ControlError("the request names no command", "bad_request")
        if command not in self.handlers:
            raise ControlError(f"there is no such command; there are {', '.join(self.handlers)}", "unknown_command")
        return self.handlers[command]

    def _on_connection(self, _events: int) -> None:
        try:
            sock, _address = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:  # out of descriptors or memory: a listener that stays readable must not make the loop spin
            self.loop.unregister(self._socket.fileno())
            self.loop.call_later(_PAUSE_SECONDS, self._listen)
            return
        peer = peer_credentials(sock)
        if peer[1] not in (0, os.geteuid()) or len(self.connections) >= _CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(self, sock, peer)
        self.connections.add(connection)
        self.loop.register(sock.fileno(), READ, connection.on_ready)
        self.loop.call_later(_FIRST_LINE_SECONDS, connection.expect_first_line)


def _is_identifier(value: object) -> bool:
    """What may be sent back as it is: nothing nested (its depth could be too much for the answer), and valid JSON."""
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
