"""Wire shapes of the upgrades resource."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.ids import ResourceId
from app.upgrades.states import State

Method = Literal["auto", "orthogonal", "ridge", "low_rank", "residual_mlp", "fct"]


class AtLeast(BaseModel):
    """A quality that must be reached, whatever the old model's is."""

    model_config = ConfigDict(extra="forbid")

    at_least: Annotated[float, Field(ge=0, le=1)]


class Gate(BaseModel):
    """What a crossing must reach to be accepted; the verdict is about the whole interval, not its middle."""

    model_config = ConfigDict(extra="forbid")

    metric: Literal["cmc@1", "cmc@5", "map", "recall@10"] = "cmc@1"
    require: Literal["better_than_old", "not_worse_than_old"] | AtLeast = "better_than_old"


class NewUpgrade(BaseModel):
    """What starts an upgrade from the model in the path."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"to": "minilm-v2", "method": "auto", "dataset": "pairs", "galleries": ["faq"]}]
        },
    )

    to: Annotated[ResourceId, Field(description="The model to cross to.")]
    strategy: Annotated[Literal["forward"], Field(description="`forward` learns h from the old space to the new.")] = (
        "forward"
    )
    method: Annotated[
        Method, Field(description="`auto` fits every candidate and keeps the best by held-out retrieval.")
    ] = "auto"
    dataset: Annotated[
        ResourceId,
        Field(
            description="Rows with a vector of the new model. A row without one of the old model takes it, its "
            "side-information and its label from the item of the same id in the galleries."
        ),
    ]
    evaluation: Annotated[
        ResourceId | None,
        Field(description="A dataset to judge on; left out, rows and whole classes are held out of `dataset`."),
    ] = None
    galleries: Annotated[
        list[ResourceId] | None,
        Field(min_length=1, description="Left out: every gallery in the old model's space."),
    ] = None
    gate: Gate = Gate()
    activate: Annotated[
        Literal["when_accepted", "manually"],
        Field(description="`manually` stops at `ready`: POST /upgrades/{id}/activate switches."),
    ] = "when_accepted"
    dry_run: Annotated[bool, Field(description="Stop after the report: nothing is transformed.")] = False


class Progress(BaseModel):
    """How far the step that is running has come."""

    step: str
    done: int
    total: int
    eta_seconds: float | None


class Upgrade(BaseModel):
    """An upgrade as it is now."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    source: Annotated[str, Field(alias="from")]
    to: str
    strategy: str
    method: str
    dataset: str
    evaluation: str | None
    galleries: list[str]
    gate: Gate
    activate: str
    dry_run: bool
    state: State
    reason: Annotated[str | None, Field(description="Why it was rejected or failed, and what to do about it.")]
    progress: Progress | None
    report: Annotated[dict[str, Any] | None, Field(description="What was learned and what was proved, by gallery.")]
    created_at: datetime
    updated_at: datetime
