"""The keyboard: bytes torn anywhere become keys, and the terminal's settings come back."""

from __future__ import annotations

import os
import pty
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.keys import SEQUENCE_BYTES, Decoder, Keyboard


def decode(*chunks: bytes) -> list[str]:
    decoder = Decoder()
    keys = [key for chunk in chunks for key in decoder.feed(chunk)]
    return keys + decoder.flush()


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jK+/?", ["j", "K", "+", "/", "?"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1bOA\x1bOB\x1bOH\x1bOF", ["up", "down", "home", "end"]),
        (b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[7~\x1b[8~", ["home", "end"] * 3),
        (b"\x1b[5~\x1b[6~\x1b[3~", ["page-up", "page-down", "delete"]),
        (b"\x1b[1;5A\x1b[5;2~", ["up", "page-up"]),
        (b"\r\n\t\x7f\x08\x15\x0c", ["enter", "enter", "tab", "backspace", "backspace", "erase", "redraw"]),
        ("é你🙂".encode(), ["é", "你", "🙂"]),
        (b"\x1b", ["escape"]),
        (b"\x1b\x1b", ["escape", "escape"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x00\x01\x02\x80\xff", []),
    ],
)
def test_what_terminals_send(data: bytes, keys: list[str]) -> None:
    assert decode(data) == keys
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == keys


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b[[A",  # F1 of Linux' console
        b"\x1b[11~",
        b"\x1b[15;5~",
        b"\x1bOP",
        b"\x1b[200~",  # the brackets of a bracketed paste
        b"\x1b[?1;2c",  # a terminal's answer to who it is
        b"\x1b[24;80R",
        b"\x1b[<0;10;10M",  # a mouse
        b"\x1bK",  # Alt and the key that kills
    ],
)
def test_an_unknown_sequence_is_swallowed_whole(sequence: bytes) -> None:
    assert decode(sequence + b"x") == ["x"]


def test_an_escape_waits_for_the_rest_of_its_sequence() -> None:
    decoder = Decoder()
    assert (decoder.feed(b"\x1b"), decoder.pending) == ([], True)
    assert (decoder.feed(b"["), decoder.pending) == ([], True)
    assert (decoder.feed(b"A"), decoder.pending) == (["up"], False)


def test_half_a_sequence_is_no_key() -> None:
    assert decode(b"\x1b[1;") == []


def test_noise_without_an_end_is_bounded() -> None:
    decoder = Decoder()
    for _ in range(SEQUENCE_BYTES * 2):
        decoder.feed(b"\x1b[" + b"1;" * SEQUENCE_BYTES)
    decoder.flush()
    assert decoder.feed(b"q") == ["q"]


@given(st.lists(st.binary(max_size=8), max_size=20))
def test_any_bytes_give_keys_that_are_names_or_printable(chunks: list[bytes]) -> None:
    for key in decode(*chunks):
        assert key.isprintable()
        assert key


@given(st.text(st.sampled_from("\x1b[OA1;~Kq\x7f好"), max_size=20).map(str.encode), st.data())
def test_how_the_bytes_are_torn_makes_no_difference(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    chunks = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert decode(*chunks) == decode(data)


def test_the_terminal_gets_its_settings_back() -> None:
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with pytest.raises(ZeroDivisionError), Keyboard(slave) as keyboard:
            during = termios.tcgetattr(slave)
            assert not during[3] & (termios.ECHO | termios.ICANON)
            assert during[3] & termios.ISIG
            os.write(master, b"\x1b[Aq")
            assert keyboard.read() == ["up", "q"]
            raise ZeroDivisionError
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_unread_keys_do_not_reach_the_shell() -> None:
    master, slave = pty.openpty()
    try:
        with Keyboard(slave):
            os.write(master, b"rm -r x\n")
        os.write(master, b"ls\n")
        assert os.read(slave, 100) == b"ls\n"
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_that_is_gone_is_the_end_of_input() -> None:
    master, slave = pty.openpty()
    try:
        with Keyboard(slave) as keyboard:
            os.close(master)
            assert keyboard.read() is None
    finally:
        os.close(slave)


def test_an_escape_is_due_a_little_later() -> None:
    master, slave = pty.openpty()
    try:
        with Keyboard(slave) as keyboard:
            os.write(master, b"\x1b")
            assert keyboard.read() == []
            assert keyboard.flush_at is not None
            assert keyboard.flush() == ["escape"]
            assert keyboard.flush_at is None
    finally:
        os.close(master)
        os.close(slave)
