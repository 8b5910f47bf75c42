"""Exceptions about artifacts and their use; the hierarchy is drawn in the docstring of `models.portable`."""

from collections.abc import Sequence


class PortableError(Exception):
    """Any error about an artifact or its use."""


class ArtifactError(PortableError):
    """An artifact cannot be used as requested."""


class CorruptArtifact(ArtifactError):
    """An artifact's checksum, shapes, dtypes or card are wrong."""


class WrongDirection(ArtifactError):
    """The artifact connects other spaces than the caller's, or in the other direction."""


class BeyondFloat32(PortableError, ValueError):
    """A crossing makes of some rows what float32 does not hold; `rows` are their numbers, from 0."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__(f"the crossing takes {len(rows)} rows beyond what float32 holds, the first is row {rows[0]}")
        self.rows = rows


class NotTranslated(PortableError, ValueError):
    """What a score is worth in the other space was not learned, or not for this way of answering."""


class NotPushable(PortableError, ValueError):
    """The transformation cannot be pushed into the query: it is not affine, or reads side-information."""
