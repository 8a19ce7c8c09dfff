"""How the plain protocol tells people of what happens: one line for each occasion, or none. Runs in the router; pure.

The wording of lines without `* ` before them is fixed (`docs/chat-protocol.md`). Who writes from another protocol may
send what this one's terminals could not bear; it is taken out here, so that everybody else still gets it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from broker import phrases
from broker.occasions import (
    Acted,
    Closing,
    FellBehind,
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
    Quit,
    Recited,
    Removed,
    Renamed,
    RoomRenamed,
    Said,
    Source,
    TopicSet,
)
from broker.phrases import LANGUAGES, Phrase
from broker.text import clean

_FORMATTING: Final = re.compile(
    "\x03(?:[0-9]{1,2}(?:,[0-9]{1,2})?)?|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]"
)
"""Colours and styles as IRC clients write them (modern.ircdocs.horse/formatting): the digits are part of the code."""


def readable(text: str) -> str:
    """The text of whatever protocol, fit for a terminal; empty if nothing of it can be seen."""
    if text.isprintable():
        return text
    text = clean(_FORMATTING.sub("", text))
    return "" if text.isspace() else text


def _templates(phrase: Phrase) -> dict[str, str]:
    """Whole lines whose placeholders are numbers: naming them would make every message dearer."""
    return {
        language: getattr(phrase, language).replace("{name}", "{0}").replace("{text}", "{1}") + "\n"
        for language in LANGUAGES
    }


_SAID: Final = _templates(phrases.SAID)
_SAID_START: Final = {language: template.removesuffix("{1}\n") for language, template in _SAID.items()}
_ACTED: Final = _templates(phrases.ACTED)
_WHISPERED: Final = _templates(phrases.WHISPERED)


def _said(occasion: Said | Noticed, language: str) -> str:
    text = readable(occasion.text)
    if not text:
        return ""
    template = (_WHISPERED if occasion.private else _SAID)[language]
    return template.format(occasion.source.name, text)


def start_of_speech(source: Source, language: str) -> str:
    """What stands before the text when somebody says something in a room."""
    return _SAID_START[language].format(source.name)


def _monologue(occasion: Monologue, language: str) -> str:
    text = b"\n".join(occasion.texts).decode()
    if not text.replace("\n", "").isprintable():
        return "".join(_said(said, language) for said in occasion.each())
    start = start_of_speech(occasion.source, language)
    return start + text.replace("\n", "\n" + start) + "\n"


def _acted(occasion: Acted, language: str) -> str:
    text = readable(occasion.text)
    if not text:
        return ""
    if occasion.private:
        return _WHISPERED[language].format(occasion.source.name, f"* {text}")
    return _ACTED[language].format(occasion.source.name, text)


def _recited(occasion: Recited, language: str) -> str:
    texts: list[str] = []
    for text, goes_on in occasion.lines:
        if goes_on and texts:
            texts[-1] += text
        else:
            texts.append(text)
    said = Said(occasion.source, occasion.target, "", private=occasion.private)
    return "".join(_said(said._replace(text=text), language) for text in texts)


def _of_name(phrase: Phrase) -> Callable[[Any, str], str]:
    def render_one(occasion: Any, language: str) -> str:
        return f"{phrase.fill(language, name=occasion.source.name)}\n"

    return render_one


def _removed(occasion: Removed, language: str) -> str:
    return f"{phrases.LEFT.fill(language, name=occasion.name)}\n"


def _renamed(occasion: Renamed, language: str) -> str:
    return f"{phrases.RENAMED.fill(language, old=occasion.source.name, new=occasion.name)}\n"


def _topic_set(occasion: TopicSet, language: str) -> str:
    text = readable(occasion.topic)
    phrase = phrases.TOPIC_CHANGED if text else phrases.TOPIC_REMOVED
    return f"* {phrase.fill(language, name=occasion.source.name, topic=text)}\n"


def _modes_changed(occasion: ModesChanged, language: str) -> str:
    modes = readable(" ".join((occasion.changes, *occasion.arguments)))
    return f"* {phrases.MODES_CHANGED.fill(language, name=occasion.source.name, modes=modes)}\n"


def _room_renamed(occasion: RoomRenamed, language: str) -> str:
    return f"* {phrases.ROOM_RENAMED.fill(language, old=occasion.room, new=occasion.name)}\n"


def _invited(occasion: Invited, language: str) -> str:
    return f"* {phrases.INVITED.fill(language, name=occasion.source.name, room=occasion.room)}\n"


def _put_out(occasion: PutOut, language: str) -> str:
    reason = readable(occasion.reason)
    phrase = phrases.PUT_OUT_BECAUSE if reason else phrases.PUT_OUT
    return f"* {phrase.fill(language, name=occasion.source.name, room=occasion.room, reason=reason)}\n"


def _kicked(occasion: Kicked, language: str) -> str:
    phrase = phrases.KICKED_BECAUSE if occasion.reason else phrases.KICKED
    return f"* {phrase.fill(language, reason=readable(occasion.reason))}\n"


def _notice(prefix: str, phrase: Phrase) -> Callable[[Any, str], str]:
    def render_one(occasion: Any, language: str) -> str:
        return f"{prefix}{phrase.fill(language, **occasion._asdict())}\n"

    return render_one


RENDERERS: Final[dict[type[Occasion], Callable[[Any, str], str]]] = {
    Said: _said,
    Joined: _of_name(phrases.JOINED),
    Parted: _of_name(phrases.LEFT),
    Quit: _of_name(phrases.LEFT),
    Removed: _removed,
    Monologue: _monologue,
    Acted: _acted,
    Noticed: _said,
    Recited: _recited,
    Renamed: _renamed,
    TopicSet: _topic_set,
    ModesChanged: _modes_changed,
    RoomRenamed: _room_renamed,
    Invited: _invited,
    PutOut: _put_out,
    NameTimedOut: _notice("\n* ", phrases.NAME_TIMED_OUT),  # the prompt has left the cursor in mid-line
    Kicked: _kicked,
    FellBehind: _notice("* ", phrases.FELL_BEHIND),
    Closing: _notice("* ", phrases.CLOSING),
}
"""What is not in here has no words in this protocol: that somebody types, say, or what one client asks another."""
