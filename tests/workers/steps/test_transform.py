"""What the step that transforms reads of the items."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from app.artifacts.crossings import Crossing
from app.galleries.lineage import Lineage
from app.galleries.store import GalleryStore
from app.storage.lance_table import vector_type
from app.upgrades.transform_units import TransformUnit, divided
from models.side_by_side import side_by_side
from tests.app.crossings import affine, space
from workers.serving.transforming import _projected

H = affine(space("a", 2), space("b", 3))
LINEAGE = Lineage(("a", "b"), (2, 3), (Crossing(H, H),))


def put(store: GalleryStore, model: str, dimension: int, value: float) -> None:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(dimension))])
    cells = pa.array([[value] * dimension], vector_type(dimension))
    batch = pa.RecordBatch.from_arrays([pa.array(["x"]), cells], schema=schema)
    store.put(model, dimension, lambda: (), schema, lambda: iter([batch]))


def test_first_vector_of_a_model_written_while_the_gallery_is_transformed_waits_for_the_catch_up(
    tmp_path: Path,
) -> None:
    """It adds a column, which the tagged version does not have."""
    store = GalleryStore.create(tmp_path / "g", "a", 2, None)
    put(store, "a", 2, 1.0)
    version = store.items.version
    fragments = [(fragment.fragment_id, fragment.count_rows()) for fragment in store.items.fragments(version)]
    (slices,) = divided(fragments, 10)
    put(store, "b", 3, 9.0)
    with side_by_side(2) as threads:
        (part,) = _projected(store, LINEAGE, TransformUnit("u", "g", 0, 2, version, slices), threads)
    np.testing.assert_array_equal(part.vectors, H.apply(np.ones((1, 2), np.float32)))
    assert not part.native.any()
    changes, (late,) = store.changes(LINEAGE, version)
    assert late.vectors.tolist() == [[9.0] * 3]
    assert late.native.all()
    assert late.rows.tolist() == part.rows.tolist()
    assert not len(changes.removed)
