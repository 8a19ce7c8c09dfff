"""The rule for names of people and rooms. Runs in the router; pure.

A name is shown in Unicode's composed form (NFC). Two names are the same if their keys are: the key is Unicode's
compatibility caseless match (The Unicode Standard, definition D146: `NFKC(casefold(NFKC(casefold(NFD(X)))))`), so
`Ann`, `ann` and full-width `Ａｎｎ` are one. It says nothing about letters of different scripts that look alike.

Refused is what a person cannot see or a protocol could misread, in the name as it is shown or in its key:

- white space inside, anything that `str.isprintable()` denies, U+FFFD (what malformed UTF-8 became);
- code points that are printable by their category and yet show nothing (BLANK), and a combining mark at the start;
- `,*?!@:` anywhere, and `$#&+~%/` at the start: they mean something in IRC, in our commands, or in a line of chat.

That a name is in use is not known here.
"""

from __future__ import annotations

import unicodedata
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

SLACK: Final = 4
"""What is typed, and the key, may be this many times as long as the longest name.

Four code points compose to one (U+1F82), and one can become 18 in NFKC (U+FDFA). The bound on what is typed keeps
normalisation cheap: sorting a long run of combining marks takes quadratic time.
"""

REMEMBERED_LENGTH: Final = 64
"""Of texts whose name is remembered, at most: longer ones could fill the memory."""

SYMBOLS_ANYWHERE: Final = ",*?!@:"
SYMBOLS_FIRST: Final = "$#&+~%/"

BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159"  # hieroglyphs full and half blank, Khitan filler, null notehead
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))  # variation selectors
)
"""Printable by category, yet invisible: Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and blank glyphs."""


class Name(NamedTuple):
    """A name as it is shown, and the key that makes it unique."""

    display: str
    key: str


class NameFault(Enum):
    """Why a name is refused."""

    EMPTY = "empty"
    TOO_LONG = "too long"
    SPACE = "white space inside"
    UNPRINTABLE = "something that cannot be seen"
    SYMBOL = "a symbol with a meaning of its own"
    IN_USE = "in use"


def key_of(text: str) -> str:
    """The key of a name: equal for all that differ by case or Unicode form only (D146)."""
    normal = unicodedata.normalize
    return normal("NFKC", normal("NFKC", normal("NFD", text).casefold()).casefold())


def parse_name(text: str, max_length: int) -> Name | NameFault:
    """The name that `text` gives, without white space around it, or what is wrong with it.

    `max_length` is in code points of the composed form, and SLACK tells what that means for the others.
    """
    return _parse_again(text, max_length) if len(text) <= REMEMBERED_LENGTH else _parse(text, max_length)


def _parse(text: str, max_length: int) -> Name | NameFault:
    text = text.strip()
    if len(text) > max_length * SLACK:
        return NameFault.TOO_LONG
    display = unicodedata.normalize("NFC", text)
    if not display:
        return NameFault.EMPTY
    if len(display) > max_length:
        return NameFault.TOO_LONG
    key = key_of(display)
    if not key:
        return NameFault.EMPTY
    if len(key) > max_length * SLACK:
        return NameFault.TOO_LONG
    for form in (display, key):
        fault = _fault_of(form)
        if fault is not None:
            return fault
    return Name(display, display if key == display else key)  # mostly one string less


_parse_again = lru_cache(maxsize=512)(_parse)
"""An IRC client names its channel in every line; what a text gives is always the same."""


def parse_room_name(text: str, max_length: int) -> Name | NameFault:
    """The same rule for a room; one `#` before its name, as IRC people write it, is not part of it."""
    return parse_name(text.strip().removeprefix("#"), max_length)


def _fault_of(form: str) -> NameFault | None:
    if any(character.isspace() for character in form):
        return NameFault.SPACE
    if not form.isprintable() or "\ufffd" in form or not BLANK.isdisjoint(form):
        return NameFault.UNPRINTABLE
    if unicodedata.category(form[0]).startswith("M"):
        return NameFault.UNPRINTABLE
    if form[0] in SYMBOLS_FIRST or any(symbol in form for symbol in SYMBOLS_ANYWHERE):
        return NameFault.SYMBOL
    return None
