"""A kernel made of lists: Pipes, clients' sockets, epoll, shared memory, and processes that die at any of their calls.

Each call of a process is two *steps*, one before and one after what it does; a `Life` may be told to end at any step.
What had been done by then stays done, as in a kernel that kills: Pipes close, what is in them stays readable, a socket
lives as long as somebody has a descriptor of it. Nothing here knows what the processes are for.
"""

from __future__ import annotations

import errno
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from broker.ledger import Ledger
from broker.stream_position import TCPCounters, TCPPosition, tcp_position

LOWEST_FD = 1_000_000  # no real descriptor has such a number: whoever mistakes one for the other gets EBADF
ESTABLISHED, FIN_WAIT1, CLOSE, CLOSE_WAIT, LAST_ACK = 1, 4, 7, 8, 9
SO_PEEK_OFF = 42


class Killed(BaseException):
    """The process that made this call is no more."""


class Fate:
    """The steps of all processes together, counted from 1, and at which of them whoever makes it dies."""

    def __init__(self, strikes: Iterable[int] = ()) -> None:
        self.steps = 0
        self.strikes = frozenset(strikes)


class Life:
    """One process, from its birth to its end: its descriptors, and how many steps it has made."""

    def __init__(
        self, name: str, random: Random, fate: Fate, on_death: Callable[[Life], None] = lambda life: None
    ) -> None:
        self.name = name
        self.random = random
        self.fate = fate
        self.files: dict[int, Any] = {}
        self.steps = 0
        self.dead = False
        self.dies_at: int | None = None
        self.last_call = ""
        self._on_death = on_death

    def step(self, call: str) -> None:
        """One step of the call; raises Killed if the process does not survive it."""
        if not self.dead:
            self.steps += 1
            self.fate.steps += 1
            if self.steps == self.dies_at or self.fate.steps in self.fate.strikes:
                self.last_call = call
                self.kill()
        if self.dead:
            raise Killed(call)

    def amount(self, most: int) -> int:
        """How much of what the call could do is done: all of it, unless the process dies amid it."""
        return self.random.randint(0, most) if self.dies_next else most

    @property
    def dies_next(self) -> bool:
        """Whether the next step is the last."""
        return self.dies_at == self.steps + 1 or self.fate.steps + 1 in self.fate.strikes

    def kill(self) -> None:
        """End it here and now: all its descriptors are closed."""
        if not self.dead:
            self.dead = True
            for file in self.files.values():
                file.let_go()
            self.files.clear()
            self._on_death(self)

    def open(self, file: Any, fd: int | None = None) -> int:
        """Give the process a descriptor of the file: the lowest that is free, or the one that is asked for."""
        if fd is None:
            fd = LOWEST_FD
            while fd in self.files:
                fd += 1
        assert fd not in self.files
        self.files[fd] = file
        file.hold()
        return fd

    def close(self, fd: int) -> None:
        self.files.pop(fd).let_go()


class Endpoint:
    """One end of a Pipe, held by any number of descriptors."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity  # of what is on its way to this end
        self.queue: deque[tuple[bytes, list[Any]]] = deque()  # and the files that came with it
        self.queued = 0
        self.holders = 0
        self.closed = False
        self.peer: Endpoint = self

    def hold(self) -> None:
        self.holders += 1

    def let_go(self) -> None:
        self.holders -= 1
        if not self.holders:
            self.closed = True
            for _, files in self.queue:  # what was on its way to nobody
                for file in files:
                    file.let_go()
            self.queue.clear()
            self.queued = 0

    def put(self, data: bytes, files: list[Any]) -> None:
        """Something for whoever has this end."""
        for file in files:
            file.hold()
        self.queue.append((data, files))
        self.queued += len(data)

    def take(self, limit: int) -> tuple[bytes, list[Any]]:
        """Bytes in order; those that came with files are not joined with what is behind them (unix(7))."""
        data = b""
        while self.queue and len(data) < limit:
            piece, files = self.queue.popleft()
            if files and data:
                self.queue.appendleft((piece, files))
                break
            part = piece[: limit - len(data)]
            if len(part) < len(piece):
                self.queue.appendleft((piece[len(part) :], []))
            data += part
            self.queued -= len(part)
            if files:
                return data, files
        return data, []

    def readiness(self) -> int:
        events = 0
        if self.queue or self.peer.closed:
            events |= select.EPOLLIN
        if self.peer.closed:
            events |= select.EPOLLHUP
        if self.peer.closed or self.peer.queued < self.peer.capacity:
            events |= select.EPOLLOUT
        return events


def pipe(capacity: int) -> tuple[Endpoint, Endpoint]:
    """Two ends that are joined."""
    one, other = Endpoint(capacity), Endpoint(capacity)
    one.peer, other.peer = other, one
    return one, other


class PipeSocket:
    """What a process has of an end: as much of `socket.socket` as a Channel uses."""

    def __init__(self, life: Life, fd: int) -> None:
        self._life, self._fd = life, fd
        self._end: Endpoint = life.files[fd]

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def recv_into(self, buffer: memoryview) -> int:
        data, files = self._receive(len(buffer))
        assert not files
        buffer[: len(data)] = data
        return len(data)

    def recvmsg(self, limit: int, _space: int, _flags: int) -> tuple[bytes, list[Any], int, None]:
        data, files = self._receive(limit)
        fds = b"".join(self._life.open(file).to_bytes(4, "little") for file in files)
        for file in files:
            file.let_go()  # it was held by the message
        return data, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else [], 0, None

    def _receive(self, limit: int) -> tuple[bytes, list[Any]]:
        self._life.step("pipe recv")
        if not self._end.queue and not self._end.peer.closed:
            raise BlockingIOError
        data, files = self._end.take(limit)
        if self._life.dies_next:
            for file in files:
                file.let_go()
        self._life.step("pipe recv")
        return data, files

    def send(self, data: bytes | memoryview) -> int:
        self._life.step("pipe send")
        peer = self._end.peer
        if peer.closed:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        room = min(len(data), peer.capacity - peer.queued)
        if room <= 0:
            raise BlockingIOError
        taken = self._life.amount(room)
        if taken:
            peer.put(bytes(data[:taken]), [])
        self._life.step("pipe send")
        return taken

    def close(self) -> None:
        self._life.step("pipe close")
        self._life.close(self._fd)
        self._fd = -1


class Connection:
    """A client's connection: two queues, what the kernel counts of them, and the client at the other end."""

    def __init__(self, name: str, local: bool, room_in: int, room_out: int, random: Random) -> None:
        self.name, self.local, self.random = name, local, random
        self.room_in, self.room_out = room_in, room_out
        self.incoming = bytearray()
        self.arrived = 0  # bytes ever received from the client
        self.fin = self.reset = self.error_pending = False
        self.outgoing = bytearray()
        self.acknowledged = 0  # bytes that the client has got
        self.received = bytearray()  # by the client
        self.taken = 0  # bytes that the kernel has ever taken for it
        self.losses: list[tuple[int, int]] = []  # of a local one: parts of its stream that it will never get
        self.shut_down = False
        self.peek_offset = -1
        self.no_space = False  # somebody wants to hear when there is room again
        self.watchers: list[Epoll] = []
        self.holders = 0
        self.closed = False

    # The client's side.

    def client_sends(self, data: bytes) -> int:
        """As much as there is room for."""
        taken = min(len(data), self.room_in - len(self.incoming))
        if taken and not self.over:
            self.incoming += data[:taken]
            self.arrived += taken
            self._edge()
        return taken

    def client_finishes(self) -> None:
        self.fin = True
        self._edge()

    def client_resets(self) -> None:
        self.reset = self.error_pending = True
        self.outgoing.clear()
        self._edge()

    def client_reads(self, limit: int) -> int:
        """Take what has been sent."""
        part = self.outgoing[:limit]
        del self.outgoing[:limit]
        self.received += part
        self.acknowledged += len(part)
        if part and self.no_space and len(self.outgoing) < self.room_out:
            self.no_space = False
            self._edge()
        return len(part)

    @property
    def over(self) -> bool:
        """Nothing can be received any more."""
        return self.shut_down or self.reset or self.closed

    def note_loss(self, position: int, under_way: int) -> None:
        """By the ledger so much was under way at that position of the stream: what the kernel has not got is lost."""
        reached = self.taken + sum(end - start for start, end in self.losses)
        if under_way and reached < position + under_way:
            self.losses.append((reached, position + under_way))

    # The kernel's side.

    def hold(self) -> None:
        self.holders += 1

    def let_go(self) -> None:
        self.holders -= 1
        if not self.holders:
            self.closed = True

    def _edge(self) -> None:
        self.watchers = [epoll for epoll in self.watchers if not epoll.life.dead]
        for epoll in self.watchers:
            epoll.edges.add(self)

    def readiness(self) -> int:
        events = 0
        ended = self.fin or self.shut_down or self.reset
        if self.incoming or ended:
            events |= select.EPOLLIN
        if ended:
            events |= select.EPOLLRDHUP
        if self.reset:
            events |= select.EPOLLHUP
            if self.error_pending:
                events |= select.EPOLLERR
        if self.reset or self.shut_down or len(self.outgoing) < self.room_out:
            events |= select.EPOLLOUT
        else:
            self.no_space = True
        return events

    def position(self) -> TCPPosition:
        if self.reset:
            state = CLOSE
        elif self.shut_down:
            state = LAST_ACK if self.fin else FIN_WAIT1
        else:
            state = CLOSE_WAIT if self.fin else ESTABLISHED
        counters = TCPCounters(state, self.acknowledged, self.arrived + self.fin)
        return tcp_position(counters, len(self.incoming), len(self.outgoing))


class ClientSocket:
    """What a worker has of a connection: as much of `socket.socket` as it uses."""

    def __init__(self, life: Life, fd: int) -> None:
        self.life, self._fd = life, fd
        self.connection: Connection = life.files[fd]

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def recv(self, limit: int, flags: int) -> bytes:
        assert flags == socket.MSG_PEEK
        self.life.step("peek")
        data = self._read(limit, peek=True)
        self.life.step("peek")
        return data

    def recv_into(self, buffer: bytearray, limit: int, flags: int) -> int:
        assert flags == socket.MSG_TRUNC
        self.life.step("consume")
        data = self._read(limit or len(buffer), peek=False)
        self.life.step("consume")
        return len(data)

    def _read(self, limit: int, peek: bool) -> bytes:
        link = self.connection
        if not peek:
            limit = self.life.amount(limit)
        start = max(0, link.peek_offset) if peek else 0
        data = bytes(link.incoming[start : start + limit])
        if data:
            if not peek:
                del link.incoming[: len(data)]
            if link.peek_offset >= 0:
                link.peek_offset = link.peek_offset + len(data) if peek else max(0, link.peek_offset - len(data))
            return data
        if link.error_pending:
            link.error_pending = False
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if link.fin or link.shut_down or link.reset or not limit:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | memoryview) -> int:
        self.life.step("send")
        link = self.connection
        if link.error_pending:
            link.error_pending = False
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if link.shut_down or link.reset:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        room = link.room_out - len(link.outgoing)
        if room <= 0:
            link.no_space = True
            raise BlockingIOError
        taken = self.life.amount(min(room, len(data)))
        if taken < len(data):
            link.no_space = True
        link.outgoing += data[:taken]
        link.taken += taken
        self.life.step("send")
        return taken

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_RDWR
        self.life.step("shutdown")
        self.connection.shut_down = True
        self.life.step("shutdown")

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, SO_PEEK_OFF)
        return self.connection.peek_offset

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (socket.SOL_SOCKET, SO_PEEK_OFF) and self.connection.local
        self.life.step("setsockopt")
        self.connection.peek_offset = value
        self.life.step("setsockopt")

    def close(self) -> None:
        self.life.step("close")
        self.life.close(self._fd)
        self.life.step("close")


def position_of_tcp(sock: ClientSocket) -> TCPPosition:
    """As `broker.kernel_position` has it."""
    assert not sock.connection.local, "there is no TCP_INFO of a local socket"
    sock.life.step("TCP_INFO")
    return sock.connection.position()


class Epoll:
    """Level-triggered for Pipes and other descriptors, edge-triggered for connections, as they are registered."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self._masks: dict[int, int] = {}
        self.edges: set[Connection] = set()

    def register(self, fd: int, mask: int) -> None:
        self.life.step("epoll_ctl")
        assert fd not in self._masks
        self._masks[fd] = mask
        file = self.life.files[fd]
        if mask & select.EPOLLET:
            file.watchers.append(self)
            self.edges.add(file)
        self.life.step("epoll_ctl")

    def modify(self, fd: int, mask: int) -> None:
        self.life.step("epoll_ctl")
        assert fd in self._masks
        self._masks[fd] = mask

    def unregister(self, fd: int) -> None:
        self.life.step("epoll_ctl")
        if self._masks.pop(fd) & select.EPOLLET:
            file = self.life.files[fd]
            file.watchers.remove(self)
            self.edges.discard(file)

    def ready(self) -> list[tuple[int, int]]:
        """What a poll would give."""
        found = []
        for fd, mask in self._masks.items():
            file = self.life.files[fd]
            if mask & select.EPOLLET and file not in self.edges:
                continue
            events = file.readiness() & (mask | select.EPOLLHUP | select.EPOLLERR)
            if events:
                found.append((fd, events))
        return found

    def poll(self, _timeout: float) -> list[tuple[int, int]]:
        """Some of what is ready, in any order."""
        self.life.step("epoll_wait")
        found = self.ready()
        self.life.random.shuffle(found)
        found = found[: self.life.random.randint(1, len(found))] if found else found
        for fd, _ in found:
            self.edges.discard(self.life.files[fd])
        return found


class Words:
    """A row of the ledger, as one process stores into it."""

    def __init__(self, life: Life, words: memoryview) -> None:
        self._life, self._words = life, words

    def __getitem__(self, slot: int) -> int:
        return self._words[slot]

    def __setitem__(self, slot: int, word: int) -> None:
        self._life.step("store")
        self._words[slot] = word
        self._life.step("store")


class LedgerOfLife:
    """The ledger as one process has it mapped."""

    def __init__(self, life: Life, ledger: Ledger) -> None:
        self.scratch = ledger.scratch
        self.output = Words(life, ledger.output)
        self.sent = Words(life, ledger.sent)
        self.consumed = Words(life, ledger.consumed)
