"""The states of an encoder's training: queued → training → ready, or failed or cancelled from before that."""

from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUNNING = frozenset({State.QUEUED, State.TRAINING})
CAME_TO_NOTHING = frozenset({State.FAILED, State.CANCELLED})
