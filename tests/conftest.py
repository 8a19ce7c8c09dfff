"""Fixtures: a broker that runs for one test, or for one module where the tests leave it as they found it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.running import Broker, running_broker

# Whoever runs the tests in the background of a script has SIGINT ignored, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take as long as a loaded machine makes it take: time is measured by benchmarks, not by tests.
hypothesis.settings.register_profile("broker", deadline=None)
hypothesis.settings.load_profile("broker")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, with two workers and a TCP listener, in Chinese."""
    with running_broker(tmp_path / "state") as running:
        yield running


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for tests that only chat."""
    with running_broker(tmp_path_factory.mktemp("broker") / "state") as running:
        yield running
