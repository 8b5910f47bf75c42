"""The card of a trained model: what it is, what it was trained on, and how good it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from models.inputs import Preprocessing
from models.portable import Architecture, CorruptArtifact, Distance, Space

Role = Literal["compatible", "side_information"]

FORMAT = 1
MOST_DIMENSIONS = 65_536
_CHECKSUM = "card_sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """The data that a model was trained on: dataset, its version, and the number of rows and of classes used.

    classes: None where labels were not used. fingerprint: SHA-256 over the rows.
    """

    dataset: str
    version: int
    rows: int
    classes: int | None
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a trained model is, and how it was trained.

    role: "compatible" where its vectors are searched against another model's, "side_information" where they are stored
    beside another model's. compatible_with: the space whose zero-padded vectors its own are compared with; None for
    side-information. architecture, preprocessing: as `from_json` of `Architecture` and `Preprocessing` reads them.
    settings: of training. metrics: measured on rows held out of training, by name. created_at: ISO 8601 in UTC. sha256:
    of the weights file, empty until saved.
    """

    id: str
    dimension: int
    metric: Distance
    compatible_with: Space | None
    architecture: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    method: str
    settings: Mapping[str, Any]
    trained_on: TrainedOn
    metrics: Mapping[str, float]
    created_at: str
    role: Role = "compatible"
    sha256: str = ""
    format: int = FORMAT

    @property
    def space(self) -> Space:
        """The space of its vectors."""
        return Space(self.id, self.dimension, self.metric)

    def to_json(self) -> str:
        """The card as JSON text, keys sorted, with a checksum of all other keys."""
        fields = dataclasses.asdict(self)
        return json.dumps(fields | {_CHECKSUM: _checksum(fields)}, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Reads a saved card. Raises CorruptArtifact where its checksum is wrong, or a field missing, unknown or
        wrong."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields.pop(_CHECKSUM) != _checksum(fields):
                raise CorruptArtifact("the model's card does not have the checksum that it names")
            if fields.setdefault("role", "compatible") not in get_args(Role):
                raise ValueError(f"role {fields['role']!r}")
            if fields["role"] == "compatible":
                fields["compatible_with"] = Space(**fields["compatible_with"])
            elif fields["compatible_with"] is not None:
                raise ValueError("side-information is compatible with nothing")
            fields["trained_on"] = TrainedOn(**fields["trained_on"])
            card = cls(**fields)
            Architecture.from_json(card.architecture)
            Preprocessing.from_json(card.preprocessing)
            if not 0 < card.dimension <= MOST_DIMENSIONS or not _SHA256.fullmatch(card.sha256):
                raise ValueError(f"dimension {card.dimension!r}, weights {card.sha256!r}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptArtifact(f"the model's card is unreadable: {error}") from error
        if card.format != FORMAT:
            raise CorruptArtifact(f"the model's card has format {card.format!r}; this version reads format {FORMAT}")
        return card


def _checksum(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
