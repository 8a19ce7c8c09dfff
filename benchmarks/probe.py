"""Asks an IRC server once, before the load, how it shows its clients to each other. Runs in the process of the command.

Who is shown with which user and host is the server's business: it may put a tilde before the user, look the host up, or
hide it. All clients of a load come from one place under one user name, so all are shown alike.
"""

from __future__ import annotations

import socket
from typing import Final

from benchmarks.errors import LoadError
from benchmarks.plan import Names
from benchmarks.protocols import PROTOCOLS, IrcProtocol
from broker.text import clean, decode
from broker.urls import ListenerURL

_SECONDS: Final = 20.0
_RUN: Final = "pro"


def prepare(url: ListenerURL) -> None:
    """Find out what the protocol of the URL has to know of the server; LoadError if it does not say."""
    protocol = PROTOCOLS[url.protocol]
    if isinstance(protocol, IrcProtocol):
        protocol.address = _address(url, protocol)


def _address(url: ListenerURL, protocol: IrcProtocol) -> bytes:
    """USER@HOST, as it stands in the JOIN that a client gets of itself."""
    name, room = Names(_RUN).client(0), Names(_RUN).room(0)
    wanted = f":{name}!".encode()
    try:
        with _connected(url) as sock:
            sock.settimeout(_SECONDS)
            sock.sendall(protocol.opening(name, room))
            lines = sock.makefile("rb")
            line = b""
            for line in lines:
                sock.sendall(protocol.answer(line.rstrip(b"\r\n"), name, room))
                source, _, rest = line.partition(b" ")
                if source.startswith(wanted) and rest.startswith(b"JOIN "):
                    sock.sendall(b"QUIT\r\n")
                    return source.removeprefix(wanted)
            last = clean(decode(line))
    except OSError as error:
        raise LoadError(f"cannot enter a room of {url}: {error.strerror or error}") from None
    raise LoadError(f"{url} closed the connection of the first client; the last that it said was {last!r}")


def _connected(url: ListenerURL) -> socket.socket:
    if url.path is None:
        return socket.create_connection((url.host, url.port), _SECONDS)
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(url.path)
    return sock
