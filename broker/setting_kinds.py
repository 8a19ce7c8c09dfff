"""What a setting is, and the kinds of values: how each is read from a string and from TOML, checked, written as TOML.

Owns the notion of a valid value, and the words for what is allowed. Pure; knows no setting by name, and not where a
value came from: `broker.settings` puts that in front of the message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Protocol

from broker.errors import ConfigError
from broker.messages import CHILD_ROLES, Role
from broker.text import UNWANTED
from broker.urls import ALLOWED, UNIX_PATH_BYTES, ListenerURL, parse_listener_url

VARIABLE_PREFIX: Final = "BROKER_"
NICE_MIN: Final = -20
NICE_MAX: Final = 19
NICE_ROLES: Final[dict[str, Role]] = {
    "supervisor": "supervisor",
    **{role: role for role in CHILD_ROLES},
    "workers": "worker",
    "acceptors": "acceptor",
}
"""Every spelling of a role, and the role."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?", re.ASCII)
_SEPARATORS: Final = re.compile(r"[,\s]+")
_SHOWN_LENGTH: Final = 60


class Kind(Protocol):
    """What a setting may be.

    Every method that reads a value raises ConfigError saying what is wrong and what is allowed. `base` is the directory
    that a relative path is taken from.
    """

    @property
    def allowed(self) -> str:
        """What may be given, as in "… is not allowed; give X"."""

    def from_strings(self, texts: Sequence[str], base: Path) -> Any:
        """The value of a flag (several texts if it was repeated) or an environment variable."""

    def from_toml(self, value: object, base: Path) -> Any:
        """The value of a TOML key."""

    def to_toml(self, value: Any) -> str:
        """TOML that `from_toml` reads as the same value."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def from_strings(self, texts: Sequence[str], base: Path) -> int:
        if not _INTEGER.fullmatch(texts[-1]):
            raise refusal(texts[-1], self.allowed)
        return self.from_toml(int(texts[-1]), base)

    def from_toml(self, value: object, base: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise refusal(value, self.allowed)
        return value

    def to_toml(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that may have decimals; with `zero` also 0, and what that means."""

    least: float
    most: float
    zero: str | None = None

    @property
    def allowed(self) -> str:
        return f"a number from {self.least:g} to {_plain(self.most)}" + (f", or 0 for {self.zero}" if self.zero else "")

    def from_strings(self, texts: Sequence[str], base: Path) -> float:
        if not _NUMBER.fullmatch(texts[-1]):
            raise refusal(texts[-1], self.allowed)
        return self.from_toml(float(texts[-1]), base)

    def from_toml(self, value: object, base: Path) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise refusal(value, self.allowed)
        if not (self.least <= value <= self.most or (self.zero and value == 0)):  # false for nan, too
            raise refusal(value, self.allowed)
        return abs(float(value))  # -0.0 is 0.0

    def to_toml(self, value: float) -> str:
        return repr(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(self.words)

    def from_strings(self, texts: Sequence[str], base: Path) -> str:
        return self.from_toml(texts[-1], base)

    def from_toml(self, value: object, base: Path) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise refusal(value, self.allowed)
        return value

    def to_toml(self, value: str) -> str:
        return toml_string(value)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that socket files are made in; their longest name is `longest_name` bytes long."""

    longest_name: int

    @property
    def most_bytes(self) -> int:
        """How long the directory's own name may be."""
        return UNIX_PATH_BYTES - self.longest_name - 1

    @property
    def allowed(self) -> str:
        return f"a directory whose absolute name is at most {self.most_bytes} bytes of text (sockets are made in it)"

    def from_strings(self, texts: Sequence[str], base: Path) -> Path:
        return self.from_toml(texts[-1], base)

    def from_toml(self, value: object, base: Path) -> Path:
        if not isinstance(value, str) or not value:
            raise refusal(value, self.allowed)
        text = str(base / _expanded(value))
        if not _is_text(text) or len(text.encode()) > self.most_bytes:
            raise refusal(text, self.allowed)
        return Path("/" + text.lstrip("/"))  # pathlib keeps two slashes at the beginning; Linux sees one

    def to_toml(self, value: Path) -> str:
        return toml_string(str(value))


@dataclass(frozen=True, slots=True)
class URLs:
    """Listeners' URLs, at least one, none of them twice."""

    @property
    def allowed(self) -> str:
        return f"one or more URLs of the forms {ALLOWED}"

    def from_strings(self, texts: Sequence[str], base: Path) -> tuple[ListenerURL, ...]:
        return self.from_toml(list(texts), base)

    def from_toml(self, value: object, base: Path) -> tuple[ListenerURL, ...]:
        if not isinstance(value, list) or not value:
            raise refusal(value, f"a list of {self.allowed}")
        urls: list[ListenerURL] = []
        for text in value:
            if not isinstance(text, str):
                raise refusal(text, f"a list of {self.allowed}")
            url = parse_listener_url(text)
            if url.path is not None:
                url = replace(url, path=str(_expanded(url.path))).resolve(base)
            if url in urls and url.port != 0:
                raise ConfigError(f"{url} is given twice; once is enough")
            urls.append(url)
        return tuple(urls)

    def to_toml(self, value: Sequence[ListenerURL]) -> str:
        return "[" + ", ".join(toml_string(str(url)) for url in value) + "]"


@dataclass(frozen=True, slots=True)
class NiceValues:
    """Nice values by role; as strings `ROLE=N`, separated by commas or spaces."""

    @property
    def allowed(self) -> str:
        *roles, last = (role for spelling, role in NICE_ROLES.items() if spelling == role)
        return f"ROLE=N where ROLE is {', '.join(roles)} or {last}, and N from {NICE_MIN} to {NICE_MAX}"

    def from_strings(self, texts: Sequence[str], base: Path) -> dict[Role, int]:
        pairs: list[tuple[str, object]] = []
        for text in _SEPARATORS.split(",".join(texts).strip()):
            role, _, value = text.partition("=")
            if not _INTEGER.fullmatch(value):
                raise refusal(text, self.allowed)
            pairs.append((role, int(value)))
        return self._checked(pairs)

    def from_toml(self, value: object, base: Path) -> dict[Role, int]:
        if not isinstance(value, dict):
            raise refusal(value, f"a table of {self.allowed}")
        return self._checked(list(value.items()))

    def _checked(self, pairs: Sequence[tuple[str, object]]) -> dict[Role, int]:
        values: dict[Role, int] = {}
        for spelling, value in pairs:
            role = NICE_ROLES.get(spelling)
            if role is None:
                raise ConfigError(
                    f"there is no role {_shown(spelling)}{nearest(spelling, NICE_ROLES)}; give {self.allowed}"
                )
            if role in values:
                raise ConfigError(f"the nice value of {role} is given twice; give it once")
            if not isinstance(value, int) or isinstance(value, bool) or not NICE_MIN <= value <= NICE_MAX:
                raise ConfigError(f"the nice value {_shown(value)} of {role} is not allowed; give {self.allowed}")
            values[role] = value
        return values

    def to_toml(self, value: Mapping[Role, int]) -> str:
        return "{" + ", ".join(f"{role} = {nice}" for role, nice in value.items()) + "}"


@dataclass(frozen=True, slots=True)
class Computed:
    """A default that depends on the environment or on settings that stand earlier in the table; `text` describes it."""

    text: str
    value: Callable[[Mapping[str, str], Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; `help` says what it is for, `kind` what it may be. A repeatable flag adds to those before it."""

    group: str
    name: str
    kind: Kind
    default: Any
    metavar: str
    help: str
    repeatable: bool = False

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """Its default for people."""
        if isinstance(self.default, Computed):
            return self.default.text
        if not self.default and not isinstance(self.default, int | float):
            return "none"
        text = f"{self.default:g}" if isinstance(self.default, float) else str(self.default)
        return f"0, {self.kind.zero}" if isinstance(self.kind, Number) and self.kind.zero and not self.default else text

    def default_value(self, environ: Mapping[str, str], earlier: Mapping[str, Any]) -> Any:
        """Its default here and now."""
        return self.default.value(environ, earlier) if isinstance(self.default, Computed) else self.default


def toml_string(text: str) -> str:
    """A TOML basic string; what could disturb a terminal is escaped, so the text comes back whole."""
    # JSON escapes the same characters in the same way, but neither DEL nor the invisible ones above ASCII.
    return UNWANTED.sub(lambda match: f"\\U{ord(match[0]):08x}", json.dumps(text, ensure_ascii=False))


def _is_text(text: str) -> bool:
    """Whether it is valid Unicode without control characters: it will be logged, shown and sent as JSON."""
    return UNWANTED.search(text) is None and text == text.encode(errors="replace").decode()


def nearest(word: str, known: Iterable[str]) -> str:
    """`, the nearest is 'x'`, or nothing if no known word is near."""
    matches = get_close_matches(word, known, n=1)
    return f", the nearest is {matches[0]!r}" if matches else ""


def refusal(value: object, allowed: str) -> ConfigError:
    """The error that says that a value is not allowed, and what is."""
    return ConfigError(f"{_shown(value)} is not allowed; give {allowed}")


def _shown(value: object) -> str:
    """A value as its writer knows it, short, and harmless to a terminal."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table"
        case str() if len(value) > _SHOWN_LENGTH:
            return repr(value[:_SHOWN_LENGTH] + "…")
        case str():
            return repr(value)
        case _:
            return str(value)[:_SHOWN_LENGTH]


def _expanded(text: str) -> Path:
    """With `~` replaced, which a shell does not do in the middle of a word, and a file has no shell for."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{_shown(text)} is in a home directory that cannot be found; write it out") from None


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
