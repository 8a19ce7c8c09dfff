"""One line of a client and the answer to it, which leaves as a whole. Runs in the router; pure.

Collects the lines of the answer, so that a label can be put on it (labeled-response): on the only line, on a batch
around several, on an ACK if there are none. Knows how an answer is written, and no command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.names import Name, parse_name
from broker.occasions import Occasion
from broker.protocols.irc.capabilities import BATCH, LABELED_RESPONSE, SERVER_TIME, effective
from broker.protocols.irc.message import BODY_BYTES, Message, assemble, shortened, tag
from broker.protocols.irc.numerics import Numeric
from broker.protocols.irc.render import lines_of, prefix, server_time
from broker.protocols.irc.state import IrcState
from broker.rooms import Room

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.chat_config import ChatConfig
    from broker.sessions import Session

LABEL_BYTES: Final = 64
"""Of a label at most (labeled-response, "Tags"); a longer one is none."""
ANSWER_BYTES: Final = 512 * 1024
"""Of lists (WHO, LIST, NAMES): past it the answer is cut, as one line may not order more."""
_ECHO_BYTES: Final = 200
"""Of a mistaken parameter that is repeated in the answer."""


class Request:
    """A line's command, and what is answered. `label` is empty unless the client wants one on the answer."""

    __slots__ = ("chat", "command", "label", "lines", "parameters", "session", "size", "state", "tags", "whole_batch")

    def __init__(self, chat: Chat, session: Session, state: IrcState, message: Message) -> None:
        self.chat = chat
        self.session = session
        self.state = state
        self.tags, self.command, self.parameters = message
        label = self.tags.get("label", "") if state.capabilities & LABELED_RESPONSE else ""
        self.label = label if len(label.encode()) <= LABEL_BYTES else ""
        self.lines: list[tuple[list[str], str]] = []
        self.size = 0
        self.whole_batch = False
        """The answer is one batch already, which takes the label."""

    @property
    def config(self) -> ChatConfig:
        """The chat's."""
        return self.chat.config

    @property
    def server(self) -> str:
        """The server's name, the source of what it says itself."""
        return self.chat.config.server_name

    @property
    def nick(self) -> str:
        """What the client is called in a numeric: `*` until registration is complete."""
        return self.session.name or "*"

    def has(self, capability: int) -> bool:
        """Whether the client asked for the capability."""
        return bool(self.state.capabilities & capability)

    def parameter(self, index: int) -> str:
        """A parameter, empty if it is not there."""
        return self.parameters[index] if index < len(self.parameters) else ""

    # The answer.

    def add(self, body: str, tags: list[str] | None = None) -> None:
        """A line as it stands."""
        self.lines.append((tags or [], body))
        self.size += len(body)

    def numeric(self, numeric: Numeric, *parameters: str, text: str | None = None) -> None:
        """A numeric with its parameters and, behind them, `text`: by default the numeric's own, if it has one."""
        words = " ".join((f":{self.server} {numeric.code} {self.nick}", *parameters))
        last = numeric.text if text is None else text
        self.add(f"{words} :{last}" if last or text is not None else words)

    def own(self, occasion: Occasion) -> None:
        """What happened, as the one who did it sees it."""
        for tags, body in lines_of(occasion, effective(self.state.capabilities)):
            self.add(body, [each for each in tags if not each.startswith("time=")])

    def say(self, rest: str) -> None:
        """A line from the client itself."""
        self.add(f":{prefix(self.session.source)} {rest}")

    def from_server(self, rest: str) -> None:
        """A line from the server."""
        self.add(f":{self.server} {rest}")

    def fail(self, code: str, *context: str, text: str, kind: str = "FAIL", command: str = "") -> None:
        """A standard reply (standard-replies): FAIL, WARN or NOTE with the command, a code and its context."""
        self.from_server(" ".join((kind, command or self.command, code, *context)) + f" :{text}")

    @property
    def is_full(self) -> bool:
        """Whether the answer has grown so long that a list should end."""
        return self.size >= ANSWER_BYTES

    def packed(self, numeric: Numeric, parameters: str, words: list[str]) -> None:
        """As many lines of a numeric as the words need as its last parameter."""
        start = f":{self.server} {numeric.code} {self.nick} {parameters}{' ' if parameters else ''}:"
        room = BODY_BYTES - len(start.encode())
        line: list[str] = []
        left = room
        for word in words:
            length = len(word.encode()) + 1
            if length > left + 1 and line:
                self.add(start + " ".join(line))
                line, left = [], room
                if self.is_full:
                    break
            line.append(word)
            left -= length
        if line:
            self.add(start + " ".join(line))

    # The end.

    def take(self) -> bytes:
        """The bytes of the answer, once."""
        lines, self.lines = self.lines, []
        capabilities = self.state.capabilities
        label, self.label = self.label, ""
        if label:
            if not lines:
                lines = [([], f":{self.server} ACK")]
            if len(lines) == 1 or self.whole_batch or not capabilities & BATCH:
                lines[0] = ([tag("label", label), *lines[0][0]], lines[0][1])
            else:
                self.state.batches += 1
                reference = f"r{self.state.batches}"
                lines = [([f"batch={reference}", *tags], body) for tags, body in lines]
                start = ([tag("label", label)], f":{self.server} BATCH +{reference} labeled-response")
                lines = [start, *lines, ([], f":{self.server} BATCH -{reference}")]
        if capabilities & SERVER_TIME:
            time = f"time={server_time(self.chat.now)}"
            return b"".join([assemble([time, *tags], body) for tags, body in lines])
        return b"".join([assemble(tags, body) for tags, body in lines])

    def send(self) -> None:
        """Send the answer, if there is one."""
        if self.session.phase != "gone" and (self.lines or self.label):
            data = self.take()
            if data:
                self.chat.send(self.session, data)

    def end(self, reason: str, words: str = "") -> None:
        """End the client's own session: the others get the reason, the client the words (by default the reason)."""
        self.add(f"ERROR :Closing Link: {self.session.host} ({words or reason})")
        self.chat.end(self.session, self.take(), reason)

    # What parameters mean.

    def room_named(self, text: str) -> Room | None:
        """The room of a channel's name; None if there is none, or it is not the name of a channel."""
        return room_named(self.chat, text)


def room_named(chat: Chat, text: str) -> Room | None:
    """The room of a channel's name; None if there is none, or it is not the name of a channel."""
    name = channel_name(chat, text)
    return None if name is None else chat.find_room(name)


def channel_name(chat: Chat, text: str) -> Name | None:
    """The room's name in a channel's, None if it cannot be one: `#` and a name by the rule of `broker.names`."""
    if not text.startswith("#") or text[1:2].isspace():
        return None
    name = parse_name(text[1:], chat.config.max_name_length)
    return name if isinstance(name, Name) else None


def echo(text: str) -> str:
    """A parameter that somebody wrote, as one that is not the last; `*` if it cannot be one: if there is a space in it,
    or nothing, or a colon at its beginning (RFC 2812, 2.3.1, `middle`).
    """
    return "*" if not text or " " in text or text.startswith(":") else shortened(text, _ECHO_BYTES)


def send_line(chat: Chat, session: Session, body: str, tags: list[str] | None = None) -> None:
    """A line that answers nothing."""
    state = session.irc
    stamped = [f"time={server_time(chat.now)}"] if state and state.capabilities & SERVER_TIME else []
    chat.send(session, assemble([*stamped, *(tags or [])], body))
