"""The report folder of an experiment: written once, read by `show` and `compare`, by people and by programs.

    result.json      everything but single latencies; the schema is in docs/experiments.md
    samples.csv      one line for each trial and measure
    latencies.csv    one line for each measured delivery, if there were any
    report.html      the same for people, in one file; with charts if matplotlib is there

Runs in the process of `broker experiment`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Final

from broker.errors import BrokerError, UsageError
from monitor.experiments.html_report import html
from monitor.experiments.result import Result, as_json, from_json

RESULT: Final = "result.json"
SAMPLES: Final = "samples.csv"
LATENCIES: Final = "latencies.csv"
REPORT: Final = "report.html"


def check_out(directory: Path) -> None:
    """Make sure before the work that the folder can be written; UsageError if it is somebody else's, or in use."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"--out {directory} is not empty; a report is written to a folder of its own")
        probe = directory / RESULT
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {directory} cannot be written: {error.strerror}") from None


def write(result: Result, directory: Path) -> None:
    """Write all files; BrokerError if that fails."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_json(result), indent=2, ensure_ascii=False) + "\n"
        (directory / RESULT).write_text(text, encoding="utf-8")
        _write_samples(result, directory / SAMPLES)
        if any(trial.samples for trial in result.trials):
            _write_latencies(result, directory / LATENCIES)
        (directory / REPORT).write_text(html(result), encoding="utf-8")
    except OSError as error:
        raise BrokerError(f"the report cannot be written to {directory}: {error.strerror}") from None


def _write_samples(result: Result, path: Path) -> None:
    units = {measure.key: measure for measure in result.measures}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("order", "repetition", "arm", "measure", "value", "scale", "unit"))
        for trial in result.trials:
            for key, value in trial.values.items():
                writer.writerow(
                    (trial.order, trial.repetition, trial.arm, key, repr(value), units[key].scale, units[key].unit)
                )


def _write_latencies(result: Result, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("order", "repetition", "arm", "latency_us"))
        for trial in result.trials:
            writer.writerows(
                (trial.order, trial.repetition, trial.arm, f"{value * 1e6:.1f}") for value in trial.samples
            )


def read(directory: Path) -> Result:
    """The result in a report folder; UsageError if there is none that can be read."""
    path = directory / RESULT if directory.is_dir() else directory
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give the folder that --out named") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not the result of an experiment: it is not JSON") from None
    return from_json(document, str(path))
