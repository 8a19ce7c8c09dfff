"""The process lab: every state and every fate of a process, made on purpose, explained, and cleaned up again.

Each scene is bounded in time, says in plain words what there is to see, and prints the line of ps to check it by. If a
broker runs on the state directory, `broker top` and `broker ps` show the lab's processes below its tree. docs/lab.md is
a lesson of 90 minutes made of these scenes, docs/lab.zh-CN.md the same in Chinese.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial

from broker.commands.arguments import CommandParser, add_state_dir
from broker.errors import UsageError
from broker.linux import lowest_nice_allowed
from monitor.experiments.options import number, whole
from monitor.lab import exits, forked, hog, orphan, states, stop, zombie
from monitor.lab.show import Show
from monitor.lab.stage import Stage

LONGEST_SECONDS = 3600.0

Scene = Callable[[Stage, Show], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each scene."""
    scenes = parser.add_subparsers(metavar="SCENE", required=True, parser_class=CommandParser)

    def scene(name: str, summary: str, seconds: float, make: Callable[[argparse.Namespace], Scene]) -> CommandParser:
        made = scenes.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        made.add_argument(
            "--seconds", metavar="S", type=number(0.1, LONGEST_SECONDS), default=seconds,
            help="how long it is to be seen (default: %(default)g)",
        )  # fmt: skip
        made.add_argument(
            "--lang", choices=("zh", "en", "both"), default="both", help="language of the explanations (default: both)"
        )
        add_state_dir(made)
        made.set_defaults(scene=name, make=make)
        return made

    scene("states", "one process for each letter and each flag of STAT", 60.0, lambda _: states.run)
    made = scene(
        "zombie", "dead children that nobody has asked about, then reaped", 30.0,
        lambda arguments: partial(zombie.run, count=arguments.count),
    )  # fmt: skip
    made.add_argument("--count", metavar="N", type=whole(1, 1000), default=3, help="how many (default: %(default)s)")
    scene("orphan", "a parent that ends first, and who adopts its child", 30.0, lambda _: orphan.run)
    scene("exit", "ways to end, each seen from the parent's side", 60.0, lambda _: exits.run)
    scene("fork", "one variable in two processes, and whose memory it is", 30.0, lambda _: forked.run)
    made = scene(
        "stop", "a worker is stopped while people chat, and replaced", 60.0,
        lambda arguments: partial(stop.run, name=arguments.worker, state_dir=arguments.state_dir),
    )  # fmt: skip
    made.add_argument(
        "worker", metavar="WORKER", nargs="?", default="worker-0", help="which worker (default: %(default)s)"
    )
    made = scene("hog", "a process that wants a CPU for itself, to renice by hand", 60.0, _hog)
    made.add_argument(
        "--nice", metavar="N", type=whole(-20, 19), default=0, help="its nice value at first (default: %(default)s)"
    )
    made.add_argument(
        "--cpu", metavar="C", type=whole(0, 4095), help="the CPU that it is to have (default: the last one)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Hold the scene; LabError if it cannot be shown here."""
    scene: Scene = arguments.make(arguments)
    show = Show(arguments.scene, arguments.lang, arguments.state_dir)
    with Stage(arguments.scene, arguments.state_dir, arguments.seconds) as stage:
        scene(stage, show)
    show.gone()
    return 0


def _hog(arguments: argparse.Namespace) -> Scene:
    allowed = os.sched_getaffinity(0)
    cpu = max(allowed) if arguments.cpu is None else arguments.cpu
    if cpu not in allowed:
        raise UsageError(f"--cpu {cpu}: this process may use {', '.join(map(str, sorted(allowed)))}")
    lowest = lowest_nice_allowed()
    if arguments.nice < lowest:
        raise UsageError(
            f"--nice {arguments.nice} takes CAP_SYS_NICE or RLIMIT_NICE; the lowest allowed here is {lowest}"
        )
    return partial(hog.run, nice=arguments.nice, cpu=cpu)
