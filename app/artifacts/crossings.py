"""Fitted crossings on disk, opened for the gateway and the workers alike."""

from app.artifacts.cached import read_once
from app.artifacts.folder import CrossingFiles
from models.portable import Crossing, Space, load_transformation, load_uncertainty

__all__ = ["Crossing", "open_crossing"]

_KEPT_OPEN = 64


@read_once(_KEPT_OPEN)
def open_crossing(files: CrossingFiles, source: Space, target: Space) -> Crossing:
    """The crossing in these files, which never change, so one read serves the process.

    Raises CorruptArtifact where a checksum is wrong and WrongDirection where the spaces are others.
    """
    known = files.uncertainty.exists()
    return Crossing(
        chosen=load_transformation(files.chosen, source=source, target=target),
        plain=load_transformation(files.plain, source=source, target=target),
        uncertainty=load_uncertainty(files.uncertainty, source=source, target=target) if known else None,
    )
