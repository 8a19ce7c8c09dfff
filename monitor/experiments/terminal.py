"""A result on a terminal: table, bars with intervals, cautions, verdict. Makes rich renderables; prints nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monitor.experiments.design import Arm, Chart
from monitor.experiments.figures import UNKNOWN, facts, figure, heading, interval, table
from monitor.experiments.result import Result
from monitor.experiments.statistics import Estimate
from monitor.table import printable

_BAR_CELLS: Final = 40
_NARROW_BAR_CELLS: Final = 16
_WIDE: Final = 120
"""A terminal of so many columns gets the table with its intervals."""


def render(result: Result, width: int) -> Group:
    """All of it, for a terminal of that many columns."""
    parts: list[RenderableType] = [_title(result), _table(result, width)]
    for chart in result.charts:
        parts += [Text(), Text(chart.title, style="bold"), *_chart(result, chart, width)]
    parts.append(Text())
    for arm in result.arms:
        if arm.skipped:
            parts.append(Text(printable(f"{arm.name} was left out: {arm.skipped}"), style="yellow"))
    for caution in result.cautions:
        text = printable(f"{'VOID' if caution.is_void else 'note'}: {caution.text}")
        parts.append(Text(text, style="red" if caution.is_void else "yellow"))
    style = {True: "bold green", False: "bold red", None: "bold"}[result.verdict.agrees]
    parts.append(Text(printable(result.verdict.text), style=style))
    return Group(*parts)


def _title(result: Result) -> Text:
    shown = dict(facts(result))
    text = (
        f"broker experiment {result.experiment}: {result.repetitions} repetition{'s' * (result.repetitions > 1)}, "
        f"seed {result.seed}; {shown['CPU']}"
    )
    return Text(printable(text), style="bold")


def _table(result: Result, width: int) -> Table:
    first, *lines = table(result, with_intervals=width >= _WIDE)
    if width < _WIDE and len(lines) < len(first):  # more measures than arms: stand it on its head
        turned = list(zip(*(first, *lines), strict=True))
        first, lines = list(turned[0]), [list(line) for line in turned[1:]]
    made = Table(box=None, pad_edge=False, padding=(0, 1))
    for index, text in enumerate(first):
        made.add_column(Text(printable(text)), justify="right" if index else "left", overflow="fold")
    for line in lines:
        made.add_row(*(Text(printable(cell)) for cell in line))
    return made


def _chart(result: Result, chart: Chart, width: int) -> Iterator[Text]:
    """A bar for each arm: full up to the interval, shaded in it; `|` is where the prediction is."""
    measure = result.measure(chart.measure)
    shown = [(arm, found) for arm in result.arms if (found := result.estimate(arm.name, chart.measure))]
    if not shown:
        return
    cells = _BAR_CELLS if width >= 80 else _NARROW_BAR_CELLS
    names = max(cell_len(arm.name) for arm, _ in shown)
    scale = Scale([value for arm, found in shown for value in _values(arm, found, chart)], chart.logarithmic, cells)
    for arm, found in shown:
        predicted = arm.predicted.get(chart.measure)
        line = Text(f"  {printable(arm.name):<{names}} ")
        line.append(bar(scale, found, predicted), style="cyan")
        line.append(f" {interval(found, measure)} {measure.unit}")
        if predicted is not None:
            line.append(f", predicted {figure(predicted, measure)}", style="dim")
        yield line
    if chart.logarithmic:
        yield Text(f"  {'':<{names}} (logarithmic scale)", style="dim")


def _values(arm: Arm, found: Estimate, chart: Chart) -> list[float]:
    high = found.mean if found.high is None else found.high
    return [high, found.mean if found.low is None else found.low, arm.predicted.get(chart.measure, high)]


class Scale:
    """Where a value stands on a line of so many cells. A logarithmic one begins a little below the least value."""

    def __init__(self, values: Sequence[float], logarithmic: bool, cells: int) -> None:
        positive = [value for value in values if value > 0]
        self.cells = cells
        self._logarithmic = logarithmic and bool(positive)
        self._highest = max(positive, default=1.0)
        self._lowest = min(positive, default=1.0) / 2

    def cell(self, value: float) -> int:
        """The cell, from 0 to `cells`."""
        if not self._logarithmic:
            share = value / self._highest
        elif value <= self._lowest:
            share = 0.0
        else:
            share = math.log(value / self._lowest) / math.log(self._highest / self._lowest)
        return min(max(round(share * self.cells), 0), self.cells)


def bar(scale: Scale, found: Estimate, predicted: float | None) -> str:
    """The bar's characters."""
    low = scale.cell(found.mean if found.low is None else found.low)
    high = scale.cell(found.mean if found.high is None else found.high)
    cells = ["█"] * low + ["▒"] * (high - low) + [" "] * (scale.cells - high)
    if predicted is not None:
        place = min(scale.cell(predicted), scale.cells - 1)
        cells[place] = "|"
    return "".join(cells)


def compare(first: Result, second: Result, names: tuple[str, str]) -> Group:
    """Two results of one experiment side by side: means, and whether the intervals of an arm have a point in common."""
    parts: list[RenderableType] = []
    for name, result in zip("AB", (first, second), strict=True):
        parts.append(Text(printable(f"{name}: {names['AB'.index(name)]}: {result.verdict.text}")))
    made = Table(box=None, pad_edge=False, padding=(0, 1))
    for text in ("arm", "measure", "A", "B", "B / A", "intervals"):
        made.add_column(text, justify="left" if text in ("arm", "measure", "intervals") else "right")
    for arm, measure, cells in comparison(first, second):
        made.add_row(Text(printable(arm)), Text(printable(measure)), *(Text(cell) for cell in cells))
    parts += [Text(), made, *(Text(printable(text), style="yellow") for text in differences(first, second))]
    return Group(*parts)


def comparison(first: Result, second: Result) -> Iterator[tuple[str, str, list[str]]]:
    """Arm, measure and cells of each figure that both have."""
    names = [arm.name for arm in second.arms]
    for arm in first.arms:
        shown_arm = arm.name
        for measure in first.measures:
            if not measure.in_table or arm.name not in names:
                continue
            here, there = first.estimate(arm.name, measure.key), second.estimate(arm.name, measure.key)
            if here is None or there is None:
                continue
            overlap = here.overlaps(there)
            word = UNKNOWN if overlap is None else "overlap" if overlap else "apart"
            ratio = f"{there.mean / here.mean:.2f}" if here.mean else UNKNOWN
            yield shown_arm, heading(measure), [interval(here, measure), interval(there, measure), ratio, word]
            shown_arm = ""


def differences(first: Result, second: Result) -> list[str]:
    """What else was not the same: parameters and environment."""
    found = []
    for kind, ours, theirs in (
        ("parameter", first.parameters, second.parameters),
        ("environment", first.environment, second.environment),
    ):
        for key in ours:
            if key not in ("load_average", "autogroup") and ours[key] != theirs.get(key):
                found.append(f"{kind} {key}: {ours[key]} in A, {theirs.get(key)} in B")
    return found
