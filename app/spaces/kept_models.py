"""The models that vectors are told apart by, kept in memory for as long as nothing is committed to the database."""

from app.registry.schemas import Model
from app.registry.service import Models
from app.spaces.sketches import SketchedModel
from app.storage.commits import CommitWatch
from app.storage.kept_until_commit import KeptUntilCommit

_MOST = 256  # models, each with the others of its dimension


class KeptModels:
    """Models as registered. To read them from the database takes longer than to judge 64 vectors, and the judge of a
    stream of queries asks for the same ones with each 64."""

    def __init__(self, models: Models, commits: CommitWatch) -> None:
        self._models = models
        self._kept: KeptUntilCommit[str, tuple[SketchedModel, ...]] = KeptUntilCommit(commits, _MOST)

    def of_dimension_of(self, model: str) -> tuple[SketchedModel, ...]:
        """A model, and after it all others whose vectors have as many components. Raises NotFound."""

        def read() -> tuple[SketchedModel, ...]:
            own = self._models.get(model)
            others = (other for other in self._models.of_dimension(own.dimension) if other.id != own.id)
            return sketched(own), *map(sketched, others)

        return self._kept.get(model, read)


def sketched(model: Model) -> SketchedModel:
    return SketchedModel(model.id, model.dimension, model.created_at)
