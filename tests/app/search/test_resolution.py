"""What the database is asked about a search is asked before an object store is waited for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock
from sqlalchemy import event

from app.composition import compose
from app.galleries.schemas import NewGallery
from app.keys.access import EVERYTHING
from app.problems import NoRoute
from app.registry.schemas import NewModel
from app.search.resolution import SearchResolver
from app.search.routing import AskedRoute
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from tests.upgrade_rows import store_upgrade
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.mark.parametrize("wanted", [None, "fused"])
def test_no_session_is_open_while_artifacts_are_brought_from_the_store(
    settings: Settings, database: Database, storage_url: str, wanted: AskedRoute | None
) -> None:
    crosswalk = compose(settings.model_copy(update={"storage_url": storage_url}), database)
    for name in ("old", "new"):
        crosswalk.models.create(NewModel(id=name, dimension=2, metric="l2"))
    crosswalk.galleries.create(NewGallery(id="g", model="old"))
    store_upgrade(database, "u", UpgradeState.READY, ["g"])
    resolver = SearchResolver(crosswalk.settings, database, crosswalk.models, crosswalk.galleries, crosswalk.embedders)
    given_back: list[str] = []
    event.listen(database.engine, "checkin", lambda *_: given_back.append(threading.current_thread().name))
    with ThreadPoolExecutor(1, "resolving") as threads:
        with FileLock(settings.data_dir / "artifacts.copied.lock"):  # another process brings artifacts
            resolved = threads.submit(resolver.resolve, "g", "new", wanted, EVERYTHING)
            wait_until(lambda: any(name.startswith("resolving") for name in given_back), "the connection")
            assert not resolved.done()
        if wanted is None:
            assert resolved.result(PATIENCE_SECONDS).route.name == "instant"
        else:
            with pytest.raises(NoRoute, match="did not learn"):
                resolved.result(PATIENCE_SECONDS)
    crosswalk.close()
