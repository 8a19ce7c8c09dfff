"""How IRC tells people of what happens: the lines of each occasion, by capabilities. Runs in the router; pure.

A room's lines are rendered here once for each wire format; what is written for one person (their own copy, an answer)
comes from the same functions. Each docstring names the clause that its line is of.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from broker.occasions import (
    Acted,
    AwayChanged,
    Closing,
    FellBehind,
    HostChanged,
    Invited,
    Joined,
    Kicked,
    ModesChanged,
    Monologue,
    NameTimedOut,
    Noticed,
    Occasion,
    Parted,
    PutOut,
    Queried,
    Quit,
    RealnameChanged,
    Recited,
    Redacted,
    Removed,
    Renamed,
    RoomRenamed,
    Said,
    SharedOccasion,
    Source,
    Stamp,
    Tagged,
    TopicSet,
)
from broker.protocols.irc.capabilities import (
    ACCOUNT_TAG,
    AWAY_NOTIFY,
    CHANNEL_RENAME,
    CHGHOST,
    EXTENDED_JOIN,
    MESSAGE_REDACTION,
    MESSAGE_TAGS,
    MULTILINE,
    SERVER_TIME,
    SETNAME,
)
from broker.protocols.irc.message import BODY_BYTES, assemble, pieces, tag
from broker.sessions import WireFormat

Line: TypeAlias = tuple[list[str], str]
"""Tags, and the rest of a line."""

_ALWAYS: Final = SERVER_TIME | MESSAGE_TAGS | ACCOUNT_TAG


def render(occasion: Occasion, format: WireFormat) -> bytes:
    """The bytes for everybody of the format; none if it means nothing to them."""
    if type(occasion) is Monologue:
        return _monologue(occasion, format.capabilities)
    lines = lines_of(occasion, format.capabilities)
    if len(lines) == 1:  # as a message mostly is
        return assemble(*lines[0])
    return b"".join([assemble(tags, body) for tags, body in lines])


def shows_ids(capabilities: int) -> bool:
    """The tag `msgid`."""
    return bool(capabilities & MESSAGE_TAGS)


def start_of_speech(source: Source, target: str, format: WireFormat) -> bytes:
    """The prefix, the command and the target, unless there are tags: those have the time, or a name, in them."""
    if format.capabilities & _ALWAYS:
        return b""
    return _start_of(source, "PRIVMSG", target)[0].encode()


def relevant(occasion: SharedOccasion, capabilities: int) -> int:
    """Those of the capabilities that make a difference to this kind of occasion."""
    return capabilities & (_ALWAYS | _RENDERERS[type(occasion)][1])


def lines_of(occasion: Occasion, capabilities: int) -> list[Line]:
    """The lines that tell somebody with these capabilities of the occasion."""
    lines: list[Line] = _RENDERERS[type(occasion)][0](occasion, capabilities)
    return lines


def prefix(source: Source) -> str:
    """`nick!user@host`, or a server's name."""
    return f"{source.name}!{source.user}@{source.host}" if source.host else source.name


@lru_cache(maxsize=4)
def _second(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def server_time(time: float) -> str:
    """`YYYY-MM-DDThh:mm:ss.sssZ` in UTC (server-time, "Format")."""
    milliseconds = int(time * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


def tags_of(
    source: Source, stamp: Stamp, capabilities: int, client_tags: tuple[tuple[str, str], ...] = ()
) -> list[str]:
    """The tags of a line: time, msgid, account, bot, and what the sender's client added."""
    if not capabilities & _ALWAYS:
        return []
    tags = []
    if capabilities & SERVER_TIME:
        tags.append(f"time={server_time(stamp.time)}")
    if capabilities & ACCOUNT_TAG and source.account:
        tags.append(tag("account", source.account))
    if capabilities & MESSAGE_TAGS:
        if stamp.id:
            tags.append(f"msgid={stamp.id}")
        if source.bot:
            tags.append("bot")
        tags += [tag(key, value) for key, value in client_tags]
    return tags


@lru_cache(maxsize=4096)
def _start_of(source: Source, command: str, target: str) -> tuple[str, int]:
    """What stands before the text of a message, and how many bytes it leaves for the text.

    Remembered, as it is asked for twice a message and people say more than one thing: 0.7 of 10 microseconds.
    """
    start = f":{prefix(source)} {command} {target} :"
    return start, BODY_BYTES - len(start.encode())


def text_bytes(source: Source, command: str, target: str) -> int:
    """How long a text may be for its line to have room for it."""
    return _start_of(source, command, target)[1]


def _message(
    source: Source, command: str, target: str, texts: list[str], stamp: Stamp, tags: Any, capabilities: int
) -> list[Line]:
    start = _start_of(source, command, target)[0]
    if len(texts) == 1:
        return [(tags_of(source, stamp, capabilities, tags), start + texts[0])]
    lines: list[Line] = []
    for number, text in enumerate(texts):
        # A text of several lines has several messages; each has a name of its own.
        part = stamp if number == 0 else Stamp(stamp.time, f"{stamp.id}-{number + 1}" if stamp.id else "")
        found = tags_of(source, part, capabilities, tags)
        lines.append((found, start + text))
    return lines


def _said(occasion: Said, capabilities: int) -> list[Line]:
    """PRIVMSG (RFC 2812, 3.3.1). What the plain protocol allows in one line may be several here."""
    source, target, text, stamp, tags, _ = occasion
    texts = pieces(text, text_bytes(source, "PRIVMSG", target))
    return _message(source, "PRIVMSG", target, texts, stamp, tags, capabilities)


def _said_each(occasion: Monologue, capabilities: int) -> list[Line]:
    return [line for said in occasion.each() for line in _said(said, capabilities)]


def _monologue(occasion: Monologue, capabilities: int) -> bytes:
    """Several PRIVMSG in one go: what stands before each text is the same, but for the name of the message."""
    source, target, texts, stamp, ids = occasion
    start, space = _start_of(source, "PRIVMSG", target)
    if max(map(len, texts)) > space:
        return b"".join([assemble(tags, body) for tags, body in _said_each(occasion, capabilities)])
    if capabilities & _ALWAYS:
        tags = tags_of(source, Stamp(stamp.time, "\0" if ids else ""), capabilities)
        if tags:
            start = f"@{';'.join(tags)} {start}"
    if ids and capabilities & MESSAGE_TAGS:
        before, _, after = start.encode().partition(b"\0")
        named = [b"%b%b%b%b\r\n" % (before, id.encode(), after, text) for id, text in zip(ids, texts, strict=True)]
        return b"".join(named)
    first = start.encode()
    return first + (b"\r\n" + first).join(texts) + b"\r\n"


def _acted(occasion: Acted, capabilities: int) -> list[Line]:
    """A CTCP ACTION (modern.ircdocs.horse/ctcp)."""
    source, target, text, stamp, tags, _ = occasion
    texts = pieces(text, text_bytes(source, "PRIVMSG", target) - len("\x01ACTION \x01"))
    marked = [f"\x01ACTION {part}\x01" for part in texts]
    return _message(source, "PRIVMSG", target, marked, stamp, tags, capabilities)


def _noticed(occasion: Noticed, capabilities: int) -> list[Line]:
    """NOTICE (RFC 2812, 3.3.2)."""
    source, target, text, stamp, tags, _ = occasion
    texts = pieces(text, text_bytes(source, "NOTICE", target))
    return _message(source, "NOTICE", target, texts, stamp, tags, capabilities)


def _queried(occasion: Queried, capabilities: int) -> list[Line]:
    """A CTCP query, or its answer (modern.ircdocs.horse/ctcp)."""
    command = "NOTICE" if occasion.answer else "PRIVMSG"
    text = f"\x01{occasion.text}\x01"
    return _message(occasion.source, command, occasion.target, [text], occasion.stamp, occasion.tags, capabilities)


def _tagged(occasion: Tagged, capabilities: int) -> list[Line]:
    """TAGMSG (message-tags, "The TAGMSG tag-only message"): for those only who understand tags."""
    if not capabilities & MESSAGE_TAGS:
        return []
    tags = tags_of(occasion.source, occasion.stamp, capabilities, occasion.tags)
    return [(tags, f":{prefix(occasion.source)} TAGMSG {occasion.target}")]


def _recited(occasion: Recited, capabilities: int) -> list[Line]:
    """A multiline batch, or its lines one by one without the empty ones (multiline, "Fallback"), the first of which
    alone has the message's id and tags.
    """
    found: list[Line]
    source, target, lines, notice, stamp, tags, _ = occasion
    command = "NOTICE" if notice else "PRIVMSG"
    if not capabilities & MULTILINE:
        first, *others = [text for text, _ in lines if text]
        start = f":{prefix(source)} {command} {target} :"
        found = [(tags_of(source, stamp, capabilities, tags), start + first)]
        return found + [(tags_of(source, Stamp(stamp.time), capabilities), start + text) for text in others]
    reference = f"m{stamp.id}"
    start = f":{prefix(source)} BATCH +{reference} draft/multiline {target}"
    found = [(tags_of(source, stamp, capabilities, tags), start)]
    for text, goes_on in lines:
        line_tags = [f"batch={reference}"]
        if goes_on:
            line_tags.append("draft/multiline-concat")
        found.append((line_tags, f":{prefix(source)} {command} {target} :{text}"))
    return [*found, ([], f":{prefix(source)} BATCH -{reference}")]


def _redacted(occasion: Redacted, capabilities: int) -> list[Line]:
    """REDACT (message-redaction)."""
    if not capabilities & MESSAGE_REDACTION:
        return []
    reason = f" :{occasion.reason}" if occasion.reason else ""
    return _one(occasion, f"REDACT {occasion.target} {occasion.id}{reason}", capabilities)


def _one(occasion: Any, rest: str, capabilities: int) -> list[Line]:
    source = occasion.source
    return [(tags_of(source, occasion.stamp, capabilities), f":{prefix(source)} {rest}")]


def _joined(occasion: Joined, capabilities: int) -> list[Line]:
    """JOIN (RFC 2812, 3.2.1), with account and real name for those who want them (extended-join)."""
    if capabilities & EXTENDED_JOIN:
        account = occasion.source.account or "*"
        return _one(occasion, f"JOIN #{occasion.room} {account} :{occasion.realname}", capabilities)
    return _one(occasion, f"JOIN #{occasion.room}", capabilities)


def _parted(occasion: Parted, capabilities: int) -> list[Line]:
    """PART (RFC 2812, 3.2.2)."""
    reason = f" :{occasion.reason}" if occasion.reason else ""
    return _one(occasion, f"PART #{occasion.room}{reason}", capabilities)


def _quit(occasion: Quit, capabilities: int) -> list[Line]:
    """QUIT (RFC 2812, 3.1.7)."""
    return _one(occasion, f"QUIT :{occasion.reason}", capabilities)


def _removed(occasion: Removed | PutOut, capabilities: int) -> list[Line]:
    """KICK (RFC 2812, 3.2.8)."""
    reason = occasion.reason or occasion.source.name
    return _one(occasion, f"KICK #{occasion.room} {occasion.name} :{reason}", capabilities)


def _renamed(occasion: Renamed, capabilities: int) -> list[Line]:
    """NICK (RFC 2812, 3.1.2)."""
    return _one(occasion, f"NICK :{occasion.name}", capabilities)


def _topic_set(occasion: TopicSet, capabilities: int) -> list[Line]:
    """TOPIC (RFC 2812, 3.2.4)."""
    return _one(occasion, f"TOPIC #{occasion.room} :{occasion.topic}", capabilities)


def _modes_changed(occasion: ModesChanged, capabilities: int) -> list[Line]:
    """MODE of a channel (RFC 2811, 4)."""
    rest = " ".join((f"MODE #{occasion.room}", occasion.changes, *occasion.arguments))
    return _one(occasion, rest, capabilities)


def _room_renamed(occasion: RoomRenamed, capabilities: int) -> list[Line]:
    """RENAME (channel-rename); who does not know it is told something else, each alone."""
    if not capabilities & CHANNEL_RENAME:
        return []
    return _one(occasion, f"RENAME #{occasion.room} #{occasion.name} :{occasion.reason}", capabilities)


def _away_changed(occasion: AwayChanged, capabilities: int) -> list[Line]:
    """AWAY (away-notify)."""
    if not capabilities & AWAY_NOTIFY:
        return []
    return _one(occasion, f"AWAY :{occasion.message}" if occasion.message else "AWAY", capabilities)


def _realname_changed(occasion: RealnameChanged, capabilities: int) -> list[Line]:
    """SETNAME (setname)."""
    return _one(occasion, f"SETNAME :{occasion.realname}", capabilities) if capabilities & SETNAME else []


def _host_changed(occasion: HostChanged, capabilities: int) -> list[Line]:
    """CHGHOST (chghost)."""
    return _one(occasion, f"CHGHOST {occasion.user} {occasion.host}", capabilities) if capabilities & CHGHOST else []


def _invited(occasion: Invited, capabilities: int) -> list[Line]:
    """INVITE (RFC 2812, 3.2.7)."""
    return _one(occasion, f"INVITE {occasion.name} #{occasion.room}", capabilities)


def _error(words: Callable[[Any], str]) -> Callable[[Any, int], list[Line]]:
    """ERROR, the last line of a connection (RFC 2812, 3.7.4)."""

    def render_one(occasion: Any, capabilities: int) -> list[Line]:
        return [([], f"ERROR :Closing Link: {words(occasion)}")]

    return render_one


_RENDERERS: Final[dict[type[Occasion], tuple[Callable[[Any, int], list[Line]], int]]] = {
    Said: (_said, 0),
    Monologue: (_said_each, 0),
    Acted: (_acted, 0),
    Noticed: (_noticed, 0),
    Queried: (_queried, 0),
    Tagged: (_tagged, 0),
    Recited: (_recited, MULTILINE),
    Redacted: (_redacted, MESSAGE_REDACTION),
    Joined: (_joined, EXTENDED_JOIN),
    Parted: (_parted, 0),
    Quit: (_quit, 0),
    Removed: (_removed, 0),
    PutOut: (_removed, 0),
    Renamed: (_renamed, 0),
    TopicSet: (_topic_set, 0),
    ModesChanged: (_modes_changed, 0),
    RoomRenamed: (_room_renamed, CHANNEL_RENAME),
    AwayChanged: (_away_changed, AWAY_NOTIFY),
    RealnameChanged: (_realname_changed, SETNAME),
    HostChanged: (_host_changed, CHGHOST),
    Invited: (_invited, 0),
    NameTimedOut: (_error(lambda occasion: f"registration timed out after {occasion.seconds} s"), 0),
    Kicked: (_error(lambda occasion: f"removed{': ' + occasion.reason if occasion.reason else ''}"), 0),
    FellBehind: (_error(lambda occasion: "you did not read for too long"), 0),
    Closing: (_error(lambda occasion: "the chat is closing"), 0),
}
"""How each occasion is written, and which capabilities make a difference beside those that do to every line."""
