"""Which vectors of several models a dataset or a gallery holds, as SQL conditions on its rows."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.datasets.service import Datasets
from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.storage.lance_table import Table, embedding_column

NOTHING = "false"


@dataclass(frozen=True)
class Holding:
    """Rows with vectors: of a dataset, or the items of a gallery."""

    name: str
    rows: Table
    info: GalleryInfo | None = None

    def generation(self, model: str) -> int | None:
        """The newest generation in the model's space on the way to the active one; None for a dataset, or for none."""
        generations = [] if self.info is None else self.info.ancestry(self.info.active)
        return next((one.number for one in reversed(generations) if one.space.model == model), None)

    def native(self, model: str) -> str:
        """Which rows have a vector that the model made."""
        return self.given(embedding_column(model))

    def reached(self, model: str) -> str:
        """Which rows have a vector in the model's space: one that it made, or one that its generation transforms."""
        number = self.generation(model)
        if self.info is None or number is None:
            return self.native(model)
        made = [self.native(generation.space.model) for generation in self.info.ancestry(number)]
        return f"({' OR '.join(made)})"

    def given(self, column: str) -> str:
        """Which rows have a value in a column."""
        return f"`{column}` IS NOT NULL" if self.rows.has(column) else NOTHING

    def count(self, *conditions: str, version: int | None = None) -> int:
        """Rows that meet every condition."""
        return self.rows.count(every(*conditions), version=version)


def of_dataset(datasets: Datasets, dataset: str, within: Session | None = None) -> Holding:
    """The rows of a dataset; `within` the caller's session where there is one. Raises NotFound."""
    return Holding(f"Dataset {dataset!r}", datasets.store(dataset, within).rows)


def of_queries(datasets: Datasets, dataset: str, within: Session | None = None) -> Holding | None:
    """The judged queries of a dataset, None where it never had any; `within` the caller's session where there is one.

    Raises NotFound.
    """
    queries = datasets.store(dataset, within).queries
    return None if queries is None else Holding(f"The queries of dataset {dataset!r}", queries)


def of_gallery(galleries: Galleries, gallery: str, within: Session | None = None) -> Holding:
    """The items of a gallery; `within` the caller's session where there is one. Raises NotFound."""
    info = galleries.info(gallery, within)
    return Holding(f"Gallery {gallery!r}", galleries.store(info).items, info)


def every(*conditions: str) -> str | None:
    """The conditions joined by AND; None where there are none."""
    return " AND ".join(conditions) or None
