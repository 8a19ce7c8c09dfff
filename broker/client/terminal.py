"""The client on a screen: brings together a Client, a Screen and a Painter.

Used by the process of `broker chat` when there is a terminal on both sides.
"""

from __future__ import annotations

import asyncio
import signal
import time

from broker.client import sentences
from broker.client.client import Client
from broker.client.completion import Vocabulary
from broker.client.conversation import Conversation, Phase
from broker.client.finding import Find
from broker.client.lines import Line
from broker.client.painter import Painter
from broker.client.screen import Screen


class TerminalChat:
    """Someone chatting at this terminal. `login_name` is suggested where there is no other name."""

    def __init__(
        self, conversation: Conversation, find: Find, reconnect: bool, painter: Painter, login_name: str
    ) -> None:
        self._conversation = conversation
        self._client = Client(conversation, find, reconnect, self._show, self._changed)
        self._painter = painter
        self._screen = Screen(self)
        self._login_name = login_name

    async def run(self) -> None:
        """Chat until the person leaves; BrokerError if that ended otherwise."""
        await self._client.connect()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.leave)
        chatting = asyncio.create_task(self._client.run())
        chatting.add_done_callback(lambda _: self._screen.close())
        try:
            await self._screen.run()
        finally:
            chatting.cancel()
            await asyncio.wait([chatting])
        if not chatting.cancelled():
            chatting.result()

    # What the screen asks and tells.

    def prompt(self) -> str:
        """The person's name, as what is typed will bear it; or the question for it."""
        if self._conversation.asks_name:
            return sentences.NAME_PROMPT.fill(self._conversation.language)
        return f"{self._conversation.name}> "

    def status(self, leaving_next: bool) -> str:
        """Where one is, or what is in the way."""
        conversation, client = self._conversation, self._client
        if leaving_next:
            return sentences.LEAVE_HINT.fill(conversation.language)
        if conversation.asks_name:
            return sentences.ASKING_NAME.fill(conversation.language)
        if client.connection is None:
            return self._trouble()
        if conversation.phase is not Phase.PRESENT:
            return sentences.ENTERING.fill(conversation.language)
        if not conversation.room:
            return f"{sentences.NO_ROOM.fill(conversation.language)} | {client.connection.url}"
        people = sentences.PEOPLE_HERE.fill(conversation.language, count=conversation.people.count + 1)
        return f"{conversation.room} | {people} | {client.connection.url}"

    def typed(self, text: str) -> bool:
        """A name, a command or something to say."""
        if text.strip().lower() == "/quit":
            self.leave()
            return True
        if self._conversation.asks_name:
            self._screen.input_line.reset()  # a name does not belong in the history
            if text.strip():
                self._client.give_name(text.strip())
            return True
        taken, lines = self._conversation.say(text)
        self._client.flush()
        self._show(lines)
        return taken

    def leave(self) -> None:
        """The person wants to go."""
        self._client.leave()

    def vocabulary(self) -> Vocabulary:
        """What Tab can complete."""
        return self._conversation.vocabulary()

    # Within.

    def _trouble(self) -> str:
        language, client = self._conversation.language, self._client
        if not client.trouble:
            return sentences.CONNECTING.fill(language)
        return sentences.NEXT_ATTEMPT.fill(language, reason=client.trouble, seconds=client.next_attempt_seconds)

    def _show(self, lines: list[Line]) -> None:
        clock, width = time.strftime("%H:%M"), self._screen.width
        self._screen.print("".join([self._painter.paint(line, clock, width) for line in lines]))

    def _changed(self) -> None:
        if self._conversation.asks_name and not self._conversation.name and self._login_name:
            self._screen.suggest(self._login_name)
            self._login_name = ""
        self._screen.refresh()
