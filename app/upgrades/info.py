"""An upgrade at one moment, as plain data: what crosses from this resource to the others and to the workers."""

from __future__ import annotations

from dataclasses import dataclass

from app.upgrades.compatible_request import CompatibleUpgrade
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.schemas import asked_by
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow


@dataclass(frozen=True)
class UpgradeInfo:
    """An upgrade from the model `source` to the model `target`, for these galleries, and what was asked of it."""

    id: str
    source: str
    target: str
    galleries: tuple[str, ...]
    state: UpgradeState
    asked: ForwardUpgrade | CompatibleUpgrade

    @classmethod
    def of(cls, row: UpgradeRow) -> UpgradeInfo:
        return cls(
            id=row.id,
            source=row.source,
            target=row.target,
            galleries=tuple(row.galleries),
            state=UpgradeState(row.state),
            asked=asked_by(row.request),
        )

    @property
    def forward(self) -> ForwardUpgrade:
        """What was asked of an upgrade that learns a crossing. Raises TypeError for one that trains a model."""
        if not isinstance(self.asked, ForwardUpgrade):
            raise TypeError(f"upgrade {self.id} is of strategy `{self.asked.strategy}`, and learns no crossing")
        return self.asked

    @property
    def compatible(self) -> CompatibleUpgrade:
        """What was asked of an upgrade that trains a model. Raises TypeError for one that learns a crossing."""
        if not isinstance(self.asked, CompatibleUpgrade):
            raise TypeError(f"upgrade {self.id} is of strategy `{self.asked.strategy}`, and trains no model")
        return self.asked
