"""What a bulk body must look like: its columns, and how much of everything is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

if TYPE_CHECKING:  # the decoding process does without the settings: their import costs more than a small body
    from app.settings import Settings

Kind = Literal["id", "label", "payload", "relevant", "vector", "image", "text"]

ID_CHARACTERS = 512
LABEL_CHARACTERS = 512
PAYLOAD_BYTES = 64 * 2**10
RELEVANT_BYTES = 64 * 2**10
TEXT_BYTES = 2**20
IMAGE_BYTES = 8 * 2**20

MOST_COMPONENTS = 65_536
"""Of a vector whose dimension nobody has said before."""

_CHUNK_BYTES = 8 * 2**20
_CHUNK_ROWS = 8192
# What a cell is planned at when a chunk of rows is sized. The largest allowed still fit the decoder's memory.
_PLANNED_BYTES = {
    "id": 64,
    "label": 64,
    "payload": 16 * 2**10,
    "relevant": 16 * 2**10,
    "text": 32 * 2**10,
    "image": 256 * 2**10,
}
_PLANNED_DIMENSION = 1024
_TYPES = {
    "id": pa.string(),
    "label": pa.string(),
    "payload": pa.string(),
    "relevant": pa.string(),
    "image": pa.binary(),
    "text": pa.string(),
}


@dataclass(frozen=True)
class Column:
    """One column of a body; `dimension` is the length of its vectors, 0 for a column of another kind, and for vectors
    that are all as long as the first."""

    name: str
    kind: Kind
    dimension: int = 0
    required: bool = False

    @property
    def type(self) -> pa.DataType:
        """The canonical type: utf8, binary, or fixed_size_list<float32>[dimension]."""
        return pa.list_(pa.float32(), self.dimension) if self.kind == "vector" else _TYPES[self.kind]

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, self.type, nullable=not self.required)

    @property
    def planned_bytes(self) -> int:
        """Bytes of memory for one cell of this column: exact for a vector, an allowance for anything else."""
        return 4 * (self.dimension or _PLANNED_DIMENSION) if self.kind == "vector" else _PLANNED_BYTES[self.kind]


@dataclass(frozen=True)
class Expected:
    """The columns that a body may and must have. `noun` is what its rows are called, and the key of its JSON list."""

    noun: str
    columns: tuple[Column, ...]

    @classmethod
    def items(cls, dimension: int, side_dimension: int | None = None) -> Expected:
        """Items of a gallery: each has an id and an embedding."""
        embedding = Column("embedding", "vector", dimension, required=True)
        return cls("items", (_ID, embedding, *_side(side_dimension), _LABEL, _PAYLOAD))

    @classmethod
    def changes(cls) -> Expected:
        """What changes of items that are there, without their vectors: each row has an id."""
        return cls("items", (_ID, _LABEL, _PAYLOAD))

    @classmethod
    def side_information(cls, dimension: int) -> Expected:
        """Side-information of items that are there: each row has an id and a vector."""
        return cls("items", (_ID, Column("side_information", "vector", dimension, required=True)))

    @classmethod
    def rows(cls, dimensions: Mapping[str, int], side_dimension: int | None = None) -> Expected:
        """Rows of a dataset: each has an id and whatever else there is; `dimensions` by model id.

        side_dimension: None where nobody has said it, so that the first row with side-information shows it.
        """
        vectors = [Column(f"embedding.{model}", "vector", dimension) for model, dimension in dimensions.items()]
        return cls(
            "rows",
            (_ID, *vectors, *_side(side_dimension or 0), _LABEL, Column("text", "text"), Column("image", "image")),
        )

    @classmethod
    def judged_queries(cls, dimensions: Mapping[str, int]) -> Expected:
        """Queries of a dataset: each has an id, vectors by model (`dimensions` by model id), and the relevant items."""
        vectors = [Column(f"embedding.{model}", "vector", dimension) for model, dimension in dimensions.items()]
        return cls("queries", (_ID, *vectors, Column("relevant", "relevant")))

    @classmethod
    def queries(cls, dimension: int, old_dimension: int | None = None) -> Expected:
        """Query vectors, without ids: a column `vector`, and, where `old_dimension` is given, one `old_vector` that may
        be left out: the same queries by another model, for each of them or for none."""
        old = () if old_dimension is None else (Column("old_vector", "vector", old_dimension),)
        return cls("vectors", (Column("vector", "vector", dimension, required=True), *old))

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class UploadLimits:
    """How much a body may hold, and what decoding it may take."""

    rows: int
    body_bytes: int
    json_bytes: int
    decoded_bytes: int
    """Largest canonical form: compressed bodies grow, and this is how far."""
    memory_bytes: int = 768 * 2**20
    """Bytes that the decoding process may allocate above what its imports take."""
    base_seconds: int = 60
    """Processor time for decoding a small body; a larger one has more."""

    @classmethod
    def of(cls, settings: Settings) -> UploadLimits:
        return cls(
            rows=settings.upload_rows_limit,
            body_bytes=settings.upload_limit_bytes,
            json_bytes=settings.json_limit_bytes,
            decoded_bytes=4 * settings.upload_limit_bytes,
            memory_bytes=settings.upload_memory_bytes,
        )

    def body(self, media_type: str) -> int:
        """The largest body of a media type, in bytes."""
        return min(self.json_bytes, self.body_bytes) if media_type.endswith("json") else self.body_bytes

    def seconds(self, body_bytes: int) -> int:
        """Processor time that decoding a body may take: a second more for every 4 MiB."""
        return self.base_seconds + body_bytes // (4 * 2**20)


def chunk_rows(columns: tuple[Column, ...]) -> int:
    """How many rows of these columns are decoded at a time, so that a chunk stays near 8 MiB."""
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(1, sum(column.planned_bytes for column in columns))))


_ID = Column("id", "id", required=True)
_LABEL = Column("label", "label")
_PAYLOAD = Column("payload", "payload")


def _side(dimension: int | None) -> tuple[Column, ...]:
    return () if dimension is None else (Column("side_information", "vector", dimension),)
