"""What backfilling a gallery asks of upgrades: the curve that was predicted, and where an old model was found poor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.shared import SharedArtifacts
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.request import COMPATIBLE
from app.upgrades.tables import UpgradeRow


class UpgradeFindings:
    """What upgrades found out that outlasts them."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._artifacts = settings.artifacts_dir
        self._shared = SharedArtifacts(settings)
        self._database = database

    def predicted(self, upgrade: str, gallery: str) -> dict[str, Any] | None:
        """The part of an upgrade's proof that predicts backfilling; None where it has none."""
        with self._database.read() as session:
            row = session.get(UpgradeRow, upgrade)
        proof: dict[str, Any] = ((row.proofs if row else None) or {}).get(gallery, {})
        return proof.get("backfill")

    def rows_of_training(self, models: Sequence[str]) -> list[Path]:
        """What training models compatible with one of these found out about its rows, the newest first."""
        query = select(UpgradeRow).where(UpgradeRow.source.in_(models)).order_by(UpgradeRow.id.desc())
        with self._database.read() as session:
            trained = [row.id for row in session.scalars(query) if row.strategy == COMPATIBLE]
        self._shared.refresh()
        paths = [UpgradeArtifacts(self._artifacts, upgrade).rows for upgrade in trained]
        return [path for path in paths if path.exists()]
