"""An id may come once in a body, wherever the other one is; hashes alone condemn none."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.problems import InvalidRows
from app.uploads import Expected, UploadedRows
from app.uploads.media_types import ARROW
from app.uploads.offences import Offences
from app.uploads.unique import Ids
from benchmarks.hostile_files import arrow
from tests.app.uploads.conftest import LIMITS, decoded

EXPECTED = Expected.rows({})


def _stored(folder: Path, ids: list[str]) -> UploadedRows:
    batch = pa.record_batch({"id": ids})
    with pa.OSFile(str(folder / "rows"), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        for start in range(0, len(ids), 7):
            writer.write_batch(batch.slice(start, 7))
    return UploadedRows.at(folder / "rows", len(ids))


def test_id_repeated_far_apart_is_found(tmp_path: Path) -> None:
    ids = [f"row-{row}" for row in range(LIMITS.rows)]
    ids[-1] = ids[3]
    with pytest.raises(InvalidRows, match=rf"Row {LIMITS.rows - 1} .*is the id of row 3 too"):
        decoded(tmp_path, arrow(pa.table({"id": ids}).combine_chunks()), ARROW, EXPECTED)


def test_ids_all_repeated_name_the_first_ten(tmp_path: Path) -> None:
    ids = [f"row-{row}" for row in range(3000)]
    with pytest.raises(InvalidRows) as refused:
        decoded(tmp_path, arrow(pa.table({"id": ids + ids})), ARROW, EXPECTED)
    assert [error["row"] for error in refused.value.members["errors"]] == list(range(3000, 3010))


def test_ids_that_differ_but_hash_alike_are_no_offence(tmp_path: Path) -> None:
    names = [f"row-{row}" for row in range(2500)]
    ids, offences = Ids(), Offences()
    ids._hashes.append(np.zeros(len(names), np.int64))
    ids.refuse_repeated(_stored(tmp_path, names), offences)
    offences.raise_if_any()


def test_repeated_id_is_found_among_others_that_hash_alike(tmp_path: Path) -> None:
    names = [f"row-{row}" for row in range(2500)]
    names[2400] = names[100]
    ids, offences = Ids(), Offences()
    ids._hashes.append(np.zeros(len(names), np.int64))
    ids.refuse_repeated(_stored(tmp_path, names), offences)
    with pytest.raises(InvalidRows, match=r"Row 2400 .*is the id of row 100 too"):
        offences.raise_if_any()
