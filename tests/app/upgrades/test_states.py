"""The state machine, every pair of state and event: what the issue draws is possible, and nothing else is."""

import itertools

import pytest

from app.upgrades import states
from app.upgrades.states import Event, ImpossibleTransition, State, after

WAY = [
    (State.QUEUED, Event.STARTED, State.TRAINING),
    (State.TRAINING, Event.TRAINED, State.EVALUATING),
    (State.EVALUATING, Event.ACCEPTED, State.TRANSFORMING),
    (State.EVALUATING, Event.PROVED, State.READY),
    (State.EVALUATING, Event.REJECTED, State.REJECTED),
    (State.EVALUATING, Event.REPORTED, State.EVALUATED),
    (State.TRANSFORMING, Event.TRANSFORMED, State.INDEXING),
    (State.INDEXING, Event.INDEXED, State.READY),
    (State.READY, Event.ACTIVATED, State.ACTIVE),
    (State.ACTIVE, Event.ROLLED_BACK, State.ROLLED_BACK),
    (State.ROLLED_BACK, Event.ACTIVATED, State.ACTIVE),
]
BEFORE_ACTIVE = [State.QUEUED, State.TRAINING, State.EVALUATING, State.TRANSFORMING, State.INDEXING, State.READY]
POSSIBLE = {(state, event): then for state, event, then in WAY} | {
    (state, event): then
    for state in BEFORE_ACTIVE
    for event, then in ((Event.FAILED, State.FAILED), (Event.CANCELLED, State.CANCELLED))
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_only_what_is_drawn_is_possible(state: State, event: Event) -> None:
    if (state, event) in POSSIBLE:
        assert after(state, event) == POSSIBLE[state, event]
        return
    with pytest.raises(ImpossibleTransition, match=f"{state} cannot be {event}"):
        after(state, event)


def test_nothing_leads_out_of_an_end() -> None:
    leaving = {state for state, _ in POSSIBLE}
    assert {state for state in State if state not in leaving} == states.ENDED


def test_crossings_answer_only_after_they_were_accepted() -> None:
    accepted = {State.TRANSFORMING, State.READY}
    while more := {then for (state, _), then in POSSIBLE.items() if state in accepted} - accepted:
        accepted |= more
    assert accepted >= states.CROSSABLE
    assert states.CROSSABLE.isdisjoint(states.ENDED | {State.QUEUED, State.TRAINING, State.EVALUATING})


def test_running_states_are_those_in_which_a_step_has_work_to_do() -> None:
    assert set(BEFORE_ACTIVE) - {State.READY} == states.RUNNING
