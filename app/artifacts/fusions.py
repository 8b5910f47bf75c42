"""What fuses the scores of two models' queries in a gallery, opened for the gateway."""

from app.artifacts.cached import read_once
from app.artifacts.folder import UpgradeArtifacts
from models.portable import CARD, Fusion, Space, load_fusion

_KEPT_OPEN = 64


def has_fusion(artifacts: UpgradeArtifacts, gallery: str) -> bool:
    """Whether an upgrade of these artifacts learned to fuse scores in a gallery, by its id."""
    return (artifacts.fusion(gallery) / CARD).exists()  # which is written last


@read_once(_KEPT_OPEN)
def open_fusion(artifacts: UpgradeArtifacts, gallery: str, source: Space, target: Space) -> Fusion:
    """The fusion of a gallery, by its id, which never changes once its upgrade is proved.

    Raises CorruptArtifact where a checksum is wrong and WrongDirection where the spaces are others.
    """
    return load_fusion(artifacts.fusion(gallery), source=source, target=target)
