"""What asks for a forward upgrade: a crossing learned to a model that there is already."""

from typing import Annotated, Literal

from pydantic import Field

from app.ids import ResourceId
from app.upgrades.request import UpgradeRequest

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
            description="Rows with a vector of the new model. A row without one of the old model takes it, its "
            "side-information and its label from the item of the same id in the galleries."
        ),
    ]
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
