"""The states of an evaluation: queued → running → done, or failed from either. Deleting one cancels it."""

from enum import StrEnum


class EvaluationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


ENDED = frozenset({EvaluationState.DONE, EvaluationState.FAILED})
