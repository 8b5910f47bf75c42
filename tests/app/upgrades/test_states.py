"""The state machine, every pair of state and event: what the issue draws is possible, and nothing else is."""

import itertools

import pytest

from app.upgrades import states
from app.upgrades.states import Event, ImpossibleTransition, UpgradeState, after

WAY = [
    (UpgradeState.QUEUED, Event.EMBEDDING_STARTED, UpgradeState.EMBEDDING),
    (UpgradeState.EMBEDDING, Event.PAIRS_EMBEDDED, UpgradeState.TRAINING),
    (UpgradeState.QUEUED, Event.STARTED, UpgradeState.TRAINING),
    (UpgradeState.TRAINING, Event.TRAINED, UpgradeState.EVALUATING),
    (UpgradeState.EVALUATING, Event.ACCEPTED, UpgradeState.TRANSFORMING),
    (UpgradeState.EVALUATING, Event.PROVED, UpgradeState.READY),
    (UpgradeState.EVALUATING, Event.REJECTED, UpgradeState.REJECTED),
    (UpgradeState.EVALUATING, Event.REPORTED, UpgradeState.EVALUATED),
    (UpgradeState.TRANSFORMING, Event.TRANSFORMED, UpgradeState.INDEXING),
    (UpgradeState.INDEXING, Event.INDEXED, UpgradeState.READY),
    (UpgradeState.READY, Event.ACTIVATED, UpgradeState.ACTIVE),
    (UpgradeState.ACTIVE, Event.ROLLED_BACK, UpgradeState.ROLLED_BACK),
    (UpgradeState.ROLLED_BACK, Event.ACTIVATED, UpgradeState.ACTIVE),
]
BEFORE_ACTIVE = [
    UpgradeState.QUEUED,
    UpgradeState.EMBEDDING,
    UpgradeState.TRAINING,
    UpgradeState.EVALUATING,
    UpgradeState.TRANSFORMING,
    UpgradeState.INDEXING,
    UpgradeState.READY,
]
POSSIBLE = {(state, event): then for state, event, then in WAY} | {
    (state, event): then
    for state in BEFORE_ACTIVE
    for event, then in ((Event.FAILED, UpgradeState.FAILED), (Event.CANCELLED, UpgradeState.CANCELLED))
}


def test_what_is_drawn_is_possible() -> None:
    assert {(state, event): after(state, event) for state, event in POSSIBLE} == POSSIBLE


def test_nothing_else_is_possible() -> None:
    for state, event in set(itertools.product(UpgradeState, Event)) - POSSIBLE.keys():
        with pytest.raises(ImpossibleTransition, match=f"{state} cannot be {event}"):
            after(state, event)


def test_nothing_leads_out_of_an_end() -> None:
    leaving = {state for state, _ in POSSIBLE}
    assert {state for state in UpgradeState if state not in leaving} == states.ENDED


def test_crossings_answer_only_after_they_were_accepted() -> None:
    accepted = {UpgradeState.TRANSFORMING, UpgradeState.READY}
    while more := {then for (state, _), then in POSSIBLE.items() if state in accepted} - accepted:
        accepted |= more
    assert accepted >= states.CROSSABLE
    assert states.CROSSABLE.isdisjoint(
        states.ENDED | {UpgradeState.QUEUED, UpgradeState.EMBEDDING, UpgradeState.TRAINING, UpgradeState.EVALUATING}
    )


def test_running_states_are_those_in_which_a_step_has_work_to_do() -> None:
    assert set(BEFORE_ACTIVE) - {UpgradeState.READY} == states.RUNNING
