"""What is written to a dataset while it is deleted goes with it, and whoever wrote it is told."""

import itertools
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from app.composition import compose
from app.problems import NotFound
from app.settings import Settings
from app.storage.lance_table import vector_type
from app.storage.location import VERSIONS
from tests.late_writers import interrupted_rows


@pytest.fixture
def folder(client: httpx.Client, settings: Settings) -> Path:
    """That of the dataset `d`, which has a row; the model `m` has two dimensions."""
    client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"}).raise_for_status()
    client.post("/datasets", json={"id": "d"}).raise_for_status()
    rows = {"rows": [{"id": "a", "embedding.m": [1.0, 2.0]}]}
    client.put("/datasets/d/rows", json=rows).raise_for_status()
    (folder,) = settings.datasets_dir.iterdir()
    return folder


@pytest.mark.parametrize("what", ["rows", "queries"])
@pytest.mark.parametrize("anew", [False, True], ids=["deleted", "registered-anew"])
def test_what_is_written_while_the_dataset_is_deleted_leaves_nothing(
    client: httpx.Client, settings: Settings, folder: Path, what: str, tmp_path: Path, *, anew: bool
) -> None:
    reads = itertools.count(1)

    def delete() -> None:
        if next(reads) == 1:
            client.delete("/datasets/d").raise_for_status()
            if anew:
                client.post("/datasets", json={"id": "d"}).raise_for_status()

    vectors = pa.array([[3.0, 4.0]], vector_type(2))
    rows = interrupted_rows(tmp_path, {"id": ["b"], "embedding.m": vectors}, delete)
    crosswalk = compose(settings)
    try:
        with pytest.raises(NotFound, match="was deleted while"):
            (crosswalk.datasets.put if what == "rows" else crosswalk.datasets.put_queries)("d", rows)
    finally:
        crosswalk.close()
    assert next(reads) > 1
    assert not folder.exists()
    assert len(list(settings.datasets_dir.glob(f"*/*/{VERSIONS}"))) == anew
