"""Embedding spaces, and the card that describes a transformation between two of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from .errors import CorruptArtifact

Distance = Literal["cosine", "l2", "ip"]
"""How vectors are compared: by cosine, Euclidean distance or inner product."""

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Space:
    """The space of one embedding model's vectors; metric: how they are compared."""

    model: str
    dimension: int
    metric: Distance

    def __str__(self) -> str:
        return f"{self.model} ({self.dimension}-d, {self.metric})"


@dataclasses.dataclass(frozen=True)
class Card:
    """What a transformation is, which spaces it connects, and how it was learned.

    side_dimension: of the side-information that it reads, None for none. pairs: the number of rows learned from.
    settings: the hyper-parameters chosen. metrics: measured on held-out rows, by name. created_at: ISO 8601 in UTC.
    sha256: of the weights file, empty until saved.
    """

    method: str
    source: Space
    target: Space
    side_dimension: int | None
    pairs: int
    settings: Mapping[str, float | int | str | bool]
    metrics: Mapping[str, float]
    created_at: str
    sha256: str = ""
    format: int = FORMAT

    def to_json(self) -> str:
        """The card as JSON text, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Reads a saved card; raises CorruptArtifact where a field is missing, unknown or of the wrong type."""
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["source"], fields["target"] = Space(**fields["source"]), Space(**fields["target"])
            card = cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptArtifact(f"card is unreadable: {error}") from error
        if not isinstance(card.sha256, str):
            raise CorruptArtifact(f"card has checksum {card.sha256!r}, which is no text")
        if card.format != FORMAT:
            raise CorruptArtifact(f"card has format {card.format!r}; this version reads format {FORMAT}")
        return card
