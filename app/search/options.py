"""What a search may be asked beside its queries, its k and its filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.problems import NotFound, Unprocessable
from app.search.routing import RouteName
from app.settings import Settings
from app.wording import count_of
from models.portable import Space

GroupBy = Literal["label"]
DEFAULT_GROUP_SIZE = 3


@dataclass(frozen=True)
class Asking:
    """Where a request says what it asks: in members of a body, or in parameters of the URL."""

    in_body: bool = False

    def place(self, name: str) -> dict[str, str]:
        """How a problem points there, as keyword arguments of `Unprocessable.at`; name: `like`, or `like/3`."""
        return {"pointer": f"/{name}"} if self.in_body else {"parameter": name.partition("/")[0]}


@dataclass(frozen=True)
class SearchOptions:
    """min_score, max_distance: how near an item must be to be found at all. with_vectors: whether the answer shows the
    items' vectors. group_by: by what the answer is grouped, if it is, and group_size the items of each group."""

    min_score: float | None = None
    max_distance: float | None = None
    with_vectors: bool = False
    group_by: GroupBy | None = None
    group_size: int = DEFAULT_GROUP_SIZE
    asking: Asking = field(default_factory=Asking)

    @classmethod
    def of(
        cls,
        asking: Asking,
        *,
        min_score: float | None = None,
        max_distance: float | None = None,
        with_vectors: bool | None = None,
        group_by: GroupBy | None = None,
        group_size: int | None = None,
    ) -> SearchOptions:
        """The options as a request has them. Raises Unprocessable where one means nothing without another."""
        if group_size is not None and group_by is None:
            raise Unprocessable.at(
                "`group_size` says how many items each group has: send `group_by` too, or leave it out.",
                **asking.place("group_size"),
            )
        size = DEFAULT_GROUP_SIZE if group_size is None else group_size
        return cls(min_score, max_distance, bool(with_vectors), group_by, size, asking)

    @property
    def items_per_answer(self) -> int:
        """How many items stand for one of the k answers to a query."""
        return self.group_size if self.group_by else 1

    def check_scores(self, space: Space, route: RouteName) -> None:
        """Raises Unprocessable for a limit to scores that the queries' space or the route has not. space: the queries'
        own, whose metric tells what scores are."""
        for name, value in (("min_score", self.min_score), ("max_distance", self.max_distance)):
            if value is not None and route == "fused":
                raise Unprocessable.at(
                    f"`{name}` has no meaning on route `fused`: its scores compare the items of one answer with each "
                    "other, and say nothing by themselves.",
                    **self.asking.place(name),
                )
        if self.min_score is not None and space.metric == "l2":
            raise Unprocessable.at(
                f"Model {space.model!r} is of metric l2, whose scores are distances: send `max_distance`.",
                **self.asking.place("min_score"),
            )
        if self.max_distance is not None and space.metric != "l2":
            raise Unprocessable.at(
                f"Model {space.model!r} is of metric {space.metric}, whose scores are similarities: send `min_score`.",
                **self.asking.place("max_distance"),
            )

    def check_size(self, settings: Settings, queries: int, k: int, dimension: int) -> None:
        """Raises Unprocessable where the answer would be too large. dimension: of the vectors that it would show."""
        items, name = k * self.items_per_answer, "group_size" if self.group_by else "k"
        asked, make = count_of(queries, "query", "queries"), "makes" if queries == 1 else "make"
        if self.group_by is not None and queries * items > settings.search_k_limit:
            raise Unprocessable.at(
                f"{asked} with {count_of(k, 'group')} of {count_of(self.group_size, 'item')} {make} "
                f"{count_of(queries * items, 'item')}; one grouped answer holds up to {settings.search_k_limit}.",
                **self.asking.place(name),
            )
        numbers = queries * items * (1 + (dimension if self.with_vectors else 0))
        if numbers > settings.search_answer_numbers:
            raise Unprocessable.at(
                f"{asked} with {count_of(items, 'item')}{'' if queries == 1 else ' each'}"
                f"{f' and their vectors of {dimension} numbers' if self.with_vectors else ''} {make} an answer of "
                f"{numbers} numbers; this service answers with up to {settings.search_answer_numbers}. Send fewer "
                "queries at once, or a smaller k.",
                **self.asking.place("k"),
            )


NO_OPTIONS = SearchOptions()


@dataclass(frozen=True)
class LikeItems:
    """Queries by example: the ids of items, for each of which what is like it is searched."""

    ids: Sequence[str]
    asking: Asking

    def unknown(self, place: int, gallery: str) -> NotFound:
        """That no item has the id at this place."""
        message = f"Gallery {gallery!r} has no item {self.ids[place][:200]!r}."
        return NotFound(message, errors=[{**self.asking.place(f"like/{place}"), "message": message}])

    def unusable(self, place: int, why: str) -> Unprocessable:
        """That the item at this place makes no query."""
        message = f"Item {self.ids[place][:200]!r} {why}."
        return Unprocessable.at(message, **self.asking.place(f"like/{place}"))


def refuse_unless_one(asking: Asking, name: str, vectors: object, like: object, old_vectors: object) -> None:
    """Raises Unprocessable where queries are given as vectors and as examples, or as neither; and where vectors of the
    old model come with examples. name: of the vectors, `vector` or `vectors`."""
    if vectors is None and like is None:
        raise Unprocessable.at(
            f"Send `{name}`, or `like` with what is in the gallery already.",
            message="is missing; send it, or `like`",
            **asking.place(name),
        )
    if vectors is not None and like is not None:
        raise Unprocessable.at(f"Send `{name}` or `like`, not both.", **asking.place("like"))
    if like is not None and old_vectors is not None:
        raise Unprocessable.at(
            "Items have their own old vectors: route `fused` searches what is `like` them by both models. Leave "
            f"`old_{name}` out.",
            **asking.place(f"old_{name}"),
        )
