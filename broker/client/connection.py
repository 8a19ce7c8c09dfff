"""One connection to a broker, and how long to wait between attempts to get another.

Used by the process of `broker chat`, in its asyncio loop. It knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final

from broker.errors import BrokerError
from broker.urls import ListenerURL

CONNECT_TIMEOUT_SECONDS: Final = 10.0
READ_BYTES: Final = 32_768
"""Read at once: little enough that the keyboard is served between two reads of a flood."""

BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
LAST_BACKOFF_SECONDS: Final = 15.0


class ConnectError(BrokerError):
    """Nobody answers at the address, or the broker does not want us."""


def backoff_delays() -> Iterator[float]:
    """Seconds to wait before each further attempt: growing to 15, each up to a fifth more or less.

    The spread keeps the clients of a restarted broker from all coming back at the same moment.
    """
    for seconds in chain(BACKOFF_SECONDS, repeat(LAST_BACKOFF_SECONDS)):
        yield seconds * random.uniform(0.8, 1.2)


class Connection:
    """An open connection to `url`."""

    def __init__(self, url: ListenerURL, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.url = url
        self.broken = False
        """It ended with an error, not with an orderly end of the stream."""
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """What has arrived; empty once the connection has ended, however it did."""
        try:
            return await self._reader.read(READ_BYTES)
        except OSError:
            self.broken = True
            return b""

    def send(self, lines: list[str]) -> None:
        """Queue lines, given without their ends."""
        self._writer.write("".join(f"{line}\n" for line in lines).encode(errors="replace"))

    async def drain(self) -> None:
        """Wait while the broker takes less than is sent; whether the connection has ended, `read` tells."""
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def half_close(self) -> None:
        """Nothing more will be sent; reading goes on."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    def close(self) -> None:
        """Close it at once, whatever state it is in and whatever is still queued."""
        self._writer.transport.abort()


async def connect(url: ListenerURL) -> Connection:
    """Connect; ConnectError with the reason if that fails or takes longer than CONNECT_TIMEOUT_SECONDS."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            if url.path is not None:
                reader, writer = await asyncio.open_unix_connection(url.path, limit=READ_BYTES)
            else:
                reader, writer = await asyncio.open_connection(url.host, url.port, limit=READ_BYTES)
    except TimeoutError:
        raise ConnectError(f"{url} does not answer within {CONNECT_TIMEOUT_SECONDS:g} s") from None
    except OSError as error:
        raise ConnectError(f"cannot connect to {url}: {_reason(error)}") from None
    return Connection(url, reader, writer)


def _reason(error: OSError) -> str:
    # asyncio wraps the system's text in its own, and gathers those of several addresses; getaddrinfo's codes are
    # negative and have a text of their own.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
