"""The models that vectors are told apart by, kept in memory for as long as nothing is committed to the database."""

from dataclasses import dataclass, field

from app.registry.schemas import Model
from app.registry.service import Models
from app.spaces.sketches import SketchedModel
from app.storage.commits import CommitWatch, Moment


@dataclass(frozen=True)
class _Kept:
    """What was read while the database stood at one moment, or after it: used only where that has not passed."""

    moment: Moment | None = None
    by_id: dict[str, tuple[SketchedModel, ...]] = field(default_factory=dict)


class KeptModels:
    """Models as registered. To read them from the database takes longer than to judge 64 vectors, and the judge of a
    stream of queries asks for the same ones with each 64."""

    def __init__(self, models: Models, commits: CommitWatch) -> None:
        self._models = models
        self._commits = commits
        self._kept = _Kept()

    def of_dimension_of(self, model: str) -> tuple[SketchedModel, ...]:
        """A model, and after it all others whose vectors have as many components. Raises NotFound."""
        now = self._commits.now()  # before anything is read: what is committed while it is read makes it old at once
        kept = self._kept
        if now is None or now != kept.moment:
            kept = self._kept = _Kept(now)
        known = kept.by_id.get(model)
        if known is None:
            own = self._models.get(model)
            others = (other for other in self._models.of_dimension(own.dimension) if other.id != own.id)
            known = kept.by_id[model] = sketched(own), *map(sketched, others)
        return known


def sketched(model: Model) -> SketchedModel:
    return SketchedModel(model.id, model.dimension, model.created_at)
