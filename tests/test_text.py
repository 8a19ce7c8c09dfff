"""What is removed from a line before anybody else's terminal gets it (docs/chat-protocol.md, "Text")."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.text import UNWANTED, clean, decode


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"hello", "hello"),
        ("你好".encode(), "你好"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xe4\xbd", "\ufffd"),  # a character cut short
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate
        (b"\xc0\xaf", "\ufffd\ufffd"),  # a slash, written too long
        (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),  # past U+10FFFF
    ],
)
def test_decode(data: bytes, text: str) -> None:
    assert decode(data) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain text, 中文 – é", "plain text, 中文 – é"),
        ("\x1b[2J\x1b]0;title\x07", "[2J]0;title"),
        ("\x9b2J", "2J"),
        ("a\tb", "a b"),
        ("a\x00\x08\x7fb\r", "ab"),
        ("a\u2028b\u2029c\x85d", "abcd"),
        ("\u202egnp.exe\u202c\u2066x\u2069\u200e\u200f\u061c", "gnp.exex"),
        ("\ufeffbom", "bom"),
        ("a\ufdd0\ufffe\U0010ffffb", "ab"),
        ("🏴\U000e0067\U000e0062\U000e007f", "🏴"),
        ("👩\u200d💻 ❤\ufe0f नर्\u200dस می\u200cخواهم", "👩\u200d💻 ❤\ufe0f नर्\u200dस می\u200cخواهم"),
        ("a\u3000b\u00a0c\u00ad", "a\u3000b\u00a0c\u00ad"),
        ("\x1b", ""),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_exactly_the_documented_code_points_are_unwanted() -> None:
    documented = {
        *[code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc"],
        0x2028, 0x2029, 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF,
        *range(0xFDD0, 0xFDF0), *[plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF)],
        *range(0xE0000, 0xE0080), *range(0xD800, 0xE000),
    }  # fmt: skip
    assert {code for code in range(0x110000) if UNWANTED.match(chr(code))} == documented


def test_nothing_unwanted_is_printable() -> None:
    """The short cut in `clean` rests on this."""
    assert not [code for code in range(0x110000) if UNWANTED.match(chr(code)) and chr(code).isprintable()]


@given(st.binary(max_size=200))
def test_any_bytes_become_text_that_is_clean_and_stays_so(data: bytes) -> None:
    text = clean(decode(data))
    assert UNWANTED.search(text) is None
    assert clean(text) == text
    assert text.encode().decode() == text
    assert len(text.encode()) <= 3 * len(data)
