"""Every table there is, imported in one place so that migrations and tests see them all."""

from app.backfills.tables import BackfillRunRow
from app.datasets.tables import DatasetRow
from app.embedders.tables import EmbeddingSpendingRow, KeptVectorRow
from app.evaluations.tables import EvaluationRow
from app.galleries.tables import GalleryRow, GenerationRow, ItemTrafficRow
from app.idempotency.tables import IdempotencyKeyRow
from app.jobs.tables import JobRow
from app.keys.tables import ApiKeyRow
from app.registry.tables import ModelRow
from app.side_information.tables import SideInformationEncoderRow
from app.storage.database import Base
from app.upgrades.tables import TransformUnitRow, UpgradeRow

metadata = Base.metadata

__all__ = [
    "ApiKeyRow",
    "BackfillRunRow",
    "DatasetRow",
    "EmbeddingSpendingRow",
    "EvaluationRow",
    "GalleryRow",
    "GenerationRow",
    "IdempotencyKeyRow",
    "ItemTrafficRow",
    "JobRow",
    "KeptVectorRow",
    "ModelRow",
    "SideInformationEncoderRow",
    "TransformUnitRow",
    "UpgradeRow",
    "metadata",
]
