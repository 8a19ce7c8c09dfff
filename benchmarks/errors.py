"""What can go wrong with a load generator, apart from what it is there to find."""

from __future__ import annotations

from broker.errors import BrokerError


class LoadError(BrokerError):
    """The load could not be put on the server: a client did not get in, or a load process ended."""
