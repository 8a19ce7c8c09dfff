"""A helper process's side of the conversation with its conductor (`monitor.experiments.helpers` has the other one).

Lines of JSON lists, on standard input and output.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import setproctitle

from broker.errors import BrokerError
from broker.linux import die_with_parent


class Conductor:
    """Whoever started this process."""

    fd = 0
    """Readable when a message may have come."""

    def __init__(self) -> None:
        self._heard = b""

    def say(self, *message: Any) -> None:
        """Tell it."""
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def hear(self) -> list[Any]:
        """Its next message, waiting for it; ends the process if there is none to come."""
        while b"\n" not in self._heard:
            data = os.read(self.fd, 65536)
            if not data:
                sys.exit(0)
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        message: list[Any] = json.loads(line)
        return message


def run(name: str, live: Callable[[Conductor, list[str]], None]) -> None:
    """The life of a helper process: dies with its parent, tells of a failure in a sentence."""
    if not die_with_parent(int(sys.argv[1])):
        sys.exit(1)
    setproctitle.setproctitle(f"broker: {name}")
    conductor = Conductor()
    try:
        live(conductor, sys.argv[2:])
    except BrokerError as error:
        conductor.say("failed", str(error))
