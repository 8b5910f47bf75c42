"""The failures of an artifact and its use; the tree is drawn in the package's docstring."""


class PortableError(Exception):
    """Any failure of an artifact or its use."""


class ArtifactError(PortableError):
    """An artifact cannot be used as asked."""


class CorruptArtifact(ArtifactError):
    """Checksum, shapes, dtypes or card are wrong."""


class WrongDirection(ArtifactError):
    """The artifact leads between other spaces than the caller's."""


class NotPushable(PortableError, ValueError):
    """Only an affine transformation without side-information can be pushed into the query."""
