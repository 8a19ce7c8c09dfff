"""Finds the dialect of a listener before the load comes: for IRC, by registering once. Runs in the command's process.

It blocks, as nothing else goes on yet, and leaves with a QUIT.
"""

from __future__ import annotations

import socket

from broker.chaos.client import CONNECT_SECONDS, READ_BYTES, LoadError, address_family
from broker.chaos.dialect import Dialect, PlainDialect
from broker.chaos.irc_dialect import IrcDialect, is_last_of_registration, opening
from broker.text import clean, decode
from broker.urls import ListenerURL


def dialect_of(url: ListenerURL, name: str) -> Dialect:
    """The dialect that is spoken there, found out under that name if need be; LoadError if that cannot be."""
    if url.protocol != "irc":
        return PlainDialect()
    try:
        with socket.socket(address_family(url)) as connection:
            connection.settimeout(CONNECT_SECONDS)
            connection.connect((url.host, url.port))
            lines = _register(connection, name)
            connection.sendall(b"QUIT\r\n")
            while connection.recv(READ_BYTES):  # until the name is free again
                pass
    except OSError as error:
        raise LoadError(f"cannot register at {url}: {error.strerror or error}") from None
    try:
        return IrcDialect(lines, name)
    except ValueError:
        raise LoadError(f"{url} does not answer to a registration; it said {clean(decode(lines[0]))!r}") from None


def _register(connection: socket.socket, name: str) -> list[bytes]:
    """The lines that answer a registration; LoadError if they do not come to their end."""
    connection.sendall(opening(name))
    heard = b""
    while True:
        *lines, _ = heard.split(b"\n")
        if lines and is_last_of_registration(lines[-1]):
            return lines
        data = connection.recv(READ_BYTES)
        if not data:
            last = lines[-1] if lines else heard
            raise LoadError(f"the broker ended a registration; the last it said was {clean(decode(last))!r}")
        heard += data
