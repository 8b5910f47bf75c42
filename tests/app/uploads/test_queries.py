"""Query vectors from URLs, lists, npy and Arrow."""

import asyncio
import base64
import contextlib
import io
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.problems import InvalidUpload, TooLarge, Unprocessable, UnsupportedMediaType
from app.uploads import QueryVectors, Uploads, decode_query_vector, refuse_zero_queries, vectors_of_lists
from app.uploads.media_types import ARROW, ARROW_FILE, JSON, NPY, NPZ
from benchmarks.hostile_files import arrow
from tests.app.uploads.conftest import pieces

VECTOR = np.array([1.5, -2.0, 0.25], np.float32)
_finite = st.floats(-(2.0**56), 2.0**56, width=32)


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=_finite), st.booleans())
def test_base64url_round_trip_with_and_without_padding(vector: np.ndarray, padded: bool) -> None:
    text = base64.urlsafe_b64encode(vector.astype("<f4").tobytes()).decode()
    assert np.array_equal(decode_query_vector(text if padded else text.rstrip("="), len(vector)), vector)


@given(hnp.arrays(np.float32, st.integers(2, 8), elements=_finite))
def test_numbers_round_trip(vector: np.ndarray) -> None:
    assert np.array_equal(decode_query_vector(",".join(map(repr, vector.tolist())), len(vector)), vector)


@given(st.text())
def test_any_other_text_is_a_problem_or_finite(text: str) -> None:
    with contextlib.suppress(Unprocessable):
        vector = decode_query_vector(text, 3)
        assert vector.shape == (3,)
        assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 numbers"),
        ("1,2", "has 2 numbers; the model's dimension is 3"),
        ("1,nan,3", "'nan' at position 1"),
        ("1,inf,3", "'inf' at position 1"),
        ("1,2,1e39", "too large for distances"),
        ("1,2,1e18", "too large for distances"),
        ("1,,3", "'' at position 1"),
        ("1_0,2,3", "'1_0' at position 0"),
        ("AAAAA", "cut short"),
        ("AAAA", "no whole number of float32"),
        ("AAA*AAAAAAAAAAAA", "neither base64"),
        ("5", "has 1 number; the model's dimension is 3"),
        ("[1,2,3", "'[1' at position 0"),
        (base64.urlsafe_b64encode(np.full(3, np.nan, "<f4").tobytes()).decode(), "NaN"),
    ],
)
def test_bad_query_vector_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(Unprocessable, match="base64url of little-endian float32, or numbers") as refused:
        decode_query_vector(text, 3)
    assert message in refused.value.detail


def test_lists_become_float32() -> None:
    assert np.array_equal(vectors_of_lists([[1, 2.5], [0, 0]], 2), np.array([[1, 2.5], [0, 0]], np.float32))
    assert vectors_of_lists([], 2).shape == (0, 2)


@pytest.mark.parametrize("entry", [[1.0], [1.0, float("nan")], [1.0, float("-inf")], [1.0, 1e39], [1, 10**400]])
def test_bad_list_is_refused(entry: list[Any]) -> None:
    with pytest.raises(Unprocessable):
        vectors_of_lists([[0.0, 0.0], entry], 2)


def test_zero_query_is_refused_where_it_has_no_direction() -> None:
    refuse_zero_queries(np.array([[0.0, 1e-30]], np.float32))
    with pytest.raises(Unprocessable, match="Query 1 is all zeros"):
        refuse_zero_queries(np.array([[1.0, 0.0], [0.0, 0.0]], np.float32))


def _npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def _ask(uploads: Uploads, body: bytes, media_type: str, dimension: int = 3) -> np.ndarray:
    return _ask_both(uploads, body, media_type, dimension, None).vectors


def _ask_both(
    uploads: Uploads, body: bytes, media_type: str, dimension: int = 3, old_dimension: int | None = 2
) -> QueryVectors:
    async def taken() -> QueryVectors:
        headers = {"content-type": media_type}
        if media_type == NPY:
            return (await uploads.npy_queries(pieces(body), headers))(dimension)
        async with uploads.queries(pieces(body), headers) as decoded:
            return await decoded(dimension, old_dimension)

    return asyncio.run(taken())


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_float_and_order_is_taken(uploads: Uploads, dtype: str, order: Literal["C", "F"]) -> None:
    queries = _ask(uploads, _npy(np.array([VECTOR, -VECTOR], dtype, order=order)), NPY)
    assert queries.dtype == np.float32
    assert np.array_equal(queries, [VECTOR, -VECTOR])


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "i8", "u8"])
def test_npy_of_every_integer_is_taken(uploads: Uploads, dtype: str) -> None:
    assert np.array_equal(_ask(uploads, _npy(np.array([[1, 2, 100]], dtype)), NPY), [[1, 2, 100]])


def test_npy_of_one_axis_is_a_query_a_number_where_the_dimension_is_1(uploads: Uploads) -> None:
    assert np.array_equal(_ask(uploads, _npy(np.array([1.0, 2.0])), NPY, 1), [[1.0], [2.0]])


@pytest.mark.parametrize("number", ["0.5", "5", "-1", "+2", "1e3", "1e 3", "123456", "00000012", "[7]", " 3 ", ".5"])
def test_a_number_is_read_as_one_where_the_dimension_is_1(number: str) -> None:
    wanted = float(number.replace("e ", "e+").strip("[ ]"))
    assert decode_query_vector(number, 1).tolist() == [wanted]


@pytest.mark.parametrize("text", ["1.5,-2,0.25", "[1.5, -2, 0.25]", " 1.5 , -2.0 , 25e-2 ", "[15e-1,-2, 0.25 ]"])
def test_spaces_brackets_and_exponents_change_nothing(text: str) -> None:
    assert np.array_equal(decode_query_vector(text, 3), VECTOR)


def test_digits_alone_are_base64_where_only_that_has_the_dimension() -> None:
    assert np.array_equal(decode_query_vector("0" * 16, 3), np.frombuffer(base64.b64decode("0" * 16), "<f4"))


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=_finite))
def test_the_other_base64_alphabet_is_read_too_even_unescaped(vector: np.ndarray) -> None:
    text = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    for sent in (text, text.replace("+", " ")):
        assert np.array_equal(decode_query_vector(sent, len(vector)), vector)


def test_npy_of_one_axis_is_one_query(uploads: Uploads) -> None:
    assert np.array_equal(_ask(uploads, _npy(VECTOR), NPY), [VECTOR])


def test_arrow_queries_need_no_id(uploads: Uploads) -> None:
    table = pa.table({"vector": pa.array([VECTOR.tolist()] * 2, pa.list_(pa.float32()))})
    assert np.array_equal(_ask(uploads, arrow(table), ARROW), [VECTOR, VECTOR])
    feather = io.BytesIO()
    with pa.ipc.new_file(feather, table.schema) as writer:
        writer.write_table(table)
    assert np.array_equal(_ask(uploads, feather.getvalue(), ARROW_FILE), [VECTOR, VECTOR])
    table = table.append_column("id", pa.array(["a", "b"]))
    with pytest.raises(Unprocessable, match="Column 'id' is not known here"):
        _ask(uploads, arrow(table), ARROW)


def _two_columns(vector: list[list[float]], old: list[list[float] | None]) -> bytes:
    return arrow(pa.table({"vector": vector, "old_vector": pa.array(old, pa.list_(pa.float64()))}))


def test_queries_may_come_with_a_second_column_in_arrow_and_npz(uploads: Uploads) -> None:
    old = np.array([[1, 2], [3, 4]], np.float32)
    columns = io.BytesIO()
    np.savez(columns, vector=np.array([VECTOR, -VECTOR]), old_vector=old)
    bodies = [(_two_columns([VECTOR.tolist(), (-VECTOR).tolist()], old.tolist()), ARROW), (columns.getvalue(), NPZ)]
    for body, media_type in bodies:
        queries = _ask_both(uploads, body, media_type)
        assert np.array_equal(queries.vectors, [VECTOR, -VECTOR])
        assert np.array_equal(queries.old_vectors, old)  # type: ignore[arg-type]
    alone = arrow(pa.table({"vector": [VECTOR.tolist()]}))
    assert _ask_both(uploads, alone, ARROW).old_vectors is None


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ([[1.0, 2.0], None], "`old_vector` of query 1 is missing"),
        ([[1.0, 2.0], [1.0]], "old_vector"),
        ([[1.0, 2.0], [1.0, float("nan")]], "NaN"),
    ],
)
def test_a_second_column_is_checked_like_the_first(
    uploads: Uploads, old: list[list[float] | None], message: str
) -> None:
    with pytest.raises(Unprocessable, match=message) as refused:
        _ask_both(uploads, _two_columns([VECTOR.tolist()] * 2, old), ARROW)
    assert refused.value.members["errors"][0]["column"] == "old_vector"


def test_bad_query_bodies_are_refused(uploads: Uploads) -> None:
    with pytest.raises(Unprocessable, match=r"\(n, 3\) is expected"):
        _ask(uploads, _npy(np.ones((2, 4))), NPY)
    with pytest.raises(Unprocessable, match="query vector has 2 numbers; the model's dimension is 3"):
        _ask(uploads, _npy(np.ones(2)), NPY)
    for dtype in (np.bool_, np.complex64, np.longdouble):
        with pytest.raises(InvalidUpload, match=f"dtype {np.dtype(dtype)}"):
            _ask(uploads, _npy(np.ones((2, 3), dtype)), NPY)
    with pytest.raises(InvalidUpload, match="makes"):
        _ask(uploads, _npy(np.ones((2, 3)))[:-1], NPY)
    with pytest.raises(TooLarge, match="10000"):
        _ask(uploads, _npy(np.ones((10_001, 3), np.float32)), NPY)
    with pytest.raises(UnsupportedMediaType):
        _ask(uploads, b"[]", JSON)


def test_a_list_too_long_for_distances_is_refused() -> None:
    with pytest.raises(Unprocessable, match="too large for distances"):
        vectors_of_lists([[1.0, 0.0, 0.0], [1e18, 0.0, 0.0]], 3)
