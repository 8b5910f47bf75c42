"""Bodies that lie, swell, or are broken: each small on disk, each made here byte for byte.

They are meant for a gallery of 4 dimensions with side-information of 2.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.problems import InvalidRows, InvalidUpload, Problem, TooLarge, Unprocessable
from app.uploads import Expected
from app.uploads.media_types import ARROW, ARROW_FILE, JSON, NDJSON, NPY, NPZ, PARQUET

DIMENSION, SIDE_DIMENSION = 4, 2
EXPECTED = Expected.items(DIMENSION, SIDE_DIMENSION)
MIB = 2**20


@dataclass(frozen=True)
class Hostile:
    """One body, what it claims to be or grows into, and the problem it must be answered with."""

    name: str
    media_type: str
    claims: str
    problem: type[Problem]
    make: Callable[[], bytes]


def table(rows: int = 100) -> pa.Table:
    """A valid body's rows."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, DIMENSION), dtype=np.float32)
    side = rng.standard_normal((rows, SIDE_DIMENSION), dtype=np.float32)
    return pa.table(
        {
            "id": [f"item-{row}" for row in range(rows)],
            "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIMENSION),
            "side_information": pa.FixedSizeListArray.from_arrays(side.ravel(), SIDE_DIMENSION),
            "label": [str(row % 7) for row in range(rows)],
            "payload": [json.dumps({"row": row}) for row in range(rows)],
        }
    )


def parquet(rows: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def arrow(rows: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)  # type: ignore[arg-type]
    return sink.getvalue()


def npz_of(rows: pa.Table) -> bytes:
    arrays = {name: np.array(rows.column(name).to_pylist()) for name in rows.column_names}
    return npz(**arrays)


def items(*changes: dict[str, Any], rows: int = 100) -> bytes:
    """A JSON body whose last rows are changed."""
    plain = table(rows).to_pylist()
    for row, change in zip(plain[len(plain) - len(changes) :], changes, strict=True):
        row.update(change)
    return json.dumps({"items": plain}).encode()


def npy_header(shape: str, descr: str = "'<f4'", fortran: str = "False") -> bytes:
    """An npy header that may say anything."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(*members: tuple[str, bytes], flags: int = 0) -> bytes:
    """A zip archive of any members, numpy's or not; `flags` are set in every header."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    data = bytearray(sink.getvalue())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while flags and (start := data.find(signature, start)) >= 0:
            data[start + at] |= flags
            start += 4
    return bytes(data)


def _zipped_big(name: str, head: bytes, zeros: int) -> bytes:
    """A member that inflates to `zeros` bytes, made without holding them."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        file.write(head)
        for _ in range(zeros // MIB):
            file.write(bytes(MIB))
    return sink.getvalue()


def _column_npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def _npz_with(name: str, content: bytes, rows: int = 2) -> bytes:
    plain = {
        "id": np.array([f"item-{row}" for row in range(rows)]),
        "embedding": np.ones((rows, DIMENSION), np.float32),
    }
    members = {f"{key}.npy": _column_npy(value) for key, value in plain.items()} | {name: content}
    return zipped(*members.items())


def _twice(name: str) -> bytes:
    content = _column_npy(np.array(["a", "b"]))
    first, second = (name, content), (name[::-1], content)
    # zipfile warns of a duplicate name, so the second is renamed in the bytes; both names have the same length.
    return zipped(first, second).replace(name[::-1].encode(), name.encode())


def _object_array() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.array([{"a": 1}, None], object), allow_pickle=True)
    return sink.getvalue()


def _huge_directory(entries: int) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("x.npy", b"")
    data = sink.getvalue()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[start:end]
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, len(entry) * entries, start, 0)
    return data[:start] + entry * entries + tail


def _varint(value: int) -> bytes:
    """Thrift's compact encoding of a signed integer."""
    value <<= 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _lying_footer(rows: int, claimed: int) -> bytes:
    """A Parquet file of `rows` rows whose footer says `claimed`, wherever it says how many."""
    data = parquet(table(rows).select(["id", "embedding"]), use_dictionary=False, compression="none")
    length = struct.unpack("<I", data[-8:-4])[0]
    footer = data[-8 - length : -8].replace(_varint(rows), _varint(claimed))
    return data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _aborting_schema() -> bytes:
    """A byte that fuzzing found: the column's repetition is none that Parquet has, and pyarrow 26 calls abort()."""
    return parquet(table()).replace(b"\x35\x02\x18\x09embedding", b"\x35\x7f\x18\x09embedding")


def equal_rows(rows: int) -> pa.Table:
    """Many rows that are all the same, which takes next to nothing encoded."""
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * DIMENSION, np.float32)), DIMENSION)
    return pa.table({"id": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["a"]), "embedding": vector})


def _one_huge_cell(size: int) -> pa.Table:
    return table(1).set_column(4, "payload", pa.array(['{"a":"' + "a" * size + '"}'], pa.large_string()))


def huge_cell_parquet(size: int) -> bytes:
    """A page that inflates to `size` bytes, which is what its reader allocates."""
    return parquet(_one_huge_cell(size), compression="zstd", use_dictionary=False, write_statistics=False)


def huge_cell_arrow(size: int) -> bytes:
    """A buffer that inflates to `size` bytes, which is what its reader allocates."""
    return arrow(_one_huge_cell(size), "zstd")


def _lying_batch_length() -> bytes:
    data, rows = bytearray(arrow(table(1000))), struct.pack("<q", 1000)
    place = data.find(rows)
    while place >= 0:
        data[place : place + 8] = struct.pack("<q", 2**40)
        place = data.find(rows, place)
    return bytes(data)


def _lying_buffer_length() -> bytes:
    """A compressed buffer starts with the length that it inflates to; here each says a terabyte."""
    data = bytearray(arrow(table(1000), "zstd"))
    place = data.find(b"\x28\xb5\x2f\xfd")
    while place >= 0:
        data[place - 8 : place] = struct.pack("<q", 2**40)
        place = data.find(b"\x28\xb5\x2f\xfd", place + 4)
    return bytes(data)


def _nested_extension() -> bytes:
    metadata = {b"ARROW:extension:name": b"arrow.fixed_shape_tensor", b"ARROW:extension:metadata": b"[" * MIB}
    field = pa.field("embedding", pa.list_(pa.float32(), DIMENSION), metadata=metadata)
    return arrow(pa.schema([pa.field("id", pa.string()), field]).empty_table())


def _changed(name: str, column: pa.Array) -> pa.Table:
    rows = table()
    return rows.set_column(rows.schema.get_field_index(name), name, column)


def _vectors(place: int, value: float) -> pa.Array:
    numbers = np.ones((100, DIMENSION))
    numbers[place, 1] = value
    return pa.FixedSizeListArray.from_arrays(numbers.ravel(), DIMENSION)


def arrow_file(rows: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def _shared_text(size: int) -> bytes:
    """Views of strings: each of 100 rows views the same `size` bytes, which inflate from next to nothing."""
    text = pa.py_buffer(b"a" * size)
    view = struct.pack("<i4sii", size, b"aaaa", 0, 0)
    labels = pa.Array.from_buffers(pa.string_view(), 100, [None, pa.py_buffer(view * 100), text])
    return arrow(_changed("label", labels), "zstd")


def _shared_numbers(count: int) -> pa.ListViewArray:
    """Views of lists: each of 100 rows views the same `count` numbers."""
    numbers = pa.array(np.zeros(count, np.float32))
    starts, sizes = np.zeros(100, np.int32), np.full(100, count, np.int32)
    return pa.ListViewArray.from_arrays(pa.array(starts), pa.array(sizes), numbers)


def _views_of_views(depth: int, length: int) -> pa.Array:
    """Lists of `length` equal lists, `depth` times: length ** depth numbers in a few KiB."""
    values = pa.array(np.zeros(length, np.int64))
    starts, sizes = pa.array(np.zeros(length, np.int32)), pa.array(np.full(length, length, np.int32))
    for _ in range(depth):
        values = pa.ListViewArray.from_arrays(starts, sizes, values)
    return values.slice(0, 100)


def _often(entry: pa.Array, times: int) -> pa.Array:
    """Lists that name one dictionary's entry again and again, in each of 100 rows."""
    entries = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100 * times, np.int32)), entry)
    return pa.ListArray.from_arrays(pa.array(np.arange(101, dtype=np.int32) * times), entries)


def _endless_run(length: int) -> pa.Array:
    """A list in one row that is one run, which takes 16 bytes however long it is."""
    run = pa.RunEndEncodedArray.from_arrays(pa.array([length], pa.int64()), pa.array([0]))
    ends = np.full(101, length, np.int64)
    ends[0] = 0
    return pa.LargeListArray.from_arrays(pa.array(ends), run)


def _runs_of_rows(rows: int) -> pa.Table:
    """A table that is one run."""
    ends = pa.array([rows], pa.int64())
    vector = pa.array([[1.0] * DIMENSION], pa.list_(pa.float32(), DIMENSION))
    columns = {"id": pa.array(["a"]), "embedding": vector}
    return pa.table({name: pa.RunEndEncodedArray.from_arrays(ends, values) for name, values in columns.items()})


def _payload(values: pa.Array) -> pa.Table:
    return _changed("payload", pa.StructArray.from_arrays([values], ["a"]))


def _fortran(rows: int, content: bytes) -> bytes:
    return _npz_with("embedding.npy", npy_header(f"({rows}, {DIMENSION})", fortran="True") + content, min(rows, 1000))


def _fortran_bomb(size: int) -> bytes:
    return _zipped_big("embedding.npy", npy_header(f"(9, {DIMENSION})", fortran="True"), size)


def _text_npz(rows: int) -> bytes:
    return _npz_with("payload.npy", npy_header(f"({rows},)", "'<U100000000'"), rows)


TERA = "(1000000000000, 4)"

Body = tuple[str, str, type[Problem], Callable[[], bytes]]

_JSON: list[Body] = [
    ("a dimension is wrong", "100 rows", InvalidRows, lambda: items({"embedding": [1.0, 2.0]})),
    ("NaN", "100 rows", InvalidRows, lambda: items({"embedding": [0.0, 0.0, float("nan"), 0.0]})),
    ("infinity", "100 rows", InvalidRows, lambda: items({"embedding": [0.0, float("inf"), 0.0, 0.0]})),
    ("1e300 as float32", "100 rows", InvalidRows, lambda: items({"embedding": [1e300, 0, 0, 0]})),
    ("10**400", "100 rows", InvalidRows, lambda: items({"embedding": [10**400, 0, 0, 0]})),
    ("5,000 digits", "1 row", InvalidUpload, lambda: b'[{"id":"a","label":' + b"9" * 5000 + b"}]"),
    ("numbers as strings", "100 rows", InvalidRows, lambda: items({"embedding": ["1", "2", "3", "4"]})),
    ("booleans", "100 rows", InvalidRows, lambda: items({"embedding": [True, 0, 0, 0]})),
    ("no embedding", "100 rows", InvalidRows, lambda: items({"embedding": None})),
    ("an id twice", "100 rows", InvalidRows, lambda: items({"id": "item-3"})),
    ("an id of 600 characters", "100 rows", InvalidRows, lambda: items({"id": "é" * 600})),
    ("an empty id", "100 rows", InvalidRows, lambda: items({"id": ""})),
    ("NUL in an id", "100 rows", InvalidRows, lambda: items({"id": "a\0b"})),
    ("a number as id", "100 rows", InvalidRows, lambda: items({"id": 7})),
    ("a lone surrogate", "100 rows", InvalidRows, lambda: items({"id": "\ud800"})),
    ("infinity in a payload", "100 rows", InvalidRows, lambda: items({"payload": {"x": float("inf")}})),
    ("a list as payload", "100 rows", InvalidRows, lambda: items({"payload": [1]})),
    ("100 KB of payload", "100 rows", InvalidRows, lambda: items({"payload": {"x": "x" * 100_000}})),
    ("a column misspelt", "100 rows", InvalidRows, lambda: items({"embeding": [1.0, 2.0, 3.0, 4.0]})),
    ("a column's name no Unicode", "100 rows", InvalidUpload, lambda: items({"\ud800": 1})),
    ("nested a million deep", "1 row", InvalidUpload, lambda: b"[" * MIB),
    ("payload nested deep", "1 row", InvalidUpload, lambda: b'[{"payload":' + b'{"a":' * 99_999),
    ("a member twice", "1 row", Unprocessable, lambda: b'[{"id":"a","id":"b","embedding":[1,2,3,4]}]'),
    ("cut short", "100 rows", InvalidUpload, lambda: items()[:-20]),
    ("not UTF-8", "1 row", InvalidUpload, lambda: b'[{"id":"\xff","embedding":[1,2,3,4]}]'),
    ("30 MiB of []", "10 million lists", InvalidUpload, lambda: b"[" + b"[]," * (10 * MIB) + b"[]]"),
    ("40 MiB", "40 MiB", TooLarge, lambda: b" " * (40 * MIB)),
    ("UTF-16", "1 row", InvalidUpload, lambda: "[]".encode("utf-16")),
]
_NDJSON: list[Body] = [
    ("a line cut short", "2 rows", InvalidUpload, lambda: b'{"id":"a","embedding":[1,2,3,4]}\n{"id":"b","emb'),
    ("a line that is no object", "1 row", InvalidUpload, lambda: b"[1,2,3,4]"),
    ("3 MiB of lines of {}", "1 million rows", InvalidRows, lambda: b"{}\n" * MIB),
    ("40 MiB", "40 MiB", TooLarge, lambda: b" " * (40 * MIB)),
]
_NPZ: list[Body] = [
    ("header claims 16 TB", "16 TB", InvalidUpload, lambda: zipped(("embedding.npy", npy_header(TERA)))),
    ("negative shape", "-1 rows", InvalidUpload, lambda: _npz_with("embedding.npy", npy_header("(-1, 4)"))),
    ("zip bomb", "512 MiB", InvalidUpload, lambda: _zipped_big("id.npy", npy_header("(9,)", "'<U9'"), 512 * MIB)),
    ("400 GB of text", "400 GB", InvalidUpload, lambda: _text_npz(1000)),
    ("object dtype", "pickle", InvalidUpload, lambda: _npz_with("label.npy", _object_array())),
    ("structured dtype", "2 rows", InvalidUpload, lambda: _npz_with("label.npy", npy_header("(2,)", "[('a', '<f4')]"))),
    ("header is no literal", "code", InvalidUpload, lambda: _npz_with("label.npy", npy_header("__import__('os')"))),
    ("header nested", "depth", InvalidUpload, lambda: _npz_with("label.npy", npy_header("(" * 4000 + ")" * 4000))),
    ("4 GiB header", "4 GiB", InvalidUpload, lambda: _npz_with("label.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff")),
    ("Fortran order claims 160 GB", "160 GB", InvalidUpload, lambda: _fortran(10**10, b"")),
    ("Fortran order cut short", "1000 rows", InvalidUpload, lambda: _fortran(1000, bytes(4 * DIMENSION * 999))),
    ("Fortran order swells", "512 MiB", InvalidUpload, lambda: _fortran_bomb(512 * MIB)),
    ("unequal rows", "2 and 3 rows", InvalidUpload, lambda: _npz_with("label.npy", _column_npy(np.arange(3)))),
    ("a member twice", "2 rows", InvalidUpload, lambda: _twice("id.npy")),
    ("encrypted", "2 rows", InvalidUpload, lambda: zipped(("id.npy", _column_npy(np.array(["a"]))), flags=1)),
    ("path trick", "2 rows", InvalidRows, lambda: _npz_with("../../id.npy", _column_npy(np.array(["a", "b"])))),
    ("surplus data", "2 rows", InvalidUpload, lambda: _npz_with("label.npy", _column_npy(np.arange(2)) + b"x")),
    (
        "impossible characters",
        "2 rows",
        InvalidRows,
        lambda: _npz_with("label.npy", npy_header("(2,)", "'<U1'") + b"\xff" * 8),
    ),
    ("200,000 members", "10 MB of directory", InvalidUpload, lambda: _huge_directory(200_000)),
    ("cut short", "100 rows", InvalidUpload, lambda: npz_of(table())[:-200]),
]
_PARQUET: list[Body] = [
    ("20 million rows", "20 million rows", TooLarge, lambda: parquet(equal_rows(20_000_000))),
    ("2 million equal rows", "2 million rows", InvalidRows, lambda: parquet(equal_rows(2_000_000))),
    ("footer claims 10^12", "10^12 rows", TooLarge, lambda: _lying_footer(1000, 10**12)),
    ("footer claims 9,000,000", "9 million rows", InvalidUpload, lambda: _lying_footer(1000, 9_000_000)),
    ("a cell of 1 GiB", "1 GiB", TooLarge, lambda: huge_cell_parquet(1000 * MIB)),
    ("encrypted", "100 rows", InvalidUpload, lambda: parquet(table())[:-4] + b"PARE"),
    ("footer beyond the file", "2 GiB", InvalidUpload, lambda: parquet(table())[:-8] + b"\xff\xff\xff\x7fPAR1"),
    ("cut short", "100 rows", InvalidUpload, lambda: parquet(table())[:-100]),
    ("pages overwritten", "100 rows", InvalidUpload, lambda: b"PAR1" + b"\xaa" * 3000 + parquet(table())[3004:]),
    ("a schema that aborts its reader", "100 rows", InvalidUpload, _aborting_schema),
    ("NaN", "100 rows", InvalidRows, lambda: parquet(_changed("embedding", _vectors(7, np.nan)))),
    (
        "5 dimensions",
        "100 rows",
        InvalidRows,
        lambda: parquet(_changed("embedding", pa.array([[1.0] * 5] * 100, pa.list_(pa.float32(), 5)))),
    ),
    (
        "embedding of booleans",
        "100 rows",
        InvalidRows,
        lambda: parquet(_changed("embedding", pa.array([[True] * 4] * 100))),
    ),
    ("unknown column", "100 rows", InvalidRows, lambda: parquet(table().append_column("colour", pa.array([1] * 100)))),
]
_ARROW: list[Body] = [
    ("batch of 2^40 rows", "2^40 rows", InvalidUpload, _lying_batch_length),
    ("buffers of 1 TB", "1 TB", TooLarge, _lying_buffer_length),
    ("a cell of 1 GiB", "1 GiB", TooLarge, lambda: huge_cell_arrow(1000 * MIB)),
    ("20 million rows", "20 million rows", TooLarge, lambda: arrow(equal_rows(20_000_000), "zstd")),
    ("nested metadata", "1 MiB of [", InvalidUpload, _nested_extension),
    ("a file, not a stream", "–", InvalidUpload, lambda: b"ARROW1\0\0" + arrow(table())),
    ("cut between batches", "100 rows", InvalidUpload, lambda: arrow(table())[:-8]),
    ("cut short", "100 rows", InvalidUpload, lambda: arrow(table())[:-100]),
    ("infinity", "100 rows", InvalidRows, lambda: arrow(_changed("embedding", _vectors(7, -np.inf)))),
    ("1e300 as float32", "100 rows", InvalidRows, lambda: arrow(_changed("embedding", _vectors(7, 1e300)))),
    ("views of one text", "800 MB", TooLarge, lambda: _shared_text(8 * MIB)),
    ("views of the same numbers", "400 MB", InvalidRows, lambda: arrow(_changed("embedding", _shared_numbers(10**6)))),
    ("views of views of numbers", "10^18 numbers", InvalidRows, lambda: arrow(_payload(_views_of_views(5, 1000)))),
    ("an entry named often", "100 GB", InvalidRows, lambda: arrow(_payload(_often(pa.array(["a" * MIB]), 1000)))),
    ("a run in a payload", "2^31 numbers", InvalidRows, lambda: arrow(_payload(_endless_run(2**31 - 1)))),
    ("a run of rows", "2^31 rows", TooLarge, lambda: arrow(_runs_of_rows(2**31 - 1))),
]
_ARROW_FILE: list[Body] = [
    ("cut short", "100 rows", InvalidUpload, lambda: arrow_file(table())[:-100]),
    ("footer overwritten", "100 rows", InvalidUpload, lambda: arrow_file(table())[:-60] + b"\xaa" * 50 + b"ARROW1"),
    ("a cell of 1 GiB", "1 GiB", TooLarge, lambda: arrow_file(_one_huge_cell(1000 * MIB), "zstd")),
    ("a run of rows", "2^31 rows", TooLarge, lambda: arrow_file(_runs_of_rows(2**31 - 1))),
]
_QUERIES: list[Body] = [
    ("npy claims 16 TB", "16 TB", TooLarge, lambda: npy_header(TERA)),
    ("npy claims 10,000 rows", "160 KB", InvalidUpload, lambda: npy_header("(10000, 4)")),
    ("npy of objects", "pickle", InvalidUpload, _object_array),
    ("npy with NaN", "2 rows", Unprocessable, lambda: _column_npy(np.full((2, DIMENSION), np.nan))),
]
HOSTILE = tuple(
    Hostile(f"{kind}: {name}", media_type, claims, problem, make)
    for kind, media_type, bodies in (
        ("json", JSON, _JSON),
        ("json lines", NDJSON, _NDJSON),
        ("npz", NPZ, _NPZ),
        ("parquet", PARQUET, _PARQUET),
        ("arrow", ARROW, _ARROW),
        ("arrow file", ARROW_FILE, _ARROW_FILE),
        ("queries", NPY, _QUERIES),
    )
    for name, claims, problem, make in bodies
)
