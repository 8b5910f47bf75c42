"""What is kept of the models is used for as long as it is what is registered, and no longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.problems import NotFound
from app.registry.schemas import NewModel
from app.registry.service import Models
from app.spaces.kept_models import KeptModels
from app.storage.database import Database


class Counted(Models):
    """Models that count how often the others of a dimension are read."""

    read = 0

    def of_dimension(self, dimension: int):  # type: ignore[no-untyped-def]
        self.read += 1
        return super().of_dimension(dimension)


@pytest.fixture
def models(each_database: Database) -> Counted:
    return Counted(each_database)


@pytest.fixture
def kept(each_database: Database, models: Counted) -> Iterator[KeptModels]:
    commits = each_database.watch_commits()
    yield KeptModels(models, commits)
    commits.close()


def _register(models: Models, model: str, dimension: int = 3) -> None:
    models.create(NewModel(id=model, dimension=dimension, metric="l2"))


def _ids(kept: KeptModels, model: str) -> list[str]:
    own, *others = (one.id for one in kept.of_dimension_of(model))
    return [own, *sorted(others)]


def test_a_model_comes_first_and_others_of_its_dimension_after_it(models: Counted, kept: KeptModels) -> None:
    for model, dimension in (("b", 3), ("a", 3), ("wider", 4), ("c", 3)):
        _register(models, model, dimension)
    assert _ids(kept, "b") == ["b", "a", "c"]
    assert _ids(kept, "wider") == ["wider"]


def test_what_is_registered_or_removed_meanwhile_is_seen(models: Counted, kept: KeptModels) -> None:
    _register(models, "a")
    assert _ids(kept, "a") == ["a"]
    _register(models, "b")
    assert _ids(kept, "a") == ["a", "b"]
    models.delete("a")
    with pytest.raises(NotFound):
        kept.of_dimension_of("a")
    assert _ids(kept, "b") == ["b"]


def test_models_are_read_once_while_nothing_is_committed(models: Counted, each_database: Database) -> None:
    commits = each_database.watch_commits()
    try:
        _register(models, "a")
        kept = KeptModels(models, commits)
        before = commits.now()
        for _ in range(5):
            kept.of_dimension_of("a")
        # PostgreSQL's own work may move the moment between any two of them: then as often as that was seen.
        assert models.read == 1 or (before != commits.now() and models.read <= 5)
    finally:
        commits.close()
