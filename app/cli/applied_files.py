"""A crossing applied to a Parquet file, a piece at a time: as much memory for ten million rows as for ten thousand.

Vectors are in a column `embedding.<model>`, or in `embedding`, whose model the file's metadata name under
`crosswalk.model`, or the caller does. Every other column is carried along as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from app.vectors import MODEL_KEY
from models.portable import Array, BeyondFloat32, PortableCrossing, replacing

_UPGRADE_KEY, _SEARCH_KEY, _INDEX_KEY = b"crosswalk.upgrade", b"crosswalk.search", b"crosswalk.index_of"

PUSHED, SCALE, OFFSET = "pushed", "score_scale", "score_offset"
"""The columns of pushed queries: the score in the new space is scale · score in the old index + offset."""

_EMBEDDING, _SIDE = "embedding", "side_information"
_PIECE_BYTES, _MOST_ROWS, _BUFFER_BYTES = 2**26, 2**16, 2**20
_MOST_NAMED = 5


class CannotApply(Exception):
    """The file is not what the crossing applies to; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Applied:
    """What was done: how many rows, and how many of them lacked the side-information that the crossing reads."""

    rows: int
    without_side: int


@dataclass(frozen=True)
class _Job:
    """The crossing of one file: which columns are read, and the columns of the file that is written.

    place, side_place: the numbers of the columns of vectors and of side-information, None where that is not read.
    """

    crossing: PortableCrossing
    push: bool
    model: str
    column: str
    place: int
    side_place: int | None
    schema: Any
    dimension: int


def apply_to_file(
    crossing: PortableCrossing,
    source: Path,
    out: Path,
    *,
    made_by: str | None,
    column: str | None = None,
    push: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Applied:
    """Writes `source` with its vectors transformed, or pushed, to `out`, which is there only once it is whole.

    made_by: the model whose vectors they are, where the file does not say; column: which they are, where there are
    several. Raises CannotApply, WrongDirection and NotPushable, and OSError; then `out` is what it was.
    """
    try:
        with pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            job, total = _job(crossing, file.schema_arrow, made_by, column, push), file.metadata.num_rows
            done = lacking = 0
            with replacing(out) as partial, _writer(partial, job) as writer:
                for batch in file.iter_batches(batch_size=_rows_at_a_time(job, file.metadata)):
                    written, without = _piece(job, batch, done)
                    writer.write_batch(written)
                    done, lacking = done + len(batch), lacking + without
                    progress(done, total)
    except pa.ArrowException as error:
        raise CannotApply(f"{source} cannot be read as Parquet: {' '.join(str(error).split())}.") from error
    return Applied(done, lacking)


def _job(crossing: PortableCrossing, schema: Any, made_by: str | None, column: str | None, push: bool) -> _Job:
    card = crossing.card
    space = card.target if push else card.source
    name = _column(schema, column, space.model)
    model = _model(schema, name, made_by, space.model)
    (card.require_target if push else card.require_source)(model)
    if push:
        crossing.crossing.plain.push(np.zeros((0, space.dimension), np.float32))
    _check_type(schema.field(_place(schema, name)).type, name, space.dimension, str(space))
    side_place = None
    if not push and card.side_dimension is not None and _SIDE in schema.names:
        side_place = _place(schema, _SIDE)
        _check_type(schema.field(side_place).type, _SIDE, card.side_dimension, "the crossing")
    place = _place(schema, name)
    written = _written_schema(crossing, schema, place, push)
    return _Job(crossing, push, model, name, place, side_place, written, space.dimension)


def _place(schema: Any, column: str) -> int:
    """The number of the one column of this name."""
    if (many := schema.names.count(column)) > 1:
        raise CannotApply(f"There are {many} columns {column!r}.")
    return int(schema.names.index(column))


def _column(schema: Any, column: str | None, model: str) -> str:
    wanted = (column,) if column else (f"{_EMBEDDING}.{model}", _EMBEDDING)
    for name in wanted:
        if name in schema.names:
            return name
    there = ", ".join(map(repr, schema.names))
    raise CannotApply(
        f"There is no column {' or '.join(map(repr, wanted))}; there are {there}. --column names the one to read."
    )


def _model(schema: Any, name: str, made_by: str | None, expected: str) -> str:
    """The model that made the vectors of a column, as the file or the caller says."""
    told = name.removeprefix(f"{_EMBEDDING}.") if name.startswith(f"{_EMBEDDING}.") else None
    if told is None and name == _EMBEDDING and MODEL_KEY in (schema.metadata or {}):
        told = schema.metadata[MODEL_KEY].decode(errors="replace")
    if told is not None and made_by is not None and told != made_by:
        raise CannotApply(f"The file says that column {name!r} was made by model {told!r}, and not by {made_by!r}.")
    model = told if made_by is None else made_by
    if model is None:
        raise CannotApply(
            f"The file does not say which model made the vectors of column {name!r}. If it was {expected!r}, which "
            f"this is for, say so: --made-by {expected}"
        )
    return model


def _check_type(type_: Any, name: str, dimension: int, whose: str) -> None:
    type_ = _storage(type_)
    lists = pa.types.is_fixed_size_list(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_)
    if not lists or not pa.types.is_floating(type_.value_type):
        raise CannotApply(f"Column {name!r} holds {type_}, and vectors are lists of floating-point numbers.")
    if pa.types.is_fixed_size_list(type_) and type_.list_size != dimension:
        raise CannotApply(
            f"The vectors of column {name!r} have {type_.list_size} numbers, and {whose} has {dimension}."
        )


def _storage(type_: Any) -> Any:
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def _written_schema(crossing: PortableCrossing, schema: Any, place: int, push: bool) -> Any:
    card, column = crossing.card, schema.names[place]
    metadata = dict(schema.metadata or {})
    metadata.pop(b"pandas", None)  # it names columns that are no more
    metadata[_UPGRADE_KEY] = card.upgrade.encode()
    if push:
        told = crossing.crossing.plain.push(np.zeros((0, card.target.dimension), np.float32))
        metadata.pop(MODEL_KEY, None)
        metadata |= {_SEARCH_KEY: told.score.encode(), _INDEX_KEY: card.source.model.encode()}
        name, dimension = PUSHED, card.source.dimension
        added = [pa.field(SCALE, pa.float64(), nullable=False), pa.field(OFFSET, pa.float32(), nullable=False)]
    else:
        name = _transformed(column, crossing)
        dimension, added = card.target.dimension, []
        metadata[MODEL_KEY] = card.target.model.encode()
    vectors = pa.field(name, pa.list_(pa.float32(), dimension), nullable=False)
    for field in (vectors, *added):
        if field.name in schema.names and field.name != column:
            raise CannotApply(
                f"There is a column {field.name!r} already, which is what would be written. Leave it out."
            )
    fields = [vectors if number == place else field for number, field in enumerate(schema)]
    return pa.schema([*fields, *added], metadata=metadata)


def _transformed(column: str, crossing: PortableCrossing) -> str:
    """What a column of vectors is called once they are transformed."""
    return column if column == _EMBEDDING else f"{_EMBEDDING}.{crossing.card.target.model}"


def _writer(path: Path, job: _Job) -> Any:
    """Compresses what is carried along, and no vectors: there, compression takes long and gains a tenth."""
    vectors = PUSHED if job.push else _transformed(job.column, job.crossing)
    texts = [field.name for field in job.schema if not pa.types.is_nested(field.type)]
    nothing = pa.BufferOutputStream()
    pq.write_table(job.schema.empty_table(), nothing)
    leaves = pq.ParquetFile(pa.BufferReader(nothing.getvalue())).schema
    names = [leaves.column(number).path for number in range(len(leaves.names))]
    codecs = {name: "NONE" if name.startswith(f"{vectors}.list.") else "ZSTD" for name in names}
    return pq.ParquetWriter(path, job.schema, compression=codecs, use_dictionary=texts, write_statistics=texts)


def _rows_at_a_time(job: _Job, metadata: Any) -> int:
    """As many as take `_PIECE_BYTES` with everything that is carried along, as they are on average."""
    sizes = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    carried = sum(sizes) // max(1, metadata.num_rows)
    card = job.crossing.card
    return int(max(1, min(_MOST_ROWS, _PIECE_BYTES // (4 * (card.source.dimension + card.target.dimension) + carried))))


def _piece(job: _Job, batch: Any, start: int) -> tuple[Any, int]:
    """The rows as they are written, and how many lacked side-information."""
    rows = _vectors(batch.column(job.place), job.column, job.dimension, start)
    columns, lacking = list(batch.columns), 0  # by their numbers: of those carried along, two may have one name
    try:
        if job.push:
            pushed = job.crossing.push(rows, made_by=job.model)
            columns[job.place] = _lists(pushed.queries)
            columns += [pa.array(np.full(len(rows), pushed.scale)), pa.array(pushed.offset)]
        else:
            side, known = _side_of(job, batch, start)
            columns[job.place] = _lists(job.crossing.apply(rows, side, known, made_by=job.model))
            lacking = 0 if job.crossing.card.side_dimension is None else len(rows) - int(known.sum())
    except BeyondFloat32 as error:
        places = start + np.asarray(error.rows, np.int64)
        raise CannotApply(
            f"The crossing takes column {job.column!r} beyond what float32 holds in {len(places)} of {len(rows)} rows: "
            f"{_named(places)}."
        ) from error
    return pa.RecordBatch.from_arrays(columns, schema=job.schema), lacking


def _side_of(job: _Job, batch: Any, start: int) -> tuple[Array | None, NDArray[np.bool_]]:
    """The side-information of each row, (n, d_side), and which rows have some, (n,); None where it is not read."""
    if job.side_place is None:
        return None, np.zeros(len(batch), bool)
    given = batch.column(job.side_place)
    known = given.is_valid().to_numpy(zero_copy_only=False)
    side = np.zeros((len(batch), job.crossing.card.side_dimension or 0), np.float32)
    side[known] = _vectors(given.drop_null(), _SIDE, side.shape[1], start + np.flatnonzero(known))
    return side, known


def _vectors(column: Any, name: str, dimension: int, start: int | NDArray[np.int64]) -> Array:
    """The column as (n, dimension) float32. start: the number of its first row in the file, or that of each row."""
    places = np.arange(len(column)) + start if isinstance(start, int) else start
    if isinstance(column, pa.ExtensionArray):
        column = column.storage

    def refuse(rows_wrong: ArrayLike, what: str) -> None:
        wrong = np.asarray(rows_wrong, bool)
        if wrong.any():
            raise CannotApply(f"Column {name!r} {what} in {wrong.sum()} of {len(wrong)} rows: {_named(places[wrong])}.")

    refuse(column.is_null().to_numpy(zero_copy_only=False), "has no vector")
    lengths: NDArray[np.int64] = np.asarray(pc.list_value_length(column), np.int64)
    refuse(np.not_equal(lengths, dimension), f"has vectors that are not of {dimension} numbers")
    values = column.flatten()
    nulls = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else np.zeros(len(values), bool)
    refuse(nulls.reshape(-1, dimension).any(axis=1), "has vectors with null in them")
    with np.errstate(over="ignore"):
        rows: Array = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(-1, dimension)
    refuse(~np.isfinite(rows).all(axis=1), "holds a NaN, an infinity, or a number beyond float32")
    return rows


def _named(places: NDArray[np.int64]) -> str:
    more = "" if len(places) <= _MOST_NAMED else " and more"
    return f"rows {', '.join(map(str, places[:_MOST_NAMED]))}{more}, from 0"


def _lists(rows: Array) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
