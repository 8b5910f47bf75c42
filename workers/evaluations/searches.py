"""Searches to be measured: a gallery's vectors carried to the space of the queries, and how that was done, in words.

Vectors of different spaces are never compared silently: every search names the crossings that its gallery went through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.upgrades.accepted_crossings import UpgradeCrossing
from models.arrays import RowNumbers
from models.evaluation.searches import (
    GallerySearch,
    NothingToMeasure,
    SearchResult,
    evaluate,
    own_entries,
    true_neighbours,
)
from models.portable import Array, CorruptArtifact, WrongDirection
from workers.context import StepFailed
from workers.rows.evaluation_rows import Evaluated

SEED = 0
RECALL = "recall@10"
_KS = {"cmc@1": 1, "cmc@5": 5}


@dataclass(frozen=True)
class Crossed:
    """A search, and JSON that says by which crossings its gallery's vectors came to the space of its queries."""

    search: GallerySearch
    how: dict[str, Any]


def measured_json(crossed: Crossed, measured: SearchResult) -> dict[str, Any]:
    """A search and what was measured of it, as the result of an evaluation shows them."""
    return measured.to_json() | {"crossed": crossed.how}


class SearchBench:
    """The queries and the gallery that every search of an evaluation is over.

    `tick` is called after each measurement. metrics: those asked for; None for all that can be measured.
    """

    def __init__(
        self,
        crosswalk: Crosswalk,
        queries: Evaluated,
        gallery: Evaluated,
        metrics: Sequence[str] | None,
        tick: Callable[[], None],
    ) -> None:
        self._crosswalk = crosswalk
        self.queries = queries
        self.gallery = gallery
        self._metrics = [*_KS, "map", RECALL] if metrics is None else list(metrics)
        self._tick = tick
        self.excluded = own_entries(queries.id.tolist(), gallery.id.tolist())

    @property
    def by_label(self) -> bool:
        """Whether some metric goes by labels, and both the queries and the gallery have some."""
        return self._metrics != [RECALL] and self.queries.labelled and self.gallery.labelled

    def search(self, queries: str, gallery: str, accepted_crossings: Sequence[UpgradeCrossing] = ()) -> Crossed:
        """M(queries, gallery), the gallery's vectors transformed by the `accepted_crossings` between the two models."""
        space = self._crosswalk.models.space(queries)
        vectors, crossings_json = self._transformed(gallery, accepted_crossings)
        name = f"M({queries}, {gallery})"
        return Crossed(
            GallerySearch(name, self.queries.vectors[queries].values, vectors, space.metric),
            {"how": _how(accepted_crossings), "upgrades": crossings_json, **self._made(gallery)},
        )

    def truth(self, model: str) -> RowNumbers | None:
        """The rows that queries find in the gallery fully re-embedded; None unless the model embedded every row."""
        if not self.embedded(model):
            return None
        return true_neighbours(self.search(model, model).search, self.excluded)

    def embedded(self, model: str) -> bool:
        """Whether the model made a vector of every row of the gallery."""
        return model in self.gallery.native and bool(self.gallery.native[model].all())

    def measure(self, crossed: Crossed, truth: RowNumbers | None = None) -> SearchResult:
        """The metrics asked for, as far as there are labels or a truth. Raises StepFailed where there is neither."""
        metrics, by_label = self._metrics, self.by_label
        try:
            measured = evaluate(
                crossed.search,
                self.queries.label if by_label else None,
                self.gallery.label if by_label else None,
                self.excluded,
                truth=truth if RECALL in metrics else None,
                ks=[_KS[metric] for metric in metrics if metric in _KS],
                seed=SEED,
            )
        except NothingToMeasure as error:
            raise StepFailed(f"Nothing could be measured: {error}.") from error
        self._tick()
        figures = {figure.metric: figure for figure in measured.figures}
        return replace(measured, figures=tuple(figures[metric] for metric in metrics if metric in figures))

    def _transformed(
        self, model: str, accepted_crossings: Sequence[UpgradeCrossing]
    ) -> tuple[Array, list[dict[str, Any]]]:
        """The gallery's vectors of a model after all these crossings, one after the other, and JSON about each."""
        vectors, side = self.gallery.vectors[model].values, self.gallery.side
        crossings_json = []
        for accepted in accepted_crossings:
            spaces = [self._crosswalk.models.space(name) for name in (accepted.source, accepted.target)]
            try:
                files = UpgradeArtifacts(self._crosswalk.settings.artifacts_dir, accepted.upgrade)
                crossing = open_crossing(files, *spaces)
            except (CorruptArtifact, WrongDirection) as error:
                raise StepFailed(f"The crossing of upgrade {accepted.upgrade} cannot be used: {error}.") from error
            card = crossing.chosen.card
            has_side = side.has if card.side_dimension is not None else np.zeros(len(vectors), bool)
            if has_side.any() and side.values.shape[1] != card.side_dimension:
                raise StepFailed(
                    f"The crossing of upgrade {accepted.upgrade} reads side-information of dimension "
                    f"{card.side_dimension}; the rows evaluated have another, of dimension {side.values.shape[1]}."
                )
            vectors = crossing.apply(vectors, side.values if has_side.any() else None, has_side)
            crossings_json.append(
                {
                    "upgrade": accepted.upgrade,
                    "from": accepted.source,
                    "to": accepted.target,
                    "state": accepted.state,
                    "method": card.method,
                    "rows_with_side_information": int(has_side.sum()) if card.side_dimension is not None else None,
                }
            )
        return vectors, crossings_json

    def _made(self, model: str) -> dict[str, int]:
        """How many rows the model made the vectors of, and how many a generation's crossings carried to its space."""
        native = int(self.gallery.native[model].sum())
        return {"native_rows": native, "transformed_rows": len(self.gallery) - native}


def _how(accepted_crossings: Sequence[UpgradeCrossing]) -> str:
    """A word for the way that vectors took through these crossings, as the result of an evaluation has it."""
    if not accepted_crossings:
        return "same_space"
    if len(accepted_crossings) > 1:
        return "composition"
    return "compatible" if accepted_crossings[0].trained else "crossing"
