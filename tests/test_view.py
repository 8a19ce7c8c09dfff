"""The dashboard's view: what new snapshots and keys make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.bindings import SORT_KEYS, press
from monitor.help import last_help_offset
from monitor.rows import arrange
from monitor.snapshot import ProcessRow, Snapshot
from monitor.view import (
    DEPARTED_SECONDS,
    MARK_SECONDS,
    MESSAGE_SECONDS,
    RATES_KEPT,
    Action,
    Quit,
    Redraw,
    Renice,
    Signal,
    View,
    cause_of_death,
    elapse,
    lines,
    lose,
    observe,
    say,
    selected_line,
)
from tests.rows import AT, event, row, rows, snapshot

KEYS = [
    *("up", "down", "j", "k", "home", "end", "g", "G", "page-up", "page-down", "+", "=", "-", "n", "s", "K", "t"),
    *("<", ">", ",", ".", "/", "p", "d", "enter", "?", "h", "escape", "redraw", "backspace", "erase", "tab", "left"),
    *("y", "1", "9", "5", "w", "好", "x", "delete"),
]


def type_keys(view: View, *keys: str) -> tuple[View, Action | None]:
    """Press keys; the last action."""
    action: Action | None = None
    for key in keys:
        view, action = press(view, key)
    return view, action


def start(*processes: ProcessRow, **values: Any) -> View:
    return observe(View(), snapshot(*processes, **values))


def names(view: View) -> list[str]:
    return [line.prefix + line.row.name for line in lines(view)]


# --- Order -----------------------------------------------------------------------------------------------------------


def test_the_tree_has_branches() -> None:
    view = start(*rows(1), row("lab", 200, role="other", ppid=103, depth=2), row("sub", 201, role="other", depth=3))
    assert names(view) == [
        "supervisor",
        "├─ router",
        "├─ worker-0",
        "└─ acceptor-0",
        "   └─ lab",
        "      └─ sub",
    ]
    assert names(press(view, "t")[0]) == ["supervisor", "router", "worker-0", "acceptor-0", "lab", "sub"]


def test_siblings_are_sorted_in_the_tree_and_everything_in_the_flat_list() -> None:
    processes = (
        row(rss_bytes=5),
        row("router", 101, rss_bytes=1),
        row("helper", 102, role="other", depth=2, rss_bytes=9),
        row("worker-0", 103, rss_bytes=None),
        row("worker-1", 104, rss_bytes=7),
    )
    view = replace(start(*processes), sort="rss_bytes")
    assert names(view) == ["supervisor", "├─ worker-1", "├─ router", "│  └─ helper", "└─ worker-0"]
    flat = press(view, "t")[0]
    assert names(flat) == ["helper", "worker-1", "supervisor", "router", "worker-0"]


def test_names_are_sorted_as_people_count() -> None:
    view = replace(start(*rows(12)), sort="name", tree=False)
    assert names(view)[3:8] == ["worker-0", "worker-1", "worker-2", "worker-3", "worker-4"]
    assert names(view)[-1] == "worker-11"


def test_a_filter_keeps_the_ancestors_of_what_matches_in_the_tree_only() -> None:
    view, _ = type_keys(start(*rows(2)), "/", *"KER-1", "enter")
    assert names(view) == ["supervisor", "└─ worker-1"]
    assert names(press(view, "t")[0]) == ["worker-1"]
    assert names(press(view, "escape")[0]) == names(start(*rows(2)))


@pytest.mark.parametrize(("pattern", "found"), [("103", ["worker-1"]), ("Zl", ["router"]), ("hung", ["worker-0"])])
def test_a_filter_looks_at_pid_stat_and_state(pattern: str, found: list[str]) -> None:
    processes = (
        row(),
        row("router", 101, stat="Zl"),
        row("worker-0", 102, state="hung"),
        row("worker-1", 103),
    )
    view, _ = type_keys(start(*processes), "t", "/", *pattern)
    assert names(view) == found


row_lists = st.lists(
    st.builds(
        row,
        name=st.sampled_from(["worker-1", "worker-10", "x", "٣", "9" * 5000]),
        pid=st.integers(1, 30) | st.none(),
        depth=st.integers(0, 4),
        rss_bytes=st.integers(0, 3) | st.none(),
        stat=st.sampled_from(["S", "Z", ""]),
    ),
    max_size=12,
    unique_by=lambda row: row.pid or row.name,
)


@given(row_lists, st.booleans(), st.sampled_from(SORT_KEYS), st.sampled_from(["", "x", "WORK", "1"]))
def test_no_row_is_lost_or_doubled(processes: list[ProcessRow], tree: bool, sort: str | None, pattern: str) -> None:
    found = [line.identity for line in arrange(processes, (), tree=tree, sort=sort, pattern=pattern)]
    everybody = [row.pid or row.name for row in processes]
    if pattern == "":
        assert sorted(map(str, found)) == sorted(map(str, everybody))
    assert len(set(found)) == len(found)
    assert set(found) <= set(everybody)


# --- Selection -------------------------------------------------------------------------------------------------------


def test_the_selection_stays_with_its_process() -> None:
    view, _ = type_keys(start(*rows(3)), "down", "down")
    assert view.selected == 102
    view = replace(view, sort="cpu_percent", tree=False)
    view = observe(view, snapshot(*(replace(r, cpu_percent=float(r.pid or 0)) for r in rows(3)), at=AT + 1))
    assert [line.row.pid for line in lines(view)] == [105, 104, 103, 102, 101, 100]
    assert (view.selected, view.selected_index) == (102, 3)


@given(st.lists(st.permutations(range(6)), max_size=5), st.lists(st.sampled_from("<>t"), max_size=6))
def test_no_order_moves_the_selection_to_another_process(orders: list[list[int]], keys: list[str]) -> None:
    view, _ = type_keys(start(*rows(3)), "down", "down", "down", *keys)
    for step, order in enumerate(orders, 1):
        shuffled = [row(), *(rows(3)[i] for i in order if i)]
        view = observe(view, snapshot(*shuffled, at=AT + step))
        assert view.selected == 103
        assert lines(view)[view.selected_index].identity == 103


def test_a_dead_process_keeps_the_selection_until_it_has_left_then_its_successor_has_it() -> None:
    view, _ = type_keys(start(*rows(2)), "down", "down")
    after = tuple(replace(r, pid=200) if r.pid == 102 else r for r in rows(2))
    view = observe(view, snapshot(*after, at=AT + 1))
    assert view.selected == 102
    assert names(view).count("├─ worker-0") == 2
    view = observe(view, snapshot(*after, at=AT + 1 + DEPARTED_SECONDS))
    assert view.selected == 200
    assert names(view).count("├─ worker-0") == 1


def test_without_a_successor_the_neighbour_is_selected() -> None:
    view, _ = type_keys(start(*rows(2)), "end")
    view = observe(view, snapshot(*rows(2)[:-1], at=AT + 1))
    view = observe(view, snapshot(*rows(2)[:-1], at=AT + 1 + DEPARTED_SECONDS))
    assert view.selected == 103


def test_a_child_that_gets_its_process_keeps_the_selection() -> None:
    waiting = (row(), row("router", None, state="waiting", stat=""))
    view, _ = type_keys(start(*waiting), "down")
    assert view.selected == "router"
    view = observe(view, snapshot(row(), row("router", 150), at=AT + 1))
    assert view.selected == 150


@pytest.mark.parametrize(
    ("keys", "pid"),
    [
        (["j", "j", "k"], 101),
        (["down", "up", "up"], 100),
        (["end"], 104),
        (["G", "j"], 104),
        (["G", "g"], 100),
        (["page-down"], 104),
        (["page-down", "page-up"], 100),
    ],
)
def test_moving(keys: list[str], pid: int) -> None:
    assert type_keys(start(*rows(2)), *keys)[0].selected == pid


# --- Marks and the departed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("nice", 10), ("stat", "T"), ("zombies", 1), ("threads", 5), ("sessions", 9), ("restarts", 1), ("ppid", 1)],
)
def test_a_changed_value_is_marked_for_a_moment(field: str, value: Any) -> None:
    view = start(row(), row("router", 101))
    view = observe(view, snapshot(row(), row("router", 101, **{field: value}), at=AT + 1))
    assert set(view.marks) == {(101, field)}
    assert elapse(view, AT + 1 + MARK_SECONDS - 0.1).marks
    assert not elapse(view, AT + 1 + MARK_SECONDS).marks


@pytest.mark.parametrize(("before", "after"), [("S", "R"), ("R", "S"), ("D", "S"), ("Rl", "Sl")])
def test_running_and_sleeping_is_daily_life(before: str, after: str) -> None:
    view = observe(start(row(stat=before)), snapshot(row(stat=after), at=AT + 1))
    assert not view.marks


@pytest.mark.parametrize(("before", "after"), [("S", "T"), ("S", "SN"), ("R", "Z"), ("Rl", "S")])
def test_other_changes_of_stat_are_marked(before: str, after: str) -> None:
    view = observe(start(row(stat=before)), snapshot(row(stat=after), at=AT + 1))
    assert set(view.marks) == {(100, "stat")}


def test_what_is_measured_anew_at_each_look_is_not_marked() -> None:
    other = row(cpu_percent=99.0, wait_percent=9.0, rss_bytes=1, pss_bytes=1, uptime_seconds=999.0, in_per_second=5.0)
    assert not observe(start(row()), snapshot(other, at=AT + 1)).marks


def test_the_first_look_marks_nothing() -> None:
    assert not start(*rows()).marks


def test_a_successor_is_marked_where_it_differs_from_its_predecessor() -> None:
    view = observe(
        start(row(), row("router", 101)), snapshot(row(), row("router", 150, restarts=1, threads=9), at=AT + 1)
    )
    assert set(view.marks) == {(150, "pid"), (150, "restarts")}


def test_a_dead_process_stays_with_its_cause_for_a_few_seconds() -> None:
    view = start(*rows(2))
    died = event(kind="died", pid=102, signal="SIGKILL", exit_status=None)
    view = observe(view, snapshot(*(r for r in rows(2) if r.pid != 102), at=AT + 1, events=(died,)))
    (line,) = [line for line in lines(view) if line.departed]
    assert names(view)[2] == "├─ worker-0"
    assert (line.row.pid, line.departed and line.departed.cause) == (102, "killed by SIGKILL")
    assert elapse(view, AT + 1 + DEPARTED_SECONDS - 0.1).departed
    assert not elapse(view, AT + 1 + DEPARTED_SECONDS).departed


def test_a_cause_that_becomes_known_later_is_shown_and_kept() -> None:
    view = observe(start(*rows(1)), snapshot(row(), at=AT + 1))
    assert {gone.cause for gone in view.departed} == {None}
    died = event(kind="exited", pid=101, exit_status=3)
    view = observe(view, snapshot(row(), at=AT + 2, events=(died,)))
    assert {gone.row.pid: gone.cause for gone in view.departed}[101] == "exited with status 3"
    view = observe(view, snapshot(row(), at=AT + 3, events=()))
    assert {gone.row.pid: gone.cause for gone in view.departed}[101] == "exited with status 3"


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        ([], None),
        ([event(kind="ready", pid=5)], None),
        ([event(kind="died", pid=6, signal="SIGSEGV")], None),
        ([event(kind="died", pid=5, signal="SIGSEGV")], "killed by SIGSEGV"),
        ([event(kind="died", pid=5, signal="\x1b[2J")], "killed by ?[2J"),
        ([event(kind="exited", pid=5, exit_status=0, signal=None)], "exited with status 0"),
        ([event(kind="stopped", pid=5, text="the broker has stopped")], "the broker has stopped"),
        ([event(kind="died", pid=5, signal="SIGHUP"), event(kind="died", pid=5, signal="SIGINT")], "killed by SIGINT"),
    ],
)
def test_causes(found: list[dict[str, Any]], cause: str | None) -> None:
    assert cause_of_death(5, found) == cause


@given(st.data())
def test_the_departed_stand_where_they_stood_in_whatever_order_they_went(data: st.DataObject) -> None:
    living = (*rows(2), row("helper", 200, role="other", ppid=104, depth=2))
    view = start(*living)
    tree = names(view)
    for at in range(1, data.draw(st.integers(0, 4)) + 1):
        living = tuple(row for row in living if row.name == "supervisor" or data.draw(st.booleans()))
        view = observe(view, snapshot(*living, at=AT + at))
        assert names(view) == tree
    assert names(lose(view, "gone", (), AT + 5)) == tree


def test_the_departed_whose_neighbour_has_left_the_screen_stay_below_the_supervisor() -> None:
    view = start(row(), row("router", None, state="waiting", stat=""), row("worker-0", 102))
    view = observe(view, snapshot(row(), row("router", 150), at=AT + 1))
    assert names(view) == ["supervisor", "├─ router", "└─ worker-0"]


def test_a_process_is_not_dead_because_its_name_changed() -> None:
    view = observe(start(row(), row("python", 101, role="other")), snapshot(row(), row("worker-0", 101), at=AT + 1))
    assert not view.departed


# --- Rates, the broker's end, pausing --------------------------------------------------------------------------------


def test_rates_are_the_sums_of_the_supervisors_row_and_are_kept_for_a_while() -> None:
    view = View()
    for second in range(RATES_KEPT + 5):
        processes = (
            row(in_per_second=float(second), out_per_second=None),
            row("worker-0", 102, in_per_second=100.0, out_per_second=None),
            row("worker-1", 103, in_per_second=1.0, out_per_second=2.0),
        )
        view = observe(view, snapshot(*processes, at=AT + second))
    assert len(view.rates) == RATES_KEPT
    assert view.rates[-1] == (RATES_KEPT + 4, None)


@pytest.mark.parametrize("age", [None, 3.0])
def test_stale_figures_are_not_made_into_history(age: float | None) -> None:
    view = start(*rows())
    assert observe(view, snapshot(*rows(), at=AT + 1, status_age_seconds=age)).rates == view.rates


def test_a_broker_that_ends_is_mourned_and_one_that_comes_back_is_welcome() -> None:
    view = start(*rows(1), events=(event(1),))
    last = (event(2, kind="exited", pid=101, exit_status=0),)
    view = lose(view, "no broker runs here", last, AT + 1)
    assert view.offline == "no broker runs here"
    assert view.offline_since == AT + 1
    assert all(line.departed for line in lines(view))
    assert [line.departed.cause for line in lines(view) if line.departed][1] == "exited with status 0"
    assert view.snapshot is not None
    assert [known["number"] for known in view.snapshot.events] == [1, 2]
    view = lose(view, "no broker runs here", (), AT + 1 + DEPARTED_SECONDS)
    assert view.offline_since == AT + 1
    assert (lines(view), view.selected) == ((), None)
    for key in KEYS:
        press(view, key)
    view = observe(view, snapshot(*rows(1), at=AT + 60))
    assert (view.offline, view.offline_since) == ("", None)
    assert view.selected == 100


def test_while_it_is_paused_only_messages_grow_old() -> None:
    view = observe(start(*rows(1)), snapshot(*rows(1)[:-1], at=AT + 1))
    view = say(press(view, "p")[0], "done")
    later = elapse(view, AT + 1 + MESSAGE_SECONDS)
    assert later.departed
    assert later.message is None
    assert elapse(press(later, "p")[0], later.now).departed == ()


# --- Keys ------------------------------------------------------------------------------------------------------------


def test_quit_and_redraw() -> None:
    assert press(start(), "q")[1] == Quit()
    assert press(start(), "redraw")[1] == Redraw()


@pytest.mark.parametrize(("key", "step"), [("+", 1), ("=", 1), ("-", -1)])
def test_plus_and_minus_renice_by_one(key: str, step: int) -> None:
    _, action = type_keys(start(*rows()), "down", key)
    assert action == Renice(rows()[1], step, relative=True)


@pytest.mark.parametrize(("typed", "nice"), [("10", 10), ("-20", -20), ("+5", 5), ("19", 19), ("0", 0)])
def test_a_nice_value_is_typed(typed: str, nice: int) -> None:
    view, action = type_keys(start(*rows()), "down", "n", *typed, "enter")
    assert action == Renice(rows()[1], nice)
    assert view.prompt is None


@pytest.mark.parametrize("typed", ["20", "-21", "999", "--", "1-", "+"])
def test_a_wrong_nice_value_is_refused(typed: str) -> None:
    view, action = type_keys(start(*rows()), "n", *typed, "enter")
    assert action is None
    assert view.message is not None
    assert view.message.is_error


def test_the_prompt_can_be_edited_and_left() -> None:
    view, _ = type_keys(start(*rows()), "n", "1", "x", "2", "backspace", "5")
    assert view.prompt is not None
    assert view.prompt.text == "15"
    assert type_keys(view, "erase", "7", "enter")[1] == Renice(rows()[0], 7)
    left, action = type_keys(view, "escape")
    assert (left.prompt, action) == (None, None)
    assert type_keys(view, "erase", "enter") == (replace(view, prompt=None), None)


def test_keys_of_a_prompt_do_nothing_else() -> None:
    view, action = type_keys(start(*rows()), "/", "q", "K", "y", "p")
    assert action is None
    assert view.filter == "qKyp"
    assert not view.paused


@pytest.mark.parametrize("key", ["y", "Y"])
def test_killing_asks_first(key: str) -> None:
    view, action = type_keys(start(*rows()), "down", "K")
    assert action is None
    assert view.prompt is not None
    assert "router (PID 101)" in view.prompt.question
    assert press(view, key)[1] == Signal(rows()[1], "SIGKILL")


@pytest.mark.parametrize("key", ["n", "enter", "escape", "K", "q", "down"])
def test_anything_but_yes_is_no(key: str) -> None:
    view, action = type_keys(start(*rows()), "K", key)
    assert action is None
    assert view.prompt is None


def test_the_question_stays_about_the_process_that_it_named() -> None:
    view, _ = type_keys(start(*rows(2)), "down", "down", "K")
    view = observe(view, snapshot(row(), at=AT + 1))
    view = observe(view, snapshot(row(), at=AT + 1 + DEPARTED_SECONDS))
    _, action = press(view, "y")
    assert isinstance(action, Signal)
    assert action.row.pid == 102


def test_stopping_and_continuing() -> None:
    _, action = type_keys(start(*rows()), "down", "s")
    assert action == Signal(rows()[1], "SIGSTOP")
    stopped = row("router", 101, stat="TNl")
    assert type_keys(start(row(), stopped), "down", "s")[1] == Signal(stopped, "SIGCONT")


def test_the_supervisor_is_stopped_only_after_asking_and_continued_without() -> None:
    view, action = type_keys(start(*rows()), "s")
    assert action is None
    assert press(view, "y")[1] == Signal(row(), "SIGSTOP")
    assert type_keys(start(row(stat="T")), "s")[1] == Signal(row(stat="T"), "SIGCONT")


def test_killing_the_supervisor_says_what_that_means() -> None:
    view, _ = type_keys(start(*rows()), "K")
    assert view.prompt is not None
    assert "ends the broker" in view.prompt.question


@pytest.mark.parametrize("key", ["+", "-", "n", "s", "K"])
@pytest.mark.parametrize(
    ("process", "reason"),
    [
        (row("router", 101, stat="Z"), "zombie"),
        (row("router", None, stat="", state="waiting"), "back-off"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(key: str, process: ProcessRow, reason: str) -> None:
    view, action = type_keys(start(row(), process), "down", key)
    assert (action, view.prompt) == (None, None)
    assert view.message is not None
    assert view.message.is_error
    assert reason in view.message.text


@pytest.mark.parametrize("key", ["+", "-", "n", "s", "K"])
def test_nothing_is_done_to_the_departed_or_to_nobody(key: str) -> None:
    view, _ = type_keys(start(*rows()), "down")
    gone = observe(view, snapshot(row(), at=AT + 1))
    for nobody in (gone, View(), lose(start(), "gone", (), AT + 100)):
        after, action = press(nobody, key)
        assert (action, after.prompt) == (None, None)
        assert after.message is not None
        assert after.message.is_error


def test_sorting_goes_round() -> None:
    view = start(*rows())
    seen = []
    for _ in SORT_KEYS:
        view, _ = press(view, ">")
        seen.append(view.sort)
    assert seen == [*SORT_KEYS[1:], None]
    assert press(view, "<")[0].sort == SORT_KEYS[-1]


def test_escape_leaves_the_innermost_thing() -> None:
    view, _ = type_keys(start(*rows()), "/", "w", "enter", "d")
    view, _ = press(view, "escape")
    assert (view.show_details, view.filter) == (False, "w")
    assert press(view, "escape")[0].filter == ""


def test_the_help_scrolls_to_its_end_and_any_other_key_closes_it() -> None:
    view, _ = type_keys(start(*rows()), "?", "G")
    assert view.help_offset == last_help_offset(view, 80, 24) > 0
    assert press(view, "up")[0].help_offset == view.help_offset - 1
    assert press(view, "G", height=100)[0].help_offset == 0
    view, action = press(view, "q")
    assert (view.help, action) == (False, None)


def test_a_message_goes_with_the_next_key_or_in_time_and_cannot_steer_the_terminal() -> None:
    view = say(start(*rows()), "one\ntwo \x1b[31m", is_error=True)
    assert view.message is not None
    assert view.message.text == "one\ntwo ?[31m"
    assert press(view, "j")[0].message is None
    assert elapse(view, AT + MESSAGE_SECONDS).message is None


snapshots = st.builds(
    lambda processes, age: snapshot(row(), *processes, status_age_seconds=age, events=(event(pid=3, kind="died"),)),
    row_lists.map(lambda processes: [replace(process, depth=max(process.depth, 1)) for process in processes]),
    st.sampled_from([0.0, 9.0, None]),
)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(KEYS) | snapshots | st.just(None), max_size=40))
def test_no_sequence_of_keys_and_looks_breaks_it(steps: list[str | Snapshot | None]) -> None:
    view, now = View(), AT
    for step in steps:
        now += 0.9
        if step is None:
            view = lose(view, "gone", (event(pid=4, kind="exited"),), now)
        elif isinstance(step, Snapshot):
            view = observe(view, replace(step, at=now))
        else:
            before = view.selected
            view, action = press(elapse(view, now), step)
            if isinstance(action, Renice | Signal):
                assert action.row.pid is not None
                assert not action.row.stat.startswith("Z")
                assert view.prompt is None
            elif before is not None and step not in ("up", "down", "j", "k", "g", "G", "home", "end"):
                shown = {line.identity for line in lines(view)}
                assert step.startswith("page") or view.selected == before or before not in shown
        shown_lines = lines(view)
        assert (view.selected is None) == (not shown_lines)
        if shown_lines:
            line = selected_line(view)
            assert line is not None
            assert shown_lines[view.selected_index] == line
