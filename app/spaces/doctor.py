"""Scans a gallery for vectors that are not of the model that they are stamped with."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.problems import NotFound
from app.spaces.guard import SpaceGuard
from app.spaces.schemas import Diagnosis, DoctorReport, SuspectItems
from app.storage.lance_table import embedding_column, embedding_model, vectors_of
from models.portable import (
    ADVANTAGE,
    SpaceSignature,
    find_mixture,
    signature_of_directions,
    spread_out,
    unit_rows,
)

_ROWS_FITTED = 4_096
_FEWEST_ROWS = 500
_FEWEST_DIMENSIONS = 16
_TOLD = 100
_FOREIGN_ROW = 0.5
_CHANCE = 1e-4


@dataclass(frozen=True)
class _Suspicion:
    """own: what the sound rows look like; claimant: the model that others look like, and its signature, or None;
    position: of the suspicious rows fitted."""

    own: SpaceSignature
    claimant: tuple[str, SpaceSignature] | None
    position: float

    def foreign(self, vectors: np.ndarray) -> np.ndarray:
        """Which of (n, d) are another model's."""
        positions = self.own.row_positions(vectors)
        if self.claimant is None:
            return positions > _FOREIGN_ROW
        homes = self.claimant[1].row_positions(vectors)
        return (positions - homes >= ADVANTAGE) & (homes <= 1 - _FOREIGN_ROW)


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
        return DoctorReport(gallery=gallery, healthy=all(one.suspects is None for one in diagnoses), models=diagnoses)

    def _diagnosis(self, store: GalleryStore, model: str) -> Diagnosis:
        column = embedding_column(model)
        items = store.items.count(f"`{column}` IS NOT NULL")
        fitted = self._to_fit(store, column, items)
        if len(fitted) < _FEWEST_ROWS or fitted.shape[1] < _FEWEST_DIMENSIONS:
            return Diagnosis(
                model=model,
                items=items,
                judged=False,
                suspects=None,
                finding=f"There are too few vectors for a judgement: {_FEWEST_ROWS} of at least {_FEWEST_DIMENSIONS} "
                "dimensions are needed.",
            )
        suspicion = self._suspicion(model, fitted)
        if suspicion is None:
            return Diagnosis(
                model=model, items=items, judged=True, suspects=None, finding="All vectors look like one model's."
            )
        return self._told(store, model, items, suspicion)

    def _suspicion(self, model: str, fitted: np.ndarray) -> _Suspicion | None:
        """What is wrong with the vectors of a sample (n, d), if something is."""
        try:
            others = self._guard.others(self._guard.known(model))
            known = self._guard.signature(model)
        except NotFound:
            others, known = {}, None
        mixture = find_mixture(fitted)
        if mixture is not None:
            foreign = mixture.majority.position_of(unit_rows(fitted[mixture.foreign]), others)
            claimant = None if foreign.likely is None else (foreign.likely, others[foreign.likely])
            return _Suspicion(mixture.majority, claimant, mixture.position)
        if known is not None:
            whole = known.position_of(unit_rows(spread_out(fitted, 512)), others)
            if whole.foreign:
                claimant = None if whole.likely is None else (whole.likely, others[whole.likely])
                return _Suspicion(known, claimant, whole.position)
        own = signature_of_directions(unit_rows(fitted))
        return self._few_foreign(own, others, fitted)

    def _few_foreign(
        self, own: SpaceSignature, others: dict[str, SpaceSignature], fitted: np.ndarray
    ) -> _Suspicion | None:
        """Too few for a heap of their own, but claimed one by one by a model that is known, more than chance allows."""
        for name, other in others.items():
            suspicion = _Suspicion(own, (name, other), 1.0)
            foreign = suspicion.foreign(fitted)
            if not foreign.any() or foreign.sum() > len(fitted) // 2:
                continue
            clean = _Suspicion(signature_of_directions(unit_rows(fitted[~foreign])), (name, other), 1.0)
            claimed = clean.foreign(fitted)
            by_chance = max(float(clean.foreign(clean.own.known).mean()), 1 / len(clean.own.known))
            if claimed.sum() > 3 and binomtest(int(claimed.sum()), len(fitted), by_chance).pvalue < _CHANCE:
                position = float(np.median(clean.own.row_positions(fitted[claimed])))
                return _Suspicion(clean.own, (name, other), position)
        return None

    def _told(self, store: GalleryStore, model: str, items: int, suspicion: _Suspicion) -> Diagnosis:
        column, count, ids = embedding_column(model), 0, list[str]()
        for batch in store.items.scan(["id", column]):
            places, vectors = vectors_of(batch.column(column))
            foreign = places[suspicion.foreign(vectors)]
            count += len(foreign)
            ids += batch.column("id").take(foreign[: _TOLD - len(ids)]).to_pylist()
        low, high = _interval(count, items, suspicion)
        likely = None if suspicion.claimant is None else suspicion.claimant[0]
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
                count=count, low=low, high=high, ids=ids, likely_model=likely, position=round(suspicion.position, 2)
            ),
            finding=f"{count} of {items} vectors (between {low} and {high}) are not of {model!r}, as far as one can "
            f"see{as_whose}. {do}",
        )

    def _to_fit(self, store: GalleryStore, column: str, items: int) -> np.ndarray:
        """Up to _ROWS_FITTED vectors other than zero, evenly from all items, in an order that says nothing."""
        step, passed, parts = max(1, items // _ROWS_FITTED), 0, list[np.ndarray]()
        for vectors in _vectors(store, column):
            parts.append(vectors[-passed % step :: step])
            passed += len(vectors)
        if not parts:
            return np.empty((0, 0), np.float32)
        sample = np.concatenate(parts)
        sample = sample[sample.any(axis=1)][: 2 * _ROWS_FITTED]
        return np.asarray(sample[np.random.default_rng(0).permutation(len(sample))])


def _vectors(store: GalleryStore, column: str) -> Iterator[np.ndarray]:
    for batch in store.items.scan([column]):
        _, vectors = vectors_of(batch.column(column))
        if len(vectors):
            yield vectors


def _interval(count: int, items: int, suspicion: _Suspicion) -> tuple[int, int]:
    """Between how many of the items are another model's, given how often the rule errs on rows of either kind."""
    sound = suspicion.own.known
    wrongly = binomtest(int(suspicion.foreign(sound).sum()), len(sound)).proportion_ci(0.95, "exact").high
    strange = (
        unit_rows(np.random.default_rng(1).standard_normal((512, sound.shape[1])).astype(np.float32))
        if suspicion.claimant is None
        else suspicion.claimant[1].known
    )
    missed = binomtest(int((~suspicion.foreign(strange)).sum()), len(strange)).proportion_ci(0.95, "exact").high
    low = max(0, round(count - wrongly * items))
    return low, min(items, round(count / max(1 - missed, 1e-3)))
