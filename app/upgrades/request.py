"""What every upgrade is asked with, whichever its strategy."""

from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from app.evaluations.schemas import JudgedMetricText, RetrievalMetric
from app.ids import ResourceId

FORWARD, COMPATIBLE = "forward", "compatible"
"""The strategies."""

FUSED: Final = "fused"
"""How an upgrade is served where the crossing alone missed the gate, and fused with the old model's queries met it."""


class AtLeast(BaseModel):
    """A quality that must be reached, whatever the old model's is."""

    model_config = ConfigDict(extra="forbid")

    at_least: Annotated[float, Field(ge=0, le=1)]


class Gate(BaseModel):
    """What a crossing must reach to be accepted; the verdict is about the whole interval, not its middle."""

    model_config = ConfigDict(extra="forbid")

    metric: Annotated[
        RetrievalMetric | JudgedMetricText,
        Field(
            description="By label: `cmc@1`, `cmc@5`, `map`, `recall@10`. By judged queries, where the dataset holds "
            "some: `ndcg@k`, `mrr@k`, `recall@k`, `precision@k`, `hit_rate@k`, `map`; `cmc@k` is read as `hit_rate@k`. "
            "Without labels, only `recall@10` can be told: how much of what embedding everything anew would find. "
            "Another is refused where no item, row or judged query says what is right, unless it is a dry run."
        ),
    ] = "cmc@1"
    require: Literal["better_than_old", "not_worse_than_old"] | AtLeast = "better_than_old"


class UpgradeRequest(BaseModel):
    """What an upgrade learns from, what it is for, and what it must reach."""

    model_config = ConfigDict(extra="forbid")

    dataset: ResourceId
    evaluation: ResourceId | None = None
    galleries: Annotated[
        list[ResourceId] | None,
        Field(min_length=1, description="Left out: every gallery in the old model's space."),
    ] = None
    gate: Gate = Gate()
    activate: Annotated[
        Literal["when_accepted", "manually"],
        Field(description="`manually` stops at `ready`: POST /upgrades/{id}/activate switches."),
    ] = "when_accepted"
    dry_run: Annotated[bool, Field(description="Stop after the report: nothing else is done.")] = False

    @property
    def needs_judged_queries(self) -> bool:
        """Whether the gate asks for a figure that only judged queries can tell."""
        return self.gate.metric not in get_args(RetrievalMetric)

    @property
    def datasets(self) -> list[str]:
        """The datasets that the upgrade reads."""
        return [name for name in (self.dataset, self.evaluation) if name is not None]
