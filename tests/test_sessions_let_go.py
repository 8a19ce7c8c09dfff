"""A worker's session that is over takes part in no cycle: nobody has to look for it."""

from __future__ import annotations

import gc
import socket
import weakref

import pytest

from broker.custody import Held
from broker.ledger import Ledger
from workers.session import Session


class Watched(Session):
    """One whose end can be seen: the slots of a session have no room for that."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("local", [False, True])
def test_it_is_gone_without_a_collection(local: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = Watched(1, Ledger(1))
        session.take(Held(1, 0, ours.fileno(), 0, "peer", "address", local), ours)
        seen = weakref.ref(session)
        gc.disable()
        try:
            assert session.let_go() is ours
            assert session.socket is None
            with pytest.raises(BlockingIOError):
                session.send(b"x")
            del session
            assert seen() is None
        finally:
            gc.enable()
