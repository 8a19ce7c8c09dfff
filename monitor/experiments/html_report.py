"""`report.html`: a result on one page that needs nothing else, neither files nor scripts. Pure but for the charts.

The charts are SVG by `monitor.experiments.plots`, where matplotlib is there; without it bars of the page's own style.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from monitor.experiments.design import Chart
from monitor.experiments.figures import facts, figure, heading, interval, table
from monitor.experiments.plots import svg
from monitor.experiments.result import Result
from monitor.experiments.terminal import Scale

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfc; --line: #d5d5d0; --bar: #3b7ea1; --good: #19692c; --bad: #a3261b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e3; --paper: #191919; --line: #3d3d3a; --good: #6cc37f; --bad: #f08377; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } dt { font-weight: 600; } td.text { text-align: left; white-space: normal; }
.verdict { font-size: 1.1rem; border-left: .3rem solid var(--line); padding: .5rem 1rem; }
.agrees { border-color: var(--good); } .disagrees, .void { border-color: var(--bad); } .void { color: var(--bad); }
.bar { display: inline-block; background: var(--bar); height: .8rem; } figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; background: #fff; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""  # noqa: E501
_BAR_REMS: Final = 30


def html(result: Result) -> str:
    """The page."""
    title = f"broker experiment {result.experiment}"
    return "\n".join(
        (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>{escape(title)}</h1>",
            f"<p>{_when(result.started_at)}, {result.repetitions} repetitions, seed {result.seed}</p>",
            *_conclusion(result),
            "<h2>Figures</h2><p>Mean over the repetitions, and its 95 % interval (bootstrap).</p>",
            _table(table(result)),
            *_charts(result),
            "<h2>What was measured</h2>",
            _definitions(result),
            "<h2>Where and how</h2>",
            _rows([("", "")], [(name, value) for name, value in facts(result)]),
            "<h2>All trials</h2><p>In the order in which they were made.</p>",
            _trials(result),
            "</body></html>\n",
        )
    )


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _conclusion(result: Result) -> Iterator[str]:
    kind = {True: "agrees", False: "disagrees", None: ""}[result.verdict.agrees]
    yield f'<p class="verdict {kind}">{escape(result.verdict.text)}</p>'
    for arm in result.arms:
        if arm.skipped:
            yield f"<p>{escape(arm.name)} was left out: {escape(arm.skipped)}</p>"
    for caution in result.cautions:
        word, style = ("Void", "void") if caution.is_void else ("Note", "")
        yield f'<p class="{style}">{word}: {escape(caution.text)}</p>'


def _table(lines: Sequence[Sequence[str]]) -> str:
    first, *rest = lines
    head = "".join(f"<th>{escape(cell)}</th>" for cell in first)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in rest)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _rows(_heading: object, lines: Sequence[tuple[str, str]]) -> str:
    body = "".join(f'<tr><td>{escape(name)}</td><td class="text"><code>{escape(text)}</code></td></tr>'
                   for name, text in lines)  # fmt: skip
    return f"<table><tbody>{body}</tbody></table>"


def _charts(result: Result) -> Iterator[str]:
    for chart in result.charts:
        if not any(result.values(arm.name, chart.measure) for arm in result.arms):
            continue
        picture = svg(result, chart)
        yield f"<h2>{escape(chart.title)}</h2><figure>{picture or _bars(result, chart)}</figure>"


def _bars(result: Result, chart: Chart) -> str:
    measure = result.measure(chart.measure)
    shown = [(arm.name, found) for arm in result.arms if (found := result.estimate(arm.name, chart.measure))]
    scale = Scale([found.mean for _, found in shown], chart.logarithmic, 1000)
    lines = "".join(
        f'<tr><td>{escape(name)}</td><td style="text-align:left">'
        f'<span class="bar" style="width:{scale.cell(found.mean) / 1000 * _BAR_REMS:.2f}rem"></span> '
        f"{escape(interval(found, measure))} {escape(measure.unit)}</td></tr>"
        for name, found in shown
    )
    return f"<table><tbody>{lines}</tbody></table>"


def _definitions(result: Result) -> str:
    items = "".join(
        f"<dt>{escape(heading(measure))} <code>{escape(measure.key)}</code></dt><dd>{escape(measure.definition)}</dd>"
        for measure in result.measures
    )
    return f"<dl>{items}</dl>"


def _trials(result: Result) -> str:
    lines = [["", "arm", "repetition", *(heading(measure) for measure in result.measures), "remarks"]]
    for trial in result.trials:
        figures = [figure(trial.values.get(measure.key), measure) for measure in result.measures]
        remarks = trial.failure or "; ".join(trial.notes)
        lines.append([str(trial.order), trial.arm, str(trial.repetition), *figures, remarks])
    return f"<details><summary>{len(result.trials)} trials</summary>{_table(lines)}</details>"
