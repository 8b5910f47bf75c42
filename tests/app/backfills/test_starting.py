"""Backfills that are started at the same moment, on plain rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from app.backfills.schemas import NewBackfillRun
from app.composition import Crosswalk, compose
from app.embedders.choice import EmbedderChoice
from app.embedders.protocol import EmbedderPrices
from app.embedders.spending import Spending, spent_by
from app.galleries import generations
from app.galleries.schemas import NewGallery
from app.keys.access import EVERYTHING
from app.problems import Conflict
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from tests.embedding_server import connections_file
from tests.upgrade_rows import store_upgrade

TABLE = '[e5]\nkind = "openai"\nurl = "http://127.0.0.1:1/v1"\nmodel = "e5"\n'
AT_ONCE = 4


def backfillable(settings: Settings, database: Database, folder: Path) -> Crosswalk:
    """A gallery `shop` whose active generation is transformed."""
    given = settings.model_copy(update={"connections": connections_file(folder, TABLE)})
    made = compose(given, database)
    made.models.create(NewModel(id="old", dimension=2, metric="ip"))
    made.models.create(NewModel(id="new", dimension=2, metric="ip", embedder=EmbedderChoice(connection="e5")))
    made.galleries.create(NewGallery(id="shop", model="old"))
    store_upgrade(made.database, "one", UpgradeState.READY, ["shop"])
    with made.database.session() as session:
        number = generations.build(session, "shop", made.models.space("new"), "one")
        generations.published(session, "shop", number, 1, "index")
    made.upgrades.switch("shop", number, EVERYTHING)
    return made


def test_of_backfills_started_at_once_one_is_started(
    each_settings: Settings, each_database: Database, tmp_path: Path
) -> None:
    made = backfillable(each_settings, each_database, tmp_path)
    together = Barrier(AT_ONCE)

    def start(_: int) -> bool:
        together.wait()
        try:
            with made.database.session() as session:
                made.backfill_runs.start(session, "shop", NewBackfillRun())
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert sum(pool.map(start, range(AT_ONCE))) == 1


def test_a_deleted_gallery_takes_its_backfill_and_what_that_spent_with_it(
    each_settings: Settings, each_database: Database, tmp_path: Path
) -> None:
    made = backfillable(each_settings, each_database, tmp_path)
    with made.database.session() as session:
        run = made.backfill_runs.start(session, "shop", NewBackfillRun()).id
    with Spending(made.database, run, EmbedderPrices()).account() as account:
        account.set_aside(["a text"])
    made.galleries.delete("shop", leaving=made.backfill_runs.leave)
    with made.database.session() as session:
        assert made.jobs.of(session, run) == []
        assert spent_by(session, run) is None
