"""A worker has room for all its sockets from the beginning: its table of descriptors never has to grow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.running import running_broker

SLOTS = re.compile(r"^FDSize:\s+(\d+)$", re.MULTILINE)  # "Number of file descriptor slots currently allocated", proc(5)


def slots(pid: int) -> int:
    found = SLOTS.search(Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def test_there_is_room_for_as_many_as_there_may_be_connections(tmp_path: Path) -> None:
    with running_broker(tmp_path / "state", "--workers", "2", "--max-connections", "3000") as broker:
        pids = broker.pids()
        assert all(slots(pids[f"worker-{index}"]) >= 3000 for index in range(2))
        assert slots(pids["router"]) < 3000 and slots(pids["acceptor-0"]) < 3000


def test_the_limit_is_kept_and_nothing_stays_open() -> None:
    script = """
import os, resource
from broker.linux import make_room_for_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700))
before = os.listdir("/proc/self/fd")
make_room_for_descriptors(1, 100_000)
assert os.listdir("/proc/self/fd") == before
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("FDSize")][0])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ran.stdout) >= 700
