"""A gallery and its generations at one moment, as plain data: what crosses from this resource to the others."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.portable import Space

BUILDING = "building"
READY = "ready"
ABANDONED = "abandoned"
"""Of a row that stands for the number alone, which is not given again: whoever still writes under it harms nobody."""


@dataclass(frozen=True)
class GenerationInfo:
    """One generation, as plain data."""

    number: int
    space: Space
    parent: int | None
    upgrade: str | None
    transformation: str | None
    state: str
    store_version: int | None
    index_name: str | None
    created_at: datetime
    ready_at: datetime | None
    retired_at: datetime | None = None

    @property
    def transforms(self) -> bool:
        """Whether some of its vectors may be transformed ones."""
        return self.parent is not None and self.retired_at is None


@dataclass(frozen=True)
class GalleryInfo:
    """A gallery and its generations at one moment, as plain data."""

    id: str
    folder: str
    model: str
    side_dimension: int | None
    index_options: dict[str, Any]
    active: int
    created_at: datetime
    generations: dict[int, GenerationInfo]

    @property
    def current(self) -> GenerationInfo:
        """The generation that answers."""
        return self.generations[self.active]

    def ancestry(self, number: int) -> list[GenerationInfo]:
        """The generations from the first to `number`, each the parent of the next."""
        chain = [self.generations[number]]
        while (parent := chain[-1].parent) is not None:
            chain.append(self.generations[parent])
        return chain[::-1]


def generation_tag(number: int | str, version: int | str | None) -> str:
    """The tag that keeps the items readable as of the version that a generation holds."""
    return f"generation-{number}-{version}"
