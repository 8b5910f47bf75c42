"""The rows of a dataset: any models' vectors, whichever columns a body had."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.datasets.store import DatasetStore, stored_name
from app.storage.lance_table import embedding_column, vector_type


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore.create(tmp_path / "d", 1)


def put(store: DatasetStore, **columns: pa.Array) -> None:
    schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()])
    store.put(schema, lambda: iter([pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)]))


def rows(store: DatasetStore) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in store.rows.where("true").to_pylist()}


def test_vectors_of_new_models_get_columns_and_other_columns_keep_their_values(store: DatasetStore) -> None:
    put(
        store,
        id=pa.array(["x", "y"]),
        label=pa.array(["l", None]),
        side_information=pa.array([[1], [2]], vector_type(1)),
    )
    put(store, id=pa.array(["y", "z"]), **{"embedding.m.2": pa.array([[1, 2], [3, 4]], vector_type(2))})
    assert store.models() == ["m.2"]
    stored, column = rows(store), embedding_column("m.2")
    assert {name: row[column] for name, row in stored.items()} == {"x": None, "y": [1, 2], "z": [3, 4]}
    assert {name: row["label"] for name, row in stored.items()} == {"x": "l", "y": None, "z": None}
    assert {name: row["side_information"] for name, row in stored.items()} == {"x": [1], "y": [2], "z": None}


def test_raw_input_is_kept_as_it_came(store: DatasetStore) -> None:
    put(store, id=pa.array(["x"]), text=pa.array(["τί"]), image=pa.array([b"\x00\xff"]))
    assert (rows(store)["x"]["text"], rows(store)["x"]["image"]) == ("τί", b"\x00\xff")


def test_names_of_columns_are_translated_one_to_one() -> None:
    assert stored_name("label") == "label"
    assert stored_name("embedding.a.b") == embedding_column("a.b")
