"""Embeds files with a trained model, or exports the model to ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.vectors import MODEL_KEY
from models.arrays import Progress
from models.device import resolve
from models.embedding_model import EmbeddingModel, ModelCard, NotExported, export_onnx, load
from models.inputs import BadInput, bad_rows
from models.portable import Array, PortableError
from workers.embedding.problems import CannotEmbed
from workers.embedding.sources import Source, open_source

MOST_TOLD = 20
_GROUP_BYTES = 64 * 2**20


def embed_files(
    artifact: Path,
    files: Sequence[Path],
    out: Path,
    *,
    device: Literal["auto", "cpu", "cuda"],
    batch: int,
    workers: int,
    remark: Callable[[str], None],
    progress: Progress,
) -> int:
    """Writes a Parquet file of `id`, `embedding`, and the labels and payloads given; returns the number of rows.

    An encoder of side-information gives `id` and `side_information` alone, as `PUT …/side-information` takes them. The
    file appears only once it is complete. Memory holds one row group at a time. Raises CannotEmbed.
    """
    try:
        where = resolve(device)
    except ValueError as error:
        raise CannotEmbed(f"{error}.") from error
    if not out.parent.is_dir():
        raise CannotEmbed(f"There is no folder {out.parent} to write to.")
    model = _loaded(artifact)
    partial = out.with_name(f".{out.name}.partial")
    with tempfile.TemporaryDirectory(prefix=".crosswalk-embed-", dir=out.parent) as folder:
        source = open_source(files, model.preprocessing.modality, Path(folder))
        for sentence in source.remarks:
            remark(sentence)
        vectors = model.stream(source.inputs, device=where, batch=batch, workers=workers, precision="float32")
        try:
            _write(partial, source, _counted(vectors, source.carried.count, progress), model.card)
            partial.replace(out)
        except BadInput as error:
            raise CannotEmbed(_told(model, source, error.row)) from error
        finally:
            partial.unlink(missing_ok=True)
    return source.carried.count


def export(artifact: Path, out: Path) -> float:
    """Writes the model as ONNX; returns its largest difference from PyTorch, as a share of the largest component.

    Raises CannotEmbed.
    """
    try:
        return export_onnx(_loaded(artifact), out)
    except NotExported as error:
        raise CannotEmbed(f"{error}.") from error


def _loaded(artifact: Path) -> EmbeddingModel:
    try:
        return load(artifact)
    except PortableError as error:
        raise CannotEmbed(f"{error}.") from error


def _counted(parts: Iterable[Array], total: int, progress: Progress) -> Iterator[Array]:
    """Passes the vectors on and reports progress; raises CannotEmbed where one is not finite."""
    done = 0
    for part in parts:
        if not np.isfinite(part).all():
            raise CannotEmbed(f"The model gives no finite vector for one of the rows {done} to {done + len(part) - 1}.")
        done += len(part)
        progress(done, total)
        yield part


def _write(path: Path, source: Source, parts: Iterator[Array], card: ModelCard) -> None:
    """Writes row groups of vectors with the columns that were given beside the inputs."""
    given, dimension, beside = source.carried.schema, card.dimension, card.role == "side_information"
    if beside:
        given = pa.schema([given.field("id")])
    embedding = pa.field(
        "side_information" if beside else "embedding", pa.list_(pa.float32(), dimension), nullable=False
    )
    schema = given.insert(1, embedding)
    if not beside:  # what `crosswalk apply` asks of a column that is not named after its model
        schema = schema.with_metadata({**(given.metadata or {}), MODEL_KEY: card.id.encode()})
    rows = max(1, min(2**17, _GROUP_BYTES // (4 * dimension)))
    carried = _tables(source, rows)
    texts = [name for name in given.names if name != "id"]
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=texts) as writer:
        for table, vectors in zip(carried, _regrouped(parts, rows), strict=True):
            values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
            writer.write_table(table.select(given.names).add_column(1, embedding, values), row_group_size=rows)


def _tables(source: Source, rows: int) -> Iterator[pa.Table]:
    """The columns given beside the inputs, in tables of exactly `rows` rows, the last one shorter."""
    held: list[pa.RecordBatch] = []
    for batch in source.carried.batches():
        held.append(batch)
        while sum(map(len, held)) >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            held = table.slice(rows).to_batches()
    if sum(map(len, held)):
        yield pa.Table.from_batches(held)


def _regrouped(parts: Iterator[Array], rows: int) -> Iterator[Array]:
    """Vectors in arrays of exactly `rows` rows, the last one shorter."""
    held: list[Array] = []
    for part in parts:
        held.append(part)
        while sum(map(len, held)) >= rows:
            together = np.concatenate(held)
            yield together[:rows]
            held = [together[rows:]]
    if sum(map(len, held)):
        yield np.concatenate(held)


def _told(model: EmbeddingModel, source: Source, first: int) -> str:
    """The message that names the rows that cannot be embedded, of which `first` is the first."""
    bad = list(islice(bad_rows(source.inputs, model.preprocessing, first), MOST_TOLD))
    reasons = {error.row: error.reason for error in bad}
    lines = [f"{name}: {reasons[row]}" for row, name in _names(source) if row in reasons]
    more = ["These are the first; there may be more."] if len(bad) == MOST_TOLD else []
    return "\n".join([*lines, *more, "Nothing was written."])


def _names(source: Source) -> Iterator[tuple[int, str]]:
    start = 0
    for batch in source.carried.batches():
        yield from enumerate(batch.column("id").to_pylist(), start)
        start += len(batch)
