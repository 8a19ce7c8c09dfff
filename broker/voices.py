"""Voices: what lets somebody go on talking at little cost, for as long as nothing but talk happens. Router; pure.

Whether somebody may say something in a room, who is there, and what stands before each line that the others get, are
the same from one message to the next, until anybody comes, goes or changes something. What was found out about the
first message is kept as a *voice*. Any input that is not talk makes the chat forget all of them, so nothing needs to
know which facts a voice depends on. A voice changes no byte that anybody gets, and is not part of the state.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.rooms import Group
from broker.sessions import Session


class Voice(NamedTuple):
    """Somebody who talks in a room whose members are all of one format.

    Each of their lines begins with `head`, which for the others becomes `start`; both are empty where a protocol has
    no such thing. No text is longer than `longest_bytes`.
    """

    session: Session
    group: Group
    head: bytes
    start: bytes
    longest_bytes: int
