"""Jobs, leases and progress as plain data, for whoever has no database session."""

import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobProgress(TypedDict):
    """How far a step has come, in the step's own unit. `total` is 0 and `eta_seconds` None while it cannot tell."""

    step: str
    done: int
    total: int
    eta_seconds: float | None


@dataclass(frozen=True)
class Job:
    """One step of a subject's work, as it stands. `error` says why it failed, or why it is tried again."""

    id: str
    step: str
    subject: str
    arguments: dict[str, Any]
    state: JobState
    attempts: int
    progress: JobProgress
    checkpoint: dict[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Lease:
    """The right to do one job, while it is renewed. The token fences: another claim of the job makes it worthless.

    `attempt` counts from 1; `checkpoint` is what the attempt before left behind, empty if nothing.
    """

    job_id: str
    token: str
    step: str
    subject: str
    arguments: dict[str, Any] = field(repr=False)
    attempt: int
    checkpoint: dict[str, Any] = field(repr=False)


def sortable_id() -> str:
    """32 hexadecimal digits: milliseconds since 1970 (48 bits), then 80 random ones. Later ids sort after earlier."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
