"""The card of a trained model: what it is, what it was trained on, and how good it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from models.portable import Architecture, CorruptArtifact, Metric, Space

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """The training data: the dataset, its version, the rows and classes used, and a SHA-256 over the rows."""

    dataset: str
    version: int
    rows: int
    classes: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a trained model is.

    compatible_with: the space whose vectors, zero-padded, its own are compared with. architecture: as
    `Architecture.from_json` reads it. settings: of training. metrics: measured on rows held out of training, by name.
    created_at: ISO 8601 in UTC. sha256: of the weights file, empty until saved.
    """

    id: str
    dimension: int
    metric: Metric
    compatible_with: Space
    architecture: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    method: str
    settings: Mapping[str, Any]
    trained_on: TrainedOn
    metrics: Mapping[str, float]
    created_at: str
    sha256: str = ""
    format: int = FORMAT

    @property
    def space(self) -> Space:
        """Where its vectors live."""
        return Space(self.id, self.dimension, self.metric)

    def to_json(self) -> str:
        """The card as JSON text, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Reads a card; raises CorruptArtifact where a field is missing, unknown or of the wrong kind."""
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["compatible_with"] = Space(**fields["compatible_with"])
            fields["trained_on"] = TrainedOn(**fields["trained_on"])
            card = cls(**fields)
            Architecture.from_json(card.architecture)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptArtifact(f"the model's card is unreadable: {error}") from error
        if card.format != FORMAT:
            raise CorruptArtifact(f"the model's card has format {card.format!r}; this version reads format {FORMAT}")
        return card
