"""The files of an artifact: arrays in one safetensors file and a JSON card, which stay consistent across crashes."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from .card import Card, Space
from .errors import CorruptArtifact, WrongDirection
from .publishing import publish
from .tensor_file import Arrays, parse_tensors, tensor_bytes

CARD = "card.json"


def write_sealed(card: Card, arrays: Arrays, directory: Path) -> Card:
    """Writes arrays and card so that a crash leaves the new artifact or the previous one; returns the card as saved.

    The weights file contains the card too, so that its checksum covers the two spaces. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    card = dataclasses.replace(card, sha256="")
    weights = tensor_bytes(arrays, {"card": card.to_json()})
    card = dataclasses.replace(card, sha256=hashlib.sha256(weights).hexdigest())
    publish(directory / _weights_name(card), weights)
    publish(directory / CARD, card.to_json().encode())
    for stale in set(directory.glob("weights-*.safetensors")) - {directory / _weights_name(card)}:
        stale.unlink()
    return card


def read_sealed(directory: Path) -> tuple[Card, Arrays]:
    """Reads an artifact's card and arrays; raises CorruptArtifact where they were not written together."""
    try:
        card = Card.from_json((directory / CARD).read_text())
        weights = (directory / _weights_name(card)).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"artifact is unreadable: {error}") from error
    if hashlib.sha256(weights).hexdigest() != card.sha256:
        raise CorruptArtifact(f"{_weights_name(card)} does not have the checksum that its card names")
    try:
        metadata, arrays = parse_tensors(weights)
        stamped = Card.from_json(metadata["card"])
    except (ValueError, KeyError) as error:
        raise CorruptArtifact(f"weights are unreadable: {error}") from error
    if dataclasses.replace(stamped, sha256=card.sha256) != card:
        raise CorruptArtifact("the card is not the one that the weights were saved with")
    return card, arrays


def _weights_name(card: Card) -> str:
    """The name of a saved card's weights file: by its checksum, so that replacing the card switches to new weights."""
    return f"weights-{card.sha256[:16]}.safetensors"


def check_direction(card: Card, source: Space, target: Space) -> None:
    """Raises WrongDirection unless the artifact's card is of a transformation from `source` to `target`."""
    if (card.source, card.target) == (source, target):
        return
    expected, actual = f"{source} → {target}", f"{card.source} → {card.target}"
    hint = "; it is the other way round, and a transformation cannot be reversed" if card.source == target else ""
    raise WrongDirection(f"the artifact leads {actual}, not {expected}{hint}")
