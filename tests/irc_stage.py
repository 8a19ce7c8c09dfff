"""IRC clients on the stage of `tests.chat_stage`: what they send, and the messages that they get, taken apart.

Takes lines apart in a way of its own, by the grammar of RFC 2812, 2.3.1, so that it does not share mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker.chat import ChatConfig
from tests.chat_stage import Person, Stage

SERVER = "irc.test.example"


@dataclass
class Got:
    """One message that a client got."""

    line: str
    tags: dict[str, str] = field(default_factory=dict)
    source: str = ""
    command: str = ""
    parameters: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, line: str) -> Got:
        got = cls(line)
        rest = line
        if rest.startswith("@"):
            section, rest = rest[1:].split(" ", 1)
            got.tags = {tag.partition("=")[0]: tag.partition("=")[2] for tag in section.split(";")}
        if rest.startswith(":"):
            got.source, rest = rest[1:].split(" ", 1)
        if " :" in rest:
            rest, last = rest.split(" :", 1)
            got.command, *got.parameters = rest.split(" ")
            got.parameters.append(last)
        else:
            got.command, *got.parameters = rest.split(" ")
        return got

    @property
    def nick(self) -> str:
        """Who it is from."""
        return self.source.partition("!")[0]

    def __iter__(self) -> Any:
        return iter((self.command, *self.parameters))


class IrcClient:
    """One client; what it sends is applied at once, and what it got is there to be read."""

    def __init__(self, stage: Stage, worker: int = 0) -> None:
        self.stage = stage
        self.person: Person = stage.connect(worker, listener=1)

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return self.person.closed

    def send(self, *lines: str) -> None:
        """Send lines."""
        self.stage.send(self.person, "".join(f"{line}\r\n" for line in lines).encode())

    def read(self) -> list[Got]:
        """The messages since the last look."""
        text = self.stage.read(self.person)
        assert not text or text.endswith("\r\n")
        lines = text.split("\r\n")[:-1]
        for line in lines:
            body = line.split(" ", 1)[1] if line.startswith("@") else line
            assert len(body.encode()) <= 510, "RFC 2812, 2.3: 512 bytes with CR LF"
            assert "\n" not in line and "\r" not in line and "\0" not in line
        return [Got.of(line) for line in lines]

    def ask(self, *lines: str) -> list[Got]:
        """Send lines, and read what comes."""
        self.read()
        self.send(*lines)
        return self.read()

    def one(self, line: str) -> Got:
        """The one message that is the answer."""
        (got,) = self.ask(line)
        return got

    def commands(self, *lines: str) -> list[str]:
        """The commands and numerics of the answer."""
        return [got.command for got in self.ask(*lines)]


class IrcStage(Stage):
    """A chat with both worlds: listener 0 speaks the plain protocol, 1 IRC."""

    def __init__(self, **settings: Any) -> None:
        values: dict[str, Any] = {
            "language": "en",
            "listener_protocols": ("chat", "irc"),
            "server_name": SERVER,
            "network_name": "Test",
            "run": "r",
        }
        super().__init__(ChatConfig(**(values | settings)))
        self.now = 1_700_000_000.25

    def irc(self, nick: str, *capabilities: str, worker: int = 0, channel: str = "") -> IrcClient:
        """Somebody who is registered, has these capabilities, is in the channel, and has read all there was."""
        client = IrcClient(self, worker)
        if capabilities:
            client.send("CAP LS 302", f"CAP REQ :{' '.join(capabilities)}")
        client.send(f"NICK {nick}", f"USER {nick.lower()[:8]} 0 * :Real {nick}")
        if capabilities:
            client.send("CAP END")
        assert "001" in [got.command for got in client.read()]
        if channel:
            client.send(f"JOIN {channel}")
        for person in self.people.values():
            self.read(person)
        return client
