"""What every kind of embedder does: texts in, one vector of a text each, and what that used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EmbedderCall:
    """What is asked of an embedder with each batch of texts.

    model: the name that it is asked for. dimension: components that each vector must have. dimensions: what is sent as
    `dimensions`, to an embedder that makes vectors of several lengths; None sends nothing. cosine: whether the vectors
    are compared by cosine, which no vector of zeros can be. input_type: what is sent as `input_type`, to a server that
    is told so whether texts are queries; None sends nothing.
    """

    model: str
    dimension: int
    dimensions: int | None = None
    cosine: bool = False
    input_type: str | None = None


@dataclass(frozen=True)
class EmbeddedBatch:
    """The answer to one batch. vectors: (n, d) float32, finite, in the order of the texts; tokens: what the embedder
    says that it read, None where it does not say."""

    vectors: NDArray[np.float32]
    tokens: int | None


@dataclass(frozen=True)
class EmbedderPace:
    """How an embedder is best asked. batch: texts in one request; concurrency: requests at one time; attempts: how
    often one request is tried in all; longest_wait: seconds beyond which a pause is not waited for."""

    batch: int
    concurrency: int
    attempts: int
    longest_wait: float


@dataclass(frozen=True)
class EmbedderPrices:
    """What embedding costs, in whatever currency the operator thinks in: both are added."""

    per_item: float = 0.0
    per_million_tokens: float = 0.0

    @property
    def known(self) -> bool:
        """Whether anything has a price."""
        return self.per_item > 0 or self.per_million_tokens > 0

    def of(self, items: int, tokens: int) -> float:
        return self.per_item * items + self.per_million_tokens * tokens / 1e6


class TextEmbedder(Protocol):
    """One connection that embeds."""

    async def embed(self, texts: Sequence[str], call: EmbedderCall) -> EmbeddedBatch:
        """The vectors of texts, asked for once: whoever calls this tries again.

        Raises EmbedderAway where trying again may help, and EmbedderWrong where it will not.
        """

    async def close(self) -> None:
        """Gives back what it holds open."""
