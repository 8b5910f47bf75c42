"""kill -9 of the step that embeds pairs: what was paid is not paid again, and no budget is exceeded by an item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import func, select

from app.embedders.tables import KeptVectorRow
from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from app.settings import Settings
from app.storage.database import Database
from tests.crash.test_upgrade_killed import gone
from tests.e2e.embedding_town import Town, reader
from tests.e2e.service import Service
from tests.embedding_server import EmbeddingServer, connections_file, embedding_server
from tests.waiting import PATIENCE_SECONDS, wait_until

PAIRS, BATCH, BEFORE = 100, 10, 4
UNDER_WAY = 2 * BATCH
"""Texts set aside at one time, at most: while an answer is written down, the next request is under way."""


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server(reader("new")) as server:
        yield server


@pytest.mark.parametrize(
    "point", [Failpoint.EMBEDDING_SET_ASIDE, Failpoint.EMBEDDING_ANSWERED, Failpoint.EMBEDDING_KEPT], ids=str
)
def test_kept_answers_are_not_paid_again_and_the_budget_holds(
    tmp_path: Path, server: EmbeddingServer, point: Failpoint
) -> None:
    variables = {
        "CROSSWALK_CONNECTIONS": str(
            connections_file(tmp_path, server.connection("e5", batch=BATCH, concurrency=1, price_per_item=0.01))
        ),
        FAILPOINT: str(Trigger(point, "step", BEFORE, "stop")),
        JOURNAL: str(tmp_path / "journal"),
    }
    service = Service(tmp_path, variables).start()
    try:
        with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
            town = Town(client, server, server, Settings(data_dir=service.data))
            scene = town.scene()
            gate = {"metric": "cmc@1", "require": {"at_least": 0.2}}
            upgrade = town.start(scene, pairs=PAIRS, budget={"money": PAIRS * 0.01}, gate=gate)
            step = wait_until(service.stopped_step, "the step to stop between two answers")
            assert step is not None
            service.kill()
            with suppress(psutil.NoSuchProcess):  # it may have died with the service
                step.kill()
            gone(step)
            wait_until(lambda: server.connections == 0, "all that the dead step has sent to be read")
            kept, paid = how_many_kept(service), server.charged
            assert 0 < kept <= len(paid) <= kept + UNDER_WAY

            service.start()
            ended = scene.reaches(upgrade, "active")
            charged = server.charged
            again = {text for text in charged if charged.count(text) > 1}
            assert again <= set(paid)
            assert len(again) <= len(paid) - kept, "only what was not written down is asked for again"
            assert len(charged) <= ended["spent"]["items"] <= PAIRS
            assert ended["spent"]["money"] <= PAIRS * 0.01 + 1e-9
            assert how_many_kept(service) == len(set(charged)) >= PAIRS - UNDER_WAY
    finally:
        service.kill()


def how_many_kept(service: Service) -> int:
    """The vectors that the service has written down."""
    database = Database(f"sqlite:///{service.data / 'crosswalk.db'}")
    try:
        with database.read() as session:
            return session.scalar(select(func.count()).select_from(KeptVectorRow)) or 0
    finally:
        database.close()
