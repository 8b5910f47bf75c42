"""Real vectors that are written into a store of the user's own."""

from __future__ import annotations

from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from app.composition import compose
from app.galleries.reading import MARK
from app.galleries.schemas import NewGallery, StoreChoice
from app.settings import Settings
from app.storage.database import Database
from app.stores.batches import item_batch, vector_array
from tests.app.upgrades.store_switching import NEW, OLD, VECTORS, StoreGallery, TableGallery
from tests.vector_table import TABLE
from workers.serving.re_embedding import ReEmbeddedInStore

A_SECOND, LATE = 15, "19"
"""How many may be written in a second, and an item whose turn comes after these."""
IDS = [str(number) for number in range(len(VECTORS))]
REAL = np.random.default_rng(1).normal(size=(len(IDS), NEW)).astype(np.float32)


@pytest.fixture
def shop(settings: Settings, database: Database, tmp_path: Path, postgres_url: str) -> TableGallery:
    shop = TableGallery.made(settings, database, tmp_path, postgres_url)
    store = StoreChoice(connection="shop", table=TABLE, text="body", max_writes_per_second=A_SECOND)
    shop.crosswalk.galleries.create(NewGallery(id="slow", model="old", store=store))
    shop.upgrade("slowly", ["slow"])
    return shop


def test_an_item_whose_text_changes_before_its_turn_comes_keeps_its_transformed_vector(shop: TableGallery) -> None:
    info, column = shop.info("slow"), shop.column("slow")
    read = shop.crosswalk.texts.of("slow", IDS, "text")
    found = shop.crosswalk.galleries.items(info).by_id(IDS, ["id", MARK])
    transformed = shop.table.vectors(column)[LATE]

    def unchanged(ids: list[str]) -> np.ndarray:
        now = shop.crosswalk.texts.of("slow", ids, "text")
        shop.table.execute(f"UPDATE {TABLE} SET body = 'another text' WHERE id = %s", [LATE])
        return np.array([now[one] == read[one] for one in ids])

    marks = dict(zip(found.column("id").to_pylist(), found.column(MARK).to_pylist(), strict=True))
    mark = pa.array([marks[one] for one in IDS], pa.uint64())
    items = item_batch(("id", "vector", "mark"), {"id": IDS, "vector": vector_array(REAL), "mark": mark})
    assert shop.crosswalk.store_targets.re_embed(info, 2, items, unchanged) == [one for one in IDS if one != LATE]
    written = shop.table.vectors(column)
    np.testing.assert_allclose([written[one] for one in IDS if one != LATE], REAL[:-1], atol=1e-6)
    np.testing.assert_array_equal(written[LATE], transformed)
    made = shop.info("slow").generations[2].in_store
    assert made is not None
    assert made.native == len(IDS) - 1


def test_what_a_backfill_wrote_is_indexed_by_a_store_that_has_to_be_asked(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    shelf = lancedb.connect(str(tmp_path / "shelf"))
    old = np.random.default_rng(2).normal(size=(300, OLD)).astype(np.float32)
    ids = [f"item-{number:03d}" for number in range(len(old))]
    rows = {"key": ids, "vector": vector_array(old), "text": [f"text of {one}" for one in ids]}
    shelf.create_table("faq", pa.table(rows)).create_index(metric="dot", index_type="IVF_FLAT", num_partitions=1)
    connections = tmp_path / "connections.toml"
    connections.write_text(f'[shop]\nkind = "lancedb"\nuri = "{tmp_path / "shelf"}"\n')
    crosswalk = compose(settings.model_copy(update={"connections": connections}), database)
    shop = StoreGallery(crosswalk)
    shop.register_models()
    store = StoreChoice(connection="shop", table="faq", id="key", vector="vector", text="text")
    crosswalk.galleries.create(NewGallery(id="faq", model="old", store=store))
    shop.upgrade("upg", ["faq"])
    crosswalk.store_targets.index(shop.info(), 2)

    def unindexed() -> int:
        table = shelf.open_table(f"faq.{shop.column()}")
        (index,) = table.list_indices()
        found = table.index_stats(index.name)
        assert found is not None
        return int(found.num_unindexed_rows)

    assert unindexed() == 0
    items = ReEmbeddedInStore(crosswalk, "faq", 2, "text", "text")
    assert items.keep(texts := items.texts(ids[:5]), REAL[:5]) == texts.keys() == set(ids[:5])
    assert unindexed() == 5
    items.end()
    assert unindexed() == 0
