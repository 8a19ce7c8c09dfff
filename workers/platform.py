"""What a child process asks of the operating system, in one place: a test can be the operating system.

Runs in every child. The processes take their loop, their Pipes, their clients' sockets, their clock and their journal
from here, and nothing of it is decided here. A simulation (`tests/simulation`) gives them other ones, which it may end
at any call, as `kill -9` would.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.channel import Channel, DescriptorChannel
from broker.journal import Journal
from broker.kernel_position import position_of_tcp
from broker.loop import Loop
from broker.stream_position import TCPPosition


def _client(fd: int) -> socket.socket:
    return socket.socket(fileno=fd)


@dataclass(frozen=True)
class Platform:
    """By default Linux. Descriptors are given to what is made of them, which owns them from then on.

    `monotonic` is in seconds and never goes back; `position_of_tcp` is as in `broker.kernel_position`.
    """

    loop: Callable[[], Loop] = Loop
    control_pipe: Callable[[int], DescriptorChannel] = DescriptorChannel
    pipe: Callable[[int], Channel] = Channel
    client: Callable[[int], socket.socket] = _client
    position_of_tcp: Callable[[socket.socket], TCPPosition] = position_of_tcp
    journal: Callable[..., Journal] = Journal
    monotonic: Callable[[], float] = time.monotonic
    random_bytes: Callable[[int], bytes] = os.urandom


LINUX: Final = Platform()
