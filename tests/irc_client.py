"""An IRC client over a socket for tests of the running broker: it waits for what it expects."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.irc_stage import Got
from tests.running import DEADLINE_SECONDS, Broker, Client


def irc_port(broker: Broker) -> int:
    """The port of the first IRC listener over TCP."""
    urls = broker.ask("status")["listeners"]
    return int(next(url for url in urls if url.startswith("irc://")).rsplit(":", 1)[1])


class IrcConnection(Client):
    """One client; `register` says who it is."""

    @classmethod
    def to(cls, broker: Broker, unix: Path | None = None) -> IrcConnection:
        """A connection that has said nothing."""
        if unix is None:
            return cls(socket.create_connection(("127.0.0.1", irc_port(broker)), timeout=DEADLINE_SECONDS))
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE_SECONDS)
        sock.connect(str(unix))
        return cls(sock)

    def register(self, nick: str, channel: str = "", capabilities: str = "") -> IrcConnection:
        """Take a nick, wait for the end of the welcome, and enter a channel."""
        if capabilities:
            self.send(f"CAP REQ :{capabilities}")
        self.send(f"NICK {nick}", f"USER {nick} 0 * :Real {nick}")
        if capabilities:
            self.send("CAP END")
        self.await_command("376", "422")
        if channel:
            self.send(f"JOIN {channel}")
            self.await_command("366")
        return self

    def got(self) -> Got:
        """The next message; a PING is answered on the way."""
        while True:
            message = Got.of(self.line().removesuffix("\r"))
            if message.command != "PING":
                return message
            self.send(f"PONG :{message.parameters[0]}")

    def await_command(self, *commands: str) -> Got:
        """Take messages until one of these, and return that."""
        while True:
            message = self.got()
            if message.command in commands:
                return message
