"""The dashboard's picture: every size, every state, and nothing from outside that could steer a terminal."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style

from monitor.bindings import SORT_KEYS, press
from monitor.canvas import PLAIN, Canvas, ellipsis, fitted, length, spread, wrapped
from monitor.dashboard import MARK, draw, once
from monitor.help import help_page
from monitor.legend import FLAGS, STATES
from monitor.panes import DIM, ERROR, WARNING, details, footer
from monitor.picture import PictureError, picture, save
from monitor.snapshot import ProcessRow
from monitor.sparkline import BARS, sparkline
from monitor.stand_ins import ERRORS
from monitor.table import COLUMNS
from monitor.view import Details, Prompt, Thread, View, lose, observe, say
from tests.rows import AT, event, row, rows, snapshot

HOSTILE = "\x1b]0;pwned\x07\x1b[2J[bold red]x[/]\n\r\u202e\x9b"


def start(*processes: ProcessRow, **values: Any) -> View:
    return observe(View(), snapshot(*processes, **values))


def text(view: View, width: int = 100, height: int = 30) -> str:
    return "\n".join(draw(view, width, height).text())


def line_with(wanted: str, view: View, width: int = 100, height: int = 30) -> str:
    return next(line for line in draw(view, width, height).text() if wanted in line)


def styles_of(wanted: str, view: View, width: int = 130, height: int = 30) -> list[Style]:
    """The styles of all pieces whose text is `wanted`, but for blanks around it."""
    return [style for line in draw(view, width, height).lines for found, style in line if found.strip() == wanted]


def printed(canvas: Canvas, width: int, height: int) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system="standard")
    console.print(canvas, end="")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


DETAILS = Details(
    pid=100,
    command="broker: supervisor",
    autogroup="number 6, its own nice 0; switched off",
    cgroup="/user.slice",
    threads=tuple(Thread(100 + number, f"thread {number}", "S", number) for number in range(5)),
    descriptors=(("socket", 5), ("pipe", 2)),
)


def views() -> dict[str, View]:
    """The dashboard in each of its states."""
    plain = start(*rows(12), events=tuple(event(number) for number in range(1, 40)))
    stopped = start(row(stat="T"), *(replace(r, stale=True) for r in rows(3)[1:]), status_age_seconds=65.0)
    with_dead = observe(plain, snapshot(*rows(3), at=AT + 1, events=(event(kind="died", pid=107, signal="SIGKILL"),)))
    return {
        "empty": View(),
        "plain": plain,
        "flat and sorted": replace(plain, tree=False, sort="restarts"),
        "filtered": press(replace(plain, prompt=Prompt("filter", "filter: ")), "9")[0],
        "nothing matches": replace(plain, filter="nothing like it", selected=None),
        "paused": replace(plain, paused=True),
        "help": replace(plain, help=True, help_offset=5),
        "details": replace(plain, show_details=True, details=DETAILS),
        "details scrolled": replace(plain, show_details=True, details=DETAILS, details_offset=7),
        "details of nobody": replace(View(), show_details=True),
        "details of the dead": replace(with_dead, show_details=True, selected=107),
        "question": press(plain, "K")[0],
        "number": press(plain, "n")[0],
        "said": say(plain, "word " * 100, is_error=True),
        "stale": stopped,
        "never heard of": start(*rows(), status={}, status_age_seconds=None),
        "dead": with_dead,
        "offline": lose(plain, "no broker runs on " + "/very/long" * 30, (), AT + 2),
        "waiting": start(row(), row("router", None, ppid=None, stat="", state="waiting", nice=None, threads=None)),
        "unknown": start(*(replace(r, cpu_percent=None, rss_bytes=None, sessions=None) for r in rows())),
        "huge": start(row("worker-" + "9" * 60, 4194304, rss_bytes=2**60, nice=-20, in_per_second=1e15)),
        "chinese": start(row("工人进程" * 10, 5), events=(event(text="你好" * 100),)),
    }


# --- Any size, any state ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", views())
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (200, 50), (40, 10), (20, 5), (10, 3), (1, 1)])
def test_every_state_fills_every_size_exactly(name: str, width: int, height: int) -> None:
    canvas = draw(views()[name], width, height)
    assert len(canvas.lines) == height
    assert {length(fitted(line, width)) for line in canvas.lines} == {width}
    # And so it does on a terminal: no line wraps, and none is left over.
    screen = printed(canvas, width, height).split("\n")
    assert len(screen) == height + 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(views())), st.integers(1, 220), st.integers(1, 60), st.sampled_from(SORT_KEYS))
def test_any_size_at_all(name: str, width: int, height: int, sort: str | None) -> None:
    canvas = draw(replace(views()[name], sort=sort), width, height)
    assert len(canvas.lines) == height
    assert {length(fitted(line, width)) for line in canvas.lines} == {width}


@pytest.mark.parametrize("height", range(1, 60))
def test_the_selected_process_is_always_in_sight(height: int) -> None:
    view = start(*rows(40))
    for _ in range(30):
        view, _ = press(view, "down")
    if height >= 3:
        assert "worker-28" in text(view, 80, height)


# --- Header ----------------------------------------------------------------------------------------------------------


def test_the_header_says_how_the_broker_is() -> None:
    processes = (row(uptime_seconds=3723.0, in_per_second=12.0, out_per_second=3400.0), row("worker-0", 102))
    view = start(*processes, zombies=2)
    for part in ("broker 0.1.0  up 1h02m", "sessions 7", "rooms 2", "zombies 2", "in 12/s", "out 3.4k/s"):
        assert part in text(view)
    assert "listening on chat://127.0.0.1:8888  chat+unix:/run/broker/chat.sock" in text(view)


def with_journal(state: str | None, **values: Any) -> View:
    """A view of a broker whose router says so of its journal."""
    return start(status={**snapshot().status, "journal": state}, **values)


def test_the_header_says_how_the_journal_is() -> None:
    assert "journal" not in text(with_journal(None)).splitlines()[0], "the router has not said so yet"
    assert "up 1m01s  journal ok " in text(with_journal("ok")).splitlines()[0]
    assert "  journal off " in text(with_journal("off")).splitlines()[0]
    lines = text(with_journal("suspended: No space left on device")).splitlines()
    assert "  journal suspended " in lines[0]
    wanted = "journal suspended: No space left on device; if the router dies now, everybody is disconnected"
    assert wanted in " ".join(" ".join(lines[:6]).split())


def test_traffic_has_a_past() -> None:
    view = View()
    for second in range(20):
        busy = row(in_per_second=float(second), out_per_second=1.0)
        view = observe(view, snapshot(busy, row("worker-0", 102), at=AT + second))
    assert sparkline(range(20), 20) in text(view, 130)
    assert "█" * 20 in text(view, 130)
    assert "█" not in text(view, 60)


def test_traffic_that_is_not_known_is_not_called_none() -> None:
    unknown = (row(in_per_second=None, out_per_second=None), row("worker-0", 102, in_per_second=None))
    view = observe(start(*rows()), snapshot(*unknown, at=AT + 1))
    for said in (text(view, 130), "\n".join(once(view).text())):
        assert " in - " in said
        assert " out -" in said
        assert "0/s" not in said


@pytest.mark.parametrize(("zombies", "style"), [(0, Style(bold=True)), (3, ERROR)])
def test_zombies_are_red(zombies: int, style: Style) -> None:
    pieces = draw(start(*rows(), zombies=zombies), 100, 30).lines[1]
    position = next(index for index, (found, _) in enumerate(pieces) if found == "zombies ")
    assert pieces[position + 1] == (str(zombies), style)


def test_a_stopped_supervisor_is_named_and_its_figures_are_called_stale() -> None:
    view = views()["stale"]
    assert "supervisor is stopped, STAT T: sessions, rooms, messages, restarts and events are 1m05s old" in text(view)
    assert DIM in styles_of("7", view)
    never = text(views()["never heard of"])
    assert "supervisor does not answer, STAT S: sessions, rooms, messages, restarts and events are unknown" in never
    assert "does not answer" not in text(start(status_age_seconds=1.0))


def test_a_broker_that_is_gone_is_waited_for() -> None:
    view = lose(start(), "no broker runs on /x; `broker start` starts one", (), AT + 5)
    assert "not running" in text(view, 160)
    assert "no broker runs on /x; `broker start` starts one" in text(view, 160)
    assert "sessions -" in text(view, 160)


def test_paused_is_written_large_and_its_clock_stands_still() -> None:
    paused = replace(start(), paused=True)
    assert "PAUSED" in text(paused)
    assert text(paused) == text(replace(paused, now=AT + 100))


# --- Table -----------------------------------------------------------------------------------------------------------


def test_the_columns_that_fit_are_the_most_important_ones_and_in_order() -> None:
    shown = {}
    for width in (20, 40, 60, 80, 100, 120, 200):
        heading = line_with("NAME", start(), width).split()
        assert heading == [column.heading for column in COLUMNS if column.heading in heading]
        shown[width] = heading
    assert shown[20] == ["NAME", "PID"]
    assert shown[40] == ["NAME", "PID", "STAT", "NI", "ZOMBIES"]
    assert shown[200] == [column.heading for column in COLUMNS]
    assert [len(heading) for heading in shown.values()] == sorted(len(heading) for heading in shown.values())


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.key)
def test_the_column_that_sorts_is_shown_and_underlined(column: Any) -> None:
    view = replace(start(*rows()), sort=column.key)
    (style,) = styles_of(column.heading, view, 60)[:1]
    assert style.underline
    assert f"sorted by {column.heading}" in text(view, 60)


def test_columns_are_aligned() -> None:
    lines = draw(start(*rows(12)), 120, 40).text()
    start_of = lines[4].index("STAT")
    assert {line[start_of - 1 : start_of + 2] for line in lines[6:20]} == {" Sl"}


def test_a_changed_value_is_marked() -> None:
    view = observe(start(*rows()), snapshot(row(), *(replace(r, nice=17) for r in rows()[1:]), at=AT + 1))
    assert set(styles_of("17", view)) == {MARK}
    assert MARK not in [style for line in draw(start(*rows()), 130, 30).lines for _, style in line]


def test_a_zombie_is_red_from_end_to_end() -> None:
    view = start(row(zombies=1), row("router", 101, stat="Z", ppid=777))
    for cell in ("Z", "101", "777", "router", "1"):
        assert ERROR in styles_of(cell, view)
    assert set(styles_of("Sl", start(*rows()))) == {PLAIN}


def test_a_stopped_process_wants_a_look() -> None:
    assert styles_of("Tl", start(row(), row("router", 101, stat="Tl"))) == [WARNING]


def test_a_dead_process_is_grey_with_its_cause() -> None:
    view = views()["dead"]
    assert "├─ worker-5   107 killed by SIGKILL" in line_with("107", view)
    line = next(line for line in draw(view, 100, 30).lines if any("worker-5" in found for found, _ in line))
    assert all(style.dim for found, style in line if found.strip())


@pytest.mark.parametrize("state", ["hung", "starting", "stopping", "waiting"])
def test_a_state_that_is_not_ready_is_told(state: str) -> None:
    assert f"router ({state})" in text(start(row(), row("router", 101, state=state)))


def test_the_selected_line_is_reversed_to_its_end() -> None:
    view, _ = press(start(*rows()), "down")
    canvas = draw(view, 100, 30)
    (reversed_line,) = [line for line in canvas.lines if all(style.reverse for _, style in line) and line]
    assert "router" in "".join(found for found, _ in reversed_line)
    assert length(reversed_line) == 100


def test_what_is_hidden_for_want_of_room_is_counted() -> None:
    assert "31 more in the table" in text(start(*rows(40)), 80, 24)
    assert "more in the table" not in text(start(*rows(4)), 80, 24)


@pytest.mark.parametrize(
    ("processes", "note"),
    [
        ([], "─ 10 more in the table ─"),
        ([row("lab", 300, stat="Z")], "─ 11 more: 1 zombie ─"),
        ([row("lab", 300, stat="Tl"), row("lab", 301, stat="Z"), row("lab", 302, stat="Z")], "─ 13 more: 2 zombies ─"),
    ],
)
def test_on_a_low_screen_too_it_is_said_what_is_hidden(processes: list[ProcessRow], note: str) -> None:
    view = start(*rows(12), *processes)
    assert text(view, 40, 12).count(note) == 1
    view, _ = press(view, "G")
    assert "zombie" not in text(view, 40, 12).partition("NAME")[2]


def test_the_newest_dead_is_told_of_where_it_is_out_of_sight() -> None:
    view = observe(start(*rows(12)), snapshot(*rows(12)[:-1], at=AT + 1))
    assert "10 more in the table: 1 gone" in text(view, 40, 12)
    (style,) = styles_of("10 more in the table: 1 gone", view, 40, 12)
    assert style == WARNING


def test_what_is_hidden_is_counted_although_details_leave_no_room_for_events() -> None:
    found = replace(DETAILS, threads=tuple(Thread(number, "thread", "S", 0) for number in range(60)))
    view = replace(start(*rows(17)), show_details=True, details=found)
    shown = text(view, 80, 24)
    assert "events" not in shown
    assert "16 more in the table" in shown


def test_details_can_be_read_to_their_end_on_any_screen() -> None:
    found = replace(DETAILS, threads=tuple(Thread(number, f"thread {number}", "S", 0) for number in range(40)))
    for width, height in ((40, 12), (40, 10), (80, 24), (100, 16), (200, 60)):
        view = replace(start(*rows(17)), details=found)
        view, _ = press(view, "d", width, height)
        seen: dict[str, None] = {}
        for _ in range(60):
            seen.update(dict.fromkeys(draw(view, width, height).text()))
            before, (view, _) = view, press(view, "page-down", width, height)
            assert ("more, PgDn" in text(before, width, height)) == (view != before)
        everything = [line for line in Canvas(width, details(view, width)).text() if line]
        assert set(everything) <= set(seen)
        assert everything[-1] in text(view, width, height)
        for _ in range(60):
            view, _ = press(view, "page-up", width, height)
        assert view.details_offset == 0
        assert view.selected == 100


def test_details_of_another_process_are_read_from_their_start() -> None:
    view = replace(start(*rows()), show_details=True, details=DETAILS)
    view, _ = press(view, "page-down", 40, 12)
    assert view.details_offset > 0
    assert press(press(view, "d")[0], "d")[0].details_offset == 0
    assert press(view, "j")[0].details_offset == 0
    assert observe(view, snapshot(at=AT + 1)).details_offset == view.details_offset


# --- Panes -----------------------------------------------------------------------------------------------------------


def test_events_are_the_latest_the_newest_at_the_bottom() -> None:
    shown = [line for line in draw(views()["plain"], 80, 30).text() if "event " in line]
    assert shown[-1].endswith("event 39")
    assert shown == sorted(shown)
    assert len(shown) >= 4


@pytest.mark.parametrize("at", [None, "soon", float("nan"), float("inf"), 1e300, -1e300, [], True])
def test_an_event_at_no_time_is_an_event_still(at: Any) -> None:
    assert line_with("event 1", start(events=(event(at=at),)))[3:].startswith(":")


@pytest.mark.parametrize(("level", "colour"), [("error", "red"), ("warning", "yellow")])
def test_bad_events_are_coloured(level: str, colour: str) -> None:
    (style,) = styles_of("event 1", start(events=(event(level=level),)))
    assert style.color is not None
    assert style.color.name == colour


def test_details_say_it_all() -> None:
    shown = text(replace(start(row(stat="SNs")), show_details=True, details=DETAILS))
    for part in (
        "─ supervisor (PID 100) ─",
        "S  sleeping until something happens",
        "N  lowered priority: nice above 0",
        "s  leads its session",
        "command     broker: supervisor",
        "104 S nice 4  thread 4",
        "autogroup   number 6",
        "cgroup      /user.slice",
        "descriptors 7: 5 sockets, 2 pipes",
    ):
        assert part in shown


def test_questions_stand_above_the_keys_with_what_was_typed() -> None:
    view, _ = press(start(*rows()), "n")
    view, _ = press(view, "7")
    lines = draw(view, 80, 24).text()
    assert lines[-2] == " nice of supervisor (PID 100), now 0, to (-20 … 19): 7▏"
    assert "quit" in lines[-1]


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (30, 6), (20, 3)])
def test_there_is_always_room_for_a_question(size: tuple[int, int]) -> None:
    assert "kill" in text(press(start(*rows()), "K")[0], *size)


def test_a_long_message_takes_several_lines_but_not_the_screen() -> None:
    shown = draw(say(start(*rows()), "first\n" + "word " * 200), 80, 24).text()
    assert shown[-4] == " first"
    assert shown[-3].startswith(" word word")
    assert shown[-2].startswith(" word word")
    assert "quit" in shown[-1]
    assert "word" not in "".join(shown[:-4])


def test_the_key_line_says_what_the_keys_would_do_now() -> None:
    assert "s stop" in draw(start(*rows()), 130, 24).text()[-1]
    view = replace(start(row(stat="T"), *rows()[1:]), tree=False, paused=True)
    for part in ("s continue", "t tree", "p go on"):
        assert part in draw(view, 130, 24).text()[-1]


def test_every_key_is_on_the_key_line_if_there_is_room_and_the_way_out_if_there_is_hardly_any() -> None:
    words = draw(start(), 200, 24).text()[-1].split()
    assert {"↑↓", "+-", "n", "s", "K", "d", "t", "<>", "/", "p", "?", "q"} <= set(words)
    assert draw(start(), 25, 24).text()[-1] == " ↑↓ select  q quit"


def test_the_help_names_every_key_every_figure_that_needs_it_and_every_letter() -> None:
    shown = draw(replace(start(), help=True), 100, 60).text()
    explained = {line[1:].partition("  ")[0] for line in shown}
    assert {"↑ ↓", "+", "n", "s", "K", "d", "t", "<", "/", "p", "q"} <= explained
    assert {"WAIT%", "ZOMBIES", *STATES, *FLAGS} <= explained
    assert "…" not in "".join(draw(replace(start(), help=True), 40, 90).text()[:-1])


@pytest.mark.parametrize(("width", "height"), [(40, 12), (60, 10), (80, 24), (80, 13), (100, 60), (30, 5)])
def test_the_help_can_be_read_to_its_last_line_on_any_screen(width: int, height: int) -> None:
    view = start()
    for key in ("?", "G"):
        view, _ = press(view, key, width, height)
    room = height - len(footer(view, width, height))
    page = Canvas(width, help_page(width)).text()
    assert draw(view, width, height).text()[:room] == (page[-room:] + [""] * room)[:room]
    up, _ = press(view, "up", width, height)
    assert (draw(up, width, height).text() == draw(view, width, height).text()) == (len(page) <= room)


@pytest.mark.parametrize("name", sorted(views().keys() - {"chinese"}))
def test_where_the_encoding_lacks_them_ascii_stands_in_for_all_characters_that_are_drawn(name: str) -> None:
    for view in (views()[name], replace(views()[name], rates=tuple((float(n), None) for n in range(9)))):
        for line in draw(view, 150, 30).text():
            plain = line.encode("ascii", ERRORS).decode()
            assert len(plain) == len(line)
            assert plain.count("?") == line.count("?")


def test_what_has_no_stand_in_keeps_its_width() -> None:
    assert "你 e\u0301 \ud800 ├█".encode("ascii", ERRORS) == b"?? e ? |#"
    assert "· é ├".encode("latin-1", ERRORS).decode("latin-1") == "· é |"


# --- Text from outside -----------------------------------------------------------------------------------------------


def hostile_view() -> View:
    process = row(HOSTILE, 100, role=HOSTILE, stat=HOSTILE, state=HOSTILE)
    found = start(
        process,
        status={"version": HOSTILE, "state": HOSTILE, "sessions": HOSTILE, "rooms": HOSTILE, "listeners": [HOSTILE]},
        events=(event(text=HOSTILE, level=HOSTILE, at=HOSTILE), event(text=None, at=None)),
    )
    details = Details(100, HOSTILE, HOSTILE, HOSTILE, (Thread(1, HOSTILE, "S", 0),), ((HOSTILE, 1),))
    return replace(say(found, HOSTILE), show_details=True, details=details, filter="", prompt=None)


def hostile_variants() -> list[View]:
    view = hostile_view()
    return [
        view,
        replace(view, show_details=False),
        press(view, "K")[0],
        press(view, "n")[0],
        replace(view, prompt=Prompt("filter", "filter: ", HOSTILE)),
        lose(replace(view, message=None), HOSTILE, (event(kind="died", pid=100, signal=HOSTILE),), AT + 1),
    ]


@pytest.mark.parametrize("index", range(len(hostile_variants())))
@pytest.mark.parametrize(("width", "height"), [(120, 40), (60, 12)])
def test_no_text_from_outside_steers_the_terminal_or_is_taken_for_markup(index: int, width: int, height: int) -> None:
    canvas = draw(hostile_variants()[index], width, height)
    for line in canvas.lines:
        for found, _ in line:
            assert found.isprintable()
    assert "[bold red]" in "\n".join(draw(hostile_view(), 300, 60).text())
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(canvas, end="")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().replace("\n", "").isprintable()


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_names_and_events_are_printable_and_fit(name: str, said: str) -> None:
    canvas = draw(start(row(name, 5), events=(event(text=said),)), 60, 20)
    for line in canvas.lines:
        assert "".join(found for found, _ in line).isprintable()
        assert length(fitted(line, 60)) == 60


# --- Printed once, and as a picture ----------------------------------------------------------------------------------


def test_once_prints_the_header_and_every_column_and_process_without_blanks_at_the_ends() -> None:
    lines = once(start(*rows(30))).text()
    assert lines[0].startswith(" broker 0.1.0")
    assert lines[4].split() == [column.heading for column in COLUMNS]
    assert len(lines) == 5 + 33
    assert all(line == line.rstrip() for line in lines)


def test_once_on_a_terminal_has_its_width() -> None:
    canvas = once(start(*rows()), 60)
    assert all(cell_len(line) <= 60 for line in canvas.text())
    assert "RSS" not in "\n".join(canvas.text())


def test_the_picture_is_a_self_contained_svg(tmp_path: Path) -> None:
    view = observe(views()["plain"], snapshot(*rows(12), at=AT + 1, events=(event(text="<&> it's"),)))
    path = tmp_path / "top.svg"
    save(view, path)
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    shown = "".join(root.itertext()).replace("\xa0", " ")
    for part in ("worker-11", "STAT", "<&> it's", "sessions"):
        assert part in shown
    assert "url(http" not in path.read_text()
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        assert element.text is not None
        assert element.text.strip("\xa0 ") == element.text


def test_the_same_view_gives_the_same_picture() -> None:
    assert picture(views()["plain"]) == picture(views()["plain"])
    assert picture(hostile_view())


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="No such file"):
        save(start(), tmp_path / "nowhere" / "top.svg")


# --- Canvas and sparkline --------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("ab 你🙂"), max_size=20), st.integers(0, 30))
def test_an_ellipsis_has_the_width_it_was_given(said: str, width: int) -> None:
    assert cell_len(ellipsis(said, width)) == width


@given(st.text(st.sampled_from("ab 你🙂\n"), max_size=60), st.integers(4, 30), st.integers(0, 2))
def test_wrapping_loses_nothing_and_fits(said: str, width: int, indent: int) -> None:
    lines = wrapped(said, width, PLAIN, indent)
    texts = ["".join(found for found, _ in line) for line in lines]
    assert all(cell_len(line) <= width for line in texts)
    assert all(line.startswith(" " * indent) for line in texts)
    assert "".join("".join(texts).split()) == "".join(said.split())


def test_both_ends_of_a_line_give_way_to_the_left_one() -> None:
    assert length(spread([("ab", PLAIN)], [("yz", PLAIN)], 10)) == 10
    assert spread([("abcd", PLAIN)], [("yz", PLAIN)], 6) == [("abcd", PLAIN)]


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 4, "    "),
        ([0, 0], 4, "  ▁▁"),
        ([1, 2, 4, 8], 4, "▂▃▅█"),
        ([8, 0.001], 2, "█▂"),
        ([1, 2, 3], 2, "▆█"),
        ([None, 4, None], 4, "  █ "),
        ([None, None], 2, "  "),
        ([5], 0, ""),
        ([5], -3, ""),
    ],
)
def test_sparkline(values: list[float | None], width: int, bars: str) -> None:
    assert sparkline(values, width) == bars


@given(st.lists(st.floats(0, 1e300), max_size=20), st.integers(0, 30))
def test_a_sparkline_has_its_width_and_the_greatest_value_full_height(values: list[float], width: int) -> None:
    bars = sparkline(values, width)
    assert len(bars) == width
    shown = values[-width:] if width else []
    if any(shown):
        assert bars[width - len(shown) + shown.index(max(shown))] == BARS[-1]
