"""The vocabulary of the processes: what goes through the Pipes, and what the children report on their Queues.

Frames are marshalled tuples (see `broker.framing`); the first element of an event or an operation is one of the codes
below. Everybody who sends or reads a frame gets its shape from here. Pure: no I/O.

Between a worker and the router, on a Pipe of their own. Each side numbers what it sends, keeps it until the other side
has acknowledged it, and sends it again if the other side had to be replaced. The first frame each way settles where
both are:

    (HELLO, run, batch)                     from the worker: the chat's run that it has served (b"": none yet), and
                                            the last batch that it has received
    (WELCOME, run, frame, resume)           from the router: its own run, the last frame that it has journaled, and
                                            None; or, if the worker has not served this run, what it is to resume:
                                            (acknowledged batch, last batch, {group: [session, ...]} as of the former,
                                            {session: awaited})

Worker to router, one frame per wake-up: `(frame_number, acknowledged_batch, [event, ...])`. A batch is acknowledged
when every byte of it and of those before is in the kernel.

    (ATTACHED, session, listener, peer)     a connection is here; `listener` is an index, `peer` a printable address
    (LINES, session, offset, data)          whole lines: `data` starts at `offset` of the session's input, ends in LF
    (OVERLONG, session, offset, length)     `length` bytes of a line longer than allowed, without its end
    (ENDED, session, cause)                 nothing more will come; `cause` is one of END_CAUSES
    (ARRIVED, session)                      the socket of a session that the worker was to adopt is here

A worker consumes input from the kernel only when the router has acknowledged the frame that carried it.

Router to worker, one numbered batch per wake-up: `(batch_number, acknowledged_frame, [operation, ...])`.

    (ADD, group, session)                   the session is a member of the group from here on
    (REMOVE, group, session)                and from here on not
    (PUBLISH, group, data, except_session)  bytes for every member but one (0: no exception)
    (SEND, session, data)                   bytes for one session
    (CLOSE, session)                        end it once everything above is written
    (ADOPT, session)                        a session that another worker had: collect what is for it until it is here
    (DETACH, session, worker)               give it to that worker once all above is written and its input is consumed

`peer` is printable and names the connection; `address` is what limits count by: the host, or the local user.

Between the supervisor and a child, on the child's control Pipe; "+ fd" is a descriptor that comes with the message:

    (LINK, worker, incarnation) + fd        to router and worker: a fresh Pipe between the two; the old one is dead
    (ATTACH, Held, moved) + fd              to a worker: a client's socket is yours; `moved`: another worker had it
    (MOVE, worker, {worker: sessions})      to the router: move so many sessions of the first one to the others
    (KICK, request, name, reason)           to the router, which answers (KICKED, request, name or None)
    (STAFF, [worker, ...])                  to the router: the workers that there are from here on
    (SHUTDOWN,)                             to the router: say goodbye to everybody and close all sessions
    (CENSUS, {worker: connections}, {address: connections})  to a new acceptor: what there is already
    (WORKERS, [worker, ...])                to an acceptor: who takes connections from here on
    (TAKE, listener, number)                from an acceptor: accept up to so many connections
    (TAKEN, listener, [(session, address), ...], trouble, talking)   to an acceptor: these were accepted there;
                                            `trouble` is None or says why there are not more; `talking`: people who
                                            have been here for longer say things
    (ASSIGN, [(session, worker), ...])      from an acceptor: to whom they go
    (REFUSE, session)                       from an acceptor: not this one
    (REFUSED, session) + fd                 to an acceptor: say so, and close it
    (MOVED, worker, worker)                 to an acceptor: a connection went from the first one to the second
    (RELEASED, [(worker, address), ...])    to an acceptor: these connections are over
    (STOP,)                                 to any child: end in good order
    (REQUEST, number, kind, arguments)      from the router: have this done (`broker.requests`)
    (ANSWER, number, answer)                to the router: what came of it
    (GIVEN_UP, worker, incarnation)         from the router: this worker does not take its batches, or breaks the rules
    (CLOSED, [session, ...])                from a worker: these are shut down and closed; let go of them
    (DETACHED, [(session, worker), ...])    from a worker: these are other ones' now

A *group* is a room times a wire format; its members all get the same bytes. A session's byte stream is its operations
in order, however they are merged.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

VERSION: Final = 2
"""Of this vocabulary. A reload brings new code to the children beside a supervisor that goes on with its own: that
cannot be where the two differ in this number."""

# Worker to router.
ATTACHED: Final = 1
LINES: Final = 2
OVERLONG: Final = 3
ENDED: Final = 4
ARRIVED: Final = 5
HELLO: Final = 8

# Router to worker.
ADD: Final = 11
REMOVE: Final = 12
PUBLISH: Final = 13
SEND: Final = 14
CLOSE: Final = 15
ADOPT: Final = 16
DETACH: Final = 17
WELCOME: Final = 18

# The control Pipe, both ways.
LINK: Final = 21
ATTACH: Final = 22
MOVE: Final = 23
KICK: Final = 24
SHUTDOWN: Final = 25
WORKERS: Final = 26
RELEASED: Final = 27
STOP: Final = 28
CENSUS: Final = 29
MOVED: Final = 30
TAKE: Final = 31
TAKEN: Final = 32
ASSIGN: Final = 33
REFUSE: Final = 34
REFUSED: Final = 35
CLOSED: Final = 36
DETACHED: Final = 37
KICKED: Final = 38
GIVEN_UP: Final = 39
REQUEST: Final = 40
ANSWER: Final = 41
STAFF: Final = 42

# Kinds of reports, on a child's Queue: dictionaries with the key "kind".
REPORT_READY: Final = "ready"
REPORT_BEAT: Final = "beat"  # with "counters"
REPORT_LOG: Final = "log"  # with "level" and "text"
REPORT_RECOVERED: Final = "recovered"  # with what was taken over, in numbers, and "seconds"
REPORT_LAST_WORDS: Final = "last words"  # with "text": why it ends, by its own account
REPORT_BYTES: Final = 4000
"""A report's pickle is at most this long: with its length it is one atomic write (pipe(7), PIPE_BUF is 4,096)."""

Event: TypeAlias = tuple[Any, ...]
Operation: TypeAlias = tuple[Any, ...]

EndCause: TypeAlias = Literal["eof", "reset", "slow"]

Role: TypeAlias = Literal["supervisor", "router", "worker", "acceptor"]
CHILD_ROLES: Final[tuple[Role, ...]] = ("router", "worker", "acceptor")
"""Roles of the children, in start order; they are stopped in reverse."""
