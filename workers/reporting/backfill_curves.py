"""What a backfill is predicted from: pairs held out of learning, transformed, with the error expected of each.

artifacts/<upgrade>/held_out.parquet    id, moved (out of fold), expected_error; a line for each pair
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.galleries import orders
from app.galleries.lineage import Projected
from app.storage.lance_table import ROW_ID
from app.upgrades.findings import UpgradeFindings
from app.upgrades.tables import UpgradeRow
from models.evaluation.bootstrap import Interval
from models.portable import Array, Distance, Space
from models.proof.gate import AcceptanceGate
from models.proof.report import ProofReport, Quantity
from models.re_embedding.backfill_curve import Measure, predicted_curve
from models.transformations.labels import codes_of
from models.transformations.pairs import Pairs
from workers.rows.pairs import FEWEST_PAIRS, DatasetPairs
from workers.training.held_out_pairs import SEED, HeldOutPairs

MOST_PAIRS = 3_000  # that a curve is predicted from


def predict_backfills(
    crosswalk: Crosswalk, upgrade: UpgradeRow, reports: Mapping[str, ProofReport], pairs: DatasetPairs
) -> dict[str, dict[str, Any]]:
    """What the report says of each gallery beside its proof: `backfill`, where a backfill can be predicted."""
    held_out = HeldOutPairs.load(crosswalk.settings.artifacts_dir / upgrade.id)
    sample = None if held_out is None else _Sample.of(held_out, pairs)
    if sample is None:
        return {name: {} for name in reports}
    findings = UpgradeFindings(crosswalk.settings, crosswalk.database)
    gate, space = AcceptanceGate.from_json(upgrade.request["gate"]), crosswalk.models.space(upgrade.target)
    found = {}
    for name, report in reports.items():
        info = crosswalk.galleries.info(name)
        poor = findings.rows_of_training([step.space.model for step in info.ancestry(info.active)])
        predicted = _predicted(report, gate, sample, space, poor)
        found[name] = {} if predicted is None else {"backfill": predicted}
    return found


def _predicted(
    report: ProofReport, gate: AcceptanceGate, sample: _Sample, space: Space, poor: Sequence[Path]
) -> dict[str, Any] | None:
    """A curve for each order in which items could be asked for, in the metric of the gate.

    Each begins at the crossing's predicted quality and ends at that of full re-embedding; None where that is unknown.
    space: the new one. poor: what training found out about its rows (`rows.parquet`), the newest first.
    """
    measure: Measure = gate.metric if report.basis.judged_by == "label" else "recall@10"
    start = next(_interval(found.cross) for found in report.metrics if found.metric == measure)
    end = next(rung.quality for rung in report.advice if rung.name == "re_embed")
    if end is None:
        return None
    codes = codes_of(sample.pairs)
    if measure != "recall@10" and not (codes >= 0).any():
        return None
    curves = {
        name: predicted_curve(
            sample.moved,
            sample.pairs.new,
            codes if measure != "recall@10" else None,
            orders.most_urgent(sample.rows, urgency, len(sample.rows)),
            space.metric,
            measure,
            start,
            _interval(end),
            name=name,
            seed=SEED,
        ).to_json()
        for name, urgency in sample.urgencies(poor, space.metric)
    }
    return {"metric": measure, "pairs": len(sample.rows), "curves": curves}


@dataclass(frozen=True)
class _Sample:
    """Some of the pairs, as if they were the gallery: rows (m,) int64, their numbers; the rest as in `HeldOutPairs`."""

    rows: NDArray[np.int64]
    id: NDArray[Any]
    pairs: Pairs
    moved: Array
    expected_error: Array

    @classmethod
    def of(cls, held_out: HeldOutPairs, pairs: DatasetPairs) -> _Sample | None:
        """Those that are still in the dataset, at most `MOST_PAIRS`; None where hardly any is."""
        place = {item: position for position, item in enumerate(held_out.id)}
        known = np.array([place.get(item, -1) for item in pairs.ids], np.int64)
        there = np.flatnonzero(known >= 0)
        if len(there) < FEWEST_PAIRS:
            return None
        chosen = np.sort(np.random.default_rng(SEED).permutation(there)[:MOST_PAIRS])
        source = known[chosen]
        return cls(
            np.arange(len(chosen)),
            pairs.ids[chosen],
            pairs.pairs.subset(chosen),
            held_out.moved[source],
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
        yield Projected(self.rows, self.moved, np.zeros(len(self.rows), bool), self.expected_error)


def _interval(quantity: Quantity) -> Interval:
    return Interval(quantity.mean, quantity.low, quantity.high)
