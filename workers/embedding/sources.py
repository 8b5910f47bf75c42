"""Reads what is to be embedded: image files and folders of them, a table, or lines of text.

Each becomes the inputs, which several processes read in any order, and the columns given beside them, which are spooled
to disk and checked by the rules for a gallery's items.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from app.problems import Problem
from app.uploads import UploadedRows, UploadLimits
from app.uploads.decoding import decode
from app.uploads.expected_columns import Column, Expected
from app.uploads.media_types import ARROW
from models.inputs import FORMATS, ArrowColumn, Inputs
from workers.embedding.problems import CannotEmbed

CARRIED = Expected("items", (Column("id", "id", required=True), Column("label", "label"), Column("payload", "payload")))
TABLES = (".parquet", ".arrow", ".arrows", ".feather")
LINES = (".txt", ".jsonl")
_ROWS_AT_ONCE = 1024
_NO_LIMITS = UploadLimits(rows=2**40, body_bytes=2**60, json_bytes=2**60, decoded_bytes=2**60)


@dataclass(frozen=True)
class Source:
    """inputs: encoded images or texts; carried: their ids, and labels and payloads where there are any, in order."""

    inputs: Inputs
    carried: UploadedRows
    remarks: tuple[str, ...] = ()


class ImageFiles(Sequence[bytes]):
    """The contents of files, each read when it is indexed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: Any) -> Any:
        return self._paths[place].read_bytes()


def open_source(files: Sequence[Path], modality: str, folder: Path) -> Source:
    """Opens the given files, spooling to `folder` what cannot be read in place. Raises CannotEmbed.

    modality: "image" or "text", what the model embeds.
    """
    kinds = {path.suffix.lower() for path in files if path.is_file()} & {*TABLES, *LINES}
    if kinds and len(files) > 1:
        raise CannotEmbed("Give one table or text file at a time; only image files and folders come several at once.")
    if not kinds and modality == "text":
        raise CannotEmbed(f"This model embeds texts: give one file of {', '.join((*LINES, *TABLES))}.")
    if not kinds:
        return _images(files, folder)
    (file,) = files
    try:
        if file.suffix.lower() in TABLES:
            return _table(file, modality, folder)
        if modality == "image":
            raise CannotEmbed(f"{file} holds texts, and this model embeds images.")
        return _spooled(_lines(file), pa.string(), folder)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise CannotEmbed(f"{file} cannot be read: {str(error).splitlines()[0]}.") from error


def _images(files: Iterable[Path], folder: Path) -> Source:
    suffixes = {suffix for suffix, form in Image.registered_extensions().items() if form in FORMATS}
    named: list[tuple[str, Path]] = []
    left_out = 0
    for given in files:
        if given.is_file():
            named.append((given.name, given))
            continue
        inside = sorted(path for path in given.rglob("*") if path.is_file())
        images = [path for path in inside if path.suffix.lower() in suffixes]
        named += [(path.relative_to(given).as_posix(), path) for path in images]
        left_out += len(inside) - len(images)
    if not named:
        raise CannotEmbed(f"There is no image in {', '.join(map(str, files))}.")
    ids = pa.record_batch({"id": pa.array([name for name, _ in named])})
    remarks = (f"{left_out} files are no images by their names, and are left out.",) if left_out else ()
    return Source(ImageFiles([path for _, path in named]), _carried([ids], ids.schema, folder), remarks)


def _table(file: Path, modality: str, folder: Path) -> Source:
    schema, batches = _batches(file)
    wanted = [column.name for column in CARRIED.columns if column.name in schema.names]
    for name in ("id", modality):
        if schema.names.count(name) != 1:
            raise CannotEmbed(
                f"{file} has {schema.names.count(name)} columns {name!r}, and this needs one; "
                f"there are {', '.join(schema.names)}."
            )
    type_ = schema.field(modality).type
    if not _fits(type_, modality):
        kind = "encoded image files, as binary" if modality == "image" else "strings"
        raise CannotEmbed(f"Column {modality!r} of {file} is of type {type_}; it should hold {kind}.")
    left_out = [name for name in schema.names if name not in (*wanted, modality)]
    remarks = (f"Columns that are not carried along: {', '.join(left_out)}.",) if left_out else ()
    chosen = (batch.select([*wanted, modality]).rename_columns([*wanted, "input"]) for batch in batches)
    return _spooled(chosen, type_, folder, pa.schema([schema.field(name) for name in wanted]), remarks)


def _batches(file: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if file.suffix.lower() == ".parquet":
        table = pq.ParquetFile(file, pre_buffer=False)
        return table.schema_arrow, table.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False)
    source = pa.memory_map(str(file))
    try:
        reader = pa.ipc.open_file(source)
    except pa.ArrowInvalid:  # the other of Arrow's two formats
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        return stream.schema, iter(stream)
    return reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))


def _fits(type_: pa.DataType, modality: str) -> bool:
    if modality == "image":
        return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _lines(file: Path) -> Iterator[pa.RecordBatch]:
    """Rows of id, label, payload and input; the id of a line of plain text is its number, from 1."""
    columns = pa.schema([(name, pa.string()) for name in ("id", "label", "payload", "input")])
    with file.open(encoding="utf-8", newline="\n") as text:
        lines = enumerate((line.rstrip("\r\n") for line in text), start=1)
        rows: Iterator[dict[str, Any]]
        if file.suffix.lower() == ".jsonl":
            rows = (_object(file, number, line) for number, line in lines if line.strip())
        else:
            rows = ({"id": str(number), "input": line} for number, line in lines)
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            yield pa.RecordBatch.from_pylist(some, columns)


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CannotEmbed(f"Line {number} of {file} is not JSON: {error}.") from None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("id", "text")):
        raise CannotEmbed(f'Line {number} of {file} should be an object with the strings "id" and "text".')
    label, payload = row.get("label"), row.get("payload")
    if not isinstance(label, str | int | None) or isinstance(label, bool):
        raise CannotEmbed(f'The "label" on line {number} of {file} should be a string or an integer.')
    return {
        "id": row["id"],
        "label": None if label is None else str(label),
        "payload": None if payload is None else json.dumps(payload, ensure_ascii=False),
        "input": row["text"],
    }


def _spooled(
    batches: Iterable[pa.RecordBatch],
    type_: pa.DataType,
    folder: Path,
    carried: pa.Schema | None = None,
    remarks: tuple[str, ...] = (),
) -> Source:
    """Writes the column `input` and the columns beside it to files of their own, in one pass over the batches."""
    path = folder / "inputs.arrow"
    carried = carried or pa.schema([(column.name, pa.string()) for column in CARRIED.columns])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("input", type_)])) as writer:

        def split() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                writer.write_batch(batch.select(["input"]))
                yield batch.select(carried.names)

        rows = _carried(split(), carried, folder)
    return Source(ArrowColumn(path, "input"), rows, remarks)


def _carried(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> UploadedRows:
    """Checks the columns given beside the inputs as the service will check them. Raises CannotEmbed."""
    raw = folder / "carried.arrows"
    with pa.OSFile(str(raw), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    try:
        return decode(raw, ARROW, CARRIED, _NO_LIMITS, folder / "rows.arrows")
    except Problem as problem:
        errors = [f"row {error['row']}, {error['column']}: {error['message']}" for error in _cells(problem)]
        raise CannotEmbed("\n".join(errors) or problem.detail) from problem


def _cells(problem: Problem) -> list[dict[str, Any]]:
    return [error for error in problem.members.get("errors", []) if "row" in error]
