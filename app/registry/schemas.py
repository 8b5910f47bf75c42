"""Wire shapes of the registry."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.embedders.choice import EmbedderChoice, ModelsEmbedder
from app.ids import Line, ResourceId
from app.jobs.schemas import Progress
from app.validation import wrong
from models.portable import Distance

UNUSED = "tfidf-v0"
EXAMPLES: dict[str, Example] = {
    "old": {
        "summary": "The model that the gallery is filled with",
        "value": {"id": "tfidf-v1", "dimension": 4, "metric": "cosine", "modality": "text"},
    },
    "new": {
        "summary": "The model to cross to",
        "value": {
            "id": "minilm-v2",
            "dimension": 3,
            "metric": "cosine",
            "modality": "text",
            "description": "Sentence embeddings; replaces tfidf-v1.",
        },
    },
    "unused": {
        "summary": "A model that nothing uses, to be removed",
        "value": {"id": UNUSED, "dimension": 4, "metric": "cosine"},
    },
}


QuerySide = Literal["same", "apart"]
"""Whether a model embeds queries as it embeds documents."""


class ModelBase(BaseModel):
    """What is said of one version of an embedding model."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "tfidf-v1",
                    "dimension": 4,
                    "metric": "cosine",
                    "modality": "text",
                    "description": "The old one.",
                }
            ]
        },
    )

    id: ResourceId
    dimension: Annotated[int, Field(strict=True, ge=1, le=65_536, description="Components of one of its vectors.")]
    metric: Annotated[
        Distance,
        Field(description="How its vectors are compared: cosine similarity, Euclidean distance or inner product."),
    ]
    queries: Annotated[
        QuerySide,
        Field(
            description="Whether it embeds a query as it embeds the same text as a document (`same`), or otherwise, as "
            "with a prefix or an encoder of its own (`apart`): then only judged queries can prove an upgrade."
        ),
    ] = "same"
    modality: Annotated[Line | None, Field(max_length=64, description="What it embeds: text, image, …")] = None
    description: Line | None = None


class NewModel(ModelBase):
    """What registers one version of an embedding model. It may be a black box of which only vectors are known."""

    embedder: Annotated[
        EmbedderChoice | None,
        Field(description="What makes its vectors of texts, where the service is to do that: nothing else does."),
    ] = None

    @model_validator(mode="after")
    def _prefixes_of_one_side(self) -> "NewModel":
        given = self.embedder
        if given is not None and given.tells_queries_apart and self.queries == "same":
            raise wrong(
                "the embedder has another prefix or `input_type` for queries than for documents: they are embedded "
                "`apart`",
                "queries",
            )
        return self


class TrainingStatus(BaseModel):
    """How the training of a model stands."""

    state: Annotated[Literal["queued", "training", "ready", "failed", "cancelled"], Field(description="`ready`: done.")]
    progress: Progress | None
    reason: Annotated[str | None, Field(description="Why it failed, and what to do about it.")]


class Model(ModelBase):
    """A model version as registered."""

    embedder: Annotated[
        ModelsEmbedder | None,
        Field(
            description="What makes its vectors, where the service does that: what it names, or else, where it was "
            "trained here, the model itself."
        ),
    ] = None
    trained_by: Annotated[
        str | None, Field(description="The upgrade that trained it here, or the run that trained an encoder.")
    ]
    compatible_with: Annotated[
        str | None, Field(description="The older model whose galleries can be searched with its vectors directly.")
    ]
    side_information_for: Annotated[
        str | None,
        Field(description="The model beside whose vectors its own are stored, where it was trained for that."),
    ] = None
    training: Annotated[
        TrainingStatus | None, Field(description="Of an encoder of side-information: how that stands.")
    ] = None
    warnings: Annotated[
        list[str], Field(description="Streams of queries or items that do not look like this model's, by gallery.")
    ] = []
    created_at: datetime
