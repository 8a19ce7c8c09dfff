"""Which of the broker's sentences a line is, and what stands in its placeholders. Pure.

Used by the process of `broker chat`. The sentences come from `broker.phrases`, so they are written down once. What
makes them recognisable is that a name has neither spaces nor colons in it (`broker.protocols.plain`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker import phrases
from broker.phrases import LANGUAGES, Phrase

REPLY_PREFIX: Final = "* "

_IN_ROOM: Final = (
    phrases.SAID,
    phrases.JOINED,
    phrases.LEFT,
    phrases.ACTED,
    phrases.RENAMED,
    phrases.WHISPERED,
)
"""What comes without REPLY_PREFIX, most frequent first."""

_REPLIES: Final = (
    phrases.WELCOME,
    phrases.NAME_IN_USE,
    phrases.NAME_EMPTY,
    phrases.NAME_TOO_LONG,
    phrases.NAME_SPACE,
    phrases.NAME_UNPRINTABLE,
    phrases.NAME_SYMBOL,
    phrases.NAME_TIMED_OUT,
    phrases.NAME_CHANGED,
    phrases.ROOM_ENTERED_MORE,  # before ROOM_ENTERED, which it also looks like
    phrases.ROOM_ENTERED,
    phrases.ROOM_ENTERED_ALONE,
    phrases.ROOM_LEFT,
    phrases.ROOM_PEOPLE_MORE,  # before ROOM_PEOPLE, likewise
    phrases.ROOM_PEOPLE,
    phrases.ROOMS_MORE,
    phrases.ROOMS,
    phrases.WHISPER_SENT,
    phrases.GOODBYE,
    phrases.KICKED,
    phrases.KICKED_BECAUSE,
    phrases.FELL_BEHIND,
    phrases.CLOSING,
)
"""Replies that this client acts upon; all others are notices to be read."""

_PLACEHOLDERS: Final = {
    **dict.fromkeys(("name", "old", "new", "room"), r"[^\s:]+"),
    **dict.fromkeys(("count", "total", "limit", "seconds"), r"\d+"),
}
"""What may stand in a placeholder; in all others, anything."""

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Recognised(NamedTuple):
    """A sentence, and what stands in its placeholders."""

    phrase: Phrase
    values: dict[str, str]


def recognise(line: str, language: str) -> Recognised | None:
    """The sentence that `line` is in `language`, None if it is none that this client knows."""
    if line.startswith(REPLY_PREFIX):
        body = line[len(REPLY_PREFIX) :]
        for candidate in LANGUAGES:  # this one reply comes in the language that begins with it
            if body == phrases.LANGUAGE_SET.fill(candidate):
                return Recognised(phrases.LANGUAGE_SET, {"language": candidate})
        return _first_match(body, _REPLY_PATTERNS[language])
    return _first_match(line, _ROOM_PATTERNS[language])


def prompt_language(text: str) -> str | None:
    """The language in which `text`, an unfinished line, asks for a name; None if it does not."""
    return next((language for language in LANGUAGES if text == phrases.ASK_NAME.fill(language)), None)


def split_prompt(line: str) -> tuple[str | None, str]:
    """The language of the question for a name at the start of a line (None: there is none there), and the rest."""
    for language in LANGUAGES:
        prompt = phrases.ASK_NAME.fill(language)
        if line.startswith(prompt):
            return language, line[len(prompt) :]
    return None, line


_Patterns = Sequence[tuple[Phrase, re.Pattern[str]]]


def _first_match(text: str, patterns: _Patterns) -> Recognised | None:
    for phrase, pattern in patterns:
        match = pattern.fullmatch(text)
        if match is not None:
            return Recognised(phrase, match.groupdict())
    return None


def _pattern(sentence: str) -> re.Pattern[str]:
    pieces = _PLACEHOLDER.split(sentence)  # literal, name, literal, name, ..., literal
    for index, piece in enumerate(pieces):
        pieces[index] = f"(?P<{piece}>{_PLACEHOLDERS.get(piece, '.*')})" if index % 2 else re.escape(piece)
    return re.compile("".join(pieces), re.DOTALL)


def _patterns(table: Sequence[Phrase]) -> dict[str, _Patterns]:
    return {language: [(phrase, _pattern(getattr(phrase, language))) for phrase in table] for language in LANGUAGES}


_ROOM_PATTERNS: Final = _patterns(_IN_ROOM)
_REPLY_PATTERNS: Final = _patterns(_REPLIES)
