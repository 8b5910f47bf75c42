"""A gallery and its generations at one moment, as plain data: what crosses from this resource to the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from app.galleries.elsewhere import Elsewhere
from app.stores.protocol import Target
from models.portable import Space

BUILDING = "building"
READY = "ready"
ABANDONED = "abandoned"
"""Of a row that stands for the number alone, which is not given again: whoever still writes under it harms nobody."""


@dataclass(frozen=True)
class InStore:
    """A generation whose vectors an upgrade writes into the user's own store, as of when it was last caught up.

    items: how many have their vector there; native: those of them that have one which the generation's own model made,
    in place of a transformed one; behind: how many were found to differ by then,
    as they are changed all the time; caught_up_at: None
    before the first time; statement: what the user's application has to do, as the gallery was last switched; None for
    nothing. failed: why it was asked to catch up and could not, unless it has since.
    """

    target: Target
    items: int = 0
    native: int = 0
    behind: int = 0
    caught_up_at: datetime | None = None
    statement: str | None = None
    failed: str | None = None

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> InStore:
        at = kept.get("caught_up_at")
        return cls(
            Target(**kept["target"]),
            kept.get("items", 0),
            kept.get("native", 0),
            kept.get("behind", 0),
            None if at is None else datetime.fromisoformat(at),
            kept.get("statement"),
            kept.get("failed"),
        )

    def to_json(self) -> dict[str, Any]:
        at = self.caught_up_at
        return asdict(self) | {"caught_up_at": None if at is None else at.isoformat()}


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
    in_store: InStore | None = None

    @property
    def transforms(self) -> bool:
        """Whether some of its vectors may be transformed ones."""
        return self.parent is not None and self.retired_at is None


@dataclass(frozen=True)
class GalleryInfo:
    """A gallery and its generations at one moment, as plain data. store: where its items lie, if in a store of the
    user's own, as it was registered; None where they lie here."""

    id: str
    folder: str
    model: str
    side_dimension: int | None
    index_options: dict[str, Any]
    active: int
    created_at: datetime
    generations: dict[int, GenerationInfo]
    store: dict[str, Any] | None = None

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Where its items lie, if in a store of the user's own."""
        return None if self.store is None else Elsewhere.from_json(self.store)

    @property
    def how_to_fill(self) -> str:
        """What to do about an empty gallery."""
        if (elsewhere := self.elsewhere) is None:
            return f"PUT /galleries/{self.id}/items first."
        return f"Its items are those of {elsewhere}."

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


def target_of(folder: str, number: int, space: Space) -> Target:
    """Where a generation's vectors go in a user's own store. folder: the gallery's, whose random end no gallery that is
    registered later under the same id shares, so that what one left is not taken for another's."""
    return Target(f"crosswalk_{folder[-8:]}_{number}", space.dimension, space.metric)


def generation_tag(number: int | str, version: int | str | None) -> str:
    """The tag that keeps the items readable as of the version that a generation holds."""
    return f"generation-{number}-{version}"
