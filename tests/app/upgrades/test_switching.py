"""An upgrade of several galleries, which are switched together or one by one, on plain rows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from app.composition import Crosswalk, compose
from app.galleries import generations
from app.galleries.schemas import NewGallery
from app.keys.access import EVERYTHING
from app.problems import WrongState
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from tests.upgrade_rows import store_upgrade

BOTH = ("a", "b")


@pytest.fixture
def crosswalk(each_settings: Settings, each_database: Database) -> Crosswalk:
    """Galleries `a` and `b`, and the upgrade `both` of them, which is ready: generation 2 of each is its."""
    made = compose(each_settings, each_database)
    for model in ("old", "new"):
        made.models.create(NewModel(id=model, dimension=2, metric="ip"))
    for gallery in BOTH:
        made.galleries.create(NewGallery(id=gallery, model="old"))
    store_upgrade(made.database, "both", UpgradeState.READY, BOTH)
    _build(made, "both", *BOTH)
    return made


def _build(crosswalk: Crosswalk, upgrade: str, *galleries: str) -> None:
    with crosswalk.database.session() as session:
        for gallery in galleries:
            number = generations.build(session, gallery, crosswalk.models.space("new"), upgrade)
            generations.published(session, gallery, number, 1, "index")


def _now(crosswalk: Crosswalk, upgrade: str = "both") -> tuple[str, int, int]:
    """The state of an upgrade, and the active generations of `a` and `b`."""
    first, second = (crosswalk.galleries.info(gallery).active for gallery in BOTH)
    return str(crosswalk.upgrades.get(upgrade).state), first, second


def test_an_upgrade_is_active_with_its_last_gallery_and_rolled_back_with_its_last(crosswalk: Crosswalk) -> None:
    switch = crosswalk.upgrades.switch
    steps = [("a", 2, "ready"), ("b", 2, "active"), ("b", 1, "active"), ("a", 1, "rolled_back")]
    for gallery, number, state in [*steps, ("b", 2, "rolled_back"), ("a", 2, "active")]:
        switch(gallery, number, EVERYTHING)
        assert _now(crosswalk)[0] == state


def test_activating_switches_the_galleries_that_are_not_there_yet(crosswalk: Crosswalk) -> None:
    crosswalk.upgrades.switch("a", 2, EVERYTHING)
    crosswalk.upgrades.activate("both", EVERYTHING)
    assert _now(crosswalk) == ("active", 2, 2)
    crosswalk.upgrades.switch("b", 1, EVERYTHING)
    crosswalk.upgrades.activate("both", EVERYTHING)
    assert _now(crosswalk) == ("active", 2, 2)


def test_rolling_back_passes_galleries_that_are_back_already(crosswalk: Crosswalk) -> None:
    crosswalk.upgrades.activate("both", EVERYTHING)
    crosswalk.upgrades.switch("a", 1, EVERYTHING)
    crosswalk.upgrades.roll_back("both", EVERYTHING)
    assert _now(crosswalk) == ("rolled_back", 1, 1)
    crosswalk.upgrades.switch("b", 2, EVERYTHING)
    crosswalk.upgrades.roll_back("both", EVERYTHING)
    assert _now(crosswalk) == ("rolled_back", 1, 1)


def test_a_gallery_that_was_built_upon_stays_where_it_is(crosswalk: Crosswalk) -> None:
    crosswalk.upgrades.switch("a", 2, EVERYTHING)
    store_upgrade(crosswalk.database, "next", UpgradeState.READY, ["a"])
    _build(crosswalk, "next", "a")
    crosswalk.upgrades.activate("next", EVERYTHING)
    crosswalk.upgrades.activate("both", EVERYTHING)
    assert _now(crosswalk) == ("active", 3, 2)
    with pytest.raises(WrongState, match="moved on to generation 3"):
        crosswalk.upgrades.roll_back("both", EVERYTHING)
    assert _now(crosswalk) == ("active", 3, 2)


def test_what_a_gallery_is_searched_through_cannot_be_cancelled(crosswalk: Crosswalk) -> None:
    crosswalk.upgrades.switch("a", 2, EVERYTHING)
    with pytest.raises(WrongState, match="/galleries/a/activate with generation 1"):
        crosswalk.upgrades.cancel("both")
    assert _now(crosswalk) == ("ready", 2, 1)
    crosswalk.upgrades.switch("a", 1, EVERYTHING)
    crosswalk.upgrades.cancel("both")
    assert _now(crosswalk) == ("cancelled", 1, 1)


@pytest.mark.parametrize("each_settings", ["postgresql"], indirect=True)
def test_activating_locks_upgrades_in_order_and_before_galleries(crosswalk: Crosswalk) -> None:
    store_upgrade(crosswalk.database, "also", UpgradeState.READY, ["b"])
    _build(crosswalk, "also", "b")
    locked: list[str] = []

    def noted(_connection: Any, _cursor: Any, statement: str, parameters: dict[str, str], *_: Any) -> None:
        if "FOR UPDATE" in statement:
            name = next(iter(parameters.values()))
            locked.append(f"upgrade {name}" if "FROM upgrades" in statement else f"gallery {name}")

    event.listen(crosswalk.database.engine, "before_cursor_execute", noted)
    crosswalk.upgrades.activate("both", EVERYTHING)
    assert list(dict.fromkeys(locked)) == ["upgrade also", "upgrade both", "gallery a", "gallery b"]
