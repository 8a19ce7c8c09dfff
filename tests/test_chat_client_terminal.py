"""`broker chat` as somebody at a terminal has it: a real pseudo-terminal (pexpect), and what it shows (pyte)."""

from __future__ import annotations

import re
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pexpect
import pyte
import pytest

from tests.chat_server import ChatServer

DEADLINE_SECONDS = 20.0
ENTER, TAB, UP, CTRL_C, CTRL_D = "\r", "\t", "\x1b[A", "\x03", "\x04"


class Terminal:
    """A terminal in which `broker chat` runs; leaving the context ends it, if it has not ended."""

    def __init__(
        self, *arguments: str, columns: int = 80, rows: int = 24, environment: dict[str, str] | None = None
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.child: pexpect.spawn[bytes] = pexpect.spawn(
            sys.executable,
            ["-m", "broker", "chat", *arguments],
            dimensions=(rows, columns),
            timeout=DEADLINE_SECONDS,
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8", "LOGNAME": "carol"}
            | (environment or {}),
        )
        self.modes = termios.tcgetattr(self.child.child_fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.close(force=True)

    def type(self, text: str) -> None:
        self.child.send(text)

    def lines(self) -> list[str]:
        """The lines that are on the screen."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def wait_for(self, *texts: str) -> None:
        """Wait until the screen shows all of these."""
        self.wait_until(lambda: all(text in "\n".join(self.lines()) for text in texts))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Read what comes until the condition holds; AssertionError with the screen if it never does."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited in vain; on the screen:\n" + "\n".join(self.lines())
            self._read()

    def wait_for_end(self) -> int:
        """Wait until the client has ended, and return its exit status (a signal as its negative number)."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._read():
            assert time.monotonic() < deadline, "it does not end; on the screen:\n" + "\n".join(self.lines())
        self.child.wait()
        if self.child.exitstatus is not None:
            return self.child.exitstatus
        assert self.child.signalstatus is not None
        return -self.child.signalstatus

    def assert_restored(self) -> None:
        """The terminal is as it was: modes, bracketed paste, cursor, wrapping, attributes."""
        assert termios.tcgetattr(self.child.child_fd) == self.modes
        for on, off in ((b"\x1b[?2004h", b"\x1b[?2004l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?7l", b"\x1b[?7h")):
            assert self.output.rfind(off) >= self.output.rfind(on), (on, off)
        assert b"\x1b[?1049h" not in self.output

    def _read(self) -> bool:
        try:
            data = self.child.read_nonblocking(65536, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += data
        self._stream.feed(data)
        return True


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(language="en") as server:
        yield server


def test_someone_chats(server: ChatServer) -> None:
    with Terminal("--connect", server.url) as terminal:
        terminal.wait_for("Your name: carol", "Enter accepts the name")
        terminal.type(ENTER)
        terminal.wait_for("Welcome, carol!", "carol>", f"lobby | 1 here | {server.url}")
        server.say("bob", "hello <carol>")
        terminal.wait_for("+ | bob joined the room", "bob | hello <carol>", "lobby | 2 here")
        assert re.search(rb"\x1b\[38;5;\d+mbob\x1b", terminal.output)
        terminal.type("hi bob" + ENTER)
        terminal.wait_for("carol | hi bob")
        server.wait_until(lambda: server.heard("bob") == ["carol: hi bob"])
        terminal.type("/quit" + ENTER)
        assert terminal.wait_for_end() == 0
        terminal.assert_restored()
        assert terminal.lines()[-1].endswith("* | Goodbye!")
        assert server.heard("bob")[-1] == "carol left the room"


def test_in_chinese_the_columns_stay_straight(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "小红", "--lang", "zh", columns=60) as terminal:
        terminal.wait_for("欢迎你，小红！", "小红>", "1 人")
        server.say("王小明", "你好，" + "我们来说很长很长的一句话，" * 4)
        server.say("bob", "short")
        terminal.wait_for("+ | bob 进入了聊天室", "bob | short")
        chat = [line for line in terminal.screen.display if "|" in line and "127.0.0.1" not in line]
        # pyte gives a wide character one element and an empty one, so an index is a column.
        bars = {
            column
            for row in range(len(chat))
            for column in range(60)
            if terminal.screen.buffer[row][column].data == "|"
        }
        assert len(bars) == 1
        assert sum("很长" in line for line in chat) >= 2


def test_the_input_line_survives_what_comes_in(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>")
        terminal.type("half a ")
        terminal.wait_for("ann> half a")
        for number in range(50):
            server.say("bob", f"message {number}")
        terminal.wait_for("message 49", "ann> half a")
        terminal.type("sentence" + ENTER)
        terminal.wait_for("ann | half a sentence")
        server.wait_until(lambda: server.heard("bob")[-1:] == ["ann: half a sentence"])
        assert [line for line in terminal.lines() if line.startswith("ann>")] == ["ann>"]


def test_arrows_bring_back_what_was_said_but_not_the_name(server: ChatServer) -> None:
    server.say("bob", "hello")
    with Terminal("--connect", server.url) as terminal:
        terminal.wait_for("Your name: carol")
        terminal.type(ENTER)
        terminal.wait_for("carol>")
        terminal.type("first" + ENTER + "second" + ENTER)
        terminal.wait_for("carol | second")
        terminal.type(UP + UP + UP + UP)
        terminal.wait_for("carol> first")
        terminal.type(ENTER)
        server.wait_until(
            lambda: server.heard("bob")[-3:] == [f"carol: {word}" for word in ("first", "second", "first")]
        )


def test_tab_completes_commands_and_names(server: ChatServer) -> None:
    server.say("bob", "hello")
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("Also here: bob", "ann>")
        terminal.type("/ms" + TAB)
        terminal.wait_for("ann> /msg")
        terminal.type("B" + TAB)
        terminal.wait_for("ann> /msg bob")
        terminal.type("psst" + ENTER)
        terminal.wait_for("(to bob only) psst")
        terminal.type("b" + TAB)
        terminal.wait_for("ann> bob:")
        terminal.type("listen" + ENTER)
        server.wait_until(lambda: server.heard("bob")[-2:] == ["ann whispers to you: psst", "ann: bob: listen"])
        terminal.type("/" + TAB)
        terminal.wait_for("/help", "/join", "/lang")


def test_ctrl_c_clears_the_line_and_a_second_one_leaves(server: ChatServer) -> None:
    server.say("bob", "hello")
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        terminal.type("never mind")
        terminal.wait_for("ann> never mind")
        terminal.type(CTRL_C)
        terminal.wait_for("Ctrl-C again leaves")
        assert "never mind" not in "".join(terminal.lines())
        terminal.type("x")
        terminal.wait_for("ann> x", "lobby |")
        terminal.type(CTRL_C)
        terminal.wait_for("Ctrl-C again leaves")
        terminal.type(CTRL_C)
        assert terminal.wait_for_end() == 0
        terminal.assert_restored()
        assert "Goodbye!" in terminal.lines()[-1]
        assert server.heard("bob") == ["ann joined the room", "ann left the room"]


def test_ctrl_d_leaves_only_from_an_empty_line(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>")
        terminal.type("ab\x1b[D" + CTRL_D)  # one to the left, delete
        terminal.wait_until(lambda: "ann> a" in terminal.lines())
        terminal.type("\x7f" + CTRL_D)
        assert terminal.wait_for_end() == 0
        terminal.assert_restored()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
def test_signals_leave_the_terminal_as_it_was(server: ChatServer, number: signal.Signals, status: int) -> None:
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        terminal.type("unfinished")
        terminal.wait_for("ann> unfinished")
        terminal.child.kill(number)
        assert terminal.wait_for_end() == status
        terminal.assert_restored()
        server.wait_until(lambda: server.names() == [])


def test_who_is_kicked_is_told_and_does_not_come_back(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        server.kick("ann", "spam")
        assert terminal.wait_for_end() == 1
        terminal.assert_restored()
        assert "You were removed from the chat: spam" in "\n".join(terminal.lines())


def test_a_refused_name_is_asked_for_again(server: ChatServer) -> None:
    server.say("ann", "here already")
    with Terminal("--connect", server.url, "--name", "Ann") as terminal:
        terminal.wait_for("That name is in use", "Your name:")
        terminal.type("ann2" + ENTER)
        terminal.wait_for("Welcome, ann2!", "ann2>")


def test_who_thinks_too_long_about_a_name_can_still_give_it(server: ChatServer) -> None:
    with Terminal("--connect", server.url) as terminal:
        terminal.wait_for("Your name: carol")
        server.pass_time(60)
        terminal.wait_for("No name within 60 seconds", "Your name: carol")
        terminal.type(ENTER)
        terminal.wait_for("Welcome, carol!", "carol>")


def test_a_lost_connection_is_made_again(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann", "--room", "dev") as terminal:
        terminal.wait_for("dev | 1 here")
        terminal.type("kept in the line")
        terminal.wait_for("ann> kept in the line")
        server.cut()
        terminal.wait_for("The connection was lost", "Connected again.", "dev | 1 here", "ann> kept in the line")
        assert server.room_of("ann") == "dev"


def test_a_restarted_broker_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "chat.sock"
    with ChatServer(path, language="en") as first, Terminal("--state-dir", str(tmp_path), "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        first.shut_down()
        first.stop()
        path.unlink()
        terminal.wait_for("The chat is closing. Goodbye!", "Connecting again...", "next attempt in")
        terminal.type("not yet" + ENTER)
        terminal.wait_for("Not connected yet", "ann> not yet")
        with ChatServer(path, language="en") as second:
            terminal.wait_for("Connected again.", "lobby | 1 here", "ann> not yet")
            second.say("bob", "hello")
            terminal.type(ENTER)
            second.wait_until(lambda: second.heard("bob") == ["ann: not yet"])


def test_one_can_leave_while_the_broker_is_gone(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        server.stop()
        terminal.wait_for("next attempt in", "cannot connect to")
        terminal.type(CTRL_D)
        assert terminal.wait_for_end() == 0
        terminal.assert_restored()


def test_the_name_is_had_again_once_the_broker_has_noticed(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        held = server.cut(keep_sessions=True)
        terminal.wait_for("The lost connection still holds the name ann")
        server.notice(held)
        terminal.wait_until(lambda: sum("Welcome, ann!" in line for line in terminal.lines()) == 2)
        assert "That name is in use" not in "".join(terminal.lines())


def test_a_line_that_is_too_long_stays_in_the_input_line(server: ChatServer) -> None:
    server.say("bob", "hello")
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        terminal.type("\x1b[200~" + "word " * 900 + "end\x1b[201~" + ENTER)
        terminal.wait_for("That line has 4503 bytes, 4096 at most", "word end")
        terminal.type("\x15")  # Ctrl-U clears it
        terminal.type("short" + ENTER)
        server.wait_until(lambda: server.heard("bob") == ["ann joined the room", "ann: short"])


def test_a_flood_is_shown_whole_and_in_order_while_one_types(server: ChatServer) -> None:
    count = 20_000
    with Terminal("--connect", server.url, "--name", "ann") as terminal:
        terminal.wait_for("ann>", "lobby |")
        server.say("bob", *(f"message {number}" for number in range(count // 2)))
        terminal.type("typed in the flood")
        server.say("bob", *(f"message {number}" for number in range(count // 2, count)))
        terminal.wait_for(f"message {count - 1}", "ann> typed in the flood")
        shown = [int(number) for number in re.findall(rb"\| message (\d+)\r\n", terminal.output)]
        assert shown == list(range(count))


@contextmanager
def evil_server(data: bytes) -> Iterator[str]:
    """Something that asks for a name like a broker, and then sends `data`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_SECONDS)
        url = f"chat://127.0.0.1:{listener.getsockname()[1]}"
        connections: list[socket.socket] = []

        def serve() -> None:
            connections.append(listener.accept()[0])
            connections[0].sendall(b"Please enter your name: ")
            connections[0].recv(100)
            connections[0].sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield url
        finally:
            thread.join()
            for connection in connections:
                connection.close()


def test_escape_sequences_from_outside_never_reach_the_terminal() -> None:
    data = (
        "* Welcome, ann! Just type to talk; /help lists the commands.\n* You are in lobby. Nobody else is here yet.\n"
        "b\x1b[31mob: \x1b]0;evil\x07\x9b5n\x1b[2J\x1b[6nA\u202eB\r\rC [red]D[/red]\n"
        "\x1b[5mx joined the room\n"
    ).encode()
    with evil_server(data) as url, Terminal("--connect", url, "--name", "ann") as terminal:
        terminal.wait_for("b[31mob | ]0;evil5n[2J[6nABC [red]D[/red]", "[5mx joined the room")
        for sequence in (b"\x1b]0", b"\x07", b"\xc2\x9b", b"\x1b[2J", b"\x1b[6n", b"\x1b[5m", "\u202e".encode()):
            assert sequence not in terminal.output


def test_without_colours(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann", environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("ann>", "lobby |")
        server.say("bob", "hello")
        terminal.wait_for("bob | hello")
        assert b"\x1b[38;" not in terminal.output


def test_a_terminal_that_can_do_nothing_gets_plain_lines(server: ChatServer) -> None:
    with Terminal("--connect", server.url, environment={"TERM": "dumb"}) as terminal:
        terminal.wait_for("Your name: [carol]")
        terminal.type("a b\n")
        terminal.wait_for("cannot have spaces")
        terminal.wait_until(lambda: terminal.lines()[-1] == "Your name: [carol]")
        server.pass_time(60)
        terminal.wait_for("No name within 60 seconds")
        terminal.wait_until(lambda: terminal.lines()[-1] == "Your name: [carol]")
        terminal.type("ann\n")
        terminal.wait_for("* Welcome, ann!")
        server.say("bob", "hello")
        terminal.wait_for("bob: hello")
        terminal.type("hi\n")
        server.wait_until(lambda: server.heard("bob") == ["ann: hi"])
        terminal.type(CTRL_D)
        assert terminal.wait_for_end() == 0
        assert b"\x1b" not in terminal.output
        terminal.assert_restored()


def test_the_terminal_may_be_made_narrower_and_wider(server: ChatServer) -> None:
    with Terminal("--connect", server.url, "--name", "ann", columns=200) as terminal:
        terminal.wait_for("ann>", "lobby |")
        terminal.type("still here")
        terminal.wait_for("ann> still here")
        terminal.screen.resize(24, 50)
        terminal.child.setwinsize(24, 50)
        server.say("bob", "wide " * 30)
        terminal.wait_for("ann> still here", "bob | wide")
        assert sum("| wide" in line for line in terminal.lines()) > 3
        terminal.type(ENTER)
        terminal.wait_for("ann | still here")
