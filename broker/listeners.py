"""Listening sockets: made from URLs by the supervisor before its first fork, closed by it at the end, which is also
where connections are accepted.

Holds plain descriptors, not socket objects: a forked child that drops a Python socket would close it, and with it
whatever had got the number since. Refuses to know what is
spoken on the connections.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from broker.errors import StartError
from broker.linux import peer_credentials
from broker.state_dir import clear_stale_socket
from broker.text import shared
from broker.urls import ListenerURL

BACKLOG: Final = 4096
"""Connections that may wait for accept(); the kernel takes at most net.core.somaxconn (listen(2))."""

RECEIVE_BUFFER_BYTES: Final = 256 * 1024
"""Of each accepted connection (inherited, tcp(7)). Input stays in the kernel until it is acknowledged, and one unread
byte keeps all of its segment's memory, 64 KiB and more over loopback. In the default buffer that leaves less room than
one segment, the window closes (RFC 9293, 3.8.6.2.2), and the rest of a line never comes."""

SOCKET_MODE: Final = 0o660
"""Of a socket file: who may write to it may connect (unix(7)). The state directory's 0700 keeps everybody else out."""

_NOT_THIS_ONE: Final = {errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.EHOSTDOWN,
                        errno.ENOPROTOOPT, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH}  # fmt: skip
"""Errors of a connection that died while it waited (accept(2), "Error handling"): take the next one."""


class Listener:
    """A listening socket. `url` has the real port; `fd` is non-blocking and close-on-exec, and -1 once closed."""

    __slots__ = ("_file", "fd", "url")

    def __init__(self, url: ListenerURL, fd: int, file: tuple[int, int] | None) -> None:
        self.url = url
        self.fd = fd
        self._file = file
        """Device and inode of the socket file as it was bound; None over TCP and once removed."""

    def __repr__(self) -> str:
        return f"<Listener {self.url} fd={self.fd}>"

    def close(self) -> None:
        """Stop listening and remove the socket file; once is enough, more does no harm. For the supervisor only."""
        # The open socket pins its inode, so the number cannot belong to another file yet: remove first, then close.
        remove_socket_file(self)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def remove_socket_file(listener: Listener) -> None:
    """Remove the file of a local listener, if it is still the one that was bound."""
    path, bound = listener.url.path, listener._file
    listener._file = None
    if path is None or bound is None:
        return
    with contextlib.suppress(OSError):  # gone, or out of reach: either way not ours to remove
        if _identity(path) == bound:
            os.unlink(path)


class Accepted(NamedTuple):
    """A connection: `peer` is its printable name, `address` what limits count by, the host or the local user."""

    fd: int
    peer: str
    address: str
    local: bool


def accept(listener: Listener) -> Accepted | None:
    """The next connection that waits, None if there is none; OSError if it cannot be had (accept(2))."""
    sock = socket.socket(fileno=listener.fd)
    try:
        while True:
            try:
                connection, peer = sock.accept()
                break
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in _NOT_THIS_ONE:
                    raise
    finally:
        sock.detach()
    if connection.family == socket.AF_UNIX:
        pid, uid = peer_credentials(connection)
        return Accepted(connection.detach(), f"uid {uid} pid {pid}", f"uid {uid}", True)
    host, port = peer[0], peer[1]
    host = shared(host.removeprefix("::ffff:") if "." in host else host)
    return Accepted(connection.detach(), f"[{host}]:{port}" if ":" in host else f"{host}:{port}", host, False)


def open_listener(url: ListenerURL) -> Listener:
    """Listen on one URL, whose path is absolute; StartError saying why that cannot be."""
    try:
        return _open_local(url, url.path) if url.path is not None else _open_tcp(url)
    except OSError as error:
        raise StartError(f"cannot listen on {url}: {explain(url, error)}") from None


def open_all(urls: Iterable[ListenerURL]) -> list[Listener]:
    """Listen on all of them or on none; StartError about the first that cannot be had."""
    with contextlib.ExitStack() as undo:
        listeners = []
        for url in urls:
            listener = open_listener(url)
            undo.callback(listener.close)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def _open_tcp(url: ListenerURL) -> Listener:
    """On the first address of the host that works: a name such as `localhost` may have one that this machine lacks."""
    addresses = socket.getaddrinfo(
        url.host, url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )
    failure: OSError | None = None
    for family, _, _, _, address in addresses:
        try:
            fd, port = _listen_tcp(family, address)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            failure = failure or error
        else:
            return Listener(replace(url, port=port), fd, None)
    assert failure is not None, "getaddrinfo returns at least one address or raises"
    raise failure


def _listen_tcp(family: socket.AddressFamily, address: tuple[object, ...]) -> tuple[int, int]:
    """The descriptor and the real port."""
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] and 0.0.0.0 can be listened on side by side, and an IPv4 peer has one spelling, not two.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        # Inherited as well: urgent data is data, and not out of band (tcp(7)); a peer that has vanished is noticed; and
        # as batching is the worker's, Nagle's algorithm would only add its delay.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        port: int = sock.getsockname()[1]
        return sock.detach(), port


def _open_local(url: ListenerURL, path: str) -> Listener:
    clear_stale_socket(Path(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        sock.bind(path)
        listener = Listener(url, -1, _identity(path))
        try:
            os.chmod(path, SOCKET_MODE)  # nobody can connect before listen(), whatever bind() made of the umask
            sock.listen(BACKLOG)
        except OSError:
            remove_socket_file(listener)
            raise
        listener.fd = sock.detach()
        return listener


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def explain(url: ListenerURL, error: OSError) -> str:
    """Why one cannot listen there, and what a person can do about it (bind(2), tcp(7), unix(7))."""
    if isinstance(error, socket.gaierror):
        return f"the host name {url.host} cannot be resolved ({error.strerror})"
    if url.path is not None:
        return _explain_local(url.path, error)
    if error.errno == errno.EADDRINUSE:
        return f"port {url.port} is taken; stop who has it, or name another port (0: any that is free)"
    if error.errno == errno.EACCES:
        return f"no permission for port {url.port} (ports below 1024 need CAP_NET_BIND_SERVICE); name another port"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{url.host} is not an address of this machine; 127.0.0.1 always is"
    return error.strerror or str(error)


def _explain_local(path: str, error: OSError) -> str:
    directory = os.path.dirname(path)
    match error.errno:
        case errno.ENOENT:
            return f"there is no directory {directory}"
        case errno.EACCES | errno.EPERM:
            return f"no permission to make a socket in {directory}"
        case errno.EADDRINUSE:
            return f"somebody else has just made {path}"
        case _:
            return error.strerror or str(error)
