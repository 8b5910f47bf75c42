"""Wire shapes of search."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.ids import ResourceId
from app.search.routing import AskedRoute, RouteName

EXAMPLE: dict[str, Any] = {"gallery": "faq", "model": "tfidf-v1", "k": 2, "vectors": [[0.9, 0.1, 0.0, 0.0]]}


ROUTE = (
    "How to answer queries that a crossing leads to a gallery in the old space: `instant` or `cascade`; left out, the "
    "better of the two. `fused` is taken wherever the old model's vectors come along, and needs them."
)
OLD_VECTOR = (
    "The same query as the old model sees it, from which an upgrade leads to the new model: items are then scored by "
    "both models (route `fused`)."
)

Number = Annotated[float, Field(strict=True)]
"""A number, as JSON has them: no string that reads as one, and no boolean."""


class SearchRequest(BaseModel):
    """Many queries at once."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    gallery: ResourceId
    model: Annotated[ResourceId, Field(description="The model that made the query vectors.")]
    k: Annotated[int, Field(strict=True, ge=1)] = 10
    vectors: Annotated[list[list[Number]], Field(min_length=1)]
    old_vectors: Annotated[
        list[list[Number]] | None,
        Field(min_length=1, description=f"One for each of `vectors`, in their order. {OLD_VECTOR}"),
    ] = None
    filter: dict[str, Any] | None = None
    route: Annotated[AskedRoute | None, Field(description=ROUTE)] = None


class Hit(BaseModel):
    """One item found."""

    id: str
    score: Annotated[
        float,
        Field(
            description="cosine: cosine similarity, higher is nearer. ip: inner product, higher is nearer. l2: "
            "Euclidean distance, lower is nearer. On an inexact `instant` route, an approximation of it; on "
            "`cascade`, that of the transformed item. On `fused`, whatever the metric: how many standard deviations "
            "of the query's own scores over the gallery the item lies above their mean, by both models together; "
            "higher is nearer, and it is comparable within one answer only."
        ),
    ]
    label: str | None = None
    payload: dict[str, Any] | None = None


class Answered(BaseModel):
    """What every answer of search says of itself."""

    gallery: str
    model: str
    generation: Annotated[int, Field(description="The generation that answered.")]
    route: Annotated[RouteName, Field(description="How the query reached it.")]
    exact: Annotated[
        bool,
        Field(description="Whether the ranking is that of searching the query's own space exactly as the route says."),
    ]
    note: Annotated[
        str | None,
        Field(description="What is approximated, where something is; how vectors of two models were aligned."),
    ] = None


class SearchAnswer(Answered):
    """The nearest items of one query, nearest first."""

    results: list[Hit]


class SearchAnswers(Answered):
    """The nearest items of each query, in the order of the queries."""

    results: list[list[Hit]]
