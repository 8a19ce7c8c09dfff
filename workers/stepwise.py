"""A socket's `send` in steps that a test can have its worker killed between; only there while fault points are armed.

It takes the place of `socket.send` of a worker's sessions, so that the fan-out to members has no check of its own. A
kernel may take a part of what it is given at any time; this makes sure that it happens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from broker import faults


def stepwise(send: Callable[[bytes | memoryview], int]) -> Callable[[bytes | memoryview], int]:
    """`send` with fault points before, amid and after it; raises what it raises, if nothing has been sent."""

    def send_in_halves(data: bytes | memoryview) -> int:
        faults.point("worker.ledger-stored")
        view = memoryview(data)
        half = len(view) // 2
        sent = send(view[:half]) if half else 0
        if sent == half:
            faults.point("worker.half-sent")
            if sent:
                with contextlib.suppress(OSError):  # the next call will meet it again
                    sent += send(view[half:])
            else:
                sent = send(view)
        faults.point("worker.sent")
        return sent

    return send_in_halves
