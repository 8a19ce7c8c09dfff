"""Keeps one person in the chat: connects, enters, and after a lost connection does both again.

Used by the process of `broker chat`, in its asyncio loop. What the lines mean is known to `broker.client.conversation`;
where they come from and where they are shown, to `broker.client.terminal` and `broker.client.piped`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from broker.client import sentences
from broker.client.connection import ConnectError, Connection, backoff_delays
from broker.client.conversation import Conversation, Ending, Phase
from broker.client.finding import Find
from broker.client.lines import Kind, Line
from broker.errors import BrokerError
from broker.phrases import Phrase

GIVE_UP_SECONDS: Final = 600.0
"""How long a broker that went away is looked for."""

QUIT_SECONDS: Final = 2.0
"""How long the broker has to answer `/quit` before the person leaves without an answer."""


class Client:
    """A Conversation with its connections, one after the other.

    `show` is called with lines to show, `changed` whenever anything else may have changed that is on show.
    """

    def __init__(
        self,
        conversation: Conversation,
        find: Find,
        reconnect: bool,
        show: Callable[[list[Line]], None],
        changed: Callable[[], None],
    ) -> None:
        self.conversation = conversation
        self.connection: Connection | None = None
        self.leaving = False
        self.trouble = ""
        """Why the last attempt to connect again failed."""
        self.broken = False
        """The last connection ended with an error, not with an orderly end of the stream."""
        self._find = find
        self._reconnect = reconnect
        self._show = show
        self._changed = changed
        self._delays = backoff_delays()
        self._lost = False
        self._give_up_at = 0.0
        self._next_attempt_at = 0.0
        self._name_given = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Make the first connection; raises BrokerError if there is none to be had."""
        self.connection = await self._find()

    async def run(self) -> None:
        """Stay in the chat, from the first connection on until the person has left.

        ConnectError if the broker turns the person away or out, or has been gone for GIVE_UP_SECONDS; without
        `reconnect`, whenever the connection is lost.
        """
        self._running = asyncio.current_task()
        try:
            while self.connection is not None:
                await self._stay(self.connection)
                self.connection = await self._after_the_end()
        except asyncio.CancelledError:
            if not self.leaving:
                raise

    def flush(self) -> None:
        """Send what the conversation has to send."""
        outgoing = self.conversation.outgoing
        if outgoing and self.connection is not None:
            self.connection.send(outgoing)
            outgoing.clear()

    async def send(self) -> None:
        """The same, and wait while the broker takes less than that."""
        self.flush()
        if self.connection is not None:
            await self.connection.drain()

    def finish(self) -> None:
        """Nothing more will be said: let `run` read on until the broker has closed the connection."""
        self.leaving = True
        if self.connection is not None:
            self.connection.half_close()

    def give_name(self, name: str) -> None:
        """The person answers the question for a name, which the broker may meanwhile have tired of asking."""
        self.conversation.give_name(name)
        self._name_given.set()
        self.flush()
        self._changed()

    def leave(self) -> None:
        """Let `run` return: with `/quit` if that is possible, at once when called a second time."""
        if self._running is None:
            return
        if self.connection is None or self.leaving:
            self._running.cancel()
        else:
            self.connection.send(["/quit"])
            asyncio.get_running_loop().call_later(QUIT_SECONDS, self._running.cancel)
        self.leaving = True

    @property
    def next_attempt_seconds(self) -> int:
        """Whole seconds until the next attempt to connect again."""
        return max(0, round(self._next_attempt_at - asyncio.get_running_loop().time()))

    async def _stay(self, connection: Connection) -> None:
        """Converse until the connection ends."""
        conversation = self.conversation
        loop = asyncio.get_running_loop()
        name_timer: asyncio.TimerHandle | None = None
        conversation.connected()
        try:
            while data := await connection.read():
                lines = conversation.received(data)
                self.flush()
                if self._lost and conversation.phase is not Phase.GREETING:
                    self._lost = False
                    self._say(sentences.CONNECTED_AGAIN)
                if lines:
                    self._show(lines)
                if conversation.phase is Phase.WAITING:
                    name_timer = loop.call_later(conversation.retry_seconds, self._name_again)
                elif conversation.phase is Phase.PRESENT:
                    self._delays = backoff_delays()
                    self._give_up_at = 0.0
                self._changed()
                await asyncio.sleep(0)  # a flood keeps `read` from ever waiting; let the keyboard have its turn
        finally:
            if name_timer is not None:
                name_timer.cancel()
            conversation.disconnected()
            connection.close()
            self.broken = connection.broken
            self._changed()

    def _name_again(self) -> None:
        self.conversation.name_again()
        self.flush()

    async def _after_the_end(self) -> Connection | None:
        """The next connection, None if the person wanted to leave."""
        conversation = self.conversation
        self.connection = None
        if conversation.ending is Ending.KICKED:
            raise ConnectError(conversation.last_words)
        if self.leaving or conversation.ending is Ending.QUIT:
            return None
        if conversation.ending is Ending.NAME_TIMED_OUT:
            self._name_given.clear()
            await self._name_given.wait()
            return await self._find_again()
        if not self._reconnect or not conversation.ever_asked:
            raise ConnectError(self._why_it_ended())
        if not self._lost:
            self._lost = True
            unannounced = conversation.ending is Ending.LOST
            self._say(sentences.CONNECTION_LOST if unannounced else sentences.CONNECTING_AGAIN)
        return await self._find_again()

    def _why_it_ended(self) -> str:
        conversation = self.conversation
        if conversation.last_words and (conversation.ending is not Ending.LOST or not conversation.ever_asked):
            return f"the broker ended the connection: {conversation.last_words}"
        return "the connection was lost"

    async def _find_again(self) -> Connection:
        loop = asyncio.get_running_loop()
        self._give_up_at = self._give_up_at or loop.time() + GIVE_UP_SECONDS
        self.trouble = ""
        for delay in self._delays:
            if loop.time() + delay > self._give_up_at:
                break
            self._next_attempt_at = loop.time() + delay
            while (left := self._next_attempt_at - loop.time()) > 0:
                self._changed()  # the seconds count down
                await asyncio.sleep(min(left, 1.0))
            try:
                return await self._find()
            except BrokerError as error:
                self.trouble = str(error)
        raise ConnectError(f"the broker did not come back within {GIVE_UP_SECONDS / 60:g} minutes: {self.trouble}")

    def _say(self, sentence: Phrase) -> None:
        kind = Kind.WARNING if sentence is sentences.CONNECTION_LOST else Kind.NOTICE
        self._show([Line(kind, sentence.fill(self.conversation.language))])
