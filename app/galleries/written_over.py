"""Rows of items as they are written over those that are stored: what they keep, and which vectors go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from app.galleries.embedded_texts import model_made_of, of_another_text
from app.kept_cells import either, given_columns, kept_columns, with_kept
from app.storage.lance_table import StoredRows, embedding_column, vectors_of


@dataclass(frozen=True)
class WrittenOver:
    """Rows as they are to be written over what is stored: with the cells that they keep, and without the vectors that
    were made of what the items were before.

    model: whose vectors the rows have; None where they have none. derived: the columns of models whose vectors are made
    of its own. dropped: counts the vectors that go, by column.
    """

    stored: StoredRows
    model: str | None
    derived: Sequence[pa.Field]
    dropped: Counter[str]

    @cached_property
    def _noted(self) -> dict[str, pa.Field]:
        """The columns that note which texts vectors were made of, by the columns of these vectors."""
        return {
            embedding_column(model): field
            for field in self.stored.schema
            if (model := model_made_of(field.name)) is not None and embedding_column(model) in self.stored.schema.names
        }

    def _looked_at(self, given: pa.Schema) -> list[pa.Field]:
        """The columns of vectors that may have to go: those derived from the rows' own, and those made of texts where
        the rows have payloads."""
        texts = [self.stored.schema.field(name) for name in self._noted if "payload" in given.names]
        known = {field.name: field for field in (*self.derived, *texts)}
        return [field for name, field in known.items() if name != self._own]

    @property
    def _own(self) -> str | None:
        return None if self.model is None else embedding_column(self.model)

    def schema(self, given: pa.Schema) -> pa.Schema:
        """The columns that are written, of rows with the columns that were given."""
        looked_at = self._looked_at(given)
        notes = [self._noted[name] for name in (self._own, *(field.name for field in looked_at)) if name in self._noted]
        return pa.schema([*given_columns(given), *looked_at, *notes])

    def rows(self, given: pa.RecordBatch) -> pa.RecordBatch:
        """Some rows as they are written."""
        kept, looked_at, schema = kept_columns(given.schema), self._looked_at(given.schema), self.schema(given.schema)
        own = [self._own] if self._own is not None and self.derived else []
        notes = [self._noted[field.name].name for field in looked_at if field.name in self._noted]
        wanted = dict.fromkeys([*kept, *own, *(field.name for field in looked_at), *notes])
        if not wanted and len(schema) == given.num_columns:
            return given
        before = self.stored.of(given.column("id"), list(wanted))
        written = with_kept(given, before)
        replaced = _changed(before.column(own[0]), given.column(own[0])) if own else np.zeros(given.num_rows, bool)
        columns = {name: written.column(name) for name in written.schema.names}
        derived = {field.name for field in self.derived}
        for field in looked_at:
            gone = replaced.copy() if field.name in derived else np.zeros(given.num_rows, bool)
            if (note := self._noted.get(field.name)) is not None:
                if "payload" in columns:
                    gone |= of_another_text(before.column(note.name).to_pylist(), columns["payload"].to_pylist())
                columns[note.name] = either(~gone, before.column(note.name), pa.nulls(given.num_rows, note.type))
            columns[field.name] = either(~gone, before.column(field.name), pa.nulls(given.num_rows, field.type))
            self.dropped[field.name] += columns[field.name].null_count - before.column(field.name).null_count
        if self._own in self._noted:  # whoever puts a vector says nothing of what it was made of
            columns[self._noted[self._own].name] = pa.nulls(given.num_rows, pa.string())
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _changed(before: pa.ChunkedArray, now: pa.Array) -> np.ndarray:
    """Which items (n,) bool had another vector before; one that had none has not changed."""
    had, old = vectors_of(before)
    _, new = vectors_of(now)
    changed = np.zeros(len(now), bool)
    changed[had] = (old != new[had]).any(axis=1)
    return changed
