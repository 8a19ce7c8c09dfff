"""A child record around a process that is dead before anybody has heard of it."""

from __future__ import annotations

import os
import signal

from broker.child import CONTEXT, Child, ChildSpec
from broker.child_state import State
from broker.code import Code
from broker.settings import resolve


def test_signalling_the_dead_is_no_error_and_the_cause_is_kept() -> None:
    child = Child(
        ChildSpec("worker-0", "worker", 0),
        0,
        Code(resolve({}, {"HOME": "/"}).settings, {"worker": lambda _birth: None}, tuple),
    )
    child.spawn(lambda _child, _control, _stack, _reports: None)
    os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT)
    child.kill(signal.SIGKILL)  # a zombie takes it
    # multiprocessing reaps whatever has ended while it starts another process.
    other = CONTEXT.Process(target=lambda: None)
    other.start()
    other.join()
    child.kill(signal.SIGKILL)  # and whoever is reaped is gone
    death = child.bury()
    assert (death.exit_status, death.signal) == (0, None)
    assert child.state is State.WAITING
    assert not child.alive
