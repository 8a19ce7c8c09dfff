"""The capabilities that a client can ask for (IRCv3, Capability Negotiation): names, bits and values. Pure.

A bit is how a session remembers what it asked for. Those of IN_FORMAT change the bytes of lines that a room shares, so
they are part of a wire format; the others concern what is written for one person only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

MESSAGE_TAGS: Final = 1 << 0
SERVER_TIME: Final = 1 << 1
BATCH: Final = 1 << 2
LABELED_RESPONSE: Final = 1 << 3
ECHO_MESSAGE: Final = 1 << 4
MULTI_PREFIX: Final = 1 << 5
EXTENDED_JOIN: Final = 1 << 6
USERHOST_IN_NAMES: Final = 1 << 7
AWAY_NOTIFY: Final = 1 << 8
CHGHOST: Final = 1 << 9
SETNAME: Final = 1 << 10
INVITE_NOTIFY: Final = 1 << 11
ACCOUNT_TAG: Final = 1 << 12
ACCOUNT_NOTIFY: Final = 1 << 13
CAP_NOTIFY: Final = 1 << 14
EXTENDED_MONITOR: Final = 1 << 15
STANDARD_REPLIES: Final = 1 << 16
NO_IMPLICIT_NAMES: Final = 1 << 17
MESSAGE_REDACTION: Final = 1 << 18
MULTILINE: Final = 1 << 19
CHANNEL_RENAME: Final = 1 << 20
READ_MARKER: Final = 1 << 21

IN_FORMAT: Final = (
    MESSAGE_TAGS | SERVER_TIME | EXTENDED_JOIN | AWAY_NOTIFY | CHGHOST | SETNAME | ACCOUNT_TAG | MESSAGE_REDACTION
    | MULTILINE | CHANNEL_RENAME
)  # fmt: skip

MULTILINE_BYTES: Final = 4096
MULTILINE_LINES: Final = 32
"""Of one message of several lines (multiline, `max-bytes` and `max-lines`)."""

CAPABILITIES: Final[dict[str, int]] = {
    "account-notify": ACCOUNT_NOTIFY,
    "account-tag": ACCOUNT_TAG,
    "away-notify": AWAY_NOTIFY,
    "batch": BATCH,
    "cap-notify": CAP_NOTIFY,
    "chghost": CHGHOST,
    "draft/channel-rename": CHANNEL_RENAME,
    "draft/message-redaction": MESSAGE_REDACTION,
    "draft/multiline": MULTILINE,
    "draft/no-implicit-names": NO_IMPLICIT_NAMES,
    "draft/read-marker": READ_MARKER,
    "echo-message": ECHO_MESSAGE,
    "extended-join": EXTENDED_JOIN,
    "extended-monitor": EXTENDED_MONITOR,
    "invite-notify": INVITE_NOTIFY,
    "labeled-response": LABELED_RESPONSE,
    "message-tags": MESSAGE_TAGS,
    "multi-prefix": MULTI_PREFIX,
    "no-implicit-names": NO_IMPLICIT_NAMES,
    "server-time": SERVER_TIME,
    "setname": SETNAME,
    "standard-replies": STANDARD_REPLIES,
    "userhost-in-names": USERHOST_IN_NAMES,
}
"""Names that clients ask for; two of them may mean the same."""

VALUES: Final = {"draft/multiline": f"max-bytes={MULTILINE_BYTES},max-lines={MULTILINE_LINES}"}
"""What stands behind the name for those who speak version 302."""


def offered(disabled: Iterable[str]) -> list[str]:
    """The names that are on offer."""
    without = tuple(disabled)
    return [name for name in CAPABILITIES if name not in without]


def effective(capabilities: int) -> int:
    """Those that work: a message of several lines needs the batch that it comes in, and tags."""
    needed = MULTILINE | BATCH | MESSAGE_TAGS
    return capabilities if capabilities & needed == needed else capabilities & ~MULTILINE


def in_format(capabilities: int) -> int:
    """Those that are part of the wire format."""
    return effective(capabilities) & IN_FORMAT


def names_of(capabilities: int, among: Iterable[str]) -> Iterator[str]:
    """The names of what a session has, of those that are on offer."""
    return (name for name in among if CAPABILITIES[name] & capabilities)
