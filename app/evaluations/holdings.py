"""Which vectors of several models a dataset or a gallery holds, as SQL conditions on its rows."""

from dataclasses import dataclass

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
        steps = [] if self.info is None else self.info.ancestry(self.info.active)
        return next((step.number for step in reversed(steps) if step.space.model == model), None)

    def native(self, model: str) -> str:
        """Which rows have a vector that the model made."""
        return self.given(embedding_column(model))

    def reached(self, model: str) -> str:
        """Which rows have a vector in the model's space: one that it made, or one that its generation transforms."""
        number = self.generation(model)
        if self.info is None or number is None:
            return self.native(model)
        made = [self.native(step.space.model) for step in self.info.ancestry(number)]
        return f"({' OR '.join(made)})"

    def given(self, column: str) -> str:
        """Which rows have a value in a column."""
        return f"`{column}` IS NOT NULL" if self.rows.has(column) else NOTHING

    def count(self, *conditions: str, version: int | None = None) -> int:
        """Rows that meet every condition."""
        return self.rows.count(every(*conditions), version=version)


def of_dataset(datasets: Datasets, dataset: str) -> Holding:
    """The rows of a dataset. Raises NotFound."""
    return Holding(f"Dataset {dataset!r}", datasets.store(dataset).rows)


def of_gallery(galleries: Galleries, gallery: str) -> Holding:
    """The items of a gallery. Raises NotFound."""
    info = galleries.info(gallery)
    return Holding(f"Gallery {gallery!r}", galleries.store(info).items, info)


def every(*conditions: str) -> str | None:
    """The conditions joined by AND; None where there are none."""
    return " AND ".join(conditions) or None
