"""Which writes' vectors a search's score can have come from: what tells an answer of the right space from another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.chaos.vectors import Floats, Model, cosines, vectors

_TOLERANCE = 2e-5
Origin = tuple[Model, int]


Crossings = Callable[[str, Floats], Floats]
"""How an upgrade, by its id, carries old vectors (n, d) into the new space."""


@dataclass
class Writes:
    """The numbers of an item's writes by model, in order, and what upgrades make of the old model's vectors."""

    name: str
    numbers: Mapping[Model, Sequence[int]]
    crossings: Crossings
    _kept: dict[str, Floats] = field(default_factory=dict)

    def plain(self, model: Model) -> Floats:
        return self._made(model, lambda: vectors(model, self.name, list(self.numbers[model])))

    def transformed(self, upgrade: str) -> Floats:
        return self._made(f"by {upgrade}", lambda: self.crossings(upgrade, self.plain("old")))

    def _made(self, key: str, make: Callable[[], Floats]) -> Floats:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def origins(
    writes: Writes, query: Floats, score: float, model: Model, upgrades: Iterable[str], *, own: bool
) -> set[Origin]:
    """The writes whose vector, compared in the query's own space as the route says, has this score.

    upgrades: whose transformation may have carried old vectors to queries of the new model. own: whether vectors that
    the query's model made itself are compared too, and not transformed ones alone.
    """
    found: set[Origin] = set()
    if own and writes.numbers[model]:
        found |= _matching(writes.numbers[model], cosines(query, writes.plain(model)), score, model)
    if model == "new" and writes.numbers["old"]:
        for upgrade in upgrades:
            found |= _matching(writes.numbers["old"], cosines(query, writes.transformed(upgrade)), score, "old")
    return found


def confused(writes: Writes, query: Floats, score: float) -> str | None:
    """What a score that no right comparison explains is explained by: vectors of two spaces compared as they are."""
    for model in ("old", "new"):
        numbers = writes.numbers[model]
        if numbers and _matching(numbers, cosines(query, writes.plain(model)), score, model):
            return f"the query compared with vectors of the {model} model as they are"
    return None


def _matching(numbers: Sequence[int], expected: np.ndarray, score: float, model: Model) -> set[Origin]:
    return {(model, numbers[place]) for place in np.flatnonzero(np.abs(expected - score) < _TOLERANCE).tolist()}
