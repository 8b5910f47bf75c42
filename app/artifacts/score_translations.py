"""What scores are worth across an upgrade, opened for the gateway."""

from app.artifacts.cached import read_once
from app.artifacts.folder import UpgradeArtifacts
from models.portable import CARD, ScoreTranslations, Space, load_score_translations

_KEPT_OPEN = 64


def has_score_translations(artifacts: UpgradeArtifacts) -> bool:
    """Whether an upgrade of these artifacts learned what its scores are worth."""
    return (artifacts.scores / CARD).exists()  # which is written last


@read_once(_KEPT_OPEN)
def open_score_translations(artifacts: UpgradeArtifacts, source: Space, target: Space) -> ScoreTranslations:
    """The translations, which never change once their upgrade is proved.

    Raises CorruptArtifact where a checksum is wrong and WrongDirection where the spaces are others.
    """
    return load_score_translations(artifacts.scores, source=source, target=target)
