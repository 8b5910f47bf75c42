"""The upgrade's states, and which event leads from which to which. Pure: no database, no clock.

queued → training → evaluating → transforming → indexing → ready → active ⇄ rolled_back
                         ├→ ready          it is good enough, and galleries need no work: a compatible model, or a
                         │                 crossing that is to leave them as they are
                         ├→ rejected       it is not good enough; every gallery is as it was
                         └→ evaluated      a dry run ends here: reported, nothing done
failed, cancelled: from anywhere before active
"""

from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    TRAINING = "training"
    EVALUATING = "evaluating"
    TRANSFORMING = "transforming"
    INDEXING = "indexing"
    READY = "ready"
    ACTIVE = "active"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    EVALUATED = "evaluated"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    STARTED = "started"
    TRAINED = "trained"
    ACCEPTED = "accepted"
    PROVED = "proved"
    REJECTED = "rejected"
    REPORTED = "reported"
    TRANSFORMED = "transformed"
    INDEXED = "indexed"
    ACTIVATED = "activated"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImpossibleTransition(ValueError):
    """The event cannot happen in this state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"an upgrade that is {state} cannot be {event}")
        self.state = state
        self.event = event


RUNNING = frozenset({State.QUEUED, State.TRAINING, State.EVALUATING, State.TRANSFORMING, State.INDEXING})
ENDED = frozenset({State.REJECTED, State.EVALUATED, State.FAILED, State.CANCELLED})
# What was learned has been proved and may answer: a crossing pushed into the query until the gallery is switched.
CROSSABLE = frozenset({State.TRANSFORMING, State.INDEXING, State.READY, State.ACTIVE})

_NEXT = {
    (State.QUEUED, Event.STARTED): State.TRAINING,
    (State.TRAINING, Event.TRAINED): State.EVALUATING,
    (State.EVALUATING, Event.ACCEPTED): State.TRANSFORMING,
    (State.EVALUATING, Event.PROVED): State.READY,
    (State.EVALUATING, Event.REJECTED): State.REJECTED,
    (State.EVALUATING, Event.REPORTED): State.EVALUATED,
    (State.TRANSFORMING, Event.TRANSFORMED): State.INDEXING,
    (State.INDEXING, Event.INDEXED): State.READY,
    (State.READY, Event.ACTIVATED): State.ACTIVE,
    (State.ACTIVE, Event.ROLLED_BACK): State.ROLLED_BACK,
    (State.ROLLED_BACK, Event.ACTIVATED): State.ACTIVE,
    **{(state, Event.FAILED): State.FAILED for state in RUNNING | {State.READY}},
    **{(state, Event.CANCELLED): State.CANCELLED for state in RUNNING | {State.READY}},
}


def after(state: State, event: Event) -> State:
    """The state that `event` leads to; raises ImpossibleTransition."""
    try:
        return _NEXT[state, event]
    except KeyError:
        raise ImpossibleTransition(state, event) from None
