"""The settings for IRC people and for single listeners and addresses, and the kinds of values that only they have.

A part of the table of `broker.settings`, which explains how settings are given. Reads a file where a setting is one;
knows nothing of what the values do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, NamedTuple

from broker.errors import ConfigError
from broker.operators import Operator, is_hash
from broker.setting_kinds import Number, Setting, refusal, toml_string
from broker.text import UNWANTED, clean
from broker.urls import ALLOWED, parse_listener_url

_SPACES: Final = re.compile(r"[,\s]+")
_UID: Final = re.compile(r"uid:(\d{1,10})", re.ASCII)
_RATE: Final = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)/(\d{1,7})", re.ASCII)
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_SERVER_NAME: Final = rf"(?=.{{1,63}}\Z){_LABEL}(?:\.{_LABEL})+"
"""RFC 2812, 1.1 and 2.3.1; a dot must be in it, or it could be taken for somebody's nick."""

_FILE_BYTES: Final = 1 << 20
_FILE_LINES: Final = 500
_FILE_LINE_LENGTH: Final = 400


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text that has the form of a pattern, which `form` describes."""

    pattern: str
    form: str

    @property
    def allowed(self) -> str:
        return self.form

    def from_strings(self, texts: Sequence[str], base: Path) -> str:
        return self.from_toml(texts[-1], base)

    def from_toml(self, value: object, base: Path) -> str:
        if not isinstance(value, str) or not _is_clean(value) or not re.fullmatch(self.pattern, value):
            raise refusal(value, self.allowed)
        return value

    def to_toml(self, value: str) -> str:
        return toml_string(value)


class TextFile(NamedTuple):
    """A file and the lines that it had when the settings were read: nobody looks at it again."""

    path: Path
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class File:
    """A file of text, or none; of long files and lines the beginning counts."""

    @property
    def allowed(self) -> str:
        return "a file of text, or nothing for none"

    def from_strings(self, texts: Sequence[str], base: Path) -> TextFile | None:
        return self.from_toml(texts[-1], base)

    def from_toml(self, value: object, base: Path) -> TextFile | None:
        if not isinstance(value, str) or not _is_clean(value):
            raise refusal(value, self.allowed)
        if not value:
            return None
        try:
            path = base / Path(value).expanduser()
            with path.open("rb") as file:
                if not path.is_file():
                    raise refusal(value, self.allowed)
                text = file.read(_FILE_BYTES).decode(errors="replace")
        except (OSError, RuntimeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "there is no such home directory"
            raise ConfigError(f"cannot read {value!r}: {reason}; give {self.allowed}") from None
        lines = text.splitlines()[:_FILE_LINES]
        return TextFile(path, tuple(clean(line)[:_FILE_LINE_LENGTH] for line in lines))

    def to_toml(self, value: TextFile | None) -> str:
        return toml_string("" if value is None else str(value.path))


@dataclass(frozen=True, slots=True)
class Words:
    """A list of words, perhaps none, each of the form of a pattern."""

    pattern: str
    form: str

    @property
    def allowed(self) -> str:
        return self.form

    def from_strings(self, texts: Sequence[str], base: Path) -> tuple[str, ...]:
        return self.from_toml([word for text in texts for word in _SPACES.split(text) if word], base)

    def from_toml(self, value: object, base: Path) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise refusal(value, f"a list of {self.allowed}")
        for word in value:
            if not isinstance(word, str) or not re.fullmatch(self.pattern, word):
                raise refusal(word, self.allowed)
        return tuple(dict.fromkeys(value))

    def to_toml(self, value: Sequence[str]) -> str:
        return "[" + ", ".join(map(toml_string, value)) + "]"


@dataclass(frozen=True, slots=True)
class Addresses:
    """IP addresses, networks, and local users."""

    @property
    def allowed(self) -> str:
        return "addresses such as 192.0.2.7, networks such as 2001:db8::/32, and local users such as uid:1000"

    def from_strings(self, texts: Sequence[str], base: Path) -> tuple[str, ...]:
        return self.from_toml([word for text in texts for word in _SPACES.split(text) if word], base)

    def from_toml(self, value: object, base: Path) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise refusal(value, f"a list of {self.allowed}")
        return tuple(dict.fromkeys(self._checked(word) for word in value))

    def _checked(self, word: object) -> str:
        if isinstance(word, str) and _UID.fullmatch(word):
            return word
        try:
            return str(ip_network(word if isinstance(word, str) else "", strict=False))
        except ValueError:
            raise refusal(word, self.allowed) from None

    def to_toml(self, value: Sequence[str]) -> str:
        return "[" + ", ".join(map(toml_string, value)) + "]"


@dataclass(frozen=True, slots=True)
class Rates:
    """A rate and a burst for each of some listeners: `URL=RATE/BURST`."""

    @property
    def allowed(self) -> str:
        return f"URL=RATE/BURST, a listener of one of the forms {ALLOWED}, lines a second and lines at once; 0 no limit"

    def from_strings(self, texts: Sequence[str], base: Path) -> dict[str, tuple[float, int]]:
        pairs = [text.rpartition("=") for text in texts]
        return self._checked([(url, rate) for url, _, rate in pairs], base)

    def from_toml(self, value: object, base: Path) -> dict[str, tuple[float, int]]:
        if not isinstance(value, dict):
            raise refusal(value, f"a table of {self.allowed}")
        return self._checked(list(value.items()), base)

    def _checked(self, pairs: Sequence[tuple[str, object]], base: Path) -> dict[str, tuple[float, int]]:
        rates = {}
        for text, rate in pairs:
            match = _RATE.fullmatch(rate) if isinstance(rate, str) else None
            if match is None or int(match[2]) < 1:
                raise refusal(f"{text}={rate}", self.allowed)
            rates[str(parse_listener_url(text).resolve(base))] = (float(match[1]), int(match[2]))
        return rates

    def to_toml(self, value: Mapping[str, tuple[float, int]]) -> str:
        pairs = [f'{toml_string(url)} = "{rate:.3f}/{burst}"' for url, (rate, burst) in value.items()]
        return "{" + ", ".join(pairs) + "}"


@dataclass(frozen=True, slots=True)
class Operators:
    """Who may become operator: `NAME=HASH`; in TOML also a table with `password` and `masks` for each name."""

    @property
    def allowed(self) -> str:
        return "NAME=HASH, a word and what `broker mkpasswd` prints"

    def from_strings(self, texts: Sequence[str], base: Path) -> tuple[Operator, ...]:
        return self._checked([text.partition("=")[::2] for text in texts])

    def from_toml(self, value: object, base: Path) -> tuple[Operator, ...]:
        if not isinstance(value, dict):
            raise refusal(value, f"a table of {self.allowed}")
        return self._checked(list(value.items()))

    def _checked(self, pairs: Sequence[tuple[str, object]]) -> tuple[Operator, ...]:
        operators: dict[str, Operator] = {}
        for name, value in pairs:
            table = value if isinstance(value, dict) else {"password": value}
            unknown = sorted(map(str, table.keys() - {"password", "masks"}))
            if unknown:
                raise ConfigError(f"the operator {name!r} has no {unknown[0]!r}; give password, and masks if need be")
            secret, masks = table.get("password"), table.get("masks", [])
            if not re.fullmatch(r"[^\s,=:]{1,32}", name) or not _is_clean(name):
                raise refusal(name, self.allowed)
            if not isinstance(secret, str) or not is_hash(secret):
                raise ConfigError(
                    f"the password of operator {name!r} is not a hash; give what `broker mkpasswd` prints"
                )
            if not isinstance(masks, list) or not all(isinstance(mask, str) and _is_clean(mask) for mask in masks):
                raise ConfigError(f"the masks of operator {name!r} are not a list of texts such as '*!*@192.0.2.*'")
            operators[name] = Operator(name, secret, tuple(masks))
        return tuple(operators.values())

    def to_toml(self, value: Sequence[Operator]) -> str:
        entries = []
        for name, password_hash, masks in value:
            shown = ", ".join(map(toml_string, masks))
            entries.append(f"{toml_string(name)} = {{password = {toml_string(password_hash)}, masks = [{shown}]}}")
        return "{" + ", ".join(entries) + "}"


def is_exempt(exempt: Sequence[str], address: str) -> bool:
    """Whether an address, as connections are counted by (`192.0.2.7`, `uid 1000`), is one of those that are exempt."""
    if not exempt:
        return False
    if address.startswith("uid "):
        return f"uid:{address[4:]}" in exempt
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(not word.startswith("uid:") and parsed in ip_network(word) for word in exempt)


def _is_clean(text: str) -> bool:
    return UNWANTED.search(text) is None and text == text.encode(errors="replace").decode()


_GROUP: Final = "IRC, listeners, addresses"

IRC_SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        _GROUP, "irc_server_name", Text(_SERVER_NAME, "a host name with a dot in it, such as irc.example.org"),
        "irc.broker.local", "NAME", "what the server is called in IRC",
    ),
    Setting(
        _GROUP, "irc_server_description", Text(r".{1,100}", "a text of 1 to 100 characters"),
        "a group chat made of processes", "TEXT", "what the server is, in a few words",
    ),
    Setting(
        _GROUP, "irc_network_name", Text(r"[A-Za-z0-9._-]{1,32}", "1 to 32 letters, digits and any of ._-"),
        "Broker", "NAME", "what the IRC network is called",
    ),
    Setting(
        _GROUP, "irc_password", Text(r".{0,200}", "a text of at most 200 characters, or nothing for none"),
        "", "TEXT", "password that IRC clients have to give (PASS); better in the file than on a command line",
    ),
    Setting(
        _GROUP, "irc_motd_file", File(), None, "FILE",
        "message of the day for IRC clients",
    ),
    Setting(
        _GROUP, "irc_admin", Text(r".{0,200}", "a text of at most 200 characters, or nothing for none"),
        "", "TEXT", "whom to turn to (ADMIN)",
    ),
    Setting(
        _GROUP, "irc_operators", Operators(), (), "NAME=HASH",
        "who may become operator of the server (OPER), and the hash of their password", repeatable=True,
    ),
    Setting(
        _GROUP, "irc_ping_seconds", Number(1, 86400), 120.0, "SECONDS",
        "an IRC client that is silent for so long is asked whether it is there, and closed if it does not answer",
    ),
    Setting(
        _GROUP, "irc_disabled_capabilities", Words(r"[a-z0-9./-]{1,64}", "names of capabilities, such as echo-message"),
        (), "NAME", "IRCv3 capabilities that are not offered", repeatable=True,
    ),
    Setting(
        _GROUP, "listener_rates", Rates(), {}, "URL=RATE/BURST",
        "a rate and a burst that one listener has for itself, instead of those of all", repeatable=True,
    ),
    Setting(
        _GROUP, "exempt_addresses", Addresses(), (), "ADDRESS",
        "addresses to which the limits on rates and connections do not apply", repeatable=True,
    ),
)  # fmt: skip
"""A part of `broker.settings.SETTINGS`."""
