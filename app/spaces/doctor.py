"""Scans a gallery for vectors that are not of the model that they are stamped with."""

from collections.abc import Iterator

import numpy as np

from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.problems import NotFound
from app.spaces.even_sample import EvenSample
from app.spaces.guard import SpaceGuard
from app.spaces.schemas import Diagnosis, DoctorReport, SuspectItems
from app.spaces.suspicion import ForeignRows, find_foreign
from app.storage.lance_table import embedding_column, embedding_model, vectors_of
from models.portable import signature_of_directions, unit_rows

_ROWS_FITTED = 4_096
_FEWEST_ROWS = 500
_FEWEST_DIMENSIONS = 16
_TOLD = 100
_TOO_FEW = (
    f"Not judged: there are too few vectors; {_FEWEST_ROWS} of at least {_FEWEST_DIMENSIONS} dimensions are needed."
)
_BLIND = (
    "Not judged: these vectors have no directions of their own, or are of too few topics, so that another model's "
    "could not be told from a new topic. No other model registered here claims any of them."
)


class Doctor:
    """Looks for mixtures."""

    def __init__(self, galleries: Galleries, guard: SpaceGuard) -> None:
        self._galleries = galleries
        self._guard = guard

    def examine(self, gallery: str) -> DoctorReport:
        """Every model's vectors in a gallery. Raises NotFound."""
        store = self._galleries.store(self._galleries.info(gallery))
        models = [model for name in store.items.schema.names if (model := embedding_model(name)) is not None]
        diagnoses = [self._diagnosis(store, model) for model in models]
        suspicious = any(one.suspects is not None for one in diagnoses)
        judged = any(one.judged for one in diagnoses)
        return DoctorReport(gallery=gallery, healthy=not suspicious if judged else None, models=diagnoses)

    def _diagnosis(self, store: GalleryStore, model: str) -> Diagnosis:
        column = embedding_column(model)
        items = store.items.count(f"`{column}` IS NOT NULL")
        fitted = self._to_fit(store, column, items)
        if len(fitted) < _FEWEST_ROWS or fitted.shape[1] < _FEWEST_DIMENSIONS:
            return _clear(model, items, _TOO_FEW, judged=False)
        foreign = self._foreign(model, fitted)
        if foreign is not None:
            return self._told(store, model, items, foreign)
        if signature_of_directions(unit_rows(fitted)).blind:
            return _clear(model, items, _BLIND, judged=False)
        return _clear(model, items, "All vectors look like one model's.", judged=True)

    def _foreign(self, model: str, vectors: np.ndarray) -> ForeignRows | None:
        """What is foreign among vectors (n, d) that are stamped with a model, if something is."""
        try:
            others = self._guard.others(self._guard.known(model))
            known = self._guard.signature(model)
        except NotFound:
            others, known = {}, None
        return find_foreign(vectors, known, others)

    def _told(self, store: GalleryStore, model: str, items: int, foreign: ForeignRows) -> Diagnosis:
        column, count, ids = embedding_column(model), 0, list[str]()
        for batch in store.items.scan(["id", column]):
            places, vectors = vectors_of(batch.column(column))
            suspects = places[foreign.among(vectors)]
            count += len(suspects)
            ids += batch.column("id").take(suspects[: _TOLD - len(ids)]).to_pylist()
        low, high = _interval(count, items, foreign)
        likely = None if foreign.claimant is None else foreign.claimant[0]
        as_whose = f"; they look like those of {likely!r}" if likely else ""
        do = (
            f"Put these items again with vectors that {model!r} makes of them, or delete them. `ids` has the first "
            f"{len(ids)}."
        )
        return Diagnosis(
            model=model,
            items=items,
            judged=True,
            suspects=SuspectItems(
                count=count, low=low, high=high, ids=ids, likely_model=likely, position=round(foreign.position, 2)
            ),
            finding=f"{count} of {items} vectors (between {low} and {high}) are not of {model!r}, as far as one can "
            f"see{as_whose}. {do}",
        )

    def _to_fit(self, store: GalleryStore, column: str, items: int) -> np.ndarray:
        """Up to _ROWS_FITTED vectors other than zero, evenly from all items, in an order that says nothing."""
        kept, dimension = EvenSample(items, _ROWS_FITTED), 0
        for vectors in _vectors(store, column):
            kept.add(vectors)
            dimension = vectors.shape[1]
        sample = kept.vectors(dimension)
        sample = sample[sample.any(axis=1)][: 2 * _ROWS_FITTED]
        return np.asarray(sample[np.random.default_rng(0).permutation(len(sample))])


def _clear(model: str, items: int, finding: str, *, judged: bool) -> Diagnosis:
    return Diagnosis(model=model, items=items, judged=judged, suspects=None, finding=finding)


def _vectors(store: GalleryStore, column: str) -> Iterator[np.ndarray]:
    for batch in store.items.scan([column]):
        _, vectors = vectors_of(batch.column(column))
        if len(vectors):
            yield vectors


def _interval(count: int, items: int, foreign: ForeignRows) -> tuple[int, int]:
    """Between how many of the items are another model's, given how often the rule errs on rows of either kind."""
    from scipy.stats import binomtest  # slow to import: not before it is asked for

    sound = foreign.own.known
    wrongly = binomtest(int(foreign.among(sound).sum()), len(sound)).proportion_ci(0.95, "exact").high
    strange = (
        unit_rows(np.random.default_rng(1).standard_normal((512, sound.shape[1])).astype(np.float32))
        if foreign.claimant is None
        else foreign.claimant[1].known
    )
    missed = binomtest(int((~foreign.among(strange)).sum()), len(strange)).proportion_ci(0.95, "exact").high
    low = max(0, round(count - wrongly * items))
    return low, min(items, round(count / max(1 - missed, 1e-3)))
