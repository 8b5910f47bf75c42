"""What a backfill is predicted from: learned from pairs, kept, and found again where they still are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.arrays import silent
from models.device import resolve
from models.evaluation.retrieval_metrics import RetrievalMetric
from models.portable import Space
from models.proof.gate import AcceptanceGate
from models.proof.report import MetricResult
from models.transformations.methods import Recipe, learn
from models.transformations.pairs import Pairs
from tests.workers.reporting.reports import PROOF, quantity
from tests.worlds import NEW, OLD, world
from workers.reporting.backfill_curves import HeldOutSample, predict_curves
from workers.rows.pairs import DatasetPairs
from workers.training.held_out_pairs import HeldOutPairs, held_out_fits, learn_from_held_out

SOURCE, TARGET = Space("old", OLD, "cosine"), Space("new", NEW, "cosine")
REFIT = partial(learn, Recipe("orthogonal"), source=SOURCE, target=TARGET, device=resolve("cpu"), seed=0)


def pairs(many: int) -> DatasetPairs:
    items = world(items=200).pairs(many)
    known = Pairs(items.old, items.new, None, np.array(items.label, object))
    return DatasetPairs(np.array(items.id, object), known)


def test_what_is_learned_of_held_out_pairs_is_kept_to_the_bit(tmp_path: Path) -> None:
    known = pairs(100)
    h = REFIT(known.pairs)
    curves = learn_from_held_out(known, h, held_out_fits(known, h, REFIT, silent), device="cpu", progress=silent)
    assert curves is not None
    learned, held_out = curves
    assert not np.allclose(held_out.transformed, h.apply(known.pairs.old), atol=1e-3), (
        "transformed by what has seen them"
    )
    held_out.save(tmp_path / "pairs.parquet")
    again = HeldOutPairs.load(tmp_path / "pairs.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pairs.parquet.sha256", "pairs.parquet"]
    assert again is not None
    assert again.id.tolist() == known.ids.tolist()
    np.testing.assert_array_equal(again.transformed, held_out.transformed)
    np.testing.assert_array_equal(again.expected_error, learned.held_out)


def test_of_too_few_pairs_nothing_is_learned_and_nothing_kept(tmp_path: Path) -> None:
    few = pairs(8)
    h = REFIT(few.pairs)
    assert learn_from_held_out(few, h, held_out_fits(few, h, REFIT, silent), device="cpu", progress=silent) is None
    assert HeldOutPairs.load(tmp_path / "pairs.parquet") is None


def test_pairs_changed_meanwhile_are_matched_by_id() -> None:
    known = pairs(60)
    numbers = np.arange(60, dtype=np.float32)
    held_out = HeldOutPairs(known.ids, np.repeat(numbers[:, None], NEW, axis=1), numbers)
    left = np.random.default_rng(0).permutation(60)[:40]
    ids = np.append(known.ids[left], "written since")
    now = DatasetPairs(ids, known.pairs.subset(np.append(left, 0)))
    sample = HeldOutSample.of(held_out, now)
    assert sample is not None
    assert sample.id.tolist() == known.ids[left].tolist()
    assert sample.expected_error.tolist() == left.tolist()
    assert sample.transformed[:, 0].tolist() == left.tolist()
    np.testing.assert_array_equal(sample.pairs.new, known.pairs.new[left])
    assert HeldOutSample.of(held_out, DatasetPairs(ids[-3:], known.pairs.subset(left[:3]))) is None


def test_pairs_are_ordered_by_the_rules_that_items_are() -> None:
    known = pairs(60)
    held_out = HeldOutPairs(known.ids, known.pairs.new, np.arange(60, dtype=np.float32))
    sample = HeldOutSample.of(held_out, known)
    assert sample is not None
    urgencies = dict(sample.urgencies([], "cosine"))
    assert list(urgencies) == ["uncertainty", "random", "class_mean_distance"]
    assert urgencies["uncertainty"].tolist() == sample.expected_error.tolist()
    assert np.isfinite(urgencies["class_mean_distance"]).all()
    unlabelled = DatasetPairs(known.ids, Pairs(known.pairs.old, known.pairs.new))
    sample = HeldOutSample.of(held_out, unlabelled)
    assert sample is not None
    assert [name for name, _ in sample.urgencies([], "cosine")] == ["uncertainty", "random"]


@pytest.mark.parametrize(("measure", "orders"), [("cmc@1", 1), ("map", 3)])
def test_only_where_the_order_is_predicted_to_matter_has_each_a_curve(measure: RetrievalMetric, orders: int) -> None:
    known = pairs(60)
    noise = np.random.default_rng(0).normal(size=known.pairs.new.shape)
    transformed = (known.pairs.new + noise).astype(np.float32)
    sample = HeldOutSample.of(HeldOutPairs(known.ids, transformed, np.linalg.norm(noise, axis=1)), known)
    assert sample is not None
    proof = replace(PROOF, metrics=(MetricResult(measure, quantity(0.5), quantity(0.75), quantity(0.25)),))
    predicted = predict_curves(proof, AcceptanceGate(measure), sample, SOURCE, TARGET)
    assert predicted is not None
    assert (len(predicted.curves), predicted.any_order) == (orders, orders == 1)
    assert len({curve.points for curve in predicted.curves.values()}) == orders
    assert predicted.curves["uncertainty"].points[0].mean == pytest.approx(0.75)
