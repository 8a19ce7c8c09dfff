"""Flows: what lets somebody go on talking at little cost, for as long as nothing but talk happens. Router; pure.

Whether somebody may say something in a room, who is there, and what stands before each line that the others get, are
the same from one message to the next, until anybody comes, goes or changes something. So what was found out about the
first message is kept, as an IP router keeps a flow's route for the packets that follow. Any input that is not talk
makes the chat forget all flows, and nothing needs to know which facts one of them depends on. A flow changes no byte
that anybody gets, and is not part of the state.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.rooms import Group
from broker.sessions import Session


class Flow(NamedTuple):
    """What somebody says in a room whose members are all of one format, in which messages have no names.

    Each line as it is sent begins with `head`, which is empty where a protocol needs no such thing; for the others that
    becomes `start`. No text between that and the line's end is longer than `longest_bytes`.
    """

    session: Session
    group: Group
    head: bytes
    start: bytes
    longest_bytes: int
