"""Wire shapes of search."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.ids import ResourceId
from app.search.options import GroupBy
from app.search.routing import AskedRoute, RouteName

EXAMPLE: dict[str, Any] = {"gallery": "faq", "model": "tfidf-v1", "k": 2, "vectors": [[0.9, 0.1, 0.0, 0.0]]}


ROUTE = (
    "How to answer queries that a crossing leads to a gallery in the old space: `instant` or `cascade`; left out, the "
    "better of the two. `fused` is taken wherever the old model's vectors come along, and needs them. "
    "`reranked` has the new model's embedder read the texts of candidates, and keeps the vectors; where it cannot, "
    "another route answers, which the answer names."
)
OLD_VECTOR = (
    "The same query as the old model sees it, from which an upgrade leads to the new model: items are then scored by "
    "both models (route `fused`)."
)

Number = Annotated[float, Field(strict=True)]
"""A number, as JSON has them: no string that reads as one, and no boolean."""


MIN_SCORE = (
    "Only items with at least this score, where the metric is cosine or ip. On an inexact `instant` route, the "
    "approximate score is compared; on `fused` there is no such limit."
)
MAX_DISTANCE = "Only items at most this far away, where the metric is l2; otherwise as `min_score`."
WITH_VECTORS = (
    "Whether to show each item's vector as the generation that answered holds it: of unit length under cosine, and in "
    "the space of the model that the answer names in `vectors_model`."
)
GROUP_BY = (
    "`label`: the answer has `groups` in the place of `results`: the k nearest labels, a label being as near as its "
    "nearest item, each with its nearest items. Items without a label are in no group."
)
GROUP_SIZE = "How many items each group has at most; 3 where it is left out. Needs `group_by`."
LIKE = "Searches by example: what is like an item of the gallery, which is not found itself. In the place of vectors."

Limit = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A number that scores are compared with."""


class SearchRequest(BaseModel):
    """Many queries at once."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    gallery: ResourceId
    model: Annotated[ResourceId, Field(description="The model that made the query vectors.")]
    k: Annotated[int, Field(strict=True, ge=1)] = 10
    vectors: Annotated[list[list[Number]] | None, Field(min_length=1)] = None
    like: Annotated[list[str] | None, Field(min_length=1, description=f"The ids of items, a query each. {LIKE}")] = None
    old_vectors: Annotated[
        list[list[Number]] | None,
        Field(min_length=1, description=f"One for each of `vectors`, in their order. {OLD_VECTOR}"),
    ] = None
    filter: dict[str, Any] | None = None
    route: Annotated[AskedRoute | None, Field(description=ROUTE)] = None
    min_score: Annotated[Limit | None, Field(description=MIN_SCORE)] = None
    max_distance: Annotated[Limit | None, Field(description=MAX_DISTANCE)] = None
    with_vectors: Annotated[bool, Field(strict=True, description=WITH_VECTORS)] = False
    group_by: Annotated[GroupBy | None, Field(description=GROUP_BY)] = None
    group_size: Annotated[int | None, Field(strict=True, ge=1, description=GROUP_SIZE)] = None


class Hit(BaseModel):
    """One item found."""

    id: str
    score: Annotated[
        float,
        Field(
            description="cosine: cosine similarity, higher is nearer. ip: inner product, higher is nearer. l2: "
            "Euclidean distance, lower is nearer. On an inexact `instant` route, an approximation of it; on "
            "`cascade`, that of the transformed item; on `reranked`, that of the item's real vector. On `fused`, "
            "whatever the metric: how many standard deviations "
            "of the query's own scores over the gallery the item lies above their mean, by both models together; "
            "higher is nearer, and it is comparable within one answer only."
        ),
    ]
    label: str | None = None
    payload: dict[str, Any] | None = None
    vector: Annotated[list[float] | None, Field(description="Only with `with_vectors`.")] = None


class Group(BaseModel):
    """The items found of one label, nearest first."""

    label: str
    results: list[Hit]


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
    vectors_model: Annotated[
        str | None, Field(description="The model whose space the items' vectors are in. Only with `with_vectors`.")
    ] = None


class SearchAnswer(Answered):
    """The nearest items of one query, nearest first."""

    results: list[Hit]


class SearchAnswers(Answered):
    """The nearest items of each query, in the order of the queries."""

    results: list[list[Hit]]


class GroupedAnswer(Answered):
    """The nearest labels of one query, nearest first."""

    groups: list[Group]


class GroupedAnswers(Answered):
    """The nearest labels of each query, in the order of the queries."""

    groups: list[list[Group]]
