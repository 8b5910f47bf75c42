"""The same rows come out of every format, and damage to any of them is a problem or harmless, never anything else."""

import base64
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.forking.forked_process import ForkServer
from app.problems import Problem
from app.uploads import Expected
from app.uploads.guard import decode_guarded
from app.uploads.media_types import ARROW, ARROW_FILE, JSON, NPZ, PARQUET
from benchmarks.hostile_files import EXPECTED, arrow, arrow_file, items, npz_of, parquet
from benchmarks.hostile_files import table as valid_rows
from tests.app.uploads.conftest import LIMITS, decoded
from tests.app.uploads.test_encodings import TEXTS, VECTORS

DATASET = Expected.rows({"m": 2, "m.1-b": 3}, side_dimension=1)
Rows = list[dict[str, Any]]

_number = st.floats(-(2.0**56), 2.0**56, width=32)
_characters = st.characters(exclude_categories=["Cc", "Cs"])
_name = st.text(_characters, min_size=1, max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | _name,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_name, inner, max_size=3),
    max_leaves=5,
)


def _vector(dimension: int) -> st.SearchStrategy[list[float]]:
    return st.lists(_number, min_size=dimension, max_size=dimension)


def _rows_of(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Rows]:
    return st.lists(st.fixed_dictionaries({"id": _name} | columns), max_size=6, unique_by=lambda row: row["id"])


_items = _rows_of(
    {
        "embedding": _vector(4),
        "side_information": _vector(2),
        "label": st.none() | _name,
        "payload": st.none() | st.dictionaries(_name, _json, max_size=3),
    }
)
_rows = _rows_of(
    {
        "embedding.m": st.none() | _vector(2),
        "embedding.m.1-b": st.none() | _vector(3),
        "side_information": st.none() | _vector(1),
        "label": st.none() | _name,
        "text": st.none() | st.text(_characters),
        "image": st.none() | st.binary(),
    }
)


def _canonical(rows: Rows, expected: Expected) -> pa.Table:
    """What rows must come out as, made the plain way."""
    plain = [row | _dumped(row) for row in rows]
    schema = pa.schema([column.field for column in expected.columns])
    return pa.Table.from_pylist(plain, schema=schema)


def _dumped(row: dict[str, Any]) -> dict[str, str]:
    payload = row.get("payload")
    return {} if payload is None else {"payload": json.dumps(payload, ensure_ascii=False, separators=(",", ":"))}


def _numbers(value: Any, number: pa.DataType) -> pa.DataType:
    return pa.list_(number) if value.kind == "vector" else value.type


def _as_table(rows: Rows, expected: Expected, number: pa.DataType) -> pa.Table:
    schema = pa.schema([pa.field(column.name, _numbers(column, number)) for column in expected.columns])
    return pa.Table.from_pylist([row | _dumped(row) for row in rows], schema=schema)


def _as_json(rows: Rows, expected: Expected) -> bytes:
    written = []
    for row in rows:
        plain = {name: value for name, value in row.items() if not name.startswith("embedding.")}
        if (image := plain.get("image")) is not None:
            plain["image"] = base64.b64encode(image).decode()
        vectors = {name.removeprefix("embedding."): row[name] for name in row.keys() - plain.keys()}
        written.append(plain | ({"embeddings": vectors} if vectors else {}))
    return json.dumps({expected.noun: written}).encode()


def _as_npz(rows: Rows, expected: Expected) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for column in expected.columns:
        values = [(row | _dumped(row))[column.name] for row in rows]
        if column.kind == "vector":
            arrays[column.name] = np.array(values, np.float64).reshape(-1, column.dimension)
        else:
            arrays[column.name] = np.array([value or "" for value in values], np.str_)
    sink = io.BytesIO()
    np.savez(sink, **arrays)  # type: ignore[arg-type]
    return sink.getvalue()


def _assert_reads(body: bytes, media_type: str, expected: Expected, rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = decoded(Path(folder), body, media_type, expected)
    table.validate(full=True)
    wanted = _canonical(rows, expected).select(table.column_names)
    assert set(wanted.column_names) == set(table.column_names)
    assert table.schema.equals(wanted.schema)
    assert table.equals(wanted)


@settings(max_examples=60)
@given(_items, st.sampled_from([pa.float32(), pa.float64()]))
def test_items_come_out_of_every_format_alike(rows: Rows, number: pa.DataType) -> None:
    table = _as_table(rows, EXPECTED, number)
    _assert_reads(parquet(table), PARQUET, EXPECTED, rows)
    _assert_reads(arrow(table), ARROW, EXPECTED, rows)
    _assert_reads(arrow(table, "lz4"), ARROW, EXPECTED, rows)
    _assert_reads(_as_json(rows, EXPECTED), JSON, EXPECTED, rows)
    # numpy drops trailing NULs and has no nulls: both are left out of `_name`, and an empty label means none.
    _assert_reads(_as_npz(rows, EXPECTED), NPZ, EXPECTED, rows)


@settings(max_examples=60)
@given(_rows)
def test_rows_with_gaps_come_out_of_every_format_that_has_nulls_alike(rows: Rows) -> None:
    table = _as_table(rows, DATASET, pa.float64())
    _assert_reads(parquet(table), PARQUET, DATASET, rows)
    _assert_reads(arrow(table), ARROW, DATASET, rows)
    _assert_reads(_as_json(rows, DATASET), JSON, DATASET, rows)


def test_many_chunks_come_out_in_order(tmp_path: Path) -> None:
    rows = valid_rows(9_000)
    for body, media_type in (
        (parquet(rows), PARQUET),
        (arrow(rows), ARROW),
        (npz_of(rows), NPZ),
        (items(rows=9000), JSON),
    ):
        table = decoded(tmp_path, body, media_type, EXPECTED)
        assert table.column("id").to_pylist() == rows.column("id").to_pylist()
        assert table.column("embedding").to_pylist() == rows.column("embedding").to_pylist()
        assert table.column("embedding").num_chunks > 1


def _damaged(body: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return body[: rng.randrange(1, len(body))]
    changed = bytearray(body)
    for _ in range(rng.choice([1, 1, 3])):
        place = rng.randrange(len(changed))
        changed[place] = rng.choice([0, 127, 255, changed[place] ^ 1 << rng.randrange(8)])
    return bytes(changed)


def _is_taken_or_refused(read: Callable[[], pa.Table]) -> str:
    try:
        read().validate(full=True)
    except Problem as problem:
        return problem.slug
    return "taken"


@pytest.mark.parametrize(("media_type", "body"), [(JSON, items(rows=20)), (NPZ, npz_of(valid_rows(20)))])
def test_damaged_body_is_taken_or_refused(media_type: str, body: bytes, tmp_path: Path) -> None:
    rng = random.Random(0)
    answers = {
        _is_taken_or_refused(lambda: decoded(tmp_path, _damaged(body, rng), media_type, EXPECTED)) for _ in range(400)
    }
    assert "invalid-upload" in answers


def _encoded() -> pa.Table:
    """Rows in views, runs and dictionaries, whose offsets damage may turn anywhere."""
    rows = valid_rows(20)
    encode = {"id": TEXTS["runs of views"], "embedding": VECTORS["list view, backwards"], "label": TEXTS["view"]}
    encoded = {name: encode[name](rows[name].combine_chunks()) for name in encode}
    nested = {"views": VECTORS["large list view"](rows["embedding"].combine_chunks()), "runs": encoded["id"]}
    payload = pa.StructArray.from_arrays(list(nested.values()), list(nested))
    side = VECTORS["dictionary of list views"](rows["side_information"].combine_chunks())
    return pa.table(encoded | {"payload": payload, "side_information": side})


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (ARROW, arrow(valid_rows(20))),
        (ARROW, arrow(valid_rows(20), "zstd")),
        (ARROW, arrow(_encoded())),
        (ARROW_FILE, arrow_file(_encoded(), "lz4")),
    ],
    ids=["plain", "compressed", "encoded", "file"],
)
def test_damaged_arrow_is_taken_or_refused(
    media_type: str, body: bytes, tmp_path: Path, forks: ForkServer | None
) -> None:
    _fuzz_guarded(media_type, body, tmp_path, forks)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_damaged_parquet_is_taken_or_refused(version: str, tmp_path: Path, forks: ForkServer | None) -> None:
    _fuzz_guarded(PARQUET, parquet(valid_rows(20), data_page_version=version), tmp_path, forks)


def _fuzz_guarded(media_type: str, body: bytes, folder: Path, forks: ForkServer | None) -> None:
    """Native decoders may abort on damage, so each is met where the service meets it."""
    rng = random.Random(0)

    def read() -> pa.Table:
        (folder / "body").write_bytes(_damaged(body, rng))
        rows = decode_guarded(folder / "body", media_type, EXPECTED, LIMITS, folder / "rows", forks)
        return pa.Table.from_batches(rows.batches(), rows.schema)

    answers = {_is_taken_or_refused(read) for _ in range(25)}
    assert "invalid-upload" in answers
