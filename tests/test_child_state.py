"""The table of a child's life."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.child_state import TRANSITIONS, Event, State, next_state
from broker.errors import LocalProtocolError


@pytest.mark.parametrize(("state", "event"), [(s, e) for s in State for e in Event])
def test_an_event_leads_where_the_table_says_or_is_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(LocalProtocolError):
            next_state(state, event)


def test_every_life_can_end_and_the_dead_stay_dead() -> None:
    assert not [event for state, event in TRANSITIONS if state is State.GONE]
    for state in set(State) - {State.GONE}:
        assert (state, Event.TOLD_TO_STOP) in TRANSITIONS
    for state in (State.STARTING, State.READY, State.HUNG, State.STOPPING):
        assert (state, Event.DIED) in TRANSITIONS


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_one_incarnation_at_a_time(events: list[Event]) -> None:
    state, alive = State.WAITING, False
    for event in events:
        if (state, event) not in TRANSITIONS:
            continue
        if event is Event.SPAWNED:
            assert not alive
            alive = True
        if event is Event.DIED:
            assert alive
            alive = False
        state = next_state(state, event)
    if state in (State.WAITING, State.GONE):
        assert not alive
