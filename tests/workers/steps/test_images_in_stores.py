"""One command for galleries of images that lie in stores of the user's own: a column of PostgreSQL's, and the column
`image` of a dataset as Hugging Face's `save_to_disk` writes it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.embedders.options import LocalOptions
from app.embedders.protocol import EmbedderCall
from app.settings import Settings
from app.storage.lance_table import embedding_column
from models.portable import Space
from tests.e2e.studio import lists
from tests.e2e.user import SETTLED, problem
from tests.image_folder import DIMENSION, vit_folder
from tests.pictures import OLD, digits
from tests.services import postgres_database
from tests.vector_table import TABLE, VectorTable
from tests.workers.workshop import Workshop, workshop
from tests.worlds import Floats
from workers.embedders.image_folder import ImageFolderEmbedder

ITEMS, PAIRS, BROKEN = 160, 120, 7
PICTURES = digits(ITEMS, noise=0.8)
IDS = [f"digit-{number:03d}" for number in range(ITEMS)]
OF_OLD, OF_NEW = Space("old", OLD, "cosine"), Space("vit", DIMENSION, "cosine")
GATE = {"metric": "cmc@1", "require": {"at_least": 0.01}}  # of weights of no meaning, nothing is to be proved


def images() -> list[bytes]:
    """The items' images, of which one is cut short."""
    given = [bytes(PICTURES.inputs[place]) for place in range(ITEMS)]  # type: ignore[arg-type]
    return [image[:40] if place == BROKEN else image for place, image in enumerate(given)]


def saved_to_disk(folder: Path) -> Path:
    """A dataset as `datasets.Dataset.save_to_disk` lays it out, whose feature `image` is an `Image`."""
    folder.mkdir()
    pictures = [{"bytes": image, "path": f"{name}.png"} for name, image in zip(IDS, images(), strict=True)]
    columns = {"id": IDS, "digit": pa.array(PICTURES.codes), "image": pictures, "vector": lists(PICTURES.old)}
    table = pa.table(columns)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=50)
    (folder / "dataset_info.json").write_text('{"features": {"image": {"_type": "Image"}}}')
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    return folder


def table_of_pictures(url: str) -> VectorTable:
    """The user's table, with a column of images."""
    table = VectorTable.of_sqlalchemy(url, OLD)
    table.insert(IDS, PICTURES.old, [str(code) for code in PICTURES.codes])
    table.execute(f"ALTER TABLE {TABLE} ADD COLUMN picture bytea")
    with psycopg.connect(table.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {TABLE} SET picture = %s WHERE id = %s", list(zip(images(), IDS, strict=True)))
    return table


class Gallery:
    """A service without a worker, the user's table and dataset of the same pictures, and a folder that embeds them."""

    def __init__(self, shop: Workshop, table: VectorTable, shelf: Path, folder: Path) -> None:
        self.shop, self.table, self.shelf, self.folder = shop, table, shelf, folder
        models: tuple[Mapping[str, Any], ...] = (
            {"id": "old", "dimension": OLD, "metric": "cosine"},
            {"id": "vit", "dimension": DIMENSION, "metric": "cosine", "embedder": {"connection": "vit"}},
        )
        for model in models:
            shop.post("/models", dict(model), 201)

    def register(self, name: str, store: Mapping[str, Any]) -> None:
        self.shop.post("/galleries", {"id": name, "model": "old", "store": dict(store)}, 201)

    def upgraded(self, gallery: str, **more: Any) -> dict[str, Any]:
        body = {"to": "vit", "galleries": [gallery], "method": "ridge", "gate": GATE, "fused": False, "pairs": PAIRS}
        upgrade = str(self.shop.post("/models/old/upgrade", body | more, 202)["id"])
        while self.shop.upgrade(upgrade)["state"] not in SETTLED:
            self.shop.step()
        return self.shop.upgrade(upgrade)

    def pairs(self, upgrade: Mapping[str, Any]) -> dict[str, Floats]:
        """What the service embedded, by id."""
        rows = self.shop.crosswalk.datasets.store(upgrade["dataset"]).rows
        column = embedding_column("vit")
        return {row["id"]: np.array(row[column], np.float32) for batch in rows.scan() for row in batch.to_pylist()}

    def h(self, upgrade: Mapping[str, Any]) -> Floats:
        files = UpgradeArtifacts(self.shop.crosswalk.settings.artifacts_dir, upgrade["id"])
        return open_crossing(files, OF_OLD, OF_NEW).apply(PICTURES.old, None, np.zeros(ITEMS, bool))


@pytest.fixture(scope="module")
def gallery(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    place: Path = tmp_path_factory.mktemp("pictures")
    shelf, folder = place / "shelf", vit_folder(place / "vit")
    shelf.mkdir()
    saved_to_disk(shelf / "digits")
    with postgres_database(postgres) as url:
        table = table_of_pictures(url)
        connections = place / "connections.toml"
        connections.write_text(
            f'[shop]\nkind = "pgvector"\nurl = "{table.uri}"\n'
            f'[shelf]\nkind = "files"\nfolder = "{shelf}"\n'
            f'[vit]\nkind = "local"\nfolder = "{folder}"\nreads = "image"\nbatch = 32\n'
        )
        with workshop(Settings(data_dir=place / "data", connections=connections, device="cpu")) as shop:
            yield Gallery(shop, table, shelf, folder)


@pytest.fixture(scope="module")
def real(gallery: Gallery) -> dict[str, Floats]:
    """What the model makes of the pictures that are whole, by id."""
    embedder = ImageFolderEmbedder("vit", LocalOptions(folder=gallery.folder, reads="image"), torch.device("cpu"))
    call = EmbedderCall("vit", DIMENSION)
    whole = {name: image for place, (name, image) in enumerate(zip(IDS, images(), strict=True)) if place != BROKEN}
    given = [base64.b64encode(image).decode() for image in whole.values()]
    return dict(zip(whole, asyncio.run(embedder.embed(given, call)).vectors, strict=True))


def test_images_of_a_table_are_embedded_and_new_vectors_of_all_its_rows_written_beside_the_old(
    gallery: Gallery, real: dict[str, Floats]
) -> None:
    table, before = gallery.table, gallery.table.originals()
    place = {"connection": "shop", "table": TABLE, "image": "picture", "label": "topic"}
    gallery.register("table", place | {"max_writes_per_second": 10**5})
    upgrade = gallery.upgraded("table", budget={"items": PAIRS})
    assert upgrade["state"] == "active", upgrade["reason"]
    assert_embedded(gallery.pairs(upgrade), real)
    (column,) = [name for name in table.added() if name != "picture"]
    written = table.vectors(column)
    np.testing.assert_allclose([written[one] for one in IDS], gallery.h(upgrade), rtol=1e-5, atol=1e-6)
    assert table.originals() == before
    pictures = dict(table.execute(f"SELECT id, picture FROM {TABLE}"))
    assert [bytes(pictures[one]) for one in IDS] == images()


def test_images_of_a_saved_dataset_are_embedded_and_new_vectors_of_all_its_rows_written_beside_it(
    gallery: Gallery, real: dict[str, Floats]
) -> None:
    data = gallery.shelf / "digits" / "data-00000-of-00001.arrow"
    before = data.read_bytes()
    place = {"connection": "shelf", "table": "digits", "id": "id", "vector": "vector", "label": "digit"}
    gallery.register("dataset", place | {"image": "image"})
    upgrade = gallery.upgraded("dataset")
    assert upgrade["state"] == "active", upgrade["reason"]
    assert_embedded(gallery.pairs(upgrade), real)
    written = pa.concat_tables(map(pq.read_table, sorted(gallery.shelf.glob("digits.*.parquet/*.parquet"))))
    new = dict(zip(written.column("id").to_pylist(), written.column("vector").to_pylist(), strict=True))
    np.testing.assert_allclose([new[one] for one in IDS], gallery.h(upgrade), rtol=1e-5, atol=1e-6)
    assert data.read_bytes() == before


def test_prefixes_and_tokens_are_of_texts(gallery: Gallery) -> None:
    embedder = {"connection": "vit", "document_prefix": "picture: ", "query_prefix": "picture: "}
    body = {"id": "prefixed", "dimension": DIMENSION, "metric": "cosine", "embedder": embedder}
    refused = problem(gallery.shop.client.post("/models", json=body), 422, "validation-error")
    assert refused["errors"][0]["pointer"] == "/embedder/query_prefix"
    gallery.register("untold", {"connection": "shop", "table": TABLE})
    body = {"to": "vit", "galleries": ["untold"], "pairs": PAIRS}
    refused = problem(gallery.shop.client.post("/models/old/upgrade", json=body), 422, "validation-error")
    assert "register a gallery whose `store` names its `image`" in refused["errors"][0]["message"]
    body |= {"budget": {"tokens": 10}}
    refused = problem(gallery.shop.client.post("/models/old/upgrade", json=body), 422, "validation-error")
    assert refused["errors"][0]["pointer"] == "/budget/tokens"


def assert_embedded(pairs: dict[str, Floats], real: dict[str, Floats]) -> None:
    assert IDS[BROKEN] not in pairs
    assert PAIRS - 1 <= len(pairs) <= PAIRS  # the broken one may be among those that were chosen
    for name, vector in pairs.items():
        np.testing.assert_allclose(vector, real[name], atol=1e-5)
