"""The files of a local run: which columns they have, what is wrong with them, and their rows a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.upgrades.enough import FEWEST_PAIRS
from app.wording import count_of
from models.proof.judged_queries import FEWEST_QUERIES

VECTOR = "embedding"
_ROWS_AT_ONCE, _BYTES_AT_ONCE, _BYTES_OF_A_NUMBER = 50_000, 2**27, 8
_OLD_COLUMNS = ("id", VECTOR, "label", "side_information")
_SAMPLE_COLUMNS = ("id", VECTOR)
_QUERY_COLUMNS = ("id", "relevant", "embedding.old", "embedding.new")


class WrongFile(Exception):
    """A file that cannot be used as it is; the text names it, and says what to do."""


@dataclass(frozen=True)
class VectorFile:
    """A Parquet file of vectors: what of it is read, and how many rows it has. dimension: of the column `embedding`."""

    path: Path
    columns: tuple[str, ...]
    rows: int
    dimension: int

    @classmethod
    def old(cls, path: Path) -> VectorFile:
        """The gallery as the old model sees it. Raises WrongFile."""
        return cls._of(path, _OLD_COLUMNS)

    @classmethod
    def sample(cls, path: Path) -> VectorFile:
        """The part of the gallery that the new model has embedded. Raises WrongFile."""
        return cls._of(path, _SAMPLE_COLUMNS)

    @classmethod
    def _of(cls, path: Path, known: Sequence[str]) -> VectorFile:
        file = _opened(path)
        names = file.schema_arrow.names
        for column in ("id", VECTOR):
            if column not in names:
                raise WrongFile(f"{path} has no column `{column}`. It has {', '.join(f'`{one}`' for one in names)}.")
        _refuse_repeated_columns(path, names, known)
        if not file.metadata.num_rows:
            raise WrongFile(f"{path} has no rows.")
        return cls(path, tuple(one for one in known if one in names), file.metadata.num_rows, _dimension(path, file))

    def parts(self) -> Iterator[tuple[int, pa.Table]]:
        """What is read of its rows, some at a time, each part with the number of its first row, from 0."""
        first = 0
        for batch in _opened(self.path).iter_batches(self.rows_at_once, columns=list(self.columns)):
            yield first, pa.Table.from_batches([batch])
            first += batch.num_rows

    @property
    def rows_at_once(self) -> int:
        """As many rows as are looked at at a time: of long vectors, fewer."""
        return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (_BYTES_OF_A_NUMBER * max(1, self.dimension))))

    def refuse_repeated_ids(self) -> None:
        """Raises WrongFile where an id is there twice."""
        counts = pc.value_counts(self.ids())
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            raise WrongFile(f"{self.path} has the `id` {twice[0]['values'].as_py()!r} twice. An item is there once.")

    def ids(self) -> pa.ChunkedArray:
        """The ids, as strings."""
        return _opened(self.path).read(["id"]).column("id").cast(pa.string())

    def dimension_of(self, column: str) -> int | None:
        """How long the vectors of another column are; None where it has none."""
        return _dimension(self.path, _opened(self.path), column) if column in self.columns else None


@dataclass(frozen=True)
class QueryFile:
    """A Parquet file of judged queries, with vectors of both models."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> QueryFile:
        """Raises WrongFile where a column is missing."""
        file = _opened(path)
        names = file.schema_arrow.names
        if lacking := [column for column in _QUERY_COLUMNS if column not in names]:
            raise WrongFile(
                f"{path} lacks {', '.join(f'`{column}`' for column in lacking)}. Queries have `id`, `relevant` (the "
                "ids of the items that answer it), and their vectors of both models, `embedding.old`, `embedding.new`."
            )
        _refuse_repeated_columns(path, names, _QUERY_COLUMNS)
        if not file.metadata.num_rows:
            raise WrongFile(f"{path} has no rows.")
        return cls(path)

    def refuse_too_few(self, answerable: int | None = None) -> NoReturn:
        """Raises WrongFile: nothing is judged by the file's queries. answerable: how many have vectors of both models
        and name a relevant item, where that is what is lacking."""
        lacking = "" if answerable is None else f"{answerable or 'None'} of its queries are such. "
        raise WrongFile(
            f"{self.path} holds too few queries to judge by. {lacking}At least {FEWEST_QUERIES} need both vectors, and "
            "an item in `relevant` that the gallery's file holds. Without --queries, labels judge, or the new vectors."
        )

    def table(self) -> pa.Table:
        return _opened(self.path).read(list(_QUERY_COLUMNS))


def refuse_too_few_in_common(old: VectorFile, sample: VectorFile) -> None:
    """Raises WrongFile where too few rows of the sample have the id of a row of the old file to learn from."""
    both = pc.sum(pc.is_in(sample.ids(), value_set=old.ids().combine_chunks())).as_py() or 0
    if both < FEWEST_PAIRS:
        raise WrongFile(
            f"{count_of(sample.rows, 'row')} of {sample.path}, of which {both or 'none'} have the `id` of a row of "
            f"{old.path}. A crossing is learned from items that both files hold: at least {FEWEST_PAIRS}, and some "
            "hundreds to do well."
        )


def _refuse_repeated_columns(path: Path, names: Sequence[str], read: Sequence[str]) -> None:
    """Raises WrongFile where a column that is read is there twice; others are carried along as they are."""
    for column in read:
        if names.count(column) > 1:
            raise WrongFile(f"{path} has {names.count(column)} columns `{column}`.")


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise WrongFile(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from error


def _dimension(path: Path, file: pq.ParquetFile, column: str = VECTOR) -> int:
    type_ = file.schema_arrow.field(column).type
    if pa.types.is_fixed_size_list(type_):
        return int(type_.list_size)
    if not (pa.types.is_list(type_) or pa.types.is_large_list(type_)):
        raise WrongFile(f"{path}: column `{column}` is of type {type_}; it must be a list of numbers.")
    for batch in file.iter_batches(1024, columns=[column]):
        lengths = pc.list_value_length(batch.column(0)).drop_null()
        if len(lengths):
            return int(lengths[0].as_py())
    raise WrongFile(f"{path}: column `{column}` holds no vector.")
