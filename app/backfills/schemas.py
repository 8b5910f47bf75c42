"""Wire shapes of backfills that are run."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.embedders.budget import EmbeddingBudget
from app.galleries.orders import Order
from app.jobs.schemas import Progress
from app.upgrades.schemas import EmbeddingSpent


class BackfillState(StrEnum):
    """queued → running → done; failed and cancelled from either."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNENDED = (BackfillState.QUEUED, BackfillState.RUNNING)


class NewBackfillRun(BaseModel):
    """What is to be re-embedded, and for how much."""

    model_config = ConfigDict(extra="forbid")

    budget: Annotated[
        EmbeddingBudget | None, Field(description="What may be spent at most. Left out: whatever all items take.")
    ] = None
    order: Annotated[Order, Field(description="Which items first, as in GET /galleries/{gallery}/backfill.")] = (
        "uncertainty"
    )
    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            description="The field of payloads that is embedded: a text, or an image as base64 where the model embeds "
            "images.",
        ),
    ] = "text"


class BackfillRun(BaseModel):
    """A backfill that is run, as it is now."""

    id: str
    gallery: str
    generation: Annotated[int, Field(description="Whose transformed vectors are replaced.")]
    order: Order
    text: str
    budget: EmbeddingBudget | None
    spent: EmbeddingSpent | None
    state: BackfillState
    reason: Annotated[str | None, Field(description="What it came to, or why it failed and what to do about it.")]
    progress: Progress | None
    created_at: datetime
    updated_at: datetime
