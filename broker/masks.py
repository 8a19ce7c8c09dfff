"""Masks: patterns such as `*!*@192.0.2.*` that say whom a ban, an exception or an invitation is for. Router; pure.

`*` stands for any text, `?` for one character (RFC 2812, 2.5). A mask of people is NAME!USER@HOST; what is left out of
it is `*`. One that begins with `~` and a letter looks at something else (EXTENDED). Case and Unicode form do not count.

Knows no rooms: a list of masks is whatever its owner means by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.names import key_of

if TYPE_CHECKING:
    from broker.sessions import Session

EXTENDED: Final = {
    "a": "account",
    "c": "room that the person is in",
    "m": "mask of people who may stay, but not talk",
    "r": "real name",
}
EXTENDED_SIGN: Final = "~"
MUTE: Final = "m"


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text is of the pattern; time is at most proportional to the product of the lengths."""
    first, *others = pattern.split("*")
    if not others:
        return len(first) == len(text) and _is_at(first, text, 0)
    last = others.pop()
    end = len(text) - len(last)
    if len(first) > end or not _is_at(first, text, 0) or not _is_at(last, text, end):
        return False
    position = len(first)
    for piece in others:
        position = _find(piece, text, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


def _is_at(piece: str, text: str, position: int) -> bool:
    if "?" not in piece:
        return text.startswith(piece, position)
    return all(wanted in ("?", found) for wanted, found in zip(piece, text[position:], strict=False))


def _find(piece: str, text: str, start: int, end: int) -> int:
    """The first place of the piece in `text[start:end]`, -1 if there is none."""
    if "?" not in piece:
        return text.find(piece, start, end)
    for position in range(start, end - len(piece) + 1):
        if _is_at(piece, text, position):
            return position
    return -1


def whole_mask(mask: str) -> str:
    """The mask with what was left out of it: `ann` is `ann!*@*`, `*.example` is `*!*@*.example`, `ann@x` `*!ann@x`."""
    kind, argument = extended(mask)
    if kind:
        return f"{EXTENDED_SIGN}{kind}:{whole_mask(argument) if kind == MUTE else argument}"
    name, exclamation, rest = mask.partition("!")
    if exclamation:
        user, _, host = rest.partition("@")
    else:
        name, at, host = mask.partition("@")
        user = "*"
        if at:
            name, user = "*", name
        elif "." in name or ":" in name:
            name, host = "*", name
    return f"{name or '*'}!{user or '*'}@{host or '*'}"


def extended(mask: str) -> tuple[str, str]:
    """Kind and argument of an extended mask; no kind if it is an ordinary one."""
    if len(mask) > 3 and mask[0] == EXTENDED_SIGN and mask[2] == ":" and mask[1] in EXTENDED:
        return mask[1], mask[3:]
    return "", mask


def is_about(mask: str, session: Session) -> bool:
    """Whether a mask, in the form that `whole_mask` gives, fits somebody; a mute is looked at as the mask within it."""
    kind, argument = extended(mask)
    pattern = key_of(argument)
    if kind in ("", MUTE):
        return matches(pattern, f"{session.key}!{session.user.casefold()}@{session.host.casefold()}")
    if kind == "a":
        return bool(session.account) and matches(pattern, key_of(session.account))
    if kind == "c":
        return pattern.removeprefix("#") in session.rooms
    return matches(pattern, key_of(session.realname))
