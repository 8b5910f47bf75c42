"""Embedding spaces, and the card that describes a transformation between two of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from .errors import CorruptArtifact
from .strict_json import shown, strict_json

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
            return cls.of_fields(strict_json(text))
        except ValueError as error:
            raise CorruptArtifact(f"card is unreadable: {error}") from error

    @classmethod
    def of_fields(cls, fields: object) -> Card:
        """Reads a card that is an object within other JSON. Raises CorruptArtifact as `from_json`."""
        if not isinstance(fields, dict):
            raise CorruptArtifact("card is unreadable: it is no JSON object")
        # First, as a card of another format has other fields.
        if "format" in fields and (type(fields["format"]) is not int or fields["format"] != FORMAT):
            raise CorruptArtifact(f"card has format {shown(fields['format'])}; this version reads format {FORMAT}")
        try:
            spaces = {name: Space(**fields[name]) for name in ("source", "target")}
            card = cls(**(fields | spaces))
        except (TypeError, KeyError) as error:
            raise CorruptArtifact(f"card is unreadable: {error}") from error
        for what, wrong in _wrong_fields(card):
            raise CorruptArtifact(f"card is unreadable: its {what} is {shown(wrong)}")
        return card


def is_name(value: object) -> bool:
    """Whether a value that was read names something: a text that a terminal shows, and does not act on."""
    return isinstance(value, str) and bool(value) and value.isprintable()


def _wrong_fields(card: Card) -> Iterator[tuple[str, object]]:
    """What is of the wrong type in a card that was read, or out of range: which field, and what it holds."""
    for name, space in (("source", card.source), ("target", card.target)):
        if not is_name(space.model):
            yield f"{name} model", space.model
        if not _is_count(space.dimension, least=1):
            yield f"{name} dimension", space.dimension
        if not isinstance(space.metric, str) or space.metric not in get_args(Distance):
            yield f"{name} metric", space.metric
    if card.side_dimension is not None and not _is_count(card.side_dimension, least=1):
        yield "side_dimension", card.side_dimension
    if not _is_count(card.pairs, least=0):
        yield "number of pairs", card.pairs
    for name in ("method", "created_at", "sha256"):
        if not isinstance(text := getattr(card, name), str):
            yield name, text
    for name in ("settings", "metrics"):
        if not isinstance(values := getattr(card, name), dict):
            yield name, values


def _is_count(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
