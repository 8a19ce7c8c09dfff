"""Charts as SVG, by matplotlib (the extra `plots`); without it there are none, and the report does without.

Runs in the process of `broker experiment`. matplotlib is imported only when a chart is drawn.
"""

from __future__ import annotations

import io

from monitor.experiments.design import Chart
from monitor.experiments.figures import heading
from monitor.experiments.result import Result


def svg(result: Result, chart: Chart) -> str | None:
    """The `<svg>` element of one chart: each trial a dot, the mean and its interval a bar, the prediction a line.

    None without matplotlib. The same result gives the same picture.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return None
    measure = result.measure(chart.measure)
    arms = [arm for arm in result.arms if result.values(arm.name, chart.measure)]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.measure, "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for place, arm in enumerate(arms):
            found = result.estimate(arm.name, chart.measure)
            assert found is not None  # its arm was chosen for having values
            low = found.mean if found.low is None else found.low
            high = found.mean if found.high is None else found.high
            mean = found.mean * measure.scale
            error = [[mean - low * measure.scale], [high * measure.scale - mean]]
            axes.errorbar([place], [mean], yerr=error, fmt="o", color="#3b7ea1", capsize=6, markersize=7,
                          label="mean, 95 % interval" if place == 0 else None)  # fmt: skip
            values = [value * measure.scale for value in result.values(arm.name, chart.measure)]
            axes.plot([place + 0.15] * len(values), values, ".", color="#888888", label="trial" if place == 0 else None)
            predicted = arm.predicted.get(chart.measure)
            if predicted is not None:
                axes.plot([place - 0.3, place + 0.3], [predicted * measure.scale] * 2, color="#c1442e",
                          label=None if any(a.predicted for a in arms[:place]) else "predicted")  # fmt: skip
        axes.set_xticks(range(len(arms)), [arm.name for arm in arms])
        axes.set_ylabel(heading(measure))
        if chart.logarithmic and all(value > 0 for arm in arms for value in result.values(arm.name, chart.measure)):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(loc="best", fontsize="small")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
