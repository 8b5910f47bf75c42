"""Predicts what re-embedding part of a gallery would be worth, from pairs that were held out of learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries import orders
from app.galleries.lineage import Projected
from app.storage.lance_table import ROW_ID
from app.upgrades.enough import FEWEST_PAIRS
from app.upgrades.findings import UpgradeFindings
from app.upgrades.info import UpgradeInfo
from models.evaluation.bootstrap import Interval
from models.evaluation.retrieval_metrics import NEIGHBOURS, RetrievalMetric, top_k
from models.portable import Array, Distance, Moments, Space
from models.proof.gate import AcceptanceGate
from models.proof.report import FusedResult, ProofReport, Quantity
from models.re_embedding.backfill_curve import Curve, depends_on_order, predicted_curve
from models.re_embedding.fused_vectors import JoinedVectors
from models.transformations.labels import codes_of
from models.transformations.pairs import Pairs
from workers.reporting.acceptance_gate import gate_of
from workers.rows.pairs import DatasetPairs
from workers.training.held_out_pairs import SEED, HeldOutPairs

MOST_PAIRS = 3_000  # that a curve is predicted from


@dataclass(frozen=True)
class BackfillCurves:
    """What backfilling one gallery is predicted to be worth.

    metric: in which the quality is; pairs: how many it was predicted from; curves: one for each order in which the
    items could be re-embedded, the one by uncertainty first, or that one alone with `any_order`, where the order is not
    predicted to matter; fused: the same order as the first's, searched by both models' queries, None where that was not
    measured.
    """

    metric: RetrievalMetric
    pairs: int
    curves: Mapping[orders.Order, Curve]
    fused: Curve | None = None
    any_order: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers; `fused` is left out where it was not measured."""
        curves = {order: curve.to_json() for order, curve in self.curves.items()}
        fused = {} if self.fused is None else {"fused": self.fused.to_json()}
        return {"metric": self.metric, "pairs": self.pairs, "any_order": self.any_order, "curves": curves, **fused}


def predict_backfills(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, proofs: Mapping[str, ProofReport], pairs: DatasetPairs
) -> dict[str, BackfillCurves]:
    """By gallery, what a backfill is predicted to be worth; a gallery of which that cannot be said is left out."""
    held_out = HeldOutPairs.load(UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade.id).held_out)
    sample = None if held_out is None else HeldOutSample.of(held_out, pairs)
    if sample is None:
        return {}
    findings = UpgradeFindings(crosswalk.settings, crosswalk.database)
    gate, source, target = (
        gate_of(upgrade),
        crosswalk.models.space(upgrade.source),
        crosswalk.models.space(upgrade.target),
    )
    predictions = {}
    for name, proof in proofs.items():
        info = crosswalk.galleries.info(name)
        poor = findings.rows_of_training([generation.space.model for generation in info.ancestry(info.active)])
        predicted = predict_curves(proof, gate, sample, source, target, poor)
        if predicted is not None:
            predictions[name] = predicted
    return predictions


def predict_curves(
    proof: ProofReport,
    gate: AcceptanceGate,
    sample: HeldOutSample,
    source: Space,
    target: Space,
    poor: Sequence[Path] = (),
) -> BackfillCurves | None:
    """A curve for each order in which items could be re-embedded, or one for all of them, in the metric of the gate.

    Each begins at the crossing's predicted quality and ends at that of full re-embedding; None where that is unknown,
    and where judged queries judged, of which the pairs say nothing.
    poor: what training found out about its rows, the newest first.
    """
    if proof.basis.judged_by == "queries":
        return None
    measure = gate.judged_in(labelled=proof.basis.judged_by == "label")
    start = next(_interval(result.cross) for result in proof.metrics if result.metric == measure)
    end = next(rung.quality for rung in proof.advice if rung.name == "re_embed")
    soon = next((rung.quality for rung in proof.advice if rung.name == "backfill"), None)
    if end is None:
        return None
    codes = codes_of(sample.pairs)
    if measure != "recall@10" and not (codes >= 0).any():
        return None
    urgencies = sample.urgencies(poor, target.metric)
    any_order = not depends_on_order(measure)
    curves = {
        name: predicted_curve(
            sample.transformed,
            sample.pairs.new,
            codes if measure != "recall@10" else None,
            orders.most_urgent(sample.rows, urgency, len(sample.rows)),
            target.metric,
            measure,
            start,
            _interval(end),
            soon=None if soon is None else _interval(soon),
            name=name,
            seed=SEED,
        )
        for name, urgency in (islice(urgencies, 1) if any_order else urgencies)
    }
    fused = None if proof.fused is None else _fused(proof.fused, sample, source, target, measure)
    return BackfillCurves(measure, len(sample.rows), curves, fused, any_order)


def _fused(proved: FusedResult, sample: HeldOutSample, source: Space, target: Space, measure: RetrievalMetric) -> Curve:
    """The curve by both models' queries, in the order by uncertainty, from the quality that was proved with nothing
    re-embedded. Real vectors weigh as transformed ones do."""
    old, new = sample.pairs.old, sample.pairs.new
    moments = Moments.of(old, source.metric), Moments.of(sample.transformed, target.metric)
    joined = JoinedVectors(source, target, *moments, proved.alpha)
    return predicted_curve(
        joined.items(old, sample.transformed),
        joined.items(old, new),
        codes_of(sample.pairs) if measure != "recall@10" else None,
        orders.most_urgent(sample.rows, orders.by_uncertainty(sample.expected_error), len(sample.rows)),
        "ip",
        measure,
        _interval(proved.quality),
        queries=joined.queries(old, new),
        truth=top_k(new, new, NEIGHBOURS, target.metric, sample.rows),
        name="uncertainty",
        seed=SEED,
    )


@dataclass(frozen=True)
class HeldOutSample:
    """Some of the held-out pairs, as if they were the gallery.

    rows: (m,) int64, numbers from 0; id: (m,) object; pairs: both models' vectors of them; transformed: (m, d_new)
    float32, by what had not learned from the pair; expected_error: (m,) float32, of `transformed`.
    """

    rows: NDArray[np.int64]
    id: NDArray[Any]
    pairs: Pairs
    transformed: Array
    expected_error: Array

    @classmethod
    def of(cls, held_out: HeldOutPairs, pairs: DatasetPairs) -> HeldOutSample | None:
        """Pairs that are still in the dataset, `MOST_PAIRS` at most; None where fewer than `FEWEST_PAIRS` are."""
        place = {item: position for position, item in enumerate(held_out.id)}
        places = np.array([place.get(item, -1) for item in pairs.ids], np.int64)
        held_out_still = np.flatnonzero(places >= 0)
        if len(held_out_still) < FEWEST_PAIRS:
            return None
        chosen = np.sort(np.random.default_rng(SEED).permutation(held_out_still)[:MOST_PAIRS])
        source = places[chosen]
        return cls(
            np.arange(len(chosen)),
            pairs.ids[chosen],
            pairs.pairs.subset(chosen),
            held_out.transformed[source],
            held_out.expected_error[source],
        )

    def urgencies(self, poor: Sequence[Path], metric: Distance) -> Iterator[tuple[orders.Order, orders.Urgency]]:
        """Every order that the pairs can be put in, by the very rules that items are."""
        yield "uncertainty", orders.by_uncertainty(self.expected_error)
        yield "random", orders.by_chance(self.rows)
        ids = pa.array(self.id.tolist(), pa.string())
        if self.pairs.label is not None:
            labels = pa.table({ROW_ID: self.rows, "label": pa.array(self.pairs.label.tolist(), pa.string())})
            yield "class_mean_distance", orders.by_class_mean_distance(self.rows, labels, self._scan, metric)
        for path in poor:
            urgency = orders.by_old_model_poor(self.rows, [pa.record_batch({ROW_ID: self.rows, "id": ids})], path)
            if np.isfinite(urgency).any():
                yield "old_model_poor", urgency
                return

    def _scan(self) -> Iterator[Projected]:
        yield Projected(self.rows, self.transformed, np.zeros(len(self.rows), bool), self.expected_error)


def _interval(quantity: Quantity) -> Interval:
    return Interval(quantity.mean, quantity.low, quantity.high)
