"""The embedders that the operator's connections lead to, and how each model's is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from app.connections.file import ConfiguredConnection
from app.connections.options import checked_options
from app.embedders.budget import EmbeddingBudget
from app.embedders.choice import EmbedderChoice, EmbedderInput, EmbeddingSide, ModelsEmbedder, TrainedHere
from app.embedders.kept_vectors import KeptVectors
from app.embedders.options import EMBEDDER_KINDS, LocalOptions, OpenAIOptions, TrainedHereOptions
from app.embedders.protocol import EmbedderCall, TextEmbedder
from app.embedders.run import EmbeddingRun
from app.embedders.spending import Spending
from app.problems import EmbedderWrong, Unprocessable
from app.storage.database import Database
from models.portable import Distance


@dataclass(frozen=True)
class ModelEmbedder:
    """How the vectors of one model are made. connection: its name, or of a model that was trained here what trained it;
    call: what is asked with each batch, whichever side its texts are of."""

    connection: str
    options: OpenAIOptions | LocalOptions | TrainedHereOptions
    choice: ModelsEmbedder
    call: EmbedderCall

    @property
    def reads(self) -> EmbedderInput:
        """What of an item is embedded."""
        if isinstance(self.choice, TrainedHere):
            return self.choice.reads
        return self.options.reads if isinstance(self.options, LocalOptions) else "text"

    def run(
        self,
        embedder: TextEmbedder,
        side: EmbeddingSide,
        database: Database,
        subject: str,
        budget: EmbeddingBudget | None,
    ) -> EmbeddingRun:
        """What embeds many texts of one side. embedder: the connection, opened; subject: whose spending it is."""
        spending = Spending(database, subject, self.options.prices, budget)
        kept = self.kept(database, side)
        return EmbeddingRun(embedder, self.call_for(side), self.choice.prefix(side), self.options.pace, kept, spending)

    def call_for(self, side: EmbeddingSide) -> EmbedderCall:
        """What is asked with a batch of queries, or of documents."""
        return replace(self.call, input_type=self.choice.input_type(side))

    def kept(self, database: Database, side: EmbeddingSide) -> KeptVectors:
        """The vectors of texts of one side that were kept as they came."""
        return KeptVectors(database, self.connection, self.options.place, self.call_for(side), self.choice.prefix(side))


class ConfiguredEmbedders:
    """The connections that embed. Those of other kinds are left alone."""

    def __init__(self, connections: Mapping[str, ConfiguredConnection]) -> None:
        """Raises WrongConnections for options that its kind does not take. Nothing is connected to."""
        self._options = {
            name: checked_options(connection, EMBEDDER_KINDS[connection.kind])
            for name, connection in connections.items()
            if connection.kind in EMBEDDER_KINDS
        }

    def require(self, choice: EmbedderChoice, dimension: int, pointer: str) -> None:
        """Raises Unprocessable where a model of so many dimensions cannot be embedded as it says. pointer: to where it
        says so, in the body."""
        options = self._options.get(choice.connection)
        if options is None:
            raise Unprocessable.at(
                f"No connection that embeds is named {choice.connection!r}. Whoever runs the service adds it to the "
                "file that the setting `connections` names, with kind `openai` or `local`.",
                pointer=f"{pointer}/connection",
            )
        if isinstance(options, OpenAIOptions) and choice.model is None and options.model is None:
            raise Unprocessable.at(
                f"Connection {choice.connection!r} names no model of its own: name in `model` which one to ask for.",
                pointer=f"{pointer}/model",
            )
        prefixed = next((side for side in get_args(EmbeddingSide) if choice.prefix(side)), None)
        if isinstance(options, LocalOptions) and options.reads == "image" and prefixed is not None:
            raise Unprocessable.at(
                f"Connection {choice.connection!r} embeds images, before which nothing is put. Leave the prefixes out.",
                pointer=f"{pointer}/{prefixed}_prefix",
            )
        told = next((side for side in get_args(EmbeddingSide) if choice.input_type(side) is not None), None)
        if isinstance(options, LocalOptions) and told is not None:
            raise Unprocessable.at(
                f"Connection {choice.connection!r} is a folder, whose model is told by a prefix what a text is. Give "
                "`query_prefix` and `document_prefix` instead.",
                pointer=f"{pointer}/{told}_input_type",
            )
        if choice.dimensions not in (None, dimension):
            raise Unprocessable.at(
                f"The model has {dimension} dimensions, and its embedder would be asked for {choice.dimensions}. Give "
                "the same number, or leave `dimensions` out.",
                pointer=f"{pointer}/dimensions",
            )

    def of(self, choice: ModelsEmbedder, dimension: int, metric: Distance) -> ModelEmbedder:
        """The embedder of a model of so many dimensions, whose vectors are compared by `metric`. Raises EmbedderWrong
        where the operator has taken its connection away since the model was registered."""
        if isinstance(choice, TrainedHere):
            call = EmbedderCall(choice.run, dimension, cosine=metric == "cosine")
            return ModelEmbedder(choice.run, TrainedHereOptions(run=choice.run), choice, call)
        options = self._options.get(choice.connection)
        if options is None:
            raise EmbedderWrong(
                f"Connection {choice.connection!r}, which makes this model's vectors, is no longer configured.",
                connection=choice.connection,
            )
        name = choice.model or options.model or choice.connection
        call = EmbedderCall(name, dimension, choice.dimensions, metric == "cosine")
        return ModelEmbedder(choice.connection, options, choice, call)
