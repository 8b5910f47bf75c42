"""Which parts of items a listing or an export shows, and the items of one gallery with those parts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import pyarrow as pa

from app.galleries.info import GalleryInfo
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.schemas import ItemField
from app.galleries.store import GalleryStore
from app.problems import Unprocessable
from app.storage.lance_table import embedding_column, vector_type

EVERY_FIELD: tuple[ItemField, ...] = get_args(ItemField)
_SHOWN_UNASKED: tuple[ItemField, ...] = ("label", "payload")
EMBEDDING = "embedding"


def asked_fields(text: str | None) -> tuple[ItemField, ...]:
    """The fields that a URL names with commas between them, in the order in which they are always shown; left out, the
    label and the payload. Raises Unprocessable for any other."""
    if text is None:
        return _SHOWN_UNASKED
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in EVERY_FIELD:
            raise Unprocessable.at(
                f"Items have no field {name[:80]!r}; `fields` takes {', '.join(f'`{known}`' for known in EVERY_FIELD)}"
                ", with commas between them. Vectors come with `vectors=` and the model that made them.",
                parameter="fields",
                message=f"{name[:80]!r} is no field of items",
            )
    return tuple(field for field in EVERY_FIELD if field in names)


@dataclass(frozen=True)
class ItemColumns:
    """Columns of a gallery's items as they are shown: `id`, the fields asked for, and the vectors that one model made
    of the items as `embedding`, where they are asked for.

    fields: the shown columns with their types; stored: what each is called in the items' table.
    """

    fields: tuple[pa.Field, ...]
    stored: tuple[str, ...]

    @classmethod
    def of(
        cls, info: GalleryInfo, store: GalleryStore, shown: Sequence[ItemField], model: str | None = None
    ) -> ItemColumns:
        """The columns as the items' table of a gallery has them. Raises Unprocessable where no item of the gallery can
        have a vector of the model, or has side-information."""
        schema = store.items.schema
        fields, stored = [pa.field("id", pa.string(), nullable=False)], ["id"]
        for name in shown:
            known = name in schema.names
            if name == SIDE_INFORMATION and not known and info.side_dimension is None:
                raise Unprocessable.at(
                    f"Gallery {info.id!r} has no side-information. Leave `side_information` out of `fields`, or store "
                    f"it with PUT /galleries/{info.id}/side-information.",
                    parameter="fields",
                )
            type_ = schema.field(name).type if known else vector_type(info.side_dimension or 0)
            fields.append(pa.field(name, type_))
            stored.append(name)
        if model is not None:
            fields.append(pa.field(EMBEDDING, _vectors_of(info, schema, model), metadata={"model": model}))
            stored.append(embedding_column(model))
        return cls(tuple(fields), tuple(stored))

    @property
    def schema(self) -> pa.Schema:
        """The columns as an Arrow schema."""
        return pa.schema(self.fields)

    def read(self, known: Sequence[str]) -> list[str]:
        """Those of the stored columns that a table with the columns `known` has."""
        return [name for name in self.stored if name in known]

    def shown(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Stored rows as they are shown; a column that the table lacks is of nulls."""
        arrays = [
            rows.column(name) if name in rows.schema.names else pa.nulls(rows.num_rows, field.type)
            for field, name in zip(self.fields, self.stored, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _vectors_of(info: GalleryInfo, schema: pa.Schema, model: str) -> pa.DataType:
    """The type of the column of a model's vectors. Raises Unprocessable where there is none, nor is one to come."""
    column = embedding_column(model)
    if column in schema.names:
        return schema.field(column).type
    spaces = {generation.space.model: generation.space for generation in info.generations.values()}
    if model in spaces:
        return vector_type(spaces[model].dimension)
    raise Unprocessable.at(
        f"No item of gallery {info.id!r} has a vector of model {model!r}; there are vectors of "
        f"{', '.join(repr(known) for known in sorted(spaces))}.",
        parameter="vectors",
        message=f"{model!r} is no model of this gallery",
    )
