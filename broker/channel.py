"""One end of a Pipe, used without ever blocking: whole messages in, whole messages out, descriptors beside them.

A Channel owns its descriptor and a bounded outbox. What the kernel does not take at once waits there; past
`outbox_limit_bytes` the peer is hopelessly behind and ChannelOverflow tells the owner to condemn it. A torn frame or an
EOF condemns this Pipe only. It knows nothing of what the messages mean.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext
from typing import Any, Final

from broker.errors import BrokerError, LocalProtocolError
from broker.framing import FrameReader, decode, encode
from broker.loop import READ, WRITE, Loop

DEFAULT_OUTBOX_LIMIT_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_READ_INTO: Final = memoryview(bytearray(_READ_BYTES))
"""`recv` would ask the system for so much memory, and give it back, with every read."""
_READS_PER_WAKE_UP: Final = 16
_DESCRIPTORS_PER_READ: Final = 253
"""SCM_MAX_FD of the kernel (include/net/scm.h): no single message can carry more."""


class ChannelClosed(BrokerError):
    """The other end is gone (EOF, reset, or a frame that cannot be ours)."""


class ChannelOverflow(BrokerError):
    """The other end has not read for so long that the outbox is full."""


def pipe_pair(context: BaseContext) -> tuple[int, int]:
    """The descriptors of both ends of a duplex `multiprocessing` Pipe, a pair of connected stream sockets."""
    left, right = context.Pipe(duplex=True)
    with left, right, contextlib.ExitStack() as undo:
        own = os.dup(left.fileno())
        undo.callback(os.close, own)
        other = os.dup(right.fileno())
        undo.pop_all()
    return own, other


def _stream_socket(fd: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)


class Channel:
    """Frames over one descriptor, which it owns from here on."""

    def __init__(
        self,
        fd: int,
        outbox_limit_bytes: int = DEFAULT_OUTBOX_LIMIT_BYTES,
        open_socket: Callable[[int], socket.socket] = _stream_socket,
    ) -> None:
        self._socket = open_socket(fd)
        self._socket.setblocking(False)
        self._reader = FrameReader()
        self._outbox: deque[tuple[memoryview, list[int]]] = deque()
        self._descriptors: deque[int] = deque()
        self.outbox_limit_bytes = outbox_limit_bytes
        self.outbox_bytes = 0
        self.watched_for_write = False  # what the loop was last told; see `watch`
        self._broken = False  # the other end is gone: nothing can be sent any more

    def fileno(self) -> int:
        """The descriptor, for a selector; -1 once closed."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """True while something waits for the kernel's buffer to drain: watch for EPOLLOUT, then call `flush`."""
        return bool(self._outbox)

    @property
    def broken(self) -> bool:
        """True once the other end is known to be gone, or this one is closed."""
        return self._broken or self._socket.fileno() < 0

    def send(self, message: object, descriptors: list[int] | None = None) -> None:
        """Send a message, now or as soon as the kernel takes it; `descriptors` are handed over and closed here.

        Raises ChannelClosed or ChannelOverflow; the descriptors are closed in every case.
        """
        self.send_frame(encode(message), descriptors)

    def send_frame(self, frame: bytes, descriptors: list[int] | None = None) -> None:
        """The same for a message that is a frame already."""
        if self._broken:
            _close_all(descriptors or [])
            raise ChannelClosed("the other end of the pipe is gone")
        if self.outbox_bytes + len(frame) > self.outbox_limit_bytes:
            _close_all(descriptors or [])
            raise ChannelOverflow(f"the outbox holds {self.outbox_bytes} bytes that the peer does not read")
        if not self._outbox and not descriptors:  # nearly always: the kernel takes it at once
            sent = self._give(frame)
            if sent == len(frame):
                return
            self._outbox.append((memoryview(frame)[sent:], []))
            self.outbox_bytes += len(frame) - sent
            return
        self._outbox.append((memoryview(frame), descriptors or []))
        self.outbox_bytes += len(frame)
        if len(self._outbox) == 1:
            self.flush()

    def flush(self) -> None:
        """Give the kernel as much of the outbox as it takes; ChannelClosed if the other end is gone."""
        while self._outbox:
            data, descriptors = self._outbox[0]
            sent = self._give(data, descriptors)
            if not sent:
                return
            _close_all(descriptors)
            self.outbox_bytes -= sent
            if sent < len(data):
                self._outbox[0] = (data[sent:], [])
                return
            self._outbox.popleft()

    def _give(self, data: bytes | memoryview, descriptors: Sequence[int] = ()) -> int:
        """How many bytes the kernel takes now, the descriptors with the first of them; ChannelClosed."""
        try:
            if descriptors:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
                return self._socket.sendmsg([data], rights)
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ETOOMANYREFS):  # too many descriptors in flight; later
                return 0
            self._broken = True
            raise ChannelClosed("the other end of the pipe is gone") from None

    def receive(self) -> list[Any]:
        """All whole messages that have arrived, without waiting; [] if none has. Raises as `receive_bodies` does."""
        return [decode(body) for body in self.receive_bodies()]

    def receive_bodies(self) -> list[bytes]:
        """The same, not yet decoded.

        Raises ChannelClosed at the end of the stream, once everything before it has been returned. Reads a bounded
        amount a call; with a level-triggered selector the rest comes at the next wake-up.
        """
        bodies: list[bytes] = []
        for _ in range(_READS_PER_WAKE_UP):
            try:
                data = self._read()
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                if bodies:
                    break  # the end of the stream will still be there next time
                self._broken = True
                raise ChannelClosed("the other end of the pipe is gone")
            bodies += self._reader.feed(data)
            if len(data) < _READ_BYTES:
                break
        return bodies

    def take_descriptor(self) -> int:
        """The next descriptor that came with a message, in the order of sending; the caller owns it.

        LocalProtocolError if there is none: the kernel drops those for which the receiver has no room.
        """
        if not self._descriptors:
            raise LocalProtocolError("a message came without its descriptor")
        return self._descriptors.popleft()

    def close(self) -> None:
        """Close the descriptor and those that were never taken or sent."""
        self._socket.close()
        _close_all(list(self._descriptors))
        self._descriptors.clear()
        for _, descriptors in self._outbox:
            _close_all(descriptors)
        self._outbox.clear()
        self.outbox_bytes = 0

    def _read(self) -> bytes:
        length = self._socket.recv_into(_READ_INTO)
        return _READ_INTO[:length].tobytes()


class DescriptorChannel(Channel):
    """A Channel whose messages may bring descriptors (SCM_RIGHTS, unix(7)); those of one message arrive with it."""

    def _read(self) -> bytes:
        space = socket.CMSG_SPACE(_DESCRIPTORS_PER_READ * array.array("i").itemsize)
        data, ancillary, flags, _address = self._socket.recvmsg(_READ_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._descriptors.extend(received)
        if flags & socket.MSG_CTRUNC:
            raise LocalProtocolError("the kernel had no room for a descriptor: whose the others are cannot be known")
        return data


def watch(loop: Loop, channel: Channel) -> None:
    """Have the loop say when a channel that has something left to write can be written to, and only then."""
    wants_write = channel.wants_write
    if wants_write != channel.watched_for_write and not channel.broken:
        channel.watched_for_write = wants_write
        loop.modify(channel.fileno(), READ | WRITE if wants_write else READ)


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
