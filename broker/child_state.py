"""The life of a child as a table; an event that the table does not have for a state is a bug: a failed look-up.

Theory of operation. A child spec is a name that lives on; its incarnations come and go. `waiting` is the time between
two of them (a back-off, at least one turn of the loop). Every way out of a life leads through `died` or `exited`, which
the supervisor hears from the pidfd and nobody else. `hung` only says that KILL has been sent: the death follows.
A child that was told to stop is `stopping` and, dead, `gone`: the spec is finished.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final

from broker.errors import LocalProtocolError


class State(Enum):
    """Where a child is in its life; the values are those of the control protocol."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    HUNG = "hung"
    STOPPING = "stopping"
    GONE = "gone"


class Event(Enum):
    """What can happen to a child."""

    SPAWNED = "spawned"
    READY = "ready"
    CONDEMNED = "condemned"
    TOLD_TO_STOP = "told to stop"
    DIED = "died"


TRANSITIONS: Final = MappingProxyType(
    {
        (State.WAITING, Event.SPAWNED): State.STARTING,
        (State.WAITING, Event.TOLD_TO_STOP): State.GONE,
        (State.STARTING, Event.READY): State.READY,
        (State.STARTING, Event.CONDEMNED): State.HUNG,
        (State.STARTING, Event.TOLD_TO_STOP): State.STOPPING,
        (State.STARTING, Event.DIED): State.WAITING,
        (State.READY, Event.CONDEMNED): State.HUNG,
        (State.READY, Event.TOLD_TO_STOP): State.STOPPING,
        (State.READY, Event.DIED): State.WAITING,
        (State.HUNG, Event.READY): State.HUNG,  # its last words came too late
        (State.HUNG, Event.CONDEMNED): State.HUNG,
        (State.HUNG, Event.TOLD_TO_STOP): State.STOPPING,
        (State.HUNG, Event.DIED): State.WAITING,
        (State.STOPPING, Event.READY): State.STOPPING,  # it was told while it was still starting
        (State.STOPPING, Event.CONDEMNED): State.STOPPING,
        (State.STOPPING, Event.TOLD_TO_STOP): State.STOPPING,
        (State.STOPPING, Event.DIED): State.GONE,
    }
)


def next_state(state: State, event: Event) -> State:
    """The state after an event; LocalProtocolError if that cannot happen in this state."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LocalProtocolError(f"a child that is {state.value} cannot be {event.value}") from None
