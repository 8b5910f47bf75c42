"""One column in every Arrow encoding that pyarrow writes is the same column."""

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import InvalidRows, InvalidUpload
from app.uploads import Expected
from app.uploads.media_types import ARROW, ARROW_FILE, PARQUET
from benchmarks.hostile_files import arrow, arrow_file, parquet
from tests.app.uploads.conftest import decoded

EXPECTED = Expected.rows({"m": 2}, side_dimension=1)
GALLERY = Expected.items(2)

Encode = Callable[[pa.Array], pa.Array]


def runs(values: pa.Array) -> pa.Array:
    """Each row a run of its own, written as a part of longer runs."""
    ends = pa.array(np.arange(1, len(values) + 1, dtype=np.int32) * 3)
    return pa.RunEndEncodedArray.from_arrays(ends, values)


def thirds(array: pa.Array) -> pa.Array:
    """What `runs` made longer, as short as it was: every third row, by way of a slice for each."""
    return array if len(array) == 0 else pa.concat_arrays([array.slice(row, 1) for row in range(0, len(array), 3)])


def entries(values: pa.Array) -> pa.Array:
    """A dictionary in the reverse order, with an entry that no row uses."""
    places = pa.array([None if cell is None else len(values) - row for row, cell in enumerate(values.to_pylist())])
    backwards = [None, *values.to_pylist()[::-1]]
    return pa.DictionaryArray.from_arrays(places.cast(pa.int16()), pa.array(backwards, values.type))


def sliced(values: pa.Array) -> pa.Array:
    return _middle(_thrice(values))


def _thrice(values: pa.Array) -> pa.Array:
    return pa.concat_arrays([values, values, values])


def _middle(values: pa.Array) -> pa.Array:
    return values.slice(len(values) // 3, len(values) // 3)


_PLAIN: dict[str, Encode] = {"plain": lambda values: values, "a slice": sliced}
_ENTRIES: dict[str, Encode] = {
    "dictionary": entries,
    "dictionary, sliced": lambda values: _middle(entries(_thrice(values))),
}
TEXTS: dict[str, Encode] = {
    **_PLAIN,
    **_ENTRIES,
    "large": lambda values: values.cast(pa.large_string()),
    "view": lambda values: values.cast(pa.string_view()),
    "view, sliced": lambda values: sliced(values.cast(pa.string_view())),
    "dictionary of views": lambda values: entries(values.cast(pa.string_view())),
    "runs": lambda values: thirds(runs(values)),
    "runs of views": lambda values: thirds(runs(values.cast(pa.string_view()))),
}
BYTES: dict[str, Encode] = {
    **_PLAIN,
    **_ENTRIES,
    "large": lambda values: values.cast(pa.large_binary()),
    "view": lambda values: values.cast(pa.binary_view()),
    "runs": lambda values: thirds(runs(values)),
    "opaque": lambda values: pa.ExtensionArray.from_storage(pa.opaque(pa.binary(), "jpeg", "camera"), values),
}


def _vectors_as(make: Callable[[pa.DataType], pa.DataType]) -> Encode:
    return lambda values: pa.array(values.to_pylist(), make(values.type.value_type))


def _tensors(values: pa.Array) -> pa.Array:
    length = values.type.list_size
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), [1, length]), values)


def _backwards(values: pa.Array) -> pa.Array:
    """List views whose numbers lie in the reverse order of their rows."""
    cells = values.to_pylist()
    numbers = [number for cell in cells[::-1] for number in cell or []]
    sizes = np.array([len(cell or []) for cell in cells], np.int32)
    starts = len(numbers) - np.cumsum(sizes)
    mask = pa.array([cell is None for cell in cells], pa.bool_())
    return pa.ListViewArray.from_arrays(
        pa.array(starts.astype(np.int32)), pa.array(sizes), pa.array(numbers, pa.float64()), mask=mask
    )


def _numbers_encoded(encode: Encode) -> Encode:
    """Lists whose numbers are encoded."""

    def encoded(values: pa.Array) -> pa.Array:
        lists = values.cast(pa.list_(pa.float64()))
        missing = pa.array([cell is None for cell in values.to_pylist()], pa.bool_())
        return pa.ListArray.from_arrays(lists.offsets, encode(lists.values), mask=missing)

    return encoded


VECTORS: dict[str, Encode] = {
    **_PLAIN,
    "list": _vectors_as(pa.list_),
    "large list": _vectors_as(pa.large_list),
    "list view": _vectors_as(pa.list_view),
    "large list view": _vectors_as(pa.large_list_view),
    "list view, backwards": _backwards,
    "tensor": _tensors,
    "dictionary": entries,
    "dictionary of list views": lambda values: entries(_vectors_as(pa.list_view)(values)),
    "runs": lambda values: thirds(runs(values)),
    "numbers in a dictionary": _numbers_encoded(lambda numbers: numbers.dictionary_encode()),
    "numbers in runs": _numbers_encoded(lambda numbers: thirds(runs(numbers))),
}

_number = st.floats(-(2.0**56), 2.0**56, width=32)
_name = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
_rows = st.lists(
    st.fixed_dictionaries(
        {
            "id": _name,
            "embedding.m": st.none() | st.lists(_number, min_size=2, max_size=2),
            "side_information": st.none() | st.lists(_number, min_size=1, max_size=1),
            "label": st.none() | _name,
            "text": st.none() | _name,
            "image": st.none() | st.binary(max_size=20),
        }
    ),
    max_size=5,
    unique_by=lambda row: str(row["id"]),
)
_WRITERS: dict[str, Callable[[pa.Table], bytes]] = {ARROW: arrow, ARROW_FILE: arrow_file, PARQUET: parquet}


@settings(max_examples=120)
@given(st.data(), _rows, st.sampled_from(list(_WRITERS)))
def test_every_encoding_of_every_column_is_the_same_rows(
    data: st.DataObject, rows: list[dict[str, Any]], media_type: str
) -> None:
    columns: dict[str, pa.Array] = {}
    for column in EXPECTED.columns:
        known = {"vector": VECTORS, "image": BYTES}.get(column.kind, TEXTS)
        names = [name for name in known if media_type != PARQUET or not _arrow_only(name)]
        cells = [row[column.name] for row in rows]
        type_ = pa.list_(pa.float64(), column.dimension) if column.kind == "vector" else column.type
        columns[column.name] = known[data.draw(st.sampled_from(names))](pa.array(cells, type_))
    with tempfile.TemporaryDirectory() as folder:
        table = decoded(Path(folder), _WRITERS[media_type](pa.table(columns)), media_type, EXPECTED)
    assert table.to_pylist() == rows


def _arrow_only(encoding: str) -> bool:
    """Whether pyarrow does not write an encoding to Parquet."""
    return "runs" in encoding or "dictionary" in encoding or "list view" in encoding or "slice" in encoding


def _label(folder: Path, column: pa.Array) -> list[str | None]:
    table = pa.table({"id": [f"row-{row}" for row in range(len(column))], "label": column})
    labels: list[str | None] = decoded(folder, arrow(table), ARROW, EXPECTED).column("label").to_pylist()
    return labels


@pytest.mark.parametrize("encode", [*_PLAIN.values(), *_ENTRIES.values(), lambda values: thirds(runs(values))])
@pytest.mark.parametrize(
    ("column", "labels"),
    [
        *((pa.array([1, None, 100], type_), ["1", None, "100"]) for type_ in (pa.int8(), pa.uint16(), pa.uint64())),
        (pa.array([-(2**63), 2**63 - 1]), ["-9223372036854775808", "9223372036854775807"]),
        *(
            (pa.array(np.array([3, np.nan, -0.0], type_)), ["3", None, "0"])
            for type_ in (np.float16, np.float32, np.float64)
        ),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array([2, None], pa.decimal128(20, 3)), ["2", None]),
        (pa.array([0, None], pa.date32()), ["1970-01-01", None]),
        (pa.array([1500, None], pa.timestamp("ms", "Europe/Berlin")), ["1970-01-01T00:00:01.5Z", None]),
    ],
)
def test_labels_that_name_classes_become_their_names(
    tmp_path: Path, encode: Encode, column: pa.Array, labels: list[str | None]
) -> None:
    assert _label(tmp_path, encode(column)) == labels


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([3.5]), "is 3.5; a number as a label is a whole number"),
        (pa.array([float("inf")]), "is inf; a number as a label is a whole number"),
        (pa.array([2.0**53 + 2]), "too large to be told from its neighbours"),
        (pa.array(["3.50"]).cast(pa.decimal128(5, 2)), "is 3.50; a number"),
    ],
)
def test_numbers_that_name_no_class_are_refused(tmp_path: Path, column: pa.Array, message: str) -> None:
    for encoded in (column, column.dictionary_encode(), runs(column).slice(0, 1)):
        with pytest.raises(InvalidRows, match=r"Row 0 \(id 'row-0'\), column 'label'") as refused:
            _label(tmp_path, encoded)
        assert message in refused.value.detail


def test_uuids_are_the_text_that_is_usual(tmp_path: Path) -> None:
    name = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
    column = pa.array([name.bytes], pa.uuid())
    table = pa.table({"id": column, "label": column, "payload": pa.StructArray.from_arrays([column], ["of"])})
    table = table.append_column("embedding", pa.array([[1.0, 0.0]]))
    for media_type in (ARROW, PARQUET):
        row = decoded(tmp_path, _WRITERS[media_type](table), media_type, GALLERY).to_pylist()[0]
        assert row == {
            "id": str(name),
            "embedding": [1, 0],
            "label": str(name),
            "payload": f'{{"of":"{name}"}}',
        }


@pytest.mark.parametrize("number", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_vectors_of_every_integer_are_those_numbers(tmp_path: Path, number: type) -> None:
    least, most = (int(min(max(limit, -(2**56)), 2**56)) for limit in (np.iinfo(number).min, np.iinfo(number).max))
    cells: list[np.ndarray] = [np.array([1, most], number), np.array([least, 0], number)]
    table = pa.table({"id": ["a", "b"], "embedding.m": cells})
    vectors = decoded(tmp_path, arrow(table), ARROW, EXPECTED).column("embedding.m").to_pylist()
    assert vectors == np.array(cells, np.float64).astype(np.float32).tolist()


def test_vectors_of_decimals_are_those_numbers(tmp_path: Path) -> None:
    cells = pa.array([["0.1", "-2.5"]]).cast(pa.list_(pa.decimal128(5, 2)))
    table = pa.table({"id": ["a"], "embedding.m": cells})
    vectors = decoded(tmp_path, arrow(table), ARROW, EXPECTED).column("embedding.m").to_pylist()
    assert vectors == np.array([[0.1, -2.5]], np.float32).tolist()


def test_list_views_of_a_wrong_length_are_each_named(tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0], [1.0], None, [1.0, 2.0, 3.0]], pa.list_view(pa.float32()))
    for encoded in (column, entries(column)):
        table = pa.table({"id": list("abcd"), "embedding.m": encoded})
        with pytest.raises(InvalidRows) as refused:
            decoded(tmp_path, arrow(table), ARROW, EXPECTED)
        assert [(error["row"], error["message"]) for error in refused.value.members["errors"]] == [
            (1, "has 1 number; 2 are expected"),
            (3, "has 3 numbers; 2 are expected"),
        ]


def test_feather_1_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidUpload, match="Feather's version 1"):
        decoded(tmp_path, b"FEA1" + bytes(100), ARROW_FILE, EXPECTED)
