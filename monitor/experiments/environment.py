"""What a result depends on beside its parameters: kernel, CPUs, the scheduler's settings, versions.

Runs in the process of `broker experiment`; reads /proc and /sys.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any, Final

from broker import __version__
from monitor import procfs

POLICIES: Final = {
    0: "SCHED_OTHER",
    1: "SCHED_FIFO",
    2: "SCHED_RR",
    3: "SCHED_BATCH",
    5: "SCHED_IDLE",
    6: "SCHED_DEADLINE",
    7: "SCHED_EXT",
}
"""sched(7), include/uapi/linux/sched.h."""
_LIBRARIES: Final = ("rich", "setproctitle", "matplotlib")


def environment() -> dict[str, Any]:
    """As it is now; what this kernel does not tell is None."""
    own = procfs.process_stat(os.getpid())
    autogroup = procfs.autogroup(os.getpid())
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu_model": cpu_model((procfs.read("/proc/cpuinfo") or b"").decode(errors="replace")),
        "cpus_online": os.cpu_count(),
        "cpus_allowed": sorted(os.sched_getaffinity(0)),
        "virtualised": b" hypervisor" in (procfs.read("/proc/cpuinfo") or b""),
        "load_average": list(os.getloadavg()),
        "autogroup_enabled": procfs.autogroup_enabled(),
        "autogroup": None if autogroup is None else autogroup.number,
        "cgroup": procfs.cgroup(os.getpid()),
        "policy": None if own is None else POLICIES.get(own.policy, str(own.policy)),
        "nice": None if own is None else own.nice,
        "base_slice_ns": _number("/sys/kernel/debug/sched/base_slice_ns"),
        "python": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        "broker": __version__,
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def cpu_model(cpuinfo: str) -> str | None:
    """The model of the first CPU of `/proc/cpuinfo`; None where it has none, as on some ARM machines."""
    for line in cpuinfo.splitlines():
        name, separator, value = line.partition(":")
        if separator and name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return None


def _number(path: str) -> int | None:
    text = (procfs.read(path) or b"").strip()
    return int(text) if text.isdigit() else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
