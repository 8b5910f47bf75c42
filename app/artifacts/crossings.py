"""Fitted crossings on disk: an upgrade's artifact folder, opened for the gateway and the workers alike.

artifacts/<upgrade>/chosen         the transformation that was selected
artifacts/<upgrade>/plain          the best one without side-information (also the one pushed into the query)
artifacts/<upgrade>/uncertainty    how far `chosen` is expected to miss, where that was learned
artifacts/<upgrade>/from/<model>   the same three, from a model before the upgrade's own, where that is the better way
"""

from functools import lru_cache
from pathlib import Path

from app.galleries.lineage import Crossing
from models.portable import Space, load, load_uncertainty

CHOSEN = "chosen"
PLAIN = "plain"
UNCERTAINTY = "uncertainty"
_FROM = "from"
_KEPT_OPEN = 64


def shortcuts(folder: Path) -> Path:
    """Where an upgrade keeps the ways from models before its own."""
    return folder / _FROM


def shortcut(folder: Path, model: str) -> Path:
    """Where it keeps that from one of them; nothing is there where the crossings one after the other are kept."""
    return shortcuts(folder) / model


@lru_cache(maxsize=_KEPT_OPEN)
def open_crossing(folder: Path, source: Space, target: Space) -> Crossing:
    """The crossing of an upgrade; artifacts never change, so one read serves the process.

    Raises CorruptArtifact where a checksum is wrong and WrongDirection where the spaces are others.
    """
    known = (folder / UNCERTAINTY).exists()
    return Crossing(
        chosen=load(folder / CHOSEN, source=source, target=target),
        plain=load(folder / PLAIN, source=source, target=target),
        uncertainty=load_uncertainty(folder / UNCERTAINTY, source=source, target=target) if known else None,
    )
