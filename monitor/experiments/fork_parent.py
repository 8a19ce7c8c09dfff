"""A stand-in for the supervisor that makes one child after another, by fork or by spawn, and times it.

A process of `broker experiment fork`. It has imported what a supervisor has, so that a fork shares as much. The child
is ready when it has imported the same, which a forked one has already. Its load is what the broker's processes do all
day: lines are read, cleaned, packed, and kept for a while.
"""

from __future__ import annotations

import gc
import importlib
import marshal
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Final

from broker.linux import die_with_parent
from broker.text import clean, decode
from monitor.experiments.conductor_line import Conductor, run
from monitor.experiments.placement import ExperimentError

PEOPLE: Final = 100
LINES_EACH: Final = 200
LINES_KEPT: Final = 20
_READY_SECONDS: Final = 30.0


def child(connection: Connection, parent: int, modules: Sequence[str], freezes: bool) -> None:
    """The life of a child: ready, then the load when it is told to, then the end when it is told to."""
    if not die_with_parent(parent):
        return
    if freezes:
        gc.freeze()  # as the broker's children do: the collector is to leave the parent's objects, and pages, alone
    for module in modules:
        importlib.import_module(module)
    connection.send(time.monotonic_ns())
    connection.recv()
    made = talk()
    gc.collect()  # which comes sooner or later, and looks at every object that is not frozen
    connection.send(made)
    connection.recv()


def talk() -> int:
    """Lines of a chat, read, cleaned and packed for everybody, and kept for a while; the number of bytes that it
    made."""
    recent: deque[bytes] = deque(maxlen=PEOPLE * LINES_KEPT)
    made = 0
    for line in range(LINES_EACH):
        for person in range(PEOPLE):
            text = clean(decode(b"line %d of somebody who talks a lot" % line))
            frame = marshal.dumps((line, [(person, f"person{person}: {text}\n".encode(), {"at": line * 0.001})]))
            recent.append(frame)
            made += len(frame)
    return made


def live(conductor: Conductor, arguments: list[str]) -> None:
    """MODULE…: import them, then make a child for each order, and end it when it has been looked at."""
    modules = arguments
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    conductor.say("here")
    while True:
        method, freezes = conductor.hear()[1]
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        began = time.monotonic_ns()
        process = context.Process(target=child, args=(theirs, os.getpid(), modules, freezes))
        process.start()
        started = time.monotonic_ns()
        theirs.close()
        if not ours.poll(_READY_SECONDS):
            process.kill()
            raise ExperimentError(f"a child made by {method} was not ready within {_READY_SECONDS:g} s")
        ready = ours.recv()
        conductor.say("ready", {"pid": process.pid, "call_ns": started - began, "startup_ns": ready - began})
        conductor.hear()
        ours.send("load")
        conductor.say("loaded", ours.recv())
        conductor.hear()
        ours.send("end")
        process.join()
        ours.close()
        conductor.say("ended")


if __name__ == "__main__":
    run("fork-parent", live)
