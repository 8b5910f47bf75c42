"""What the operator's file says of a connection that embeds, by its kind.

[e5]                                        [e5-here]
kind = "openai"                             kind = "local"
url = "http://embedder.internal:8080/v1"    folder = "/srv/models/e5-small"
key = "${E5_KEY}"
model = "intfloat/e5-small-v2"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from app.connections.options import ConnectionOptions
from app.embedders.choice import EmbedderInput
from app.embedders.protocol import EmbedderPace, EmbedderPrices

_Count = Annotated[int, Field(gt=0)]
_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EmbedderOptions(ConnectionOptions, ABC):
    """What every kind may say. model: the name asked for where a model here names none; batch: texts in one request;
    concurrency: requests at one time; attempts: how often a request is tried in all; longest_wait_seconds: a pause
    that is longer is not waited for."""

    model: str | None = None
    batch: _Count = 64
    concurrency: _Count = 4
    attempts: _Count = 6
    longest_wait_seconds: Annotated[float, Field(ge=0)] = 60.0
    price_per_item: _Price = 0.0
    price_per_million_tokens: _Price = 0.0

    @property
    def pace(self) -> EmbedderPace:
        return EmbedderPace(self.batch, self.concurrency, self.attempts, self.longest_wait_seconds)

    @property
    def prices(self) -> EmbedderPrices:
        return EmbedderPrices(self.price_per_item, self.price_per_million_tokens)

    @property
    @abstractmethod
    def told(self) -> str:
        """What such an embedder is, as a sentence names it."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the embedder is, by which it is told from one that had the same name before. It is never shown."""


class OpenAIOptions(EmbedderOptions):
    """A server that speaks OpenAI's protocol. url: up to and with `/v1`, as its clients call it. answers_as: the name
    by which its answers call the model, where that is not the one asked for. encoding: how vectors are asked for."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    key: Annotated[str | None, Field(pattern=r"^[!-~]+$")] = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    answers_as: str | None = None
    encoding: Literal["float", "base64"] = "float"

    @property
    def told(self) -> str:
        return "a server"

    @property
    def place(self) -> str:
        return self.url


class LocalOptions(EmbedderOptions):
    """A folder of a sentence-transformers or Hugging Face model on the worker's machine. reads: what it embeds;
    max_tokens: what is longer is cut; left out, as long as the model takes."""

    folder: Path
    reads: EmbedderInput = "text"
    max_tokens: Annotated[int, Field(gt=0, le=65_536)] | None = None

    @property
    def told(self) -> str:
        return "a folder"

    @property
    def place(self) -> str:
        return str(self.folder)


class TrainedHereOptions(EmbedderOptions):
    """A model that was trained here; no connection is of this kind. run: what trained it, whose artifacts hold its
    weights."""

    run: str

    @property
    def told(self) -> str:
        return "the model itself, which was trained here"

    @property
    def place(self) -> str:
        return self.run


EMBEDDER_KINDS: Mapping[str, type[OpenAIOptions] | type[LocalOptions]] = MappingProxyType(
    {"openai": OpenAIOptions, "local": LocalOptions}
)
"""The options of each kind, by the word that `kind` has in the file of connections."""
