"""Wire shapes of the evaluations resource."""

from collections.abc import Hashable
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi.openapi.models import Example
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, WrapValidator, model_validator

from app.evaluations.states import EvaluationState
from app.ids import Line, ResourceId
from app.jobs.schemas import Progress
from app.validation import wrong

EXAMPLES: dict[str, Example] = {
    "pair": {
        "summary": "One model against another, on the same rows",
        "value": {"dataset": "pairs", "queries": "minilm-v2", "gallery": "minilm-v2", "metrics": ["cmc@1", "map"]},
    },
    "judged": {
        "summary": "One model against another, by judged queries",
        "value": {"kind": "judged", "dataset": "pairs", "queries": "minilm-v2", "gallery": "minilm-v2"},
    },
}

MOST_MODELS = 16
MOST_SLICES = 16
MOST_METRICS = 32

RetrievalMetric = Literal["cmc@1", "cmc@5", "map", "recall@10"]
ByLabel = Literal["cmc@1", "cmc@5", "map"]
JudgedMetricText = Annotated[
    str, Field(pattern=r"^((ndcg|mrr|recall|precision|hit_rate)@([1-9][0-9]{0,2}|1000)|map)$", examples=["ndcg@10"])
]
LABEL = "label"

T = TypeVar("T", bound=Hashable)


def _once_each(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("names one twice")
    return values


Via = Annotated[
    str | None,
    Field(
        max_length=64,
        description="The upgrade whose crossing is applied to the gallery's vectors, accepted or not. Left out: the "
        "newest that was accepted.",
    ),
]


class Pair(BaseModel):
    """Whose queries search whose vectors."""

    model_config = ConfigDict(extra="forbid")

    queries: Annotated[ResourceId, Field(description="The model of the queries.")]
    gallery: Annotated[ResourceId, Field(description="The model of the vectors searched.")]
    via: Via = None


class SearchEvaluation(BaseModel):
    """One model's queries search another's vectors, against another search by the same queries."""

    model_config = ConfigDict(extra="forbid")

    dataset: Annotated[
        ResourceId,
        Field(
            description="Its rows are the queries (of kind `judged`: its judged queries are), and the gallery as well "
            "unless `gallery_id` names one."
        ),
    ]
    queries: Annotated[ResourceId, Field(description="The model of the queries.")]
    gallery: Annotated[
        ResourceId | None,
        Field(description="The model of the vectors searched. Left out: the active generation's of `gallery_id`."),
    ] = None
    gallery_id: Annotated[ResourceId | None, Field(description="A gallery whose vectors are searched.")] = None
    via: Via = None
    against: Annotated[
        Pair | None,
        Field(
            description="What it is compared with; null: with nothing. Left out: the self test of the gallery's model, "
            "M(old, old), where that is another than the queries'."
        ),
    ] = None

    @property
    def datasets(self) -> list[str]:
        """The datasets that it reads."""
        return [self.dataset]

    @property
    def galleries(self) -> list[str]:
        """The galleries that it reads."""
        return [] if self.gallery_id is None else [self.gallery_id]

    @property
    def upgrades(self) -> list[str]:
        """The upgrades whose crossings it names."""
        named = (self.via, None if self.against is None else self.against.via)
        return [upgrade for upgrade in named if upgrade is not None]

    @model_validator(mode="after")
    def _searches_something(self) -> Self:
        if self.gallery is None and self.gallery_id is None:
            raise wrong("name the model whose vectors are searched, or a gallery in `gallery_id`", "gallery")
        return self


class PairEvaluation(SearchEvaluation):
    """M(queries, gallery) by labels and true neighbours, and what it is against another search by the same queries."""

    unconstrained: Annotated[
        ResourceId | None,
        Field(
            description="The model whose self test is M(new*, new*), the denominator of the update gain. Left out: the "
            "queries' model, where a learned crossing leads to it; none where it was trained to be compatible."
        ),
    ] = None
    slices: Annotated[
        list[Line],
        AfterValidator(_once_each),
        Field(max_length=MOST_SLICES, description="`label`, or fields of the payload that items of `gallery_id` have."),
    ] = []
    metrics: Annotated[
        Annotated[list[RetrievalMetric], AfterValidator(_once_each), Field(min_length=1)] | None,
        Field(description="The first one judges slices. Left out: all that can be measured."),
    ] = None


class JudgedEvaluation(SearchEvaluation):
    """A search by the judged queries of a dataset, and what it is against another search by them."""

    kind: Literal["judged"]
    metrics: Annotated[
        list[JudgedMetricText],
        AfterValidator(_once_each),
        Field(
            min_length=1,
            max_length=MOST_METRICS,
            description="`ndcg@k`, `mrr@k`, `recall@k`, `precision@k`, `hit_rate@k` with any k from 1 to 1000, and "
            "`map`; by the relevant items that the queries name.",
        ),
    ] = ["ndcg@10", "mrr@10", "recall@10", "precision@10", "hit_rate@10", "map"]
    slices: Annotated[
        list[Line],
        AfterValidator(_once_each),
        Field(
            max_length=MOST_SLICES,
            description="Of the item that answers a query best: `label`, or fields of the payload that items of "
            "`gallery_id` have. Compared by the first metric.",
        ),
    ] = []


class ChainEvaluation(BaseModel):
    """Every version's queries against its own vectors and those of every version before it."""

    model_config = ConfigDict(extra="forbid")

    dataset: Annotated[ResourceId, Field(description="Rows with a label and a vector of every one of the models.")]
    models: Annotated[
        list[ResourceId],
        AfterValidator(_once_each),
        Field(min_length=2, max_length=MOST_MODELS, description="Versions in order of age, the oldest first."),
    ]
    metrics: Annotated[
        list[ByLabel],
        AfterValidator(_once_each),
        Field(min_length=1, description="One compatibility matrix each."),
    ] = ["cmc@1", "cmc@5", "map"]

    @property
    def datasets(self) -> list[str]:
        """The datasets that it reads."""
        return [self.dataset]

    @property
    def galleries(self) -> list[str]:
        """The galleries that it reads: none."""
        return []

    @property
    def upgrades(self) -> list[str]:
        """The upgrades whose crossings it names: none."""
        return []


AnyEvaluation = PairEvaluation | JudgedEvaluation | ChainEvaluation


def _by_kind(body: Any, _validate: Any) -> AnyEvaluation:
    """Validated as its own kind alone, so that the places that errors name are those of the body."""
    if isinstance(body, PairEvaluation | JudgedEvaluation | ChainEvaluation):
        return body
    fields = body if isinstance(body, dict) else {}
    if "kind" in fields:
        return JudgedEvaluation.model_validate(body)
    kind = ChainEvaluation if "models" in fields else PairEvaluation
    other = PairEvaluation if kind is ChainEvaluation else ChainEvaluation
    for field in sorted((other.model_fields.keys() - kind.model_fields.keys()) & fields.keys()):
        raise wrong(f"`{field}` is of the evaluation of a pair, and `models` of that of a chain: give one", field)
    return kind.model_validate(body)


NewEvaluation = Annotated[AnyEvaluation, WrapValidator(_by_kind)]
"""The body that starts an evaluation: of a pair, by judged queries with `kind`, or of a chain with `models`."""

_NEW_EVALUATION: TypeAdapter[AnyEvaluation] = TypeAdapter(NewEvaluation)


def asked_by(request: dict[str, Any]) -> AnyEvaluation:
    """A stored request as it was asked, with what was left out filled in."""
    return _NEW_EVALUATION.validate_python(request)


EvaluationKind = Literal["pair", "judged", "chain"]


def kind_of(request: AnyEvaluation) -> EvaluationKind:
    """The kind of what was asked."""
    if isinstance(request, ChainEvaluation):
        return "chain"
    return "judged" if isinstance(request, JudgedEvaluation) else "pair"


class Evaluation(BaseModel):
    """An evaluation as it is now."""

    id: str
    kind: EvaluationKind
    request: Annotated[AnyEvaluation, Field(description="What was asked, with what was left out filled in.")]
    state: EvaluationState
    progress: Progress | None
    result: Annotated[
        dict[str, Any] | None, Field(description="Every figure with its 95 % interval, and how spaces were crossed.")
    ]
    reason: Annotated[str | None, Field(description="Why it failed, and what to do about it.")]
    created_at: datetime
    updated_at: datetime
