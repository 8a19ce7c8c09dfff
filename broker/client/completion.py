"""What Tab offers: commands, names, rooms. Pure.

Used by the process of `broker chat`. It knows no protocol beyond "a command starts with a slash".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker.names import key_of


class Vocabulary(NamedTuple):
    """What there is to complete: commands with their slash, people, and the first words of a command's argument."""

    commands: Iterable[str]
    names: Iterable[str]
    arguments: Mapping[str, Iterable[str]]


def candidates(before: str, vocabulary: Vocabulary) -> tuple[str, list[str]]:
    """The unfinished word at the end of `before` (the line up to the cursor), and what it may become.

    Commands and their arguments get a space; a name that opens the line is an address and gets a colon.
    Case and Unicode form do not matter: `ann` finds `Ａnn`.
    """
    head, space, word = before.rpartition(" ")
    if not space and word.startswith("/"):
        return word, [f"{command} " for command in _matching(word, vocabulary.commands)]
    if head in vocabulary.arguments:
        return word, [f"{argument} " for argument in _matching(word, vocabulary.arguments[head])]
    if not word:
        return word, []
    ending = "" if space else ": "
    return word, [f"{name}{ending}" for name in _matching(word, vocabulary.names)]


def _matching(word: str, choices: Iterable[str]) -> list[str]:
    start = key_of(word)
    return sorted((choice for choice in choices if key_of(choice).startswith(start)), key=key_of)
