"""Saves and loads a transformation: its arrays by name, and its card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .card import Card, Space
from .checksummed import check_direction, read_sealed, write_sealed
from .errors import CorruptArtifact
from .layers import Affine, Array, Dense, Kernel, Lengths, Network
from .tensor_file import Arrays
from .transformation import Transformation


def save_transformation(transformation: Transformation, directory: Path) -> Card:
    """Writes a transformation so that a crash leaves the new artifact or the previous one; returns the card as saved.

    Raises OSError.
    """
    return write_sealed(transformation.card, transformation_arrays(transformation), directory)


def load_transformation(directory: Path, *, source: Space, target: Space) -> Transformation:
    """Reads the transformation from `source` to `target`; raises CorruptArtifact or WrongDirection."""
    card, arrays = read_sealed(directory)
    transformation = transformation_of(card, arrays)
    check_direction(card, source, target)
    return transformation


def transformation_arrays(transformation: Transformation) -> Arrays:
    """The arrays of a transformation by name, from which `transformation_of` makes it again."""
    return dict(_named(transformation))


def transformation_of(card: Card, arrays: Arrays) -> Transformation:
    """The transformation that a card describes, of its arrays by name. Raises CorruptArtifact where they do not fit."""
    try:
        return Transformation(card, _affine(arrays), _network(arrays), _kernel(arrays), _affine(arrays, "stand_in"))
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"weights do not fit the card: {error}") from error
    except KeyError as error:
        raise CorruptArtifact(f"weights do not fit the card: there is no {error}") from error


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
    if (stand_in := transformation.stand_in) is not None:
        yield "stand_in.weight", np.ascontiguousarray(stand_in.weight)
        yield "stand_in.bias", np.ascontiguousarray(stand_in.bias)
    if (kernel := transformation.kernel) is not None:
        yield "kernel.centres", np.ascontiguousarray(kernel.centres)
        yield "kernel.coefficients", np.ascontiguousarray(kernel.coefficients)
        yield "kernel.scales", np.ascontiguousarray(kernel.scales)


def _branches(network: Network | None) -> list[tuple[str, tuple[Dense, ...]]]:
    return [] if network is None else [("old", network.old), ("side", network.side), ("trunk", network.trunk)]


def _affine(arrays: Arrays, name: str = "affine") -> Affine | None:
    if f"{name}.weight" not in arrays:
        return None
    lengths = None
    if name == "affine" and "lengths.slope" in arrays:
        if (scalars := arrays["lengths.scalars"]).shape != (3,) or scalars.dtype.kind != "f":
            raise ValueError(f"the scalars of lengths are {scalars.shape} {scalars.dtype}, not (3,) float64")
        scale, intercept, level = scalars.tolist()
        lengths = Lengths(arrays["lengths.slope"], scale, intercept, level)
    return Affine(arrays[f"{name}.weight"], arrays[f"{name}.bias"], arrays.get(f"{name}.side_weight"), lengths)


def _network(arrays: Arrays) -> Network | None:
    def layers(name: str) -> tuple[Dense, ...]:
        count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in arrays)
        return tuple(Dense(arrays[f"{name}.{n}.weight"], arrays[f"{name}.{n}.bias"]) for n in range(count))

    return Network(layers("old"), layers("side"), layers("trunk")) if "trunk.0.weight" in arrays else None


def _kernel(arrays: Arrays) -> Kernel | None:
    if "kernel.centres" not in arrays:
        return None
    return Kernel(arrays["kernel.centres"], arrays["kernel.coefficients"], arrays["kernel.scales"])
