"""Listening sockets: real ones, over TCP and as files, and what is said when one cannot be had."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import select
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import ConfigError, StartError
from broker.listeners import BACKLOG, Listener, explain, open_all, open_listener, remove_socket_file
from broker.urls import ListenerURL, parse_listener_url

DEADLINE_SECONDS = 10.0


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    """Whatever a test opens is closed at its end."""
    with contextlib.ExitStack() as stack:
        yield stack


def listen(closing: contextlib.ExitStack, text: str) -> Listener:
    listener = open_listener(parse_listener_url(text))
    closing.callback(listener.close)
    return listener


def address(url: ListenerURL) -> tuple[int, str | tuple[str, int]]:
    """Family and address to connect to."""
    if url.path is not None:
        return socket.AF_UNIX, url.path
    assert url.host is not None
    assert url.port is not None
    return (socket.AF_INET6 if ":" in url.host else socket.AF_INET), (url.host, url.port)


def connects(listener: Listener) -> bool:
    """Whether a client gets through to this very listener."""
    family, where = address(listener.url)
    server = socket.socket(fileno=os.dup(listener.fd))
    with socket.socket(family, socket.SOCK_STREAM) as client, server:
        client.settimeout(DEADLINE_SECONDS)
        client.connect(where)
        client.sendall(b"x")
        while select.select([server], [], [], DEADLINE_SECONDS)[0]:
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(DEADLINE_SECONDS)
                if accepted.recv(1) == b"x":  # else it was somebody who only looked whether anyone listens
                    return True
        return False


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def test_port_0_becomes_the_real_port(closing: contextlib.ExitStack) -> None:
    listener = listen(closing, "chat://127.0.0.1:0")
    assert listener.url.port
    assert str(listener.url) == f"chat://127.0.0.1:{listener.url.port}"
    assert connects(listener)


def test_a_host_name_is_resolved_and_kept_in_the_url(closing: contextlib.ExitStack) -> None:
    listener = listen(closing, "chat://localhost:0")
    assert listener.url.host == "localhost"
    with socket.create_connection(("localhost", listener.url.port or 0), timeout=DEADLINE_SECONDS):
        assert select.select([listener.fd], [], [], DEADLINE_SECONDS)[0]


def test_ipv6_and_ipv4_share_a_port_side_by_side(closing: contextlib.ExitStack) -> None:
    if not has_ipv6():
        with pytest.raises(StartError, match="is not an address of this machine"):
            open_listener(parse_listener_url("chat://[::1]:0"))
        return
    six = listen(closing, "chat://[::]:0")
    four = listen(closing, f"chat://0.0.0.0:{six.url.port}")
    assert connects(six)
    assert connects(four)


@pytest.mark.parametrize("local", [False, True], ids=["tcp", "local"])
def test_the_descriptor_is_as_a_supervisor_needs_it(closing: contextlib.ExitStack, tmp_path: Path, local: bool) -> None:
    listener = listen(closing, f"chat+unix:{tmp_path}/s" if local else "chat://127.0.0.1:0")
    fd = listener.fd
    assert not os.get_blocking(fd)
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    with socket.socket(fileno=os.dup(fd)) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    del listener, sock
    gc.collect()
    os.fstat(fd)  # forgetting the object does not close the number


def test_the_backlog_is_what_the_kernel_allows_of_4096(closing: contextlib.ExitStack) -> None:
    listener = listen(closing, "chat://127.0.0.1:0")
    with socket.socket(fileno=os.dup(listener.fd)) as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    (backlog,) = struct.unpack_from("=I", info, 28)  # of a listening socket, tcpi_sacked is the backlog (tcp.c)
    assert backlog == min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))


def test_a_port_in_time_wait_is_free_for_the_next_broker(closing: contextlib.ExitStack) -> None:
    first = listen(closing, "chat://127.0.0.1:0")
    server = socket.socket(fileno=os.dup(first.fd))
    with server, socket.create_connection(("127.0.0.1", first.url.port or 0), timeout=DEADLINE_SECONDS) as client:
        assert select.select([server], [], [], DEADLINE_SECONDS)[0]
        accepted, _ = server.accept()
        accepted.close()  # who closes first keeps the port in TIME_WAIT
        assert client.recv(1) == b""
    first.close()
    assert connects(listen(closing, str(first.url)))


def test_a_taken_port_is_named(closing: contextlib.ExitStack) -> None:
    first = listen(closing, "chat://127.0.0.1:0")
    with pytest.raises(StartError) as caught:
        open_listener(first.url)
    assert str(caught.value).startswith(f"cannot listen on {first.url}: port {first.url.port} is taken")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1 is not an address of this machine"):  # TEST-NET-1, RFC 5737
        open_listener(parse_listener_url("chat://192.0.2.1:0"))


def test_an_unknown_zone_is_a_host_that_cannot_be_resolved() -> None:
    with pytest.raises(StartError, match="the host name fe80::1%nowhere cannot be resolved"):
        open_listener(parse_listener_url("chat://[fe80::1%nowhere]:0"))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("chat://h:80", OSError(errno.EACCES, "x"), "no permission for port 80 (ports below 1024"),
        ("chat://h:80", OSError(errno.EADDRINUSE, "x"), "port 80 is taken"),
        ("chat://h:80", OSError(errno.EAFNOSUPPORT, "x"), "h is not an address of this machine"),
        ("chat://h:80", OSError(errno.ENOBUFS, "No buffer space"), "No buffer space"),
        ("chat://h:80", socket.gaierror(socket.EAI_NONAME, "unknown"), "the host name h cannot be resolved (unknown)"),
        ("chat+unix:/d/s", OSError(errno.EACCES, "x"), "no permission to make a socket in /d"),
        ("chat+unix:/d/s", OSError(errno.ENOENT, "x"), "there is no directory /d"),
        ("chat+unix:/d/s", OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        ("chat+unix:/d/s", OSError(errno.EADDRINUSE, "x"), "somebody else has just made /d/s"),
    ],
)
def test_what_is_said_of_an_error(text: str, error: OSError, words: str) -> None:
    assert explain(parse_listener_url(text), error).startswith(words)


# Socket files.


def test_a_socket_file_is_for_user_and_group_whatever_the_umask(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "chat.sock"
    for mask in (0o000, 0o777):
        before = os.umask(mask)
        try:
            listener = listen(closing, f"chat+unix:{path}")
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert connects(listener)
        listener.close()
        assert not path.exists()


def test_the_longest_path_that_a_url_may_have_can_be_bound(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_PATH)
    closing.callback(os.close, directory)
    base = f"/proc/self/fd/{directory}/"  # tmp_path itself may be too long to fill up exactly
    path = base + "x" * (107 - len(base))
    assert connects(listen(closing, f"chat+unix:{path}"))
    with pytest.raises(ConfigError, match="108 bytes"):
        parse_listener_url(f"chat+unix:{path}x")
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="too long"):
        sock.bind(path + "x")


def test_a_stale_socket_file_is_replaced(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "chat.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert connects(listen(closing, f"chat+unix:{path}"))


def test_a_living_socket_file_is_left_alone(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    first = listen(closing, f"chat+unix:{tmp_path}/chat.sock")
    with pytest.raises(StartError, match="another process listens on"):
        open_listener(first.url)
    assert connects(first)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "diary"
    path.write_text("dear diary")
    with pytest.raises(StartError, match="is not a socket; it is left alone"):
        open_listener(parse_listener_url(f"chat+unix:{path}"))
    assert path.read_text() == "dear diary"


def test_a_path_that_cannot_be_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"there is no directory {tmp_path}/missing"):
        open_listener(parse_listener_url(f"chat+unix:{tmp_path}/missing/s"))
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="Not a directory"):
        open_listener(parse_listener_url(f"chat+unix:{tmp_path}/file/s"))


def test_close_removes_only_the_file_that_was_bound(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "chat.sock"
    old = listen(closing, f"chat+unix:{path}")
    path.unlink()
    new = listen(closing, f"chat+unix:{path}")
    remove_socket_file(old)
    old.close()
    assert connects(new)
    new.close()
    assert not path.exists()


def test_closing_twice_does_not_close_the_next_owner_of_the_number(closing: contextlib.ExitStack) -> None:
    listener = listen(closing, "chat://127.0.0.1:0")
    number = listener.fd
    listener.close()
    assert listener.fd == -1
    other = os.open(os.devnull, os.O_RDONLY)
    closing.callback(os.close, other)
    if other != number:
        os.dup2(other, number)
        closing.callback(os.close, number)
    listener.close()
    os.fstat(number)


def test_all_are_opened_in_order(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    urls = [
        parse_listener_url(text) for text in ("chat://127.0.0.1:0", f"chat+unix:{tmp_path}/s", "chat://127.0.0.1:0")
    ]
    listeners = open_all(urls)
    for listener in listeners:
        closing.callback(listener.close)
    assert [listener.url.scheme for listener in listeners] == ["chat", "chat+unix", "chat"]
    assert len({listener.url for listener in listeners}) == 3
    assert all(map(connects, listeners))


def test_all_or_none(closing: contextlib.ExitStack, tmp_path: Path) -> None:
    taken = listen(closing, "chat://127.0.0.1:0")
    before = descriptors()
    urls = [parse_listener_url(text) for text in (f"chat+unix:{tmp_path}/s", "chat://127.0.0.1:0", str(taken.url))]
    with pytest.raises(StartError, match="is taken"):
        open_all(urls)
    assert descriptors() == before
    assert os.listdir(tmp_path) == []


def test_a_failed_open_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for text in ("chat://192.0.2.1:0", f"chat+unix:{tmp_path}/missing/s"):
        with pytest.raises(StartError):
            open_listener(parse_listener_url(text))
    assert descriptors() == before
