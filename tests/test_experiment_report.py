"""The report of an experiment: JSON that comes back as it was, CSV, a page that needs nothing else, the terminal."""

from __future__ import annotations

import csv
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from broker.errors import UsageError
from monitor.experiments import report, terminal
from monitor.experiments.design import Chart
from monitor.experiments.html_report import html
from monitor.experiments.plots import svg
from monitor.experiments.result import SCHEMA, Caution, Result, Verdict, as_json, from_json
from monitor.experiments.statistics import Estimate
from tests.experiments import nice_result

MALICE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture
def result() -> Result:
    found = nice_result({0: 0.5, 19: 0.0144}, {0: 0.02, 19: 0.9})
    return replace(
        found,
        cautions=(Caution("interference", f"somebody called {MALICE} was there"),),
        verdict=Verdict(True, "Agrees with the prediction."),
    )


def shown(renderable: RenderableType, width: int) -> list[str]:
    console = Console(
        width=width, highlight=False, markup=False, emoji=False, record=True, quiet=False, file=sys.stderr
    )
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def test_json_comes_back_as_it_was(result: Result) -> None:
    document = json.loads(json.dumps(as_json(result)))
    assert document["schema"] == SCHEMA
    back = from_json(document, "it")
    assert as_json(back) == {**as_json(result), "trials": [{**t, "latency_samples": 0} for t in document["trials"]]}


def test_json_has_estimates_and_predictions(result: Result) -> None:
    arms = {arm["name"]: arm for arm in as_json(result)["arms"]}
    share = arms["nice 19"]["estimates"]["cpu_share"]
    assert set(share) == {"mean", "low", "high", "samples"}
    assert share["low"] <= share["mean"] <= share["high"]
    assert arms["nice 19"]["predicted"]["cpu_share"] == pytest.approx(15 / 1039)


@pytest.mark.parametrize(
    "document", [None, [], {}, {"schema": "other/1"}, {"schema": SCHEMA}, {"schema": SCHEMA, "arms": 3}]
)
def test_what_is_no_result_is_refused_in_a_line(document: object) -> None:
    with pytest.raises(UsageError, match=r"^it is ") as error:
        from_json(document, "it")
    assert "\n" not in str(error.value)


def test_the_folder(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    report.check_out(folder)
    report.write(result, folder)
    assert as_json(report.read(folder))["arms"] == as_json(result)["arms"]
    assert report.read(folder / report.RESULT).seed == result.seed
    with (folder / report.SAMPLES).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == sum(len(trial.values) for trial in result.trials)
    shares = [float(line["value"]) for line in lines if line["arm"] == "nice 19" and line["measure"] == "cpu_share"]
    assert shares == result.values("nice 19", "cpu_share")
    with (folder / report.LATENCIES).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == sum(len(trial.samples) for trial in result.trials)
    with pytest.raises(UsageError, match="not empty"):
        report.check_out(folder)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        report.read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        report.read(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot be written"):
        report.check_out(tmp_path / "file")


class Page(HTMLParser):
    """What is in a page: its tags, its references to elsewhere, its text; AssertionError if a tag is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "path", "use", "br"):
            self._open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_runs_nothing(result: Result) -> None:
    page = Page(html(result))
    assert page.tags.count("svg") == 2
    assert "script" not in page.tags
    assert all(reference.startswith("#") for reference in page.references)
    assert "<script>alert(1)</script>" in page.text
    assert "Agrees with the prediction." in page.text
    for measure in result.measures:
        assert measure.definition in page.text


def test_the_page_without_matplotlib_has_bars_instead(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert svg(result, result.charts[0]) is None
    page = html(result)
    assert "<svg" not in page
    assert page.count('class="bar"') == 2 * 3
    assert Page(page).text.count("Share of the CPU") == 1


def test_a_chart_is_xml_and_always_the_same(result: Result) -> None:
    for chart in result.charts:
        picture = svg(result, chart)
        assert picture is not None
        words = "".join(ElementTree.fromstring(picture).itertext())
        assert "nice 19" in words and "alone" in words
        assert picture == svg(result, chart)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_terminal_gets_no_line_that_is_too_wide_and_nothing_that_steers_it(result: Result, width: int) -> None:
    lines = shown(terminal.render(result, width), width)
    assert all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "\x1b" not in text
    joined = re.sub(r"\s+", " ", text)
    assert "nice 19" in joined and "1.4" in joined and "Agrees with the prediction." in joined


def test_a_bar_is_full_up_to_the_interval_and_marks_the_prediction() -> None:
    scale = terminal.Scale([10.0], False, 10)
    assert terminal.bar(scale, Estimate(5.0, 4.0, 7.0, 3), None) == "████▒▒▒   "
    assert terminal.bar(scale, Estimate(5.0, 4.0, 7.0, 3), 9.0) == "████▒▒▒  |"
    assert terminal.bar(scale, Estimate(5.0, None, None, 1), 10.0) == "█████    |"
    logarithmic = terminal.Scale([1.0, 1000.0], True, 10)
    assert logarithmic.cell(1000.0) == 10
    assert 0 < logarithmic.cell(1.0) < logarithmic.cell(30.0) < 10
    assert logarithmic.cell(0.0) == 0


def test_two_results_side_by_side(result: Result) -> None:
    other = replace(
        nice_result({0: 0.5, 19: 0.1}, {0: 0.02, 19: 0.9}),
        parameters={"target": "router"},
        charts=(Chart("cpu_share", "x"),),
    )
    text = "\n".join(shown(terminal.compare(result, other, ("here", "there")), 200))
    assert re.search(r"nice 19 +CPU share, % +1\.4 \[.*\] +10\.0 \[.*\] +6\.94 +apart", text)
    assert re.search(r"p99, ms .* 1\.00 +overlap", text)
    assert "parameter target: worker-0 in A, router in B" in text
