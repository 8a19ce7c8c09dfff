"""The texts of HELP, by subject. Pure."""

from __future__ import annotations

from typing import Final

HELP: Final[dict[str, tuple[str, ...]]] = {
    "CHANNELS": (
        "** Channels **",
        "",
        "JOIN #name enters a channel, which is a room of the broker; people with nc or `broker chat` are in it too.",
        "PART #name leaves it. LIST and NAMES tell which there are and who is there.",
        "TOPIC, INVITE, KICK, MODE and RENAME change it; HELP MODES lists the modes.",
    ),
    "MESSAGES": (
        "** Messages **",
        "",
        "PRIVMSG target :text says something to a channel or a person; NOTICE is the same for programs.",
        "@#channel reaches its operators only, +#channel also those with voice.",
        "TAGMSG sends tags without a text; REDACT target msgid takes a message back.",
    ),
    "MODES": (
        "** Modes of a channel **",
        "",
        "b, e, I: masks of who is banned, who is not for all that, and who needs no invitation.",
        "  ~m:mask bans from talking only, ~a:account, ~c:#channel and ~r:real name look at something else.",
        "i: by invitation. k: needs a key. l: limited. m: only those with a status talk. n: nobody talks from outside.",
        "s: secret. t: only operators set the topic. C: no CTCP but ACTION. R: accounts only. T: no notices.",
        "q, o, h, v: founder, operator, half-operator, voice.",
        "",
        "** Modes of a user **",
        "",
        "B: a bot. i: invisible to who shares no channel. R: only people with an account may write to you. w: wallops.",
    ),
    "OPERATORS": (
        "** Operators of the server **",
        "",
        "OPER name password makes one; the names and passwords are in the broker's configuration.",
        "KILL ends a session, WALLOPS tells all operators, REHASH reads the configuration again,",
        "PROCESSES shows the table of the broker's processes, and MODE needs no status of them in any channel.",
    ),
    "USERS": (
        "** Users **",
        "",
        "NICK, SETNAME and AWAY change what others see of you; MODE nick shows and changes your own modes.",
        "WHO, WHOIS, WHOWAS, USERHOST and ISON ask about others; MONITOR tells when they come and go.",
    ),
}

INDEX: Final = (
    "** Help **",
    "",
    f"HELP and one of {', '.join(HELP)}, or a command, tells more.",
    "docs/irc.md of the broker tells all.",
)
"""What HELP without a subject says."""
