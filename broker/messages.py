"""The vocabulary of the processes: what goes through the Pipes, and what the children report on their Queues.

Frames are marshalled tuples (see `broker.framing`); the first element of an event or an operation is one of the codes
below. Everybody who sends or reads a frame gets its shape from here. Pure: no I/O.

Worker to router, one frame per wake-up: `(frame_number, [event, ...])`.

    (ATTACHED, session, listener, peer)     a connection is here; `listener` is an index, `peer` a printable address
    (LINES, session, offset, data)          whole lines: `data` starts at `offset` of the session's input, ends in LF
    (OVERLONG, session, offset, length)     `length` bytes of a line longer than allowed, without its end
    (ENDED, session, cause)                 nothing more will come; `cause` is one of END_CAUSES

A worker consumes input from the kernel only when the router has acknowledged the frame that carried it.

Router to worker, one numbered batch per wake-up: `(batch_number, acknowledged_frame, [operation, ...])`.

    (ADD, group, session)                   the session is a member of the group from here on
    (REMOVE, group, session)                and from here on not
    (PUBLISH, group, data, except_session)  bytes for every member but one (0: no exception)
    (SEND, session, data)                   bytes for one session
    (CLOSE, session)                        end it once everything above is written

A *group* is a room times a wire format; its members all get the same bytes. A session's byte stream is its operations
in order, however they are merged.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

# Worker to router.
ATTACHED: Final = 1
LINES: Final = 2
OVERLONG: Final = 3
ENDED: Final = 4

# Router to worker.
ADD: Final = 11
REMOVE: Final = 12
PUBLISH: Final = 13
SEND: Final = 14
CLOSE: Final = 15

Event: TypeAlias = tuple[Any, ...]
Operation: TypeAlias = tuple[Any, ...]

EndCause: TypeAlias = Literal["eof", "reset", "slow"]

Role: TypeAlias = Literal["supervisor", "router", "worker", "acceptor"]
CHILD_ROLES: Final[tuple[Role, ...]] = ("router", "worker", "acceptor")
"""Roles of the children, in start order; they are stopped in reverse."""
