"""What asks for a forward upgrade: a crossing learned to a model that there is already."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.embedders.budget import EmbeddingBudget
from app.ids import ResourceId
from app.upgrades.request import UpgradeRequest
from app.validation import wrong

Method = Literal["auto", "orthogonal", "ridge", "low_rank", "kernel_ridge", "residual_mlp", "fct"]


class ForwardUpgrade(UpgradeRequest):
    """Learns h from the old model's space to that of another, and moves galleries there."""

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
            default_factory=str,
            description="Rows with a vector of the new model. A row without one of the old model takes it, its "
            "side-information and its label from the item of the same id in the galleries. May be left out with "
            "`pairs`: these are then put into one that is named after the upgrade.",
        ),
    ]
    pairs: Annotated[
        int | None,
        Field(
            ge=8,
            le=100_000,
            description="How many items the service chooses and embeds with the new model's embedder, to learn from: "
            "those from which a crossing is learned best, shared among the galleries by their sizes.",
        ),
    ] = None
    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            description="Of `pairs`: the field of payloads that is embedded: a text, or an image as base64 where the "
            "model embeds images.",
        ),
    ] = "text"
    budget: Annotated[
        EmbeddingBudget | None,
        Field(description="Of `pairs`: what may be spent on embedding. It is learned from what that is enough for."),
    ] = None
    evaluation: Annotated[
        ResourceId | None,
        Field(
            description="A dataset to judge on; left out, rows and whole classes are held out of `dataset`. Judged "
            "queries, of this dataset or else of `dataset`, judge in place of rows."
        ),
    ] = None

    rewrite: Annotated[
        bool,
        Field(
            description="Whether the galleries are transformed. `false` leaves them as they are, to the byte: new "
            "queries are answered over the old vectors, by `instant` or `cascade`."
        ),
    ] = True
    fused: Annotated[
        bool,
        Field(
            description="Whether the upgrade may be accepted as `fused`: where the crossing alone misses the gate, and "
            "both models' vectors of a query together meet it. `false` where the old model embeds no more queries."
        ),
    ] = True

    @property
    def target(self) -> str:
        return self.to

    @property
    def datasets(self) -> list[str]:
        """The datasets that the upgrade reads, as far as they are named: one for `pairs` may be yet to come."""
        named = (self.dataset if "dataset" in self.model_fields_set else None, self.evaluation)
        return [name for name in named if name is not None]

    @model_validator(mode="after")
    def _learns_from_something(self) -> "ForwardUpgrade":
        if self.pairs is None and "dataset" not in self.model_fields_set:
            raise wrong("is needed, unless `pairs` says how many items the service is to embed", "dataset")
        if self.pairs is None and self.budget is not None:
            raise wrong("limits what embedding `pairs` may cost, and no pairs are to be embedded", "budget")
        return self
