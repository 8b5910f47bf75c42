"""The files that training leaves to be downloaded: the model, and what compatible training says of the rows."""

from pathlib import Path

from app.artifacts.folder import EncoderArtifacts, UpgradeArtifacts
from app.artifacts.shared import SharedArtifacts
from app.problems import WrongState
from app.registry.service import Models
from app.settings import Settings
from app.side_information.service import Encoders
from app.upgrades.request import COMPATIBLE
from app.upgrades.schemas import RowOrder, TrainingRow, Upgrade
from app.upgrades.service import Upgrades
from app.upgrades.states import RUNNING
from app.upgrades.training_rows import most_suspicious


class Downloads:
    """Finds the files that training left, by the model that was trained or the upgrade that trained it."""

    def __init__(self, settings: Settings, models: Models, upgrades: Upgrades, encoders: Encoders) -> None:
        self._artifacts = settings.artifacts_dir
        self._shared = SharedArtifacts(settings)
        self._models = models
        self._upgrades = upgrades
        self._encoders = encoders

    def model(self, model: str) -> Path:
        """The zip of a model trained here. Raises NotFound, and WrongState where it was not, or is not yet."""
        trained_by = self._models.get(model).trained_by
        if trained_by is None:
            raise WrongState(
                f"Model {model!r} was registered, not trained here: its weights are where it came from. "
                "POST /models/<old>/upgrade with strategy `compatible` trains a model."
            )
        self._shared.refresh()
        if self._encoders.trains(model):
            return EncoderArtifacts(self._artifacts, trained_by).model_zip
        self._trained(self._upgrades.get(trained_by))
        return UpgradeArtifacts(self._artifacts, trained_by).model_zip

    def rows(self, upgrade: str, order: RowOrder, limit: int) -> list[TrainingRow]:
        """The rows that an upgrade trained on, the most suspicious first.

        Raises NotFound, and WrongState where it trains nothing, has not trained yet, or did not ask this of the rows.
        """
        training = self._upgrades.get(upgrade)
        if training.strategy != COMPATIBLE:
            raise WrongState(
                f"Upgrade {upgrade} is of strategy `{training.strategy}`, which trains no model. Those of strategy "
                f"`{COMPATIBLE}` say what they found out about their rows.",
                state=training.state,
            )
        self._trained(training)
        self._shared.refresh()
        rows = most_suspicious(UpgradeArtifacts(self._artifacts, upgrade).rows, order, limit)
        if not rows:
            raise WrongState(_why_none(training, order), state=training.state)
        return [TrainingRow(**row) for row in rows]

    def _trained(self, upgrade: Upgrade) -> None:
        if upgrade.report is None and upgrade.state in RUNNING:
            raise WrongState(
                f"Upgrade {upgrade.id} is still {upgrade.state}. GET /upgrades/{upgrade.id}/events follows it.",
                state=upgrade.state,
                upgrade=upgrade.id,
            )
        if upgrade.report is None:
            raise WrongState(
                f"Upgrade {upgrade.id} is {upgrade.state}: it ended before anything was trained. "
                f"POST /models/{upgrade.source}/upgrade trains {upgrade.to!r} anew.",
                state=upgrade.state,
                upgrade=upgrade.id,
            )


def _why_none(upgrade: Upgrade, order: RowOrder) -> str:
    if order == "outlier":
        return (
            f"Method `{upgrade.method}` of upgrade {upgrade.id} weighs all rows of a class alike; `random_walk` finds "
            "outliers."
        )
    return (
        f"Upgrade {upgrade.id} learned no instance weights, which is where `{order}` comes from. Start one with "
        '{"instance_weights": true}.'
    )
