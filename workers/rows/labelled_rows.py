"""Rows to train a model on: raw input, label and the old model's vector, kept in one file for as long as they are used.

The file is the truth for every attempt at training: a dataset may be written to meanwhile, and a resumed training must
read what the interrupted one read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.storage.lance_table import embedding_column, vector_type
from app.upgrades.info import UpgradeInfo
from models.inputs import ArrowColumn
from models.portable import Array, replacing
from workers.rows.by_id import ROWS_AT_ONCE, unsorted, write_by_id
from workers.rows.items import items_by_id
from workers.rows.partial import Partial

_VERSION, _WITH_INPUT = b"version", b"rows with input"


@dataclass(frozen=True)
class LabelledRows:
    """Labelled rows of a dataset. id, label: (n,) object; inputs: encoded images or texts; old: (n, d_old) float32.

    version: of the dataset that was read; left_out: the number of its rows with an input but no label or old vector.
    """

    id: NDArray[Any]
    label: NDArray[Any]
    inputs: ArrowColumn
    old: Array
    version: int
    left_out: int

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, inputs and old vectors."""
        digest = hashlib.sha256(np.ascontiguousarray(self.old).tobytes())
        for place, (row, label) in enumerate(zip(self.id, self.label, strict=True)):
            raw = self.inputs[place]
            digest.update(f"{row}\0{label}\0".encode() + (raw.encode() if isinstance(raw, str) else raw))
        return digest.hexdigest()


def labelled_rows(crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str, column: str, path: Path) -> LabelledRows:
    """The dataset's rows with `column` ("image" or "text"), as they were when this was first called for `path`.

    A label or old vector that a row lacks is taken from the item of the same id in the upgrade's galleries.
    """
    if not path.exists():
        _write(crosswalk, upgrade, dataset, column, path)
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        about = reader.schema.metadata
        batches = [reader.get_batch(number).drop_columns(["input"]) for number in range(reader.num_record_batches)]
        schema = reader.schema.remove(reader.schema.get_field_index("input"))
        table = pa.Table.from_batches(batches, schema)
        return LabelledRows(
            id=np.array(table.column("id").to_pylist(), object),
            label=np.array(table.column("label").to_pylist(), object),
            inputs=ArrowColumn(path, "input"),
            old=Partial.of(table, "old").values.copy(),
            version=int(about[_VERSION]),
            left_out=int(about[_WITH_INPUT]) - table.num_rows,
        )


def _write(crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str, column: str, path: Path) -> None:
    table = crosswalk.datasets.store(dataset).rows
    version, given = table.version, f"{column} IS NOT NULL"
    about = {_VERSION: str(version).encode(), _WITH_INPUT: str(table.count(given, version=version)).encode()}
    fields = [
        ("id", pa.string()),
        ("label", pa.string()),
        ("input", pa.large_string() if column == "text" else pa.large_binary()),
        ("old", vector_type(crosswalk.models.space(upgrade.source).dimension)),
    ]
    schema = pa.schema(fields, metadata=about)
    known = table.columns(version)
    read = [name for name in ("id", "label", column, embedding_column(upgrade.source)) if name in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, unsorted(path) as as_stored:
        with pa.OSFile(str(as_stored), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in table.scan(read, where=given, version=version, batch_rows=ROWS_AT_ONCE):
                for part in _completed(crosswalk, upgrade, batch, column, schema):
                    writer.write_batch(part)
        write_by_id(as_stored, partial, schema)


def _completed(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, batch: pa.RecordBatch, column: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of a batch that have a label and an old vector, their own or that of the item of the same id."""
    ids = batch.column("id").to_pylist()
    label = np.array(batch.column("label").to_pylist(), object)
    old = Partial.of(batch, embedding_column(upgrade.source))
    lacking = [ids[place] for place in np.flatnonzero(~old.has | (label == None))]  # noqa: E711  # element by element
    if lacking:
        place_of = {item: place for place, item in enumerate(ids)}
        for name in upgrade.galleries:
            items = items_by_id(crosswalk, crosswalk.galleries.info(name), lacking)
            places = np.array([place_of[item] for item in items.id], np.int64)
            old = old.filled(places, items.vector)
            unlabelled = np.array([label[place] is None for place in places], bool)
            label[places[unlabelled]] = items.label[unlabelled]
    complete = np.flatnonzero(old.has & (label != None))  # noqa: E711
    if len(complete):
        flat = pa.array(old.values[complete].ravel())
        vectors = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("old").type)
        columns = [
            pa.array([ids[place] for place in complete], pa.string()),
            pa.array(label[complete].tolist(), pa.string()),
            batch.column(column).take(pa.array(complete)).cast(schema.field("input").type),
            vectors,
        ]
        yield pa.record_batch(columns, schema=schema)


def read_rows(crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str) -> LabelledRows:
    """The rows of a dataset that a model can be trained or judged on, as they were when the upgrade first read them."""
    path = UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade.id).labelled_rows(dataset)
    return labelled_rows(crosswalk, upgrade, dataset, upgrade.compatible.to.built.modality, path)
