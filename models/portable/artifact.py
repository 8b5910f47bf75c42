"""Artifacts on disk: one safetensors file and one JSON card, published so that a crash cannot tear them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from models.portable.card import Card, Space
from models.portable.errors import CorruptArtifact, WrongDirection
from models.portable.layers import Affine, Array, Dense, Lengths, Network
from models.portable.publishing import publish
from models.portable.transformation import Transformation

CARD = "card.json"


def save(transformation: Transformation, directory: Path) -> Card:
    """Writes weights and card so that a crash leaves this artifact or the one before; returns the card as saved.

    The weights carry the card too, so that their checksum covers the direction. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    card = dataclasses.replace(transformation.card, sha256="")
    weights = save_arrays(dict(_named(transformation)), metadata={"card": card.to_json()})
    card = dataclasses.replace(card, sha256=hashlib.sha256(weights).hexdigest())
    publish(directory / weights_name(card), weights)
    publish(directory / CARD, card.to_json().encode())
    for stale in set(directory.glob("weights-*.safetensors")) - {directory / weights_name(card)}:
        stale.unlink()
    return card


def load(directory: Path, *, source: Space, target: Space) -> Transformation:
    """Reads the artifact that leads from `source` to `target`; raises CorruptArtifact or WrongDirection."""
    try:
        card = Card.from_json((directory / CARD).read_text())
        weights = (directory / weights_name(card)).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"artifact is unreadable: {error}") from error
    if hashlib.sha256(weights).hexdigest() != card.sha256:
        raise CorruptArtifact(f"{weights_name(card)} does not have the checksum that its card names")
    try:
        header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
        stamped = Card.from_json(header["__metadata__"]["card"])
        arrays = load_arrays(weights)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"weights are unreadable: {error}") from error
    if dataclasses.replace(stamped, sha256=card.sha256) != card:
        raise CorruptArtifact("the card is not the one that the weights were saved with")
    try:
        transformation = Transformation(card, _affine(arrays), _network(arrays))
    except (ValueError, KeyError) as error:
        raise CorruptArtifact(f"weights do not fit the card: {error}") from error
    _check_direction(card, source, target)
    return transformation


def weights_name(card: Card) -> str:
    """The file that holds a saved card's weights: named by content, so that replacing the card is the commit."""
    return f"weights-{card.sha256[:16]}.safetensors"


def _named(transformation: Transformation) -> Iterator[tuple[str, Array]]:
    affine, network = transformation.affine, transformation.network
    if affine is not None:
        yield "affine.weight", np.ascontiguousarray(affine.weight)
        yield "affine.bias", np.ascontiguousarray(affine.bias)
        if affine.side_weight is not None:
            yield "affine.side_weight", np.ascontiguousarray(affine.side_weight)
        if (lengths := affine.lengths) is not None:
            yield "lengths.slope", np.ascontiguousarray(lengths.slope)
            yield "lengths.scalars", np.array([lengths.scale, lengths.intercept, lengths.level])
    for name, layers in _branches(network):
        for number, layer in enumerate(layers):
            yield f"{name}.{number}.weight", np.ascontiguousarray(layer.weight)
            yield f"{name}.{number}.bias", np.ascontiguousarray(layer.bias)


def _branches(network: Network | None) -> list[tuple[str, tuple[Dense, ...]]]:
    return [] if network is None else [("old", network.old), ("side", network.side), ("trunk", network.trunk)]


def _affine(arrays: Mapping[str, Array]) -> Affine | None:
    if "affine.weight" not in arrays:
        return None
    lengths = None
    if "lengths.slope" in arrays:
        scale, intercept, level = arrays["lengths.scalars"].tolist()
        lengths = Lengths(arrays["lengths.slope"], scale, intercept, level)
    return Affine(arrays["affine.weight"], arrays["affine.bias"], arrays.get("affine.side_weight"), lengths)


def _network(arrays: Mapping[str, Array]) -> Network | None:
    def layers(name: str) -> tuple[Dense, ...]:
        count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in arrays)
        return tuple(Dense(arrays[f"{name}.{n}.weight"], arrays[f"{name}.{n}.bias"]) for n in range(count))

    return Network(layers("old"), layers("side"), layers("trunk")) if "trunk.0.weight" in arrays else None


def _check_direction(card: Card, source: Space, target: Space) -> None:
    if (card.source, card.target) == (source, target):
        return
    asked, found = f"{source} → {target}", f"{card.source} → {card.target}"
    hint = "; it is the other way round, and a transformation cannot be reversed" if card.source == target else ""
    raise WrongDirection(f"the artifact leads {found}, not {asked}{hint}")
