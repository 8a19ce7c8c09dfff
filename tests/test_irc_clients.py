"""Clients that others have written, in one room with each other and with the broker's own: `make test-slow`.

Needs irssi and WeeChat (CONTRIBUTING.md); the library `irc` is among the development packages.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import irc.client
import pytest

from tests.irc_client import IrcConnection, irc_port
from tests.running import Broker, Client, running_broker, wait_until
from tests.terminal import Terminal, broker_command

pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "state", "--listen", "irc://127.0.0.1:0", "--lang", "en") as running:
        yield running


def installed(program: str) -> str:
    """The program's path; a failure that says how to get it."""
    path = shutil.which(program)
    assert path is not None, f"{program} is needed: apt install irssi weechat (see CONTRIBUTING.md)"
    return path


def irssi(broker: Broker, home: Path, nick: str) -> Terminal:
    """irssi, connected."""
    command = [installed("irssi"), f"--home={home}", "-c", "127.0.0.1", "-p", str(irc_port(broker)), "-n", nick]
    return Terminal(command, environment={"HOME": str(home), "USER": nick})


def weechat(broker: Broker, home: Path, nick: str) -> Terminal:
    """WeeChat, connected and in the lobby."""
    server = f"/server add broker 127.0.0.1/{irc_port(broker)} -notls -nicks={nick} -autojoin=#lobby"
    command = [installed("weechat"), "--dir", str(home), "-r", server, "-r", "/connect broker"]
    return Terminal(command, environment={"HOME": str(home), "USER": nick}, columns=110)


def plain(broker: Broker, name: str) -> Client:
    """Somebody with `nc`, in English."""
    client = Client(socket.create_connection(("127.0.0.1", broker.port), timeout=20))
    client.expect("Please enter your name: ")
    client.send(name)
    client.expect("/help")
    client.line()
    client.line()
    return client


def test_irssi_weechat_nc_and_broker_chat_in_one_room(broker: Broker, tmp_path: Path) -> None:
    """Each sees what the three others say and do, in its own idiom; deaths of workers and router show to none."""
    nc = plain(broker, "nico")
    chat_command = broker_command("chat", "--state-dir", str(broker.state_dir), "--name", "chad", "--lang", "en")
    with (
        irssi(broker, tmp_path / "irssi", "iris") as one,
        weechat(broker, tmp_path / "weechat", "wanda") as two,
        Terminal(chat_command) as three,
    ):
        one.wait_for("iris")
        one.wait_for("MOTD File is missing")
        one.press("/join #lobby\r")
        two.wait_for(lambda: "#lobby" in two.text() and "wanda" in two.text(), "WeeChat is in the lobby")
        three.wait_for("You are in lobby")
        one.wait_for("Irssi: #lobby: Total of")
        wait_until(lambda: broker.ask("status")["sessions"] == 4, "four people")
        for text, say in (
            ("greetings from nc", lambda: nc.send("greetings from nc")),
            ("greetings from irssi", lambda: one.press("greetings from irssi\r")),
            ("greetings from weechat", lambda: two.press("greetings from weechat\r")),
            ("greetings from chat", lambda: three.press("greetings from chat\r")),
        ):
            say()
            for terminal in (one, two, three):
                terminal.wait_for(text)
        pids = broker.pids()
        for name in ("worker-0", "worker-1", "router"):
            os.kill(pids[name], signal.SIGKILL)
            broker.wait_ready(name, pids[name])
        one.press("/me waves\r")
        two.wait_for("iris waves")
        three.wait_for("| waves")
        two.press("/nick wendy\r")
        one.wait_for("wendy")
        nc.send("/topic tea at five")
        nc.send("/quit")
        for terminal in (one, two):
            terminal.wait_for("nico")
        three.wait_for("nico left the room")
        assert "disconnect" not in (one.text() + two.text()).lower()
        one.press("/quit bye\r")
        three.wait_for("iris left the room")
        two.press("/quit\r")
        three.wait_for("wendy left the room")
    nc.close()


def test_what_irssi_shows_of_a_channel(broker: Broker, tmp_path: Path) -> None:
    """Operators, topics, kicks, WHOIS and lists as irssi understands them."""
    other = IrcConnection.to(broker).register("otto", "#tea")
    other.send("TOPIC #tea :Earl Grey")
    other.await_command("TOPIC")
    with irssi(broker, tmp_path / "irssi", "iris") as terminal:
        terminal.wait_for("MOTD File is missing")
        terminal.press("/join #tea\r")
        terminal.wait_for("Topic for #tea: Earl Grey")
        terminal.wait_for("@otto")
        other.send("MODE #tea +v iris")
        terminal.wait_for("mode/#tea [+v iris]")
        terminal.press("/window 1\r")  # one at a time: irssi takes several lines at once for a paste, and asks
        terminal.wait_until_gone("mode/#tea")
        terminal.press("/whois otto\r")
        terminal.wait_for("End of WHOIS")
        assert b"Real otto" in terminal.raw and b"@#tea" in terminal.raw
        other.send("KICK #tea iris :enough")
        terminal.press("/window 2\r")
        terminal.wait_for("enough")
        terminal.press("/quit\r")
        terminal.wait_for_end()
    other.close()


class Bot(irc.client.SimpleIRCClient):
    """A bot on the library `irc` that answers to its name and notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, list[str]]] = []
        self.stopping = False

    def on_welcome(self, connection: Any, event: Any) -> None:
        connection.join("#lobby")

    def _dispatcher(self, connection: Any, event: Any) -> None:
        self.seen.append((event.type, str(event.source).partition("!")[0], list(event.arguments)))
        super()._dispatcher(connection, event)

    def on_pubmsg(self, connection: Any, event: Any) -> None:
        if "echobot" in event.arguments[0]:
            connection.privmsg(event.target, f"you said: {event.arguments[0]}")

    def serve(self) -> None:
        while not self.stopping:
            self.reactor.process_once(0.05)


def test_a_bot_on_a_library_of_others(broker: Broker) -> None:
    bot = Bot()
    bot.connect("127.0.0.1", irc_port(broker), "echobot")
    thread = threading.Thread(target=bot.serve)
    thread.start()
    try:
        ann = plain(broker, "ann")
        wait_until(lambda: any(kind == "join" for kind, *_ in bot.seen), "the bot is in")
        ann.send("hello echobot", "/me waves")
        ann.expect("echobot: you said: hello echobot")
        wait_until(lambda: ("action", "ann", ["waves"]) in bot.seen, "the bot sees an action")
        ann.send("/nick anna", "/quit")
        wait_until(lambda: any(kind == "quit" and nick == "anna" for kind, nick, _ in bot.seen), "and a leave")
        features = bot.connection.features
        assert features.network == "Broker" and features.chantypes == "#"
        assert bot.connection.is_connected()
        ann.close()
    finally:
        bot.stopping = True
        thread.join()
        bot.connection.disconnect("done")
        bot.reactor.process_once(0)
