"""Controlled experiments: what nice values, multiplexers, workers and forks really do, with intervals and a verdict.

By default an experiment starts brokers of its own, in temporary state directories, and leaves nothing behind. At the
end there are a table, charts and a verdict on the terminal, and a folder with the same as a page, as JSON and as CSV.
docs/experiments.md explains the methods and the files.
"""

from __future__ import annotations

import argparse
import random
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from broker.commands.arguments import CommandParser, add_state_dir
from broker.durations import duration
from broker.errors import UsageError
from monitor.experiments import report, terminal
from monitor.experiments.catalogue import EXPERIMENTS, experiment_class
from monitor.experiments.design import Slot
from monitor.experiments.options import whole
from monitor.experiments.result import Trial
from monitor.experiments.runner import carry_out
from monitor.table import printable

_SUPERVISOR_MODULES = ("broker.commands.start",)
"""What a supervisor has imported when it forks: an experiment on fork imports it too, into a process of its own."""
_PLAIN_WIDTH = 200
"""Columns of what goes into a pipe or a file."""


class _ExperimentParser(CommandParser):
    """Takes a list that begins with a negative number for the value that it is, and not for options."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """`--levels -10,0` as if it were written `--levels=-10,0`."""
        joined: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if joined and joined[-1].startswith("--") and re.fullmatch(r"-[0-9][0-9,]*(,-?[0-9]+)*", word):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return super().parse_known_args(joined, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each experiment, and two for reports."""
    commands = parser.add_subparsers(metavar="EXPERIMENT", required=True, parser_class=_ExperimentParser)
    for name in EXPERIMENTS:
        experiment = experiment_class(name)
        own = commands.add_parser(name, help=experiment.summary, description=experiment.summary, allow_abbrev=False)
        experiment.add_arguments(own)
        own.add_argument(
            "--repeat", metavar="N", type=whole(1, 1000), default=experiment.repetitions,
            help="repetitions of each arm (default: %(default)s)",
        )  # fmt: skip
        own.add_argument(
            "--seed", metavar="S", type=whole(0, 999_999_999), help="of order and arrivals (default: drawn)"
        )
        own.add_argument(
            "--out", metavar="DIR", type=_path,
            help="folder for the report (default: broker-experiment-NAME-TIME in the current one)",
        )  # fmt: skip
        add_state_dir(own)
        own.set_defaults(do=_experiment, experiment=name, supervisor_modules=_SUPERVISOR_MODULES)
    show = commands.add_parser("show", help="print an old report", description="Print an old report.")
    show.add_argument("directory", metavar="DIR", type=_path, help="its folder")
    show.set_defaults(do=_show)
    compare = commands.add_parser(
        "compare", help="two reports side by side", description="Lay two reports of one experiment side by side."
    )
    compare.add_argument("first", metavar="A", type=_path, help="a report's folder")
    compare.add_argument("second", metavar="B", type=_path, help="another one's")
    compare.set_defaults(do=_compare)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def run(arguments: argparse.Namespace) -> int:
    """Carry it out, or print reports."""
    status: int = arguments.do(arguments)
    return status


def _experiment(arguments: argparse.Namespace) -> int:
    out = arguments.out or _path(f"broker-experiment-{arguments.experiment}-{time.strftime('%Y%m%d-%H%M%S')}")
    experiment = experiment_class(arguments.experiment)(arguments)
    report.check_out(out)
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    command = ["broker", "experiment", *sys.argv[2:]]
    if arguments.seed is None:
        command += ["--seed", str(seed)]
    console = Console(highlight=False, markup=False, emoji=False)
    # So that everything is put away as after Ctrl-C.
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _Watching() as progress:
            result = carry_out(experiment, arguments.repeat, seed, command, progress)
    except BaseException:
        if not any(out.iterdir()):
            out.rmdir()
        raise
    finally:
        signal.signal(signal.SIGTERM, earlier)
    report.write(result, out)
    _print(terminal.render(result, _width(console)), console)
    _print(f"report: {shlex.quote(str(out / report.REPORT))}", console)
    return 0 if result.is_complete else 130


def _width(console: Console) -> int:
    return console.width if console.is_terminal else _PLAIN_WIDTH


def _print(content: object, console: Console) -> None:
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_PLAIN_WIDTH)
    console.print(content, soft_wrap=isinstance(content, str))


def _show(arguments: argparse.Namespace) -> int:
    console = Console(highlight=False, markup=False, emoji=False)
    _print(terminal.render(report.read(arguments.directory), _width(console)), console)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    first, second = report.read(arguments.first), report.read(arguments.second)
    if first.experiment != second.experiment:
        raise UsageError(
            f"these are different experiments, {first.experiment} and {second.experiment}; compare two of one kind"
        )
    console = Console(highlight=False, markup=False, emoji=False)
    names = (str(arguments.first), str(arguments.second))
    _print(terminal.compare(first, second, names), console)
    return 0


class _Watching:
    """Progress on the standard error: a bar with the time left on a terminal, else a line for each trial.

    The bar is drawn by `tick` and not by a thread, since processes are forked meanwhile.
    """

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[left]}"),
            console=console, auto_refresh=False, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=1, left="")
        self._seconds: Sequence[float] = ()
        self._slots: Sequence[Slot] = ()
        self._began = self._trial_began = 0.0
        self._done = 0

    def __enter__(self) -> _Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, slots: Sequence[Slot], seconds: Sequence[float]) -> None:
        """All trials to come, and how long each will take, about."""
        self._slots, self._seconds = slots, seconds
        self._began = self._trial_began = time.monotonic()
        self._bar.update(self._task, total=len(slots))
        if self._console.is_terminal:
            self._bar.start()
        else:
            self._say(f"{len(slots)} trials, about {duration(sum(seconds))}")
        self._describe()

    def tick(self) -> None:
        """Draw."""
        if self._console.is_terminal:
            self._describe()
            self._bar.refresh()

    def done(self, number: int, trial: Trial) -> None:
        """The next one."""
        self._done, self._trial_began = number, time.monotonic()
        self._bar.update(self._task, completed=number)
        if not self._console.is_terminal or trial.failure:
            outcome = f"failed: {trial.failure}" if trial.failure else "done"
            self._say(printable(f"trial {number} of {len(self._slots)}, {trial.arm}: {outcome}"))
        self._describe()

    def _describe(self) -> None:
        name = self._slots[self._done].arm.name if self._done < len(self._slots) else "report"
        self._bar.update(self._task, description=printable(name), left=f"about {duration(self.left())} left")

    def left(self) -> float:
        """Seconds: what was planned for the rest, corrected by how the plan has fared so far."""
        planned = sum(self._seconds[: self._done])
        factor = (self._trial_began - self._began) / planned if planned else 1.0
        return max(sum(self._seconds[self._done :]) * factor - (time.monotonic() - self._trial_began), 0.0)

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)
