"""The guardian of a borrowed broker: puts nice values and affinities back, whatever becomes of the experiment.

A process of `broker experiment --attach`. Unlike the other helpers it does not die with its parent: that its standard
input ends is how it learns that it is needed. It ignores Ctrl-C and TERM for the same reason.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import setproctitle

from monitor import procfs


def restore(supervisor: int, records: list[list[Any]]) -> list[str]:
    """Put back every thread that is still there, and those that were born meanwhile; what could not be done.

    A process that was started meanwhile has inherited the supervisor's affinity, and gets what it would have had: the
    supervisor's original one. Its nice value is what the supervisor gave it.
    """
    failures: list[str] = []
    known = set()
    supervisor_cpus: list[int] | None = None
    by_process: dict[tuple[int, int], list[list[Any]]] = {}
    for record in records:
        by_process.setdefault((record[0], record[1]), []).append(record)
    for (pid, start_ticks), threads in by_process.items():
        known.add(pid)
        process = procfs.process_stat(pid)
        if process is None or process.start_ticks != start_ticks:
            continue
        nices = {tid: nice for _, _, tid, nice, _ in threads}
        affinities = {tid: cpus for _, _, tid, _, cpus in threads}
        if pid == supervisor:
            supervisor_cpus = affinities.get(pid)
        for tid in procfs.thread_ids(pid):
            # A new thread inherits from the one that started it, most likely the first.
            _put_back(tid, nices.get(tid, nices.get(pid, 0)), affinities.get(tid, affinities.get(pid)), failures)
    if supervisor_cpus is not None:
        children = procfs.children_by_parent(procfs.scan().values())
        for pid in procfs.descendants(supervisor, children):
            if pid not in known:
                for tid in procfs.thread_ids(pid):
                    _put_back(tid, None, supervisor_cpus, failures)
    return failures


def _put_back(tid: int, nice: int | None, cpus: list[int] | None, failures: list[str]) -> None:
    try:
        if cpus is not None:
            os.sched_setaffinity(tid, cpus)
        if nice is not None:
            os.setpriority(os.PRIO_PROCESS, tid, nice)
    except ProcessLookupError:
        return
    except OSError as error:
        failures.append(f"thread {tid}: {error.strerror}")


def main() -> None:
    """Remember, wait, restore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    setproctitle.setproctitle("broker: experiment-guardian")
    supervisor: int = 0
    records: list[list[Any]] = []
    for line in sys.stdin:
        message = json.loads(line)
        if message[0] == "remember":
            supervisor, records = message[1:]
            print('["remembered"]', flush=True)
        elif message[0] == "restore":
            print(json.dumps(["restored", restore(supervisor, records)]), flush=True)
            return
    restore(supervisor, records)


if __name__ == "__main__":
    main()
