"""The lock on the state directory: one broker at a time, whatever others do to the file meanwhile."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from broker.errors import AlreadyRunningError
from broker.state_dir import PidLock, running_pid


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = PidLock(tmp_path)
    assert running_pid(tmp_path) == os.getpid()
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        PidLock(tmp_path)
    lock.release()
    assert running_pid(tmp_path) is None
    PidLock(tmp_path).release()


def test_a_lock_on_a_file_that_has_been_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another broker ends between our open and our flock, and takes its pidfile with it."""
    other = PidLock(tmp_path)
    flock = fcntl.flock
    locked = []

    def flock_after_its_end(fd: int, operation: int) -> None:
        if not locked:
            other.release()
        locked.append(fd)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_its_end)
    (tmp_path / "broker.pid").write_text("")  # it has written its last; nobody is named any more
    ours = PidLock(tmp_path)
    assert len(locked) == 2, "the first one was on the removed file"
    assert running_pid(tmp_path) == os.getpid()
    ours.release()


def test_asking_does_not_keep_anybody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "broker.pid").write_text("999999999\n")
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            running_pid(tmp_path)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(50):
            PidLock(tmp_path).release()
            (tmp_path / "broker.pid").write_text("999999999\n")
    finally:
        done.set()
        asker.join()
