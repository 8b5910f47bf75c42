"""A table that pandas, Polars or DuckDB writes is stored as the same rows sent as JSON are."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import InvalidRows
from app.uploads import Expected
from app.uploads.media_types import ARROW, ARROW_FILE, JSON, NPZ, PARQUET
from benchmarks.hostile_files import arrow, parquet
from tests.app.uploads.conftest import decoded

GALLERY = Expected.items(2)
Rows = list[dict[str, Any]]

_number = st.floats(-(2.0**56), 2.0**56, width=32)
_name = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
_labels = st.sampled_from([_name, st.integers(-(2**31), 2**31), st.booleans()])
_payload = st.fixed_dictionaries({"lang": st.none() | _name, "page": st.none() | st.integers(-(2**31), 2**31)})


@st.composite
def _tables(draw: Any) -> Rows:
    """Rows as JSON has them, with labels of one type, some left out."""
    label = draw(_labels)
    row = {
        "id": _name,
        "embedding": st.lists(_number, min_size=2, max_size=2),
        "label": st.none() | label,
        "payload": _payload,
    }
    rows: Rows = draw(st.lists(st.fixed_dictionaries(row), min_size=1, max_size=5, unique_by=lambda one: one["id"]))
    return rows


def _stored(body: bytes, media_type: str) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        rows: Rows = decoded(Path(folder), body, media_type, GALLERY).to_pylist()
    return rows


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def _pandas(rows: Rows, data: st.DataObject) -> tuple[bytes, str]:
    table = pd.DataFrame(rows)
    number = data.draw(st.sampled_from([np.float32, np.float64]))
    table["embedding"] = [np.array(vector, number) for vector in table["embedding"]]
    if data.draw(st.booleans()):
        table["label"] = table["label"].astype("category")
    if data.draw(st.booleans()):
        table = table.set_index("id")
    elif data.draw(st.booleans()):
        table.index = range(7, 7 + len(rows))
        table = table.sample(len(rows), random_state=1).sort_index()
    written: Callable[[], tuple[bytes, str]] = data.draw(
        st.sampled_from(
            [
                lambda: (_written(table.to_parquet), PARQUET),
                lambda: (arrow(pa.Table.from_pandas(table)), ARROW),
                lambda: (
                    (_written(table.reset_index().to_feather), ARROW_FILE)
                    if table.index.name == "id"
                    else (_written(table.reset_index(drop=True).to_feather), ARROW_FILE)
                ),
            ]
        )
    )
    return written()


def _polars(rows: Rows, data: st.DataObject) -> tuple[bytes, str]:
    table = pl.DataFrame(rows, infer_schema_length=None)
    vectors = data.draw(st.sampled_from([pl.Array(pl.Float32, 2), pl.Array(pl.Float64, 2), pl.List(pl.Float64)]))
    table = table.with_columns(pl.col("embedding").cast(vectors))
    categorical = table.schema["label"] == pl.String and data.draw(st.booleans())
    if categorical:
        table = table.with_columns(pl.col("label").cast(pl.Categorical), pl.col("id").cast(pl.Categorical))
    written: Callable[[], tuple[bytes, str]] = data.draw(
        st.sampled_from(
            [
                lambda: (_written(table.write_parquet), PARQUET),
                lambda: (_written(table.write_ipc_stream), ARROW),
                lambda: (_written(table.write_ipc), ARROW_FILE),
                lambda: (arrow(table.to_arrow()), ARROW),
                lambda: (arrow(pa.table(table)), ARROW),
                lambda: (parquet(table.to_arrow() if categorical else pa.table(table)), PARQUET),
            ]
        )
    )
    return written()


def _duckdb(rows: Rows, data: st.DataObject) -> tuple[bytes, str]:
    table = pa.Table.from_pylist(rows)
    vectors = data.draw(st.sampled_from(["FLOAT[2]", "DOUBLE[]", "FLOAT[]"]))
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.register("rows", table)
        query = f"SELECT * REPLACE (CAST(embedding AS {vectors}) AS embedding) FROM rows"
        if data.draw(st.booleans()):
            return arrow(connection.sql(query).to_arrow_table()), ARROW
        path = Path(folder) / "rows.parquet"
        connection.sql(query).write_parquet(str(path))
        return path.read_bytes(), PARQUET


@settings(max_examples=40)
@given(st.data(), _tables(), st.sampled_from([_pandas, _polars, _duckdb]))
def test_a_table_in_any_dress_is_stored_as_its_rows_in_json_are(
    data: st.DataObject, rows: Rows, write: Callable[[Rows, st.DataObject], tuple[bytes, str]]
) -> None:
    assert _read(*write(rows, data)) == _read(json.dumps(rows).encode(), JSON)


def _read(body: bytes, media_type: str) -> Rows:
    """The rows as they can be read afterwards: the order of a payload's members is the writer's."""
    rows = [{"label": None} | row for row in _stored(body, media_type)]
    return [row | {"payload": json.loads(str(row["payload"]))} for row in rows]


def _frame(**columns: Any) -> Any:
    return pd.DataFrame({"id": ["a", "b"], "embedding": [[1.0, 0.0], [0.0, 1.0]]} | columns)


@pytest.mark.parametrize(
    ("labels", "stored"),
    [
        ([7, None], ["7", None]),
        (pd.array([7, None], dtype="Int8"), ["7", None]),
        (pd.Categorical([3, None]), ["3", None]),
        (pd.Categorical([3.0, 4.0]), ["3", "4"]),
        (pd.Categorical([True, False]), ["true", "false"]),
        (pd.array([True, None], dtype="boolean"), ["true", None]),
        (pd.Categorical(["x", None]), ["x", None]),
        ([None, None], [None, None]),
        (pd.to_datetime(["2024-05-01", None]), ["2024-05-01T00:00:00", None]),
    ],
)
def test_pandas_labels_name_the_classes_that_they_show(labels: Any, stored: list[str | None]) -> None:
    table = _frame(label=labels)
    for body, media_type in (
        (_written(table.to_parquet), PARQUET),
        (arrow(pa.Table.from_pandas(table)), ARROW),
        (_written(table.to_feather), ARROW_FILE),
    ):
        assert [row["label"] for row in _stored(body, media_type)] == stored


def test_a_pandas_index_is_passed_over() -> None:
    table = _frame()
    for changed in (
        table.iloc[::-1],
        table.set_index(pd.Index(["x", "y"], name="document")),
        table.set_index(pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["page", None])),
        table.set_index("id"),
    ):
        for body, media_type in (
            (_written(changed.to_parquet), PARQUET),
            (arrow(pa.Table.from_pandas(changed)), ARROW),
        ):
            stored = _stored(body, media_type)
            assert sorted(row["id"] for row in stored) == ["a", "b"]
            assert all(set(row) == {"id", "embedding"} for row in stored)


def test_an_index_in_place_of_a_column_is_told() -> None:
    with pytest.raises(InvalidRows, match="'id' is missing; the table has a pandas index instead, 'document'"):
        _stored(_written(_frame().rename(columns={"id": "document"}).set_index("document").to_parquet), PARQUET)
    with pytest.raises(InvalidRows, match=r"'labels' is not known here \(did you mean 'label'"):
        _stored(_written(_frame(labels=["x", "y"]).set_index("labels").to_parquet), PARQUET)
    with pytest.raises(InvalidRows, match="'index' is not known here"):
        _stored(_written(_frame(index=[1, 2]).to_parquet), PARQUET)


def test_pandas_periods_are_refused_by_name_and_intervals_are_their_bounds() -> None:
    periods = _frame(label=pd.period_range("2024-01", periods=2, freq="M"))
    with pytest.raises(InvalidRows, match="'label' holds pandas periods; convert them to timestamps or strings"):
        _stored(_written(periods.to_parquet), PARQUET)
    within = pa.table({"p": pa.Table.from_pandas(periods)["label"]}).to_struct_array().combine_chunks()
    table = pa.table({"id": ["a", "b"], "embedding": [[1.0, 0.0]] * 2, "payload": within})
    with pytest.raises(InvalidRows, match="'payload' holds pandas periods"):
        _stored(arrow(table), ARROW)


def test_duckdb_types_are_taken() -> None:
    query = """SELECT 'a' AS id, [0.5, 1.25] AS embedding, 7::HUGEINT AS label,
        {'price': 9.90, 'at': TIMESTAMPTZ '2024-05-01 12:00:00+02', 'for': INTERVAL 90 SECOND, 'ids': MAP {'x': 1},
         'uuid': '01234567-89ab-cdef-0123-456789abcdef'::UUID, 'raw': 'ab'::BLOB, 'kind': 'k'::ENUM ('k')} AS payload"""
    with duckdb.connect() as connection:
        row = _stored(arrow(connection.sql(query).to_arrow_table()), ARROW)[0]
    assert (row["id"], row["embedding"], row["label"]) == ("a", [0.5, 1.25], "7")
    assert json.loads(row["payload"]) == {
        "price": "9.90",
        "at": "2024-05-01T10:00:00Z",
        "for": "P0M0DT90S",
        "ids": {"x": 1},
        "uuid": "01234567-89ab-cdef-0123-456789abcdef",
        "raw": "YWI=",
        "kind": "k",
    }


_IDS = np.array(["a", "b"])
_MATRIX = np.array([[1.0, 0.5], [0.0, -2.0]])


@pytest.mark.parametrize(
    "embedding",
    [
        *(_MATRIX.astype(dtype) for dtype in ("<f2", ">f4", "f8", ">f8")),
        np.asfortranarray(_MATRIX),
        np.asfortranarray(_MATRIX.astype(">f2")),
        np.repeat(_MATRIX, 2, axis=0)[::2],
        _MATRIX.T.copy().T,
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_every_layout_are_the_same_vectors(embedding: np.ndarray, save: Callable[..., None]) -> None:
    body = _written(lambda sink: save(sink, id=_IDS, embedding=embedding))
    assert [row["embedding"] for row in _stored(body, NPZ)] == _MATRIX.tolist()


@pytest.mark.parametrize(
    ("labels", "stored"),
    [
        (np.array([7.0, np.nan]), ["7", None]),
        (np.array([7.0, np.nan], ">f2"), ["7", None]),
        (np.array([7, -1], ">i2"), ["7", "-1"]),
        (np.array([[7], [8]], np.uint8), ["7", "8"]),
        (np.array([True, False]), ["true", "false"]),
        (np.array([b"x", b""]), ["x", None]),
        (np.array(["é", ""]), ["é", None]),
        (np.array(["2024-05-01", "NaT"], "M8[D]"), ["2024-05-01", None]),
        (np.array(["2024-05-01T12:00:00.5", "NaT"], ">M8[ms]"), ["2024-05-01T12:00:00.5", None]),
        (np.array([90, "NaT"], "m8[s]"), ["PT90S", None]),
    ],
)
def test_arrays_of_labels_name_the_classes_that_they_show(labels: np.ndarray, stored: list[str | None]) -> None:
    body = _written(lambda sink: np.savez(sink, id=_IDS, embedding=_MATRIX, label=labels))
    assert [row["label"] for row in _stored(body, NPZ)] == stored


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_arrays_of_integers_are_those_vectors(dtype: type) -> None:
    body = _written(lambda sink: np.savez(sink, id=_IDS, embedding=np.array([[1, 2], [3, 100]], dtype)))
    assert [row["embedding"] for row in _stored(body, NPZ)] == [[1, 2], [3, 100]]


@pytest.mark.parametrize(
    ("column", "array", "message"),
    [
        ("id", np.array([1, 2]), "ids are strings, so save ids.astype"),
        ("label", np.array([1.5, 2]), "is 1.5; a number as a label is a whole number"),
        ("label", np.array(["2024", "2025"], "M8[Y]"), r"save values.astype\('datetime64\[s\]'\)"),
        ("label", np.array([1, 2], "m8[25s]"), r"save values.astype\('timedelta64\[s\]'\)"),
        ("label", np.array(["NaT", "NaT"], "M8"), r"save values.astype\('datetime64\[s\]'\)"),
        ("id", np.array(["2024", "2025"], "M8[D]"), "ids are strings, so save ids.astype"),
        ("embedding", _MATRIX.astype("m8[s]"), "float16, float32, float64 or integers is expected"),
        ("embedding", _MATRIX.astype(np.longdouble), "float16, float32, float64 or integers is expected"),
        ("embedding", _MATRIX > 0, "float16, float32, float64 or integers is expected"),
        ("embedding", _MATRIX[:, :1], r"has shape \(2, 1\)"),
    ],
)
def test_arrays_without_one_meaning_are_refused_in_words(column: str, array: np.ndarray, message: str) -> None:
    arrays: dict[str, Any] = {"id": _IDS, "embedding": _MATRIX} | {column: array}
    with pytest.raises(InvalidRows, match=message):
        _stored(_written(lambda sink: np.savez(sink, **arrays)), NPZ)


def test_one_axis_of_numbers_are_vectors_of_dimension_1() -> None:
    body = _written(lambda sink: np.savez(sink, id=_IDS, embedding=np.array([1.0, 2.0])))
    with tempfile.TemporaryDirectory() as folder:
        table = decoded(Path(folder), body, NPZ, Expected.items(1))
    assert table.column("embedding").to_pylist() == [[1.0], [2.0]]


def test_a_large_array_in_fortran_order_is_read_by_rows() -> None:
    matrix = np.asfortranarray(np.arange(20_000, dtype=np.float32).reshape(10_000, 2))
    ids = np.arange(10_000).astype(str)
    body = _written(lambda sink: np.savez_compressed(sink, id=ids, embedding=matrix))
    assert [row["embedding"] for row in _stored(body, NPZ)] == matrix.tolist()
