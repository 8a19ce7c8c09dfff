"""The client between two pipes or files: lines in are said, what the broker tells comes out as it is.

Used by the process of `broker chat` when its input or its output is no terminal, or one that can do nothing. The output
is the broker's lines and nothing else, so that a program can read it; what this client itself has to say goes to
standard error. At the end of the input the sending side is closed, and the rest is read until the broker has closed
the other.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, TextIO

from broker.client import sentences
from broker.client.client import Client
from broker.client.connection import ConnectError
from broker.client.conversation import Conversation, Ending, Phase
from broker.client.finding import Find
from broker.client.lines import Line
from broker.client.painter import Painter

READ_BYTES: Final = 65_536


class PipedChat:
    """Somebody, or some program, that chats through standard input and output.

    With a `painter` the output is painted for a terminal `width` cells wide. If `asks`, a name that is missing or
    refused is asked for on standard error, and a line of the input is the answer, an empty one meaning `login_name`;
    if not, a refused name is an error.
    """

    def __init__(
        self, conversation: Conversation, find: Find, reconnect: bool, asks: bool, login_name: str,
        painter: Painter | None, width: int,
    ) -> None:  # fmt: skip
        self._conversation = conversation
        self._client = Client(conversation, find, reconnect, self._show, self._changed)
        self._asks = asks
        self._login_name = login_name
        self._painter = painter
        self._width = width
        self._moved = asyncio.Event()
        self._asked = False
        self._refusal = ""
        self._output_failure: OSError | None = None
        self._unsent = 0

    async def run(self) -> None:
        """Say all of the input, then read until the broker closes; BrokerError if not all of that could be done.

        OSError if what the broker tells cannot be written; the command line knows what to say of that.
        """
        await self._client.connect()
        saying = asyncio.create_task(self._say_input())
        try:
            await self._client.run()
        finally:
            saying.cancel()
            await asyncio.wait([saying])
        if not saying.cancelled():
            saying.result()
        if self._output_failure is not None:
            raise self._output_failure
        if self._refusal:
            raise ConnectError(self._refusal)
        if self._client.broken and self._conversation.ending is Ending.LOST:
            raise ConnectError("the connection broke before the broker had closed it")
        if self._unsent:
            raise ConnectError(f"lines of the input that were too long and not sent: {self._unsent}")

    async def _say_input(self) -> None:
        async for lines in _input():
            for line in lines:
                await self._until_ready()
                if self._conversation.asks_name:
                    self._client.give_name(line.strip() or self._login_name)
                else:
                    taken, shown = self._conversation.say(line)
                    self._show(shown)
                    self._unsent += not taken
            await self._client.send()
        await self._until_ready()
        self._client.finish()

    async def _until_ready(self) -> None:
        """Wait until a line of the input can be taken."""
        while self._conversation.phase is not Phase.PRESENT and not self._may_answer:
            self._moved.clear()
            await self._moved.wait()

    @property
    def _may_answer(self) -> bool:
        return self._asks and self._conversation.asks_name

    def _changed(self) -> None:
        conversation = self._conversation
        if self._may_answer != self._asked:
            self._asked = self._may_answer
            if self._asked:
                _tell(f"{sentences.NAME_PROMPT.fill(conversation.language)}[{self._login_name}] ")
        refused = conversation.refusal and conversation.phase in (Phase.ASKING, Phase.PRESENT)
        if refused and not self._may_answer and not self._refusal:
            self._refusal = conversation.refusal
            self._client.leave()
        self._moved.set()

    def _show(self, lines: list[Line]) -> None:
        clock = time.strftime("%H:%M")
        told = []
        for line in lines:
            if self._painter is not None:
                told.append(self._painter.paint(line, clock, self._width))
            elif line.raw:
                told.append(f"{line.raw}\n")
            elif not line.mine:
                _tell(f"broker: {line.text}\n")
        if self._output_failure is None:
            try:
                _write(sys.stdout, "".join(told))
            except OSError as error:  # there is nobody left to chat for
                self._output_failure = error
                self._client.leave()
        self._asked = False  # the question, if it still stands, is no longer at the end


def _tell(text: str) -> None:
    """Write to standard error, if anybody has that open."""
    if sys.stderr is not None:
        with suppress(OSError):
            _write(sys.stderr, text)


def _write(file: TextIO, text: str) -> None:
    """Write UTF-8, whatever the locale is: that is what the protocol speaks.

    Past the file's buffer: what could not be written would stay in there, and fail once more at the end of the process.
    """
    data = text.encode(errors="replace")
    while data:
        data = data[os.write(file.fileno(), data) :]


async def _input() -> AsyncIterator[list[str]]:
    """The lines of standard input, none if it was closed by whoever started this."""
    if sys.stdin is not None:
        async for lines in _chunks_of_lines(sys.stdin.fileno()):
            yield lines


async def _chunks_of_lines(fd: int) -> AsyncIterator[list[str]]:
    """The lines of a file, a pipe or a terminal, as they come."""
    rest = b""
    while data := await _read(fd):
        *lines, rest = (rest + data).split(b"\n")
        yield [line.decode(errors="replace") for line in lines]
    if rest:
        yield [rest.decode(errors="replace")]


async def _read(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(fd, readable.set)
    except PermissionError:  # a regular file: epoll refuses it, as it never makes anybody wait
        await asyncio.sleep(0)
    else:
        try:
            await readable.wait()
        finally:
            loop.remove_reader(fd)
    try:
        return os.read(fd, READ_BYTES)
    except OSError:  # the terminal is gone
        return b""
