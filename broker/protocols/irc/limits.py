"""The limits that IRC clients are told of (ISUPPORT), and the tokens that tell them. Runs in the router; pure.

Source of the tokens: modern.ircdocs.horse, "RPL_ISUPPORT Parameters". A length is in bytes, except those of nicks and
channels, which are in characters: that is how the rule for names counts (`broker.names`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.masks import EXTENDED, EXTENDED_SIGN
from broker.room_policy import FLAGS, LISTS, STATUSES

if TYPE_CHECKING:
    from broker.chat_config import ChatConfig

AWAY_BYTES: Final = 390
CHANNELS: Final = 100
KEY_BYTES: Final = 32
KICK_BYTES: Final = 390
HOST_BYTES: Final = 64
USER_BYTES: Final = 20
REALNAME_BYTES: Final = 150
TOPIC_BYTES: Final = 390
MASK_BYTES: Final = 200
MASKS_PER_LIST: Final = 100
MODES_PER_LINE: Final = 20
"""Of those that have a parameter."""
MONITORED: Final = 100
TARGETS: Final = 4
"""Of PRIVMSG, NOTICE, TAGMSG, KICK and WHOIS in one line."""

STATUS_SIGNS: Final = {"q": "~", "o": "@", "h": "%", "v": "+"}
SIGNS: Final = "".join(STATUS_SIGNS[letter] for letter in STATUSES)
STATUS_OF_SIGN: Final = {sign: letter for letter, sign in STATUS_SIGNS.items()}
USER_MODES: Final = "BiorRw"
PARAMETER_MODES: Final = "kl"


def signs_of(status: str, all_of_them: bool) -> str:
    """A member's status as it is shown before the nick: the highest sign, or all of them (multi-prefix)."""
    return "".join(STATUS_SIGNS[letter] for letter in (status if all_of_them else status[:1]))


def tokens(config: ChatConfig) -> list[str]:
    """What 005 tells, all of it."""
    return [
        f"AWAYLEN={AWAY_BYTES}",
        "BOT=B",
        # True of all ASCII names. Beyond them Unicode's caseless match holds too, for which there is no word.
        "CASEMAPPING=ascii",
        f"CHANLIMIT=#:{CHANNELS}",
        f"CHANMODES={LISTS},k,l,{FLAGS}",
        f"CHANNELLEN={config.max_name_length + 1}",
        "CHANTYPES=#",
        "ELIST=CMNTU",
        "EXCEPTS=e",
        f"EXTBAN={EXTENDED_SIGN},{''.join(sorted(EXTENDED))}",
        f"HOSTLEN={HOST_BYTES}",
        "INVEX=I",
        f"KEYLEN={KEY_BYTES}",
        f"KICKLEN={KICK_BYTES}",
        "MAXLIST=" + ",".join(f"{letter}:{MASKS_PER_LIST}" for letter in LISTS),
        f"MAXTARGETS={TARGETS}",
        f"MODES={MODES_PER_LINE}",
        f"MONITOR={MONITORED}",
        f"NAMELEN={REALNAME_BYTES}",
        f"NETWORK={config.network_name.replace(' ', chr(92) + 'x20')}",
        f"NICKLEN={config.max_name_length}",
        f"PREFIX=({STATUSES}){SIGNS}",
        "SAFELIST",
        f"STATUSMSG={SIGNS}",
        f"TARGMAX=JOIN:,KICK:{TARGETS},LIST:,NAMES:,NOTICE:{TARGETS},PART:,PRIVMSG:{TARGETS},TAGMSG:{TARGETS},"
        f"WHOIS:{TARGETS},WHOWAS:{TARGETS},USERHOST:5,ISON:,MONITOR:",
        f"TOPICLEN={TOPIC_BYTES}",
        f"USERLEN={USER_BYTES}",
        "UTF8ONLY",
        "WHOX",
    ]
