"""Backfilling: which transformed items to re-embed next, and what that is predicted to be worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.galleries import orders
from app.galleries.generation_now import TransformedNow
from app.galleries.generation_store import Standings
from app.galleries.info import READY, GalleryInfo, GenerationInfo
from app.galleries.orders import Order, Urgency
from app.galleries.retirement import Retirement
from app.galleries.schemas import Backfill, BackfillItem, BackfillPoint
from app.galleries.service import Galleries
from app.galleries.traffic import FoundCounts, ItemTraffic
from app.problems import ItemsElsewhere, WrongState
from app.storage.lance_table import ROW_ID


class BackfillSource(Protocol):
    """Where backfilling reads what upgrades learned of a gallery and of models; `UpgradeFindings` is one."""

    def predicted(self, upgrade: str, gallery: str) -> dict[str, Any] | None: ...

    def rows_of_training(self, models: Sequence[str]) -> list[Path]: ...


class Backfills:
    """What to re-embed next."""

    def __init__(
        self, galleries: Galleries, retirement: Retirement, findings: BackfillSource, traffic: ItemTraffic
    ) -> None:
        self._galleries = galleries
        self._traffic = traffic
        self._retirement = retirement
        self._findings = findings

    def next(self, gallery: str, order: Order, limit: int, found: FoundCounts | None = None) -> Backfill:
        """Up to `limit` items that the active generation holds transformed, the most useful to re-embed first.

        found: how often the gallery's items were found, for the order `traffic`; read where it is left out.
        Of a gallery in a store of the user's own, a pass over that store; items that were written or changed since the
        generation was last caught up are left out. Raises NotFound; WrongState where that generation is not transformed
        or nothing is known to order by; and, for such a gallery, ItemsElsewhere where the order is by `traffic`, and
        GalleryStoreAway or StoreChanged where its store cannot be read.
        """
        info = self._galleries.info(gallery)
        generation = transformed_generation(info)
        _require_known_traffic(info, order)
        current = self._galleries.transformed_now(info, generation)
        everyone = current.standings()
        waiting = everyone.take(~everyone.native)
        if info.elsewhere is None and (not len(waiting.rows) or generation.retired_at is not None):
            self._retirement.settle(gallery, generation.number)
        chosen = waiting
        if len(waiting.rows):
            urgency = self._urgency(info, generation, waiting, current, order, found)
            chosen = waiting.take(orders.most_urgent(waiting.rows, urgency, limit))
        share = 1 - len(waiting.rows) / max(1, len(everyone.rows))
        metric, curve = self._curve(info, generation, order, share, len(everyone.rows))
        return Backfill(
            gallery=gallery,
            generation=generation.number,
            model=generation.space.model,
            items=len(everyone.rows),
            native_items=len(everyone.rows) - len(waiting.rows),
            share=share,
            order=order,
            next=self._items(info, chosen),
            metric=metric,
            curve=curve,
            complete=not len(waiting.rows),
        )

    def require_order(self, gallery: str, order: Order) -> str:
        """Raises as `next` does where items cannot be put into an order, as far as that is known without a pass over a
        store of the user's own; returns the model of the generation."""
        info = self._galleries.info(gallery)
        if info.elsewhere is None:
            return self.next(gallery, order, 1).model
        generation = transformed_generation(info)
        _require_known_traffic(info, order)
        if order == "uncertainty":
            lineage = self._galleries.lineage(info, generation.number, uncertainty=True)
            if any(crossing.uncertainty is None for crossing in lineage.crossings):
                raise _unknown_uncertainty(info, generation)
        if order == "old_model_poor" and not self._findings.rows_of_training(_older(info, generation)):
            raise _never_trained(info, generation)
        return generation.space.model

    def _urgency(
        self,
        info: GalleryInfo,
        generation: GenerationInfo,
        waiting: Standings,
        current: TransformedNow,
        order: Order,
        found: FoundCounts | None,
    ) -> Urgency:
        match order:
            case "uncertainty":
                return orders.by_uncertainty(_known_uncertainty(info, generation, waiting))
            case "traffic":
                found = self._traffic.counts(info.id) if found is None else found
                return orders.by_traffic(_known_uncertainty(info, generation, waiting), found.of(waiting.rows))
            case "random":
                return orders.by_chance(waiting.rows)
            case "class_mean_distance":
                labels = pa.Table.from_batches(list(self._galleries.items(info).scan(["label"])))
                return orders.by_class_mean_distance(waiting.rows, labels, current.scan, generation.space.metric)
            case "old_model_poor":
                return self._by_old_model_poor(info, generation, waiting)

    def _by_old_model_poor(self, info: GalleryInfo, generation: GenerationInfo, waiting: Standings) -> Urgency:
        """By the newest training that knows any of the items."""
        for path in self._findings.rows_of_training(_older(info, generation)):
            items = self._galleries.items(info).scan(["id"])
            urgency = orders.by_old_model_poor(waiting.rows, items, path)
            if np.isfinite(urgency).any():
                return urgency
        raise _never_trained(info, generation)

    def _curve(
        self, info: GalleryInfo, generation: GenerationInfo, order: Order, share: float, items: int
    ) -> tuple[str | None, list[BackfillPoint]]:
        """The metric, and its predicted course from now on; none where the upgrade could not predict it."""
        predicted = self._findings.predicted(str(generation.upgrade), info.id) or {}
        curves = predicted.get("curves", {})
        curve = curves["uncertainty"] if predicted.get("any_order") else curves.get(order, {})
        points = curve.get("points", [])
        return predicted.get("metric"), from_now_on(points, share, items)

    def _items(self, info: GalleryInfo, chosen: Standings) -> list[BackfillItem]:
        """The chosen items as the answer lists them. One deleted since they were chosen is left out."""
        table = self._galleries.items(info).by_row(chosen.rows, ["id", "label"])
        known = {row[ROW_ID]: row for row in table.to_pylist()}
        return [
            BackfillItem(
                id=known[row]["id"], label=known[row]["label"], expected_error=None if np.isnan(error) else error
            )
            for row, error in zip(chosen.rows.tolist(), chosen.uncertainty.tolist(), strict=True)
            if row in known
        ]


def from_now_on(points: Sequence[dict[str, float]], share: float, items: int) -> list[BackfillPoint]:
    """A curve over shares of 0 to 1 from `share` on, where it is interpolated; `items`: how many the gallery has."""
    if not points:
        return []
    known = np.array([point["share"] for point in points])
    course = {name: np.array([point[name] for point in points]) for name in ("mean", "low", "high")}
    shares = [share, *(one for one in known.tolist() if one > share)]
    return [
        BackfillPoint(
            items=round((one - share) * items),
            share=one,
            **{name: float(np.interp(one, known, values)) for name, values in course.items()},
        )
        for one in shares
    ]


def transformed_generation(info: GalleryInfo) -> GenerationInfo:
    """The active generation. Raises WrongState where it is none that can be backfilled."""
    generation = info.current
    if generation.parent is not None:
        return generation
    model = generation.space.model
    waiting = [one for one in info.generations.values() if one.parent == generation.number and one.state == READY]
    way = (
        f"Switch to generation {waiting[-1].number} first: POST /galleries/{info.id}/activate."
        if waiting
        else f"POST /models/{model}/upgrade makes a generation that can be backfilled."
    )
    raise WrongState(
        f"Nothing to backfill: generation {generation.number} of gallery {info.id!r} holds the vectors of {model!r} as "
        f"they were given. {way}"
    )


def _known_uncertainty(info: GalleryInfo, generation: GenerationInfo, waiting: Standings) -> NDArray[np.float32]:
    """The expected squared error of each item's vector, (m,). Raises WrongState where that of none is known."""
    if np.isnan(waiting.uncertainty).all():
        raise _unknown_uncertainty(info, generation)
    return waiting.uncertainty


def _unknown_uncertainty(info: GalleryInfo, generation: GenerationInfo) -> WrongState:
    return WrongState(
        f"Generation {generation.number} of gallery {info.id!r} does not know how far its vectors are off: the "
        "upgrade that made it learned no uncertainty, or its items lack the side-information that it reads. "
        "Choose another order, such as `class_mean_distance` or `random`; or upgrade anew from generation "
        f"{generation.parent}."
    )


def _never_trained(info: GalleryInfo, generation: GenerationInfo) -> WrongState:
    older = _older(info, generation)
    return WrongState(
        f"No training has found out where {' or '.join(map(repr, older))} is poor on items of gallery {info.id!r}. "
        f"POST /models/{older[-1]}/upgrade with strategy `compatible`, "
        '{"instance_weights": true} and a dataset whose ids are those of the items does; or choose another order.'
    )


def _older(info: GalleryInfo, generation: GenerationInfo) -> list[str]:
    """The models from the gallery's first to the one before the generation's own."""
    return [earlier.space.model for earlier in info.ancestry(generation.number)[:-1]]


def _require_known_traffic(info: GalleryInfo, order: Order) -> None:
    """Raises ItemsElsewhere where an order asks how often items are found that are not searched here."""
    if order == "traffic" and info.elsewhere is not None:
        raise ItemsElsewhere(
            f"The items of gallery {info.id!r} are searched in {info.elsewhere}, so that nobody here counts how often "
            "each is found. Choose another order than `traffic`, such as `uncertainty`."
        )
