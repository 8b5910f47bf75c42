"""Primary keys of any type and any number of columns, as the text that an item's `id` is."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql


@dataclass(frozen=True)
class KeyColumn:
    """One column of the key. sql_type: as SQL writes it, read from the catalogue."""

    name: str
    sql_type: str


@dataclass(frozen=True)
class PrimaryKey:
    """The key's columns. An `id` is the text of the one, or a JSON array of the texts of several."""

    columns: tuple[KeyColumn, ...]

    def texts(self, id_: str) -> tuple[str, ...] | None:
        """The text of each column; None for an id that cannot be of this key."""
        if len(self.columns) == 1:
            return (id_,)
        try:
            texts = json.loads(id_)
        except ValueError:
            return None
        if not isinstance(texts, list) or len(texts) != len(self.columns):
            return None
        return tuple(texts) if all(isinstance(text, str) for text in texts) else None

    def ids(self, texts: Sequence[Sequence[str]]) -> list[str]:
        """The ids of several items. texts: a list a column, each with a text an item."""
        if len(self.columns) == 1:
            return list(texts[0])
        return [json.dumps(several, ensure_ascii=False, separators=(",", ":")) for several in zip(*texts, strict=True)]

    def columns_of(self, ids: Iterable[str]) -> list[list[str]]:
        """The texts of several ids, a list a column; what cannot be an id is left out."""
        texts = [found for id_ in ids if (found := self.texts(id_)) is not None]
        return [[several[place] for several in texts] for place in range(len(self.columns))]

    @property
    def order(self) -> sql.Composed:
        """The columns of the table `t`, as a list."""
        return sql.SQL(", ").join(sql.Identifier("t", column.name) for column in self.columns)

    @property
    def as_texts(self) -> sql.Composed:
        """The texts of the columns of the table `t`, as a list of columns k1, k2, ..."""
        return sql.SQL(", ").join(
            sql.SQL("{}::text AS {}").format(sql.Identifier("t", column.name), sql.Identifier(f"k{place}"))
            for place, column in enumerate(self.columns, 1)
        )

    def behind(self) -> sql.Composed:
        """A condition with a placeholder a column, from $1: keys behind one, in the key's order."""
        values = sql.SQL(", ").join(
            sql.SQL(f"${place}::") + sql.SQL(column.sql_type) for place, column in enumerate(self.columns, 1)
        )
        return sql.SQL("({}) > ({})").format(self.order, values)

    def equals(self, texts: str, *, as_text: bool = False) -> sql.Composed:
        """A condition: the key of the table `t` is what the columns k1, k2, ... of `texts` say. as_text: its text is,
        which no text is wrong for, and which no index helps to find."""
        form = sql.SQL("{0}::text = {1}" if as_text else "{0} = {1}::{2}")
        return sql.SQL(" AND ").join(
            form.format(sql.Identifier("t", column.name), sql.Identifier(texts, f"k{place}"), sql.SQL(column.sql_type))
            for place, column in enumerate(self.columns, 1)
        )

    def unnested(self, alias: str) -> sql.Composed:
        """A table of keys made of placeholders from $1, an array of texts a column, to be joined by `equals`."""
        places = range(1, len(self.columns) + 1)
        arrays = sql.SQL(", ").join(sql.SQL(f"${place}::text[]") for place in places)
        names = sql.SQL(", ").join(sql.Identifier(f"k{place}") for place in places)
        return sql.SQL("unnest({}) AS {} ({})").format(arrays, sql.Identifier(alias), names)
