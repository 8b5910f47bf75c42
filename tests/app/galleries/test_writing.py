"""What is written to a gallery while it is deleted goes with it, and whoever wrote it is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.writing import writing
from app.problems import Conflict, NotFound
from app.storage.lance_table import vector_type
from tests.app.galleries.upgraded import OLD, Upgraded
from tests.late_writers import interrupted_rows, late_commit


def _written(upgraded: Upgraded, write: str, folder: Path, meanwhile: Callable[[], object]) -> object:
    crosswalk, ids = upgraded.crosswalk, upgraded.ids[:2]
    info = crosswalk.galleries.info("shop")
    if write == "put":
        vectors = pa.array([[9.0] * OLD] * 2, vector_type(OLD))
        return crosswalk.items.put(info, "old", interrupted_rows(folder, {"id": ids, "embedding": vectors}, meanwhile))
    if write == "change":
        return crosswalk.items.change(info, interrupted_rows(folder, {"id": ids, "label": ["a", "b"]}, meanwhile))
    side = pa.array([[1.0, 2.0]] * 2, vector_type(2))
    return crosswalk.later_side_information.put(
        "shop", interrupted_rows(folder, {"id": ids, SIDE_INFORMATION: side}, meanwhile)
    )


@pytest.mark.parametrize(("write", "read"), [("put", 1), ("change", 1), ("change", 2), ("side-information", 2)])
def test_what_is_written_while_the_gallery_is_deleted_leaves_nothing(
    upgraded: Upgraded, write: str, read: int, tmp_path: Path
) -> None:
    """read: as the rows are read for which time; side-information compares their ids with the items' before."""
    galleries = upgraded.crosswalk.settings.galleries_dir
    other = {path.name for path in galleries.iterdir()} - {upgraded.crosswalk.galleries.info("shop").folder}
    reads = itertools.count(1)

    def delete() -> None:
        if next(reads) == read:
            upgraded.client.delete("/galleries/shop").raise_for_status()

    with pytest.raises(NotFound):
        _written(upgraded, write, tmp_path, delete)
    assert next(reads) > read
    assert {path.name for path in galleries.iterdir()} == other


def test_a_commit_that_comes_after_the_deletion_is_removed(upgraded: Upgraded) -> None:
    galleries = upgraded.crosswalk.galleries
    info = galleries.info("shop")
    folder = galleries.folder(info).folder

    def late() -> None:
        with writing(galleries, info) as store:
            commit = late_commit(Path(store.items.uri))
            upgraded.client.delete("/galleries/shop").raise_for_status()
            assert not folder.exists()
            commit()
            assert folder.exists(), "Lance makes the folders that it needs"

    with pytest.raises(NotFound, match="deleted while"):
        late()
    assert not folder.exists()


def test_another_gallery_of_the_same_id_stays(upgraded: Upgraded) -> None:
    galleries = upgraded.crosswalk.galleries

    def too_late() -> None:
        with writing(galleries, galleries.info("shop")):
            upgraded.client.delete("/galleries/shop").raise_for_status()
            upgraded.post("/galleries", {"id": "shop", "model": "old"}, 201)

    with pytest.raises(NotFound):
        too_late()
    assert upgraded.client.get("/galleries/shop").json()["items"] == 0


def test_what_goes_wrong_with_a_gallery_that_is_there_is_told_as_it_is(upgraded: Upgraded) -> None:
    galleries = upgraded.crosswalk.galleries
    with pytest.raises(Conflict), writing(galleries, galleries.info("shop")):
        raise Conflict("told as it is")
