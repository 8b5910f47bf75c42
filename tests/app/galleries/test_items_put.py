"""What changes while a body of items comes in is known by when they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.problems import NotFound
from app.storage.lance_table import vector_type
from app.uploads import UploadedRows
from tests.app.galleries.upgraded import OLD, Upgraded


def _rows(folder: Path, *names: str) -> UploadedRows:
    """Items as a decoder leaves them, all with the same old vector."""
    vectors = np.full((len(names), OLD), 9.0).tolist()
    batch = pa.record_batch({"id": list(names), "embedding": pa.array(vectors, vector_type(OLD))})
    with pa.OSFile(str(folder / "rows"), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return UploadedRows.at(folder / "rows", len(names))


def test_a_changed_item_whose_gallery_is_upgraded_meanwhile_loses_the_new_models_vector(
    upgraded: Upgraded, tmp_path: Path
) -> None:
    before = upgraded.crosswalk.galleries.info("shop")
    upgraded.upgrade()
    upgraded.put("new", range(2))
    done, _ = upgraded.crosswalk.items.put(before, "old", _rows(tmp_path, upgraded.ids[0]))
    assert done.dropped == {"new": 1}


def test_items_of_a_gallery_that_is_deleted_and_made_anew_meanwhile_are_refused(
    upgraded: Upgraded, tmp_path: Path
) -> None:
    before = upgraded.crosswalk.galleries.info("shop")
    assert upgraded.client.delete("/galleries/shop").is_success
    with pytest.raises(NotFound):
        upgraded.crosswalk.items.put(before, "old", _rows(tmp_path, "x"))
    upgraded.post("/galleries", {"id": "shop", "model": "old"}, 201)
    with pytest.raises(NotFound, match="registered anew"):
        upgraded.crosswalk.items.put(before, "old", _rows(tmp_path, "x"))
