"""The addresses of the broker: URLs such as `chat://127.0.0.1:8888` and `chat+unix:/run/user/1000/broker/chat.sock`.

Owns their grammar, which the broker's listeners and the client's `--connect` share. Runs in every process that reads or
prints one. Pure: it resolves no host name and looks at no file.

    URL     = TCP-scheme "://" HOST ":" PORT  |  unix-scheme ":" PATH
    HOST    = a name, an IPv4 address, or an IPv6 address in brackets
    PORT    = 0 to 65535; 0 lets the kernel choose when listening
    PATH    = taken as it stands: no percent-encoding, no `?`, no `#`

No host is not the same as every interface: that has to be asked for by name (`0.0.0.0`, `[::]`), since it opens the
chat to the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import PurePath, PurePosixPath
from typing import Final, Literal

from broker.errors import ConfigError
from broker.text import UNWANTED

Transport = Literal["tcp", "unix"]

UNIX_PATH_BYTES: Final = 107
"""`sun_path` has room for 108 bytes, the last of which is NUL (unix(7))."""

PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class Scheme:
    """What stands before the colon: the protocol spoken, and over what."""

    protocol: str
    transport: Transport


SCHEMES: Final[dict[str, Scheme]] = {
    "chat": Scheme("chat", "tcp"),
    "chat+unix": Scheme("chat", "unix"),
    "irc": Scheme("irc", "tcp"),
    "irc+unix": Scheme("irc", "unix"),
}

_FORMS: Final[dict[Transport, str]] = {"tcp": "{}://HOST:PORT", "unix": "{}:PATH"}
_ALL_FORMS: Final = [_FORMS[scheme.transport].format(name) for name, scheme in SCHEMES.items()]
ALLOWED: Final = f"{', '.join(_ALL_FORMS[:-1])} and {_ALL_FORMS[-1]}"
"""The forms of a URL, for messages and help."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # what Python makes of a malformed byte (os.fsdecode)
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[^:]*))?")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SHOWN_LENGTH: Final = 150
_HOST_NAME_LENGTH: Final = 253  # RFC 1035, 2.3.4: 255 bytes as labels, two less as text


@dataclass(frozen=True, slots=True)
class ListenerURL:
    """One address: `host` and `port` over TCP, `path` on the local machine; `str()` is the canonical URL.

    `host` has no brackets; `path` may be relative until `resolve` has been called.
    """

    scheme: str
    protocol: str
    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.scheme}:{self.path}"
        host = f"[{self.host}]" if self.host is not None and ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def resolve(self, base: PurePath) -> ListenerURL:
        """The same with a relative path taken from `base`; ConfigError if the whole is not a valid path any more."""
        return self if self.path is None else parse_listener_url(f"{self.scheme}:{base / self.path}")


def parse_listener_url(text: str) -> ListenerURL:
    """The URL in `text`; ConfigError saying what is wrong with it and what is allowed."""
    try:
        return _parse(text)
    except _BadURLError as error:
        raise ConfigError(f"bad URL {_shortened(text)!r}: {error}; allowed are {ALLOWED}") from None


class _BadURLError(Exception):
    """What is wrong, without the URL itself."""


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…"


def _parse(text: str) -> ListenerURL:
    if _SURROGATE.search(text):
        raise _BadURLError("it is not valid UTF-8")
    if UNWANTED.search(text):
        raise _BadURLError("it contains control characters")
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise _BadURLError("it has no scheme")
    name, rest = match["scheme"].lower(), match["rest"]
    if name not in SCHEMES:
        raise _BadURLError(_unknown_scheme(name, rest))
    scheme = SCHEMES[name]
    if scheme.transport == "unix":
        return ListenerURL(name, scheme.protocol, path=_parse_path(rest))
    host, port = _parse_authority(rest)
    return ListenerURL(name, scheme.protocol, host=host, port=port)


def _unknown_scheme(name: str, rest: str) -> str:
    if rest.isdecimal():  # `localhost:8888`
        return "it has no scheme"
    nearest = get_close_matches(name, SCHEMES, n=1)
    return f"there is no scheme {name!r}" + (f", the nearest is {nearest[0]!r}" if nearest else "")


def _parse_path(rest: str) -> str:
    if rest.startswith("//") and not rest.startswith("///"):
        raise _BadURLError("what follows two slashes is a host, and a local socket has none: write one slash or three")
    if not rest:
        raise _BadURLError("it has no path")
    path = str(PurePosixPath("/" + rest.lstrip("/") if rest.startswith("/") else rest))
    length = len(path.encode())
    if length > UNIX_PATH_BYTES:
        raise _BadURLError(f"its path is {length} bytes long, and a local socket's has at most {UNIX_PATH_BYTES}")
    return path


def _parse_authority(rest: str) -> tuple[str, int]:
    if not rest.startswith("//"):
        raise _BadURLError("two slashes must follow the scheme")
    match = _AUTHORITY.fullmatch(rest[2:])
    if match is None:
        if rest.count(":") > 1 and "[" not in rest:
            raise _BadURLError("an IPv6 address must stand in brackets")
        raise _BadURLError("what follows the slashes is not HOST:PORT")
    host = _parse_v6(match["v6"]) if match["v6"] is not None else _parse_host(match["name"])
    port = match["port"]
    if not port:
        raise _BadURLError("it has no port")
    if not _PORT.fullmatch(port) or int(port) > PORT_MAX:
        raise _BadURLError(f"{port!r} is not a port: they go from 0 to {PORT_MAX}")
    return host, int(port)


def _parse_v6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise _BadURLError(f"{text!r} is not an IPv6 address") from None


def _parse_host(text: str) -> str:
    if not text:
        raise _BadURLError("it has no host (127.0.0.1 is this machine only; 0.0.0.0 and [::] are all its interfaces)")
    if len(text) > _HOST_NAME_LENGTH or not _HOST_NAME.fullmatch(text):
        raise _BadURLError(f"{text!r} is not a host name or address")
    if text.rstrip(".").rpartition(".")[2].isdigit():
        # No domain ends in digits, and the resolver would read `127.1` or `2130706433` as addresses (inet_aton(3)).
        try:
            return str(IPv4Address(text))
        except AddressValueError:
            raise _BadURLError(f"{text!r} is not an IPv4 address") from None
    return text.lower()
