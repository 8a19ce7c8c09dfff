"""`broker chat`: cutting and recognising lines, painting them, and completing what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem

from broker import phrases
from broker.client import conversation as conversation_module
from broker.client.completion import Vocabulary, candidates
from broker.client.lines import MAX_LINE_BYTES as MAX_SHOWN_BYTES
from broker.client.lines import Kind, Line, LineDecoder
from broker.client.painter import MAX_NAME_CELLS, NAME_COLORS, Painter, name_style
from broker.client.recogniser import REPLY_PREFIX, recognise
from broker.names import Name, parse_name
from broker.phrases import LANGUAGES, Phrase
from broker.text import UNWANTED

NAMES = st.text(min_size=1, max_size=12).filter(lambda text: isinstance(parse_name(text, 32), Name)).map(str.strip)
TEXTS = st.text(max_size=60).map(lambda text: UNWANTED.sub("", text))


# Recognising the broker's sentences.


def sentence(phrase: Phrase, language: str, **values: object) -> str:
    """A phrase as it goes over the wire."""
    prefix = "" if phrase in IN_ROOM else REPLY_PREFIX
    return prefix + phrase.fill(language, **values)


IN_ROOM = (phrases.SAID, phrases.JOINED, phrases.LEFT, phrases.ACTED, phrases.RENAMED, phrases.WHISPERED)


@pytest.mark.parametrize("language", LANGUAGES)
@given(name=NAMES, other=NAMES, text=TEXTS, count=st.integers(1, 99))
def test_every_sentence_that_the_client_acts_upon_is_recognised(
    language: str, name: str, other: str, text: str, count: int
) -> None:
    values: dict[str, object] = {
        "name": name, "old": name, "new": other, "room": other, "text": text, "reason": text,
        "names": f"{name}, {other}", "rooms": f"{name} (1), {other} (2)", "count": count, "total": count,
        "limit": count, "seconds": count, "anywhere": ",*?!@:", "first": "$#&+~%/",
    }  # fmt: skip
    for phrase in conversation_module._HANDLERS:
        if phrase is phrases.LANGUAGE_SET:
            continue
        recognised = recognise(sentence(phrase, language, **values), language)
        assert recognised is not None, phrase
        assert recognised.phrase is phrase
        assert recognised.values == {key: str(values[key]) for key in recognised.values}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_reply_to_lang_is_recognised_in_whatever_language(language: str) -> None:
    for chosen in LANGUAGES:
        recognised = recognise(REPLY_PREFIX + phrases.LANGUAGE_SET.fill(chosen), language)
        assert recognised is not None
        assert recognised.values == {"language": chosen}


@pytest.mark.parametrize("language", LANGUAGES)
@given(name=NAMES, text=TEXTS)
def test_nobody_can_say_something_that_is_taken_for_anything_else(language: str, name: str, text: str) -> None:
    """chat-protocol.md: "the first word tells what a line is, and nobody can write one that looks like another"."""
    for forged in (text, phrases.LEFT.fill(language, name="bob"), REPLY_PREFIX + phrases.GOODBYE.fill(language)):
        recognised = recognise(phrases.SAID.fill(language, name=name, text=forged), language)
        assert recognised == (phrases.SAID, {"name": name, "text": forged})


# Cutting bytes into lines.


def test_lines_are_cut_wherever_the_bytes_are() -> None:
    data = "请输入姓名: ann说: 你好\r\nbob\tx\x1b[31m\x07说: 换\n* 未完".encode()
    decoder = LineDecoder()
    lines = [line for index in range(len(data)) for line in decoder.feed(data[index : index + 1])]
    assert lines == ["请输入姓名: ann说: 你好", "bob x[31m说: 换"]
    assert decoder.rest == "* 未完"
    decoder.drop_rest()
    assert decoder.feed(b"\xff\n") == ["\ufffd"]


def test_a_line_without_end_is_not_gathered_for_ever() -> None:
    decoder = LineDecoder()
    shown = sum(len(line) for _ in range(100) for line in decoder.feed(b"x" * 10_000))
    assert shown + len(decoder.rest) == 1_000_000
    assert len(decoder.rest) <= MAX_SHOWN_BYTES


# Completion.


def test_completion_offers_what_fits() -> None:
    words = Vocabulary(["/me", "/msg"], ["Ann", "anton", "王小明"], {"/msg": ["Ann", "anton"], "/join": ["lobby"]})
    assert candidates("/m", words) == ("/m", ["/me ", "/msg "])
    assert candidates("/msg a", words) == ("a", ["Ann ", "anton "])
    assert candidates("/join ", words) == ("", ["lobby "])
    assert candidates("ａn", words) == ("ａn", ["Ann: ", "anton: "])
    assert candidates("hi ant", words) == ("ant", ["anton"])
    assert candidates("王", words) == ("王", ["王小明: "])
    assert candidates("/msg ann wh", words) == ("wh", [])
    assert candidates("hi ", words) == ("", [])
    assert candidates("", words) == ("", [])


# Painting.


def luminance(color: int) -> float:
    """Relative luminance (WCAG 2.2) of a colour of the 256-colour palette."""

    def linear(value: int) -> float:
        part = value / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = Color.from_ansi(color).get_truecolor()
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


def test_colours_are_readable_on_black_and_on_white() -> None:
    for color in NAME_COLORS:
        against_black = (luminance(color) + 0.05) / 0.05
        against_white = 1.05 / (luminance(color) + 0.05)
        assert min(against_black, against_white) >= 3.6, color


def test_colours_stick_to_names_however_they_are_spelled() -> None:
    assert name_style("Ann") == name_style("ann") == name_style("Ａｎｎ")
    assert len({str(name_style(f"name{number}")) for number in range(200)}) == len(NAME_COLORS)


def said(name: str, text: str) -> Line:
    return Line(Kind.SAID, text, name)


def test_names_align_by_their_width_on_the_screen() -> None:
    painter = Painter(None)
    painted = [painter.paint(said(name, "x"), "12:00", 80) for name in ("a_long_name", "ann", "王小明", "é")]
    assert len({cell_len(line.partition("|")[0]) for line in painted}) == 1
    assert painter.paint(said("n" * (MAX_NAME_CELLS + 1), "x"), "12:00", 80).endswith(f" {'n' * 21} | x\n")
    assert painter.paint(said("ann", "x"), "12:00", 80) == painted[1]


@given(TEXTS, st.integers(20, 120))
def test_painted_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    painted = Painter(None).paint(said("ann", text), "12:00", width)
    first, *others = painted.removesuffix("\n").split("\n")
    bodies = [line.partition("| ")[2] for line in (first, *others)]
    assert "".join("".join(bodies).split()) == "".join(text.split())
    if others:
        assert all(cell_len(line) <= width for line in (first, *others))


def test_on_a_narrow_terminal_lines_are_broken_between_words_beside_the_widest_names() -> None:
    painter = Painter(None)
    painter.paint(said("n" * 12, "x"), "12:00", 40)
    painted = painter.paint(said("ann", "these words do not fit beside the names"), "12:00", 40)
    assert [line.partition("| ")[2] for line in painted.splitlines()] == [
        "these words do not",
        "fit beside the",
        "names",
    ]


def test_markup_and_escape_sequences_of_others_are_not_obeyed() -> None:
    painted = Painter(ColorSystem.EIGHT_BIT).paint(said("[red]", "[bold]x[/] :smile: [link=file:///]y"), "12:00", 80)
    assert "[bold]x[/] :smile: [link=file:///]y" in painted
    assert "[red]" in painted


def test_what_is_dimmed_and_what_is_not() -> None:
    painter = Painter(ColorSystem.EIGHT_BIT)
    dim, bold = "\x1b[2m", "\x1b[1m"
    for kind in (Kind.ENTERED, Kind.LEFT, Kind.NOTICE):
        assert f"{dim}text" in painter.paint(Line(kind, "text"), "12:00", 80)
    assert f"{bold}text" in painter.paint(Line(Kind.SAID, "text", "bob", to_me=True), "12:00", 80)
    assert painter.paint(said("bob", "text"), "12:00", 80).endswith(" | text\n")
    assert "\x1b" not in Painter(None).paint(Line(Kind.SAID, "text", "bob", to_me=True), "12:00", 80)
