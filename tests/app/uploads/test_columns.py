"""What each column takes, in whichever Arrow type it comes, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.problems import InvalidRows
from app.uploads import Expected
from app.uploads.media_types import ARROW
from benchmarks.hostile_files import arrow
from tests.app.uploads.conftest import decoded

DATASET = Expected.rows({"m": 2, "m.1-b": 3})
GALLERY = Expected.items(2)


def read(folder: Path, expected: Expected = DATASET, **columns: Any) -> dict[str, list[Any]]:
    rows = max(len(column) for column in columns.values())
    ids = {"id": [f"row-{row}" for row in range(rows)]} | columns
    cells: dict[str, list[Any]] = decoded(folder, arrow(pa.table(ids)), ARROW, expected).to_pydict()
    return cells


def refusal(folder: Path, expected: Expected = DATASET, **columns: Any) -> str:
    with pytest.raises(InvalidRows) as refused:
        read(folder, expected, **columns)
    return refused.value.detail


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("list_type", [lambda n: pa.list_(n), lambda n: pa.list_(n, 2), lambda n: pa.large_list(n)])
def test_vectors_of_every_float_and_list_type_become_float32(
    tmp_path: Path, number: pa.DataType, list_type: Any
) -> None:
    column = pa.array([np.array([1, 2], number.to_pandas_dtype()), None, np.array([0, 0], number.to_pandas_dtype())])
    table = pa.table({"id": ["a", "b", "c"], "embedding.m": column.cast(list_type(number))})
    vectors = decoded(tmp_path, arrow(table), ARROW, DATASET).column("embedding.m")
    assert vectors.type == pa.list_(pa.float32(), 2)
    assert vectors.to_pylist() == [[1.0, 2.0], None, [0.0, 0.0]]


def test_vectors_of_a_slice_are_its_own(tmp_path: Path) -> None:
    column = pa.array([[9.0], [1.0, 2.0], None, [3.0, 4.0], [9.0, 9.0, 9.0]], pa.list_(pa.float64())).slice(1, 3)
    assert read(tmp_path, **{"embedding.m": column})["embedding.m"] == [[1.0, 2.0], None, [3.0, 4.0]]


def test_dimensions_that_change_from_row_to_row_are_each_named(tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0], [1.0], None, [1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    with pytest.raises(InvalidRows) as refused:
        read(tmp_path, **{"embedding.m": column})
    assert [(error["row"], error["message"]) for error in refused.value.members["errors"]] == [
        (1, "has 1 number; 2 are expected"),
        (3, "has 3 numbers; 2 are expected"),
    ]


def test_null_among_a_vectors_numbers_is_refused(tmp_path: Path) -> None:
    column = pa.array([None, [1.0, None]], pa.list_(pa.float32(), 2))
    assert "Row 1 (id 'row-1'), column 'embedding.m': has a null" in refusal(tmp_path, **{"embedding.m": column})


def test_gallery_needs_a_vector_in_every_row_and_a_dataset_does_not(tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    assert "Row 1 (id 'row-1'), column 'embedding': is missing" in refusal(tmp_path, GALLERY, embedding=column)
    assert "Column 'embedding' is missing" in refusal(tmp_path, GALLERY, label=["a"])
    assert "Row 0 (id 'row-0'), column 'embedding': is missing" in refusal(tmp_path, GALLERY, embedding=pa.nulls(1))
    assert read(tmp_path, **{"embedding.m": pa.nulls(2)})["embedding.m"] == [None, None]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_labels_of_every_string_type_are_taken(tmp_path: Path, type_: pa.DataType) -> None:
    assert read(tmp_path, label=pa.array(["a", None, "", "b"]).cast(type_))["label"] == ["a", None, "", "b"]


@pytest.mark.parametrize("type_", [pa.int8(), pa.uint64(), pa.int64()])
def test_labels_of_integers_become_strings(tmp_path: Path, type_: pa.DataType) -> None:
    assert read(tmp_path, label=pa.array([1, None, 100], type_))["label"] == ["1", None, "100"]


def test_missing_id_is_named_even_where_it_hides_in_a_dictionary(tmp_path: Path) -> None:
    ids = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))
    assert "Row 1, column 'id': is missing" in refusal(tmp_path, id=ids)


def test_long_dictionary_entry_used_often_is_refused_uncopied(tmp_path: Path) -> None:
    labels = pa.DictionaryArray.from_arrays(pa.array(np.ones(9000, np.int32)), pa.array(["a", "x" * 2**20]))
    assert "takes 1048576 bytes" in refusal(tmp_path, label=labels)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("id", pa.array([1])),
        ("id", pa.array([b"a"])),
        ("id", pa.array([1]).dictionary_encode()),
        ("label", pa.array([b"a"])),
        ("label", pa.array([["a"]])),
        ("id", pa.array(['"a"'], pa.json_())),
        ("label", pa.array(['"a"'], pa.json_())),
        ("text", pa.array(['"a"'], pa.json_())),
        ("text", pa.array([b"a"])),
        ("image", pa.array(["a"])),
        ("embedding.m", pa.array([1.0])),
        ("embedding.m", pa.array([["1", "2"]])),
        ("embedding.m", pa.array([[[1.0], [2.0]]])),
        ("embedding.m", pa.array([[True, False]])),
        ("embedding.m", pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2, 2), np.float32))),
        ("embedding.m", pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 3), np.float32))),
    ],
)
def test_column_of_another_type_is_refused_by_name(tmp_path: Path, name: str, column: pa.Array) -> None:
    assert f"Column {name!r} " in refusal(tmp_path, **{name: column})


def test_column_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["id", "id"])
    with pytest.raises(InvalidRows, match="'id' is there twice"):
        decoded(tmp_path, arrow(table), ARROW, DATASET)


@pytest.mark.parametrize("name", ["embedding.m.1b", "embedding"])
def test_vectors_of_a_model_that_is_not_registered_are_never_suggested_to_be_those_of_another(
    tmp_path: Path, name: str
) -> None:
    told = refusal(tmp_path, **{name: pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3))})
    assert "is of no registered model; there are embedding.m, embedding.m.1-b, and POST /models" in told
    assert "did you mean" not in told


@pytest.mark.parametrize(
    ("payload", "canonical"),
    [
        (['{ "b" : 1, "a": [1.5, "é", null] }'], ['{"b":1,"a":[1.5,"é",null]}']),
        ([{"a": "\\u0000"}], ['{"a":"\\\\u0000"}']),
        ([{"b": 1, "a": {"c": None}}, None], ['{"b":1,"a":{"c":null}}', None]),
    ],
)
def test_payload_is_compact_json_in_its_own_order(tmp_path: Path, payload: list[Any], canonical: list[str]) -> None:
    vectors = pa.array([[0.0, 0.0]] * len(payload), pa.list_(pa.float32(), 2))
    assert read(tmp_path, GALLERY, embedding=vectors, payload=payload)["payload"] == canonical


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("[1]", "is no JSON object"),
        ("{", "is not valid JSON"),
        ('{"a":-Infinity}', "holds an infinity"),
        ('{"a":1e999}', "holds an infinity"),
        ('{"a":"\\ud800"}', "half a character"),
        ('{"a":"\\u0000"}', "holds the NUL character"),
        ('{"a":{"b\\u0000":["\\\\u0000"]}}', "holds the NUL character"),
        ({"a": ["\0"]}, "holds the NUL character"),
        ({"a\0": 1}, "holds the NUL character"),
        ('{"a":1,"a":2}', "names 'a' twice"),
        ('{"a":' * 5000, "nested too deeply"),
        ('{"a":' + "9" * 5000 + "}", "thousands of digits"),
        ({"a": float("inf")}, "holds an infinity"),
    ],
)
def test_payload_that_json_cannot_hold_is_refused(tmp_path: Path, payload: Any, message: str) -> None:
    vectors = pa.array([[0.0, 0.0]], pa.list_(pa.float32(), 2))
    assert message in refusal(tmp_path, GALLERY, embedding=vectors, payload=[payload])
