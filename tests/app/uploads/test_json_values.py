"""The one JSON form of each Arrow type in a payload, and of payloads that come as text."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import InvalidRows
from app.uploads import Expected
from app.uploads.json_sizes import least_json_bytes
from app.uploads.json_values import json_values
from app.uploads.media_types import ARROW, JSON
from benchmarks.hostile_files import arrow
from tests.app.uploads.conftest import decoded
from tests.app.uploads.test_encodings import runs, thirds

GALLERY = Expected.items(1)


def payloads(folder: Path, column: pa.Array) -> list[Any]:
    """What is stored of a column of payloads."""
    ids = [f"row-{row}" for row in range(len(column))]
    table = pa.table({"id": ids, "embedding": [[1.0]] * len(column), "payload": column})
    stored = decoded(folder, arrow(table), ARROW, GALLERY).column("payload").to_pylist()
    return [None if text is None else json.loads(text) for text in stored]


def members(values: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([values], ["v"])


_NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
_TAGS = pa.array([["a", None], None, []])


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (pa.array([_NOON]), ["2024-05-01T12:00:00Z"]),
        (pa.array([_NOON], pa.timestamp("s", "Europe/Berlin")), ["2024-05-01T12:00:00Z"]),
        (pa.array([datetime(2024, 5, 1, 12, 0, 0, 120_000), None]), ["2024-05-01T12:00:00.12", None]),
        (pa.array([-1], pa.timestamp("ns")), ["1969-12-31T23:59:59.999999999"]),
        (pa.array([date(2024, 5, 1)]), ["2024-05-01"]),
        (pa.array([date(1, 1, 1), date(9999, 12, 31)], pa.date64()), ["0001-01-01", "9999-12-31"]),
        (pa.array([time(23, 59, 59, 1)]), ["23:59:59.000001"]),
        (pa.array([3600], pa.time32("s")), ["01:00:00"]),
        (pa.array([timedelta(days=1, microseconds=500)]), ["PT86400.0005S"]),
        (pa.array([-1500], pa.duration("ms")), ["-PT1.5S"]),
        (pa.array([(1, -2, 3_500_000_000)], pa.month_day_nano_interval()), ["P1M-2DT3.5S"]),
        (pa.array([Decimal("9.90"), Decimal("1E+3"), None]), ["9.90", "1000.00", None]),
        (pa.array([Decimal(12)], pa.decimal256(50, 0)), ["12"]),
        (pa.array([b"\xff\0", None]), ["/wA=", None]),
        (pa.array([b"ab"], pa.binary(2)), ["YWI="]),
        (pa.array([b"ab"], pa.binary_view()), ["YWI="]),
        (pa.array([1.5, float("nan"), None]), [1.5, None, None]),
        (pa.array(np.array([0.5, np.nan], np.float16)), [0.5, None]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([True, None]), [True, None]),
        (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8())), [True, False, None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array(["x" * 40], pa.string_view()), ["x" * 40]),
        (thirds(runs(pa.array([1, None]))), [1, None]),
        (_TAGS, [["a", None], None, []]),
        (_TAGS.cast(pa.large_list(pa.large_string())), [["a", None], None, []]),
        (pa.array(_TAGS.to_pylist(), pa.list_view(pa.string())), [["a", None], None, []]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
        (pa.DictionaryArray.from_arrays([1, 0], _TAGS), [None, ["a", None]]),
        (pa.array([{"a": {"b": _NOON}}, None]), [{"a": {"b": "2024-05-01T12:00:00Z"}}, None]),
        (pa.array([[("a", 1), ("b", None)], None], pa.map_(pa.string(), pa.int8())), [{"a": 1, "b": None}, None]),
        (pa.array([[(7, "x")], []], pa.map_(pa.int64(), pa.string())), [{"7": "x"}, {}]),
        (pa.array(['{"a":[NaN]}', "3"], pa.json_()), [{"a": [None]}, 3]),
        (pa.array([b"a"], pa.opaque(pa.binary(), "geometry", "postgis")), ["YQ=="]),
        (pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2), np.int8)), [[1, 1]]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_each_type_has_one_json_form(tmp_path: Path, values: pa.Array, written: list[Any]) -> None:
    wanted = [{"v": value} for value in written]
    assert payloads(tmp_path, members(values)) == wanted
    if len(values) > 1:
        assert payloads(tmp_path, members(values).slice(1)) == wanted[1:]
        assert payloads(tmp_path, members(values.slice(1))) == wanted[1:]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
        pa.array([{"a": 1}, None]),
        pa.DictionaryArray.from_arrays([1, 0], pa.array([None, {"a": 1}])),
        pa.array(['{"a": 1}', None], pa.json_()),
        pa.array(['{"a": 1}', None]).dictionary_encode(),
        pa.array(['{"a": 1}', None], pa.string_view()),
    ],
)
def test_payload_itself_comes_in_any_encoding(tmp_path: Path, column: pa.Array) -> None:
    assert payloads(tmp_path, column) == [{"a": 1}, None]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (members(pa.array([2**40], pa.timestamp("s"))), "outside the years 1 to 9999"),
        (members(pa.array([-1_000_000], pa.date32())), "outside the years 1 to 9999"),
        (members(pa.array([[(1.5, 1)]], pa.map_(pa.float64(), pa.int8()))), "keys are neither strings nor integers"),
        (members(pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int8()))), "two values of 'a'"),
        (members(pa.array(["{"], pa.json_())), "a JSON value that is not valid JSON"),
        (members(pa.array(["a" * 200_000])), "takes at least 200007 bytes as JSON"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "a struct with two fields 'a'"),
        (members(pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])), "holds sparse_union"),
        (pa.array([[1]]), "is of type list<item: int64>; a payload is a struct, a map, or a JSON object as a string"),
        (pa.array(["[1]"], pa.json_()), "is no JSON object"),
    ],
)
def test_what_json_has_not_is_refused_in_words_of_the_column(tmp_path: Path, column: pa.Array, message: str) -> None:
    with pytest.raises(InvalidRows, match="olumn 'payload'") as refused:
        payloads(tmp_path, column)
    assert message in refused.value.detail


def test_nan_in_text_is_null_as_in_a_struct(tmp_path: Path) -> None:
    assert payloads(tmp_path, pa.array(['{"a":NaN,"b":[NaN]}'])) == [{"a": None, "b": [None]}]
    body = b'[{"id":"a","embedding":[1],"payload":{"a":NaN}}]'
    assert decoded(tmp_path, body, JSON, GALLERY).column("payload").to_pylist() == ['{"a":null}']


_types = st.recursive(
    st.sampled_from(["s", "i", "f", "b"]),
    lambda inner: st.one_of(
        st.tuples(st.just("list"), inner),
        st.tuples(st.just("struct"), st.lists(inner, max_size=3)),
        st.tuples(st.just("map"), inner),
    ),
    max_leaves=4,
)
_SCALARS = {"s": pa.string(), "i": pa.int64(), "f": pa.float64(), "b": pa.bool_()}
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "s": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "b": st.booleans(),
}


def _arrow_type(shape: Any, draw: Any) -> pa.DataType:
    if isinstance(shape, str):
        return _SCALARS[shape]
    if shape[0] == "list":
        return draw(st.sampled_from([pa.list_, pa.large_list, pa.list_view]))(_arrow_type(shape[1], draw))
    if shape[0] == "map":
        return pa.map_(pa.string(), _arrow_type(shape[1], draw))
    return pa.struct([(f"m{place}", _arrow_type(part, draw)) for place, part in enumerate(shape[1])])


def _value(shape: Any) -> st.SearchStrategy[Any]:
    if isinstance(shape, str):
        return st.none() | _VALUES[shape]
    if shape[0] == "list":
        return st.none() | st.lists(_value(shape[1]), max_size=3)
    if shape[0] == "map":
        return st.none() | st.dictionaries(_VALUES["s"], _value(shape[1]), max_size=3)
    return st.none() | st.fixed_dictionaries({f"m{place}": _value(part) for place, part in enumerate(shape[1])})


def _for_arrow(shape: Any, value: Any) -> Any:
    """pyarrow takes a map as pairs."""
    if value is None or isinstance(shape, str):
        return value
    if shape[0] == "list":
        return [_for_arrow(shape[1], one) for one in value]
    if shape[0] == "map":
        return [(name, _for_arrow(shape[1], one)) for name, one in value.items()]
    return {f"m{place}": _for_arrow(part, value[f"m{place}"]) for place, part in enumerate(shape[1])}


@settings(max_examples=150)
@given(st.data(), _types)
def test_nested_values_are_as_json_has_them_and_no_shorter_than_foretold(data: st.DataObject, shape: Any) -> None:
    values = data.draw(st.lists(_value(shape), max_size=4))
    array = pa.array([_for_arrow(shape, value) for value in values], _arrow_type(shape, data.draw))
    start = data.draw(st.integers(0, len(values)))
    assert json_values(array.slice(start)) == values[start:]
    least = least_json_bytes(array.slice(start)).tolist()
    texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values[start:]]
    assert all(size <= len(text.encode()) for size, text in zip(least, texts, strict=True))
