"""The upgrade's states, and which event leads from which to which. Pure: no database, no clock.

queued → training → evaluating → transforming → indexing → ready → active ⇄ rolled_back
   └→ embedding ┘        │         the service embeds the pairs that it is to learn from
                         ├→ ready          it is good enough, and galleries need no work: a compatible model, or a
                         │                 crossing that is to leave them as they are
                         ├→ rejected       it is not good enough; every gallery is as it was
                         └→ evaluated      a dry run ends here: reported, nothing done
failed, cancelled: from anywhere before active
"""

from enum import StrEnum


class UpgradeState(StrEnum):
    QUEUED = "queued"
    EMBEDDING = "embedding"
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
    EMBEDDING_STARTED = "embedded"
    PAIRS_EMBEDDED = "trained on what was embedded"
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

    def __init__(self, state: UpgradeState, event: Event) -> None:
        super().__init__(f"an upgrade that is {state} cannot be {event}")
        self.state = state
        self.event = event


RUNNING = frozenset(
    {
        UpgradeState.QUEUED,
        UpgradeState.EMBEDDING,
        UpgradeState.TRAINING,
        UpgradeState.EVALUATING,
        UpgradeState.TRANSFORMING,
        UpgradeState.INDEXING,
    }
)
ENDED = frozenset({UpgradeState.REJECTED, UpgradeState.EVALUATED, UpgradeState.FAILED, UpgradeState.CANCELLED})
# What was learned has been proved and may answer: a crossing pushed into the query until the gallery is switched.
CROSSABLE = frozenset({UpgradeState.TRANSFORMING, UpgradeState.INDEXING, UpgradeState.READY, UpgradeState.ACTIVE})

_NEXT = {
    (UpgradeState.QUEUED, Event.EMBEDDING_STARTED): UpgradeState.EMBEDDING,
    (UpgradeState.EMBEDDING, Event.PAIRS_EMBEDDED): UpgradeState.TRAINING,
    (UpgradeState.QUEUED, Event.STARTED): UpgradeState.TRAINING,
    (UpgradeState.TRAINING, Event.TRAINED): UpgradeState.EVALUATING,
    (UpgradeState.EVALUATING, Event.ACCEPTED): UpgradeState.TRANSFORMING,
    (UpgradeState.EVALUATING, Event.PROVED): UpgradeState.READY,
    (UpgradeState.EVALUATING, Event.REJECTED): UpgradeState.REJECTED,
    (UpgradeState.EVALUATING, Event.REPORTED): UpgradeState.EVALUATED,
    (UpgradeState.TRANSFORMING, Event.TRANSFORMED): UpgradeState.INDEXING,
    (UpgradeState.INDEXING, Event.INDEXED): UpgradeState.READY,
    (UpgradeState.READY, Event.ACTIVATED): UpgradeState.ACTIVE,
    (UpgradeState.ACTIVE, Event.ROLLED_BACK): UpgradeState.ROLLED_BACK,
    (UpgradeState.ROLLED_BACK, Event.ACTIVATED): UpgradeState.ACTIVE,
    **{(state, Event.FAILED): UpgradeState.FAILED for state in RUNNING | {UpgradeState.READY}},
    **{(state, Event.CANCELLED): UpgradeState.CANCELLED for state in RUNNING | {UpgradeState.READY}},
}


def after(state: UpgradeState, event: Event) -> UpgradeState:
    """The state that `event` leads to; raises ImpossibleTransition."""
    try:
        return _NEXT[state, event]
    except KeyError:
        raise ImpossibleTransition(state, event) from None
