"""What upgrades learned, read from the service's own files: how each carries vectors of the old model."""

from __future__ import annotations

from pathlib import Path

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from models.portable import Space
from tests.chaos.scores import Crossings
from tests.chaos.vectors import DIMENSION, Floats


def crossings(data: Path) -> Crossings:
    """By the id of an upgrade; data: the service's data folder."""
    source, target = Space("old", DIMENSION, "cosine"), Space("new", DIMENSION, "cosine")

    def carry(upgrade: str, old: Floats) -> Floats:
        carried: Floats = open_crossing(UpgradeArtifacts(data / "artifacts", upgrade), source, target).chosen.apply(old)
        return carried

    return carry
