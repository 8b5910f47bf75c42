"""The states of an encoder's training: queued → training → ready, or failed or cancelled from before that."""

from enum import StrEnum


class EncoderState(StrEnum):
    QUEUED = "queued"
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUNNING = frozenset({EncoderState.QUEUED, EncoderState.TRAINING})
CAME_TO_NOTHING = frozenset({EncoderState.FAILED, EncoderState.CANCELLED})
