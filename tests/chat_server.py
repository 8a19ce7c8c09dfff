"""The real chat behind a real socket, served by one thread: what a client sees of a broker, without its processes.

Made of `tests.chat_stage`. Besides serving, it can do what brokers do on bad days: cut connections, hold names of
connections that are gone, turn people away.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from broker import phrases
from broker.chat import ChatConfig
from tests.chat_stage import Person, Stage

DEADLINE_SECONDS = 15.0


class ChatServer:
    """Listens on `address` (a path, or a TCP port of the loopback; 0 picks one) until the context is left."""

    def __init__(self, address: Path | int = 0, language: str = "zh", turn_away: bytes = b"") -> None:
        self.stage = Stage(ChatConfig(language=language))
        self._turn_away = turn_away
        self._lock = threading.RLock()
        self._people: dict[socket.socket, Person] = {}
        self._unfinished: dict[socket.socket, bytes] = {}
        self._extras: dict[str, Person] = {}
        if isinstance(address, Path):
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(address))
            self.url = f"chat+unix:{address}"
        else:
            self._listener = socket.create_server(("127.0.0.1", address))
            self.port = self._listener.getsockname()[1]
            self.url = f"chat://127.0.0.1:{self.port}"
        self._listener.listen()
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ)
        self._woken = woken
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Cut everybody off and listen no more; may be called again."""
        if self._thread.is_alive():
            self._wake.close()
            self._thread.join()

    def say(self, name: str, *lines: str) -> None:
        """Somebody who needs no socket says something; they come in with their first words."""
        with self._lock:
            speaker = self._extras.get(name)
            if speaker is None:
                speaker = self._extras[name] = self.stage.connect()
                self.stage.type(speaker, name)
                self.stage.read(speaker)
            self.stage.type(speaker, *lines)
            self._deliver()

    def heard(self, name: str) -> list[str]:
        """All lines that somebody without a socket has received since coming in, replies to them left out."""
        with self._lock:
            lines = bytes(self._extras[name].received).decode().splitlines()
        return [line for line in lines if not line.startswith(("* ", phrases.ASK_NAME.zh, phrases.ASK_NAME.en))]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as the condition holds; AssertionError after DEADLINE_SECONDS."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not happen"
            time.sleep(0.01)

    def shut_down(self) -> None:
        """The chat ends, politely."""
        with self._lock:
            self.stage.chat.shutdown(self.stage.now)
            self.stage.pump()
            self._deliver()

    def kick(self, name: str, reason: str) -> None:
        """The operator ends a session."""
        with self._lock:
            self.stage.chat.kick(self.stage.now, name, reason)
            self.stage.pump()
            self._deliver()

    def pass_time(self, seconds: float) -> None:
        """Time goes by for the chat."""
        with self._lock:
            self.stage.wait(seconds)
            self._deliver()

    def cut(self, keep_sessions: bool = False) -> list[Person]:
        """Cut all connections; `keep_sessions`: the chat does not notice yet, so their names stay taken."""
        with self._lock:
            cut = list(self._people.items())
            for connection, person in cut:
                self._forget(connection)
                if not keep_sessions:
                    self.stage.hang_up(person)
            self._deliver()
        return [person for _, person in cut]

    def notice(self, people: list[Person]) -> None:
        """The chat notices at last that these are gone."""
        with self._lock:
            for person in people:
                self.stage.hang_up(person)
            self._deliver()

    def names(self) -> list[str]:
        """Who is in the chat."""
        with self._lock:
            return [session.name for session in self.stage.chat._sessions.values() if session.name]

    def room_of(self, name: str) -> str:
        """Where somebody is; empty if nowhere."""
        with self._lock:
            person = self.stage.chat.find_person(name)
            room = None if person is None else self.stage.chat.first_room_of(person)
            return "" if room is None else room.name.display

    def _serve(self) -> None:
        with self._listener, self._selector, self._woken:
            while True:
                ready = [key.fileobj for key, _ in self._selector.select()]
                if self._woken in ready:
                    break
                with self._lock:
                    for file in ready:
                        if file is self._listener:
                            self._accept()
                        elif file in self._people:
                            assert isinstance(file, socket.socket)
                            self._read(file)
            self.cut()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if self._turn_away:
            with connection:
                connection.sendall(self._turn_away)
            return
        self._people[connection] = self.stage.connect()
        self._selector.register(connection, selectors.EVENT_READ)
        self._deliver()

    def _read(self, connection: socket.socket) -> None:
        person = self._people[connection]
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        whole, end, rest = (self._unfinished.pop(connection, b"") + data).rpartition(b"\n")
        if rest:
            self._unfinished[connection] = rest
        if whole or end:
            self.stage.send(person, whole + end)
        if not data and not person.closed:
            self.stage.hang_up(person)
        self._deliver()

    def _deliver(self) -> None:
        for connection, person in list(self._people.items()):
            text = self.stage.read(person).encode()
            with contextlib.suppress(OSError):
                connection.sendall(text)
            if person.closed:
                self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        del self._people[connection]
        self._selector.unregister(connection)
        connection.close()
