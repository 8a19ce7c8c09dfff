"""The name rule of docs/chat-protocol.md."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.names import SYMBOLS_ANYWHERE, SYMBOLS_FIRST, Name, NameFault, key_of, parse_name, parse_room_name

LIMIT = 32

# DerivedCoreProperties.txt of Unicode 15.1, Default_Ignorable_Code_Point.
DEFAULT_IGNORABLE = [
    0x00AD, 0x034F, 0x061C, *range(0x115F, 0x1161), *range(0x17B4, 0x17B6), *range(0x180B, 0x1810),
    *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF,
    0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("ann", "ann"),
        ("  ann\t", "ann"),
        ("张三", "张三"),
        ("e\u0301mile", "émile"),  # shown composed
        ("７up", "７up"),
        ("3com", "3com"),
        ("a" * LIMIT, "a" * LIMIT),
        ("e\u0301" * LIMIT, "é" * LIMIT),  # the limit is on the composed form
        ("a/b~c#d&e", "a/b~c#d&e"),
        ("🦊", "🦊"),
        ("O’Brien-Łukasz_2", "O’Brien-Łukasz_2"),
        ("नमस्ते", "नमस्ते"),  # marks that do not begin the name
    ],
)
def test_good_names(text: str, display: str) -> None:
    assert parse_name(text, LIMIT) == Name(display, key_of(display))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", NameFault.EMPTY),
        (" \t\u3000", NameFault.EMPTY),
        ("a" * (LIMIT + 1), NameFault.TOO_LONG),
        ("a" * 5000, NameFault.TOO_LONG),
        ("a" + "\u0301\u0323" * 1000, NameFault.TOO_LONG),
        ("\ufdfa" * 8, NameFault.TOO_LONG),  # its key is 18 times as long
        ("ann lee", NameFault.SPACE),
        ("ann\u3000lee", NameFault.SPACE),
        ("ann\u2028lee", NameFault.SPACE),
        ("ann\u00a8", NameFault.SPACE),  # NFKC: a space and a mark
        ("an\x1b[31mn", NameFault.UNPRINTABLE),
        ("ann\x00", NameFault.UNPRINTABLE),
        ("ann\x9b", NameFault.UNPRINTABLE),
        ("ann\u200d", NameFault.UNPRINTABLE),
        ("ann\u202e", NameFault.UNPRINTABLE),
        ("ann\ufe0f", NameFault.UNPRINTABLE),
        ("\u3164", NameFault.UNPRINTABLE),
        ("\u2800", NameFault.UNPRINTABLE),
        ("ann\ufffd", NameFault.UNPRINTABLE),
        ("\u0301ann", NameFault.UNPRINTABLE),
        ("a:", NameFault.SYMBOL),
        ("a\uff1a", NameFault.SYMBOL),  # a full-width colon
        ("\uff03a", NameFault.SYMBOL),  # a full-width #
        ("a⁇", NameFault.SYMBOL),  # NFKC: two question marks
        *[(f"a{symbol}b", NameFault.SYMBOL) for symbol in SYMBOLS_ANYWHERE],
        *[(f"{symbol}a", NameFault.SYMBOL) for symbol in SYMBOLS_ANYWHERE + SYMBOLS_FIRST],
    ],
)
def test_bad_names(text: str, fault: NameFault) -> None:
    assert parse_name(text, LIMIT) is fault


@pytest.mark.parametrize(
    "same",
    [
        ("Ann", "ann", "ANN", "Ａnn", "ａｎｎ", "𝐀𝐧𝐧"),
        ("é", "e\u0301", "É", "E\u0301"),
        ("straße", "STRASSE", "strasse", "straẞe"),
        ("ﬁn", "fin", "FIN"),
        ("ς", "σ", "Σ"),
        ("가", "\u1100\u1161"),  # Hangul, composed and in letters
        ("ガ", "ｶﾞ"),  # half-width katakana with its voiced sound mark
        ("①", "1"),
        ("ᾴ", "ᾳ\u0301", "α\u0345\u0301"),
        ("ᾳ\u0323", "α\u0323ι"),  # only NFD first puts the iota last
        ("℡", "TEL", "tel"),  # only a second casefold makes what NFKC gave small
    ],
)
def test_names_that_are_one(same: tuple[str, ...]) -> None:
    names = [parse_name(text, LIMIT) for text in same]
    assert len({name.key for name in names if isinstance(name, Name)}) == 1
    assert all(isinstance(name, Name) for name in names)


@pytest.mark.parametrize(("one", "other"), [("ann", "anne"), ("е", "e"), ("e", "é"), ("1", "l"), ("0", "O")])
def test_names_that_are_two(one: str, other: str) -> None:
    assert key_of(one) != key_of(other)


def test_no_single_code_point_is_an_invisible_name() -> None:
    accepted = {code for code in range(0x110000) if isinstance(parse_name(chr(code), LIMIT), Name)}
    assert len(accepted) > 100_000
    assert accepted.isdisjoint(DEFAULT_IGNORABLE)
    assert {unicodedata.category(chr(code))[0] for code in accepted} == set("LNPS")


def test_a_blank_is_refused_inside_a_name_too() -> None:
    faults = {code: parse_name(f"a{chr(code)}b", LIMIT) for code in DEFAULT_IGNORABLE}
    assert {code for code, fault in faults.items() if fault is not NameFault.UNPRINTABLE} == set()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("#kernel", Name("kernel", "kernel")),
        (" #Kernel ", Name("Kernel", "kernel")),
        ("kernel", Name("kernel", "kernel")),
        ("#", NameFault.EMPTY),
        ("##x", NameFault.SYMBOL),
        ("# x", Name("x", "x")),
    ],
)
def test_room_names(text: str, name: Name | NameFault) -> None:
    assert parse_room_name(text, LIMIT) == name


@given(st.text(max_size=40))
def test_a_name_is_stable_and_cannot_be_mistaken(text: str) -> None:
    name = parse_name(text, LIMIT)
    if isinstance(name, Name):
        assert parse_name(name.display, LIMIT) == name
        assert 1 <= len(name.display) <= LIMIT
        assert name.display == unicodedata.normalize("NFC", text.strip())
        assert len(f"{name.display}: x".split()) == 2
        assert not set(name.display + name.key) & set(SYMBOLS_ANYWHERE)
