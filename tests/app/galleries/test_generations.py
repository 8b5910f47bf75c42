"""Generations as rows: numbers, and what becomes of one whose upgrade came to nothing."""

from __future__ import annotations

import pytest

from app.composition import Crosswalk, compose
from app.galleries import generations
from app.galleries.info import READY
from app.galleries.schemas import NewGallery
from app.galleries.tables import GenerationRow
from app.problems import Conflict, NotFound
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate


@pytest.fixture
def crosswalk(each_settings: Settings, each_database: Database) -> Crosswalk:
    made = compose(each_settings, each_database)
    for model in ("old", "new"):
        made.models.create(NewModel(id=model, dimension=2, metric="ip"))
    made.galleries.create(NewGallery(id="g", model="old"))
    return made


def built(crosswalk: Crosswalk, upgrade: str) -> int:
    with crosswalk.database.session() as session:
        return generations.build(session, "g", crosswalk.models.space("new"), upgrade)


def test_number_of_an_abandoned_generation_is_not_given_again(crosswalk: Crosswalk) -> None:
    assert [built(crosswalk, "first"), built(crosswalk, "first")] == [2, 2]
    with crosswalk.database.session() as session:
        generations.abandon(session, "first")
    assert list(crosswalk.galleries.info("g").generations) == [1]
    assert built(crosswalk, "second") == 3
    assert list(crosswalk.galleries.info("g").generations) == [1, 3]


def test_step_that_does_not_know_yet_that_its_upgrade_has_ended_can_do_nothing_with_its_generation(
    crosswalk: Crosswalk,
) -> None:
    number = built(crosswalk, "first")
    with crosswalk.database.session() as session:
        generations.abandon(session, "first")
    with pytest.raises(Conflict):
        built(crosswalk, "first")
    with crosswalk.database.session() as session:
        with pytest.raises(Conflict):
            generations.published(session, "g", number, 1, "index")
        with pytest.raises(NotFound):
            generations.point(session, "g", number)


def test_model_of_an_abandoned_generation_is_in_use_no_more(crosswalk: Crosswalk) -> None:
    built(crosswalk, "first")
    with crosswalk.database.session() as session:
        generations.abandon(session, "first")
        assert crosswalk.galleries.using_model(session, "new") == []
    crosswalk.models.delete("new")
    with pytest.raises(NotFound):
        crosswalk.models.get("new")


def test_generation_that_was_forgotten_since_a_transaction_read_it_is_not_pointed_at(
    settings: Settings, postgres_url: str
) -> None:
    settings = settings.model_copy(update={"database_url": postgres_url})
    crosswalk = compose(settings)
    migrate(crosswalk.database)
    for model in ("old", "new"):
        crosswalk.models.create(NewModel(id=model, dimension=2, metric="ip"))
    crosswalk.galleries.create(NewGallery(id="g", model="old"))
    number = built(crosswalk, "first")
    with crosswalk.database.session() as session:
        generations.published(session, "g", number, 1, "index")
    with crosswalk.database.session() as session:
        before = session.get_one(GenerationRow, ("g", number))
        assert before.state == READY
        with crosswalk.database.session() as other:
            generations.abandon(other, "first")
        with pytest.raises(NotFound):
            generations.point(session, "g", number)
    crosswalk.close()
