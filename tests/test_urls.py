"""Listener URLs: what is accepted and how it is spelt, what is refused and in which words."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.text import UNWANTED
from broker.urls import ALLOWED, SCHEMES, UNIX_PATH_BYTES, ListenerURL, parse_listener_url


@pytest.mark.parametrize(
    ("text", "host", "port", "canonical"),
    [
        ("chat://127.0.0.1:8888", "127.0.0.1", 8888, "chat://127.0.0.1:8888"),
        ("chat://0.0.0.0:0", "0.0.0.0", 0, "chat://0.0.0.0:0"),
        ("chat://[::1]:0", "::1", 0, "chat://[::1]:0"),
        ("chat://[::]:65535", "::", 65535, "chat://[::]:65535"),
        ("chat://[2001:DB8:0::0:1]:80", "2001:db8::1", 80, "chat://[2001:db8::1]:80"),
        ("chat://[fe80::1%eth0]:80", "fe80::1%eth0", 80, "chat://[fe80::1%eth0]:80"),
        ("CHAT://LocalHost:08888", "localhost", 8888, "chat://localhost:8888"),
        ("chat://a-b.example_1.org.:1", "a-b.example_1.org.", 1, "chat://a-b.example_1.org.:1"),
    ],
)
def test_tcp(text: str, host: str, port: int, canonical: str) -> None:
    url = parse_listener_url(text)
    assert url == ListenerURL("chat", "chat", host=host, port=port)
    assert str(url) == canonical


@pytest.mark.parametrize(
    ("text", "path", "canonical"),
    [
        ("chat+unix:/run/broker/chat.sock", "/run/broker/chat.sock", "chat+unix:/run/broker/chat.sock"),
        ("chat+unix:///run/chat.sock", "/run/chat.sock", "chat+unix:/run/chat.sock"),
        ("chat+unix:/run//chat.sock", "/run/chat.sock", "chat+unix:/run/chat.sock"),
        ("chat+unix:chat.sock", "chat.sock", "chat+unix:chat.sock"),
        ("chat+unix:a b%20?c#d:e@[f]", "a b%20?c#d:e@[f]", "chat+unix:a b%20?c#d:e@[f]"),
        ("Chat+Unix:/聊天", "/聊天", "chat+unix:/聊天"),
    ],
)
def test_local(text: str, path: str, canonical: str) -> None:
    url = parse_listener_url(text)
    assert url == ListenerURL("chat+unix", "chat", path=path)
    assert str(url) == canonical


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no scheme"),
        ("127.0.0.1:8888", "no scheme"),
        ("localhost:8888", "no scheme"),
        ("/run/chat.sock", "no scheme"),
        ("chats://x:1", "no scheme 'chats', the nearest is 'chat'"),
        ("chat+unx:/x", "no scheme 'chat+unx', the nearest is 'chat+unix'"),
        ("https://x:1", "no scheme 'https';"),
        ("chat:/x", "two slashes must follow"),
        ("chat://", "no host"),
        ("chat://:8888", "0.0.0.0 and [::] are all its interfaces"),
        ("chat://127.0.0.1", "no port"),
        ("chat://127.0.0.1:", "no port"),
        ("chat://h:65536", "'65536' is not a port: they go from 0 to 65535"),
        ("chat://h:-1", "'-1' is not a port"),
        ("chat://h:+1", "'+1' is not a port"),
        ("chat://h:８８", "'８８' is not a port"),
        ("chat://h:1/", "'1/' is not a port"),
        ("chat://h:http", "'http' is not a port"),
        ("chat://::1:8888", "an IPv6 address must stand in brackets"),
        ("chat://[::1:8888", "not HOST:PORT"),
        ("chat://[::1]8888", "not HOST:PORT"),
        ("chat://[127.0.0.1]:1", "'127.0.0.1' is not an IPv6 address"),
        ("chat://[]:1", "'' is not an IPv6 address"),
        ("chat://256.0.0.1:1", "'256.0.0.1' is not an IPv4 address"),
        ("chat://127.1:1", "'127.1' is not an IPv4 address"),
        ("chat://2130706433:1", "'2130706433' is not an IPv4 address"),
        ("chat://ann@h:1", "'ann@h' is not a host name"),
        ("chat://a b:1", "'a b' is not a host name"),
        ("chat://a..b:1", "'a..b' is not a host name"),
        ("chat://*:1", "'*' is not a host name"),
        ("chat://-a:1", "'-a' is not a host name"),
        (f"chat://{'a' * 64}:1", "is not a host name"),
        (f"chat://{'a.' * 127}a:1", "is not a host name"),
        ("chat+unix:", "no path"),
        ("chat+unix://run/chat.sock", "write one slash or three"),
        ("chat+unix:/a\x00b", "control characters"),
        ("chat+unix:/a\x1b[2J", "control characters"),
        ("chat+unix:/a\udc80", "not valid UTF-8"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_listener_url(text)
    assert why in str(caught.value)
    assert ALLOWED in str(caught.value), "it says what is allowed"


def test_what_is_allowed_names_every_scheme() -> None:
    assert ALLOWED == "chat://HOST:PORT, chat+unix:PATH, irc://HOST:PORT and irc+unix:PATH"
    assert all(f"{scheme}:" in ALLOWED for scheme in SCHEMES)


def test_a_path_may_be_as_long_as_the_kernel_takes_and_no_longer() -> None:
    longest = "/" + "é" * ((UNIX_PATH_BYTES - 1) // 2)
    assert len(longest.encode()) == UNIX_PATH_BYTES == 107
    assert parse_listener_url(f"chat+unix:{longest}").path == longest
    with pytest.raises(ConfigError, match="its path is 108 bytes long, and a local socket's has at most 107"):
        parse_listener_url(f"chat+unix:{longest}x")


def test_a_relative_path_is_taken_from_the_base() -> None:
    url = parse_listener_url("chat+unix:sub/chat.sock")
    assert str(url.resolve(Path("/run/broker"))) == "chat+unix:/run/broker/sub/chat.sock"
    assert str(parse_listener_url("chat+unix:/x").resolve(Path("/run"))) == "chat+unix:/x"
    tcp = parse_listener_url("chat://h:1")
    assert tcp.resolve(Path("/run")) is tcp


@pytest.mark.parametrize(
    ("base", "why"),
    [("/" + "x" * 100, "at most 107"), ("/\x1b[2J", "control characters"), ("/\udcff", "not valid UTF-8")],
)
def test_a_base_that_spoils_the_path_is_refused(base: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_listener_url("chat+unix:chat.sock").resolve(Path(base))


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.from_regex(r"[a-z](?:[a-z0-9-]{0,10}[a-z0-9])?(?:\.[a-z]{2,5}){0,3}", fullmatch=True),
)


@given(HOSTS, st.integers(0, 65535))
def test_a_tcp_url_comes_back_as_it_went_in(host: str, port: int) -> None:
    text = f"chat://{host}:{port}"
    url = parse_listener_url(text)
    assert str(url) == text
    if url.host is not None and url.host[0].isdigit() and "." in url.host and ":" not in url.host:
        assert IPv4Address(url.host)
    if url.host is not None and ":" in url.host:
        assert IPv6Address(url.host)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser_or_the_terminal(text: str) -> None:
    for candidate in (text, f"chat:{text}", f"chat://{text}", f"chat://{text}:1", f"chat+unix:{text}"):
        outcome = parsed_or_refused(candidate)
        if isinstance(outcome, str):
            assert UNWANTED.search(outcome) is None
        else:
            assert parse_listener_url(str(outcome)) == outcome, "the canonical form means the same"


def parsed_or_refused(text: str) -> ListenerURL | str:
    try:
        return parse_listener_url(text)
    except ConfigError as error:
        return str(error)


def test_a_long_text_gives_a_short_message() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_listener_url("x" * 100_000)
    assert len(str(caught.value)) < 300
