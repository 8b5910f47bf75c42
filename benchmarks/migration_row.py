"""One migration: what the service says of it beforehand, and what a full evaluation by fresh queries then finds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from app.galleries import orders
from benchmarks.crossing import Task
from benchmarks.fused import Learned, dataset_of, learned
from benchmarks.fused_coverage import Predicted
from benchmarks.fused_search import HeldOutQueries, Scoring
from benchmarks.migration_plan import PlannedMigration, Posed
from models.arrays import Floats
from models.evaluation.bootstrap import Interval, paired_bootstrap
from models.evaluation.retrieval_metrics import NEIGHBOURS, recall_at_k, top_k
from models.proof.gate import AcceptanceGate
from models.proof.report import ProofReport
from models.re_embedding.backfill_curve import NORMAL_95, values_along
from workers.reporting.backfill_curves import HeldOutSample, predict_curves
from workers.rows.pairs import DatasetPairs

Decision = Literal["upgrade", "stay", "cannot tell"]

PREDICTED = frozenset({"old", "cross", "difference", "fused", "fused_difference", "re_embed", "expected"})
"""The figures of a row that were both predicted and measured."""

WORTH = 0.01
"""The least gain, in the share of queries answered right at rank 1, that the full evaluation takes to be worth it."""


@dataclass(frozen=True)
class CheckedMigration:
    """A row of the table. Figures are from 0 to 1, in `metric`; differences are to the old model.

    said: what the report recommends, served_as: what it accepts, empty where it accepts nothing; advice: the rung that
    it recommends; leaning: the rung that it calls the better bet where it cannot tell, empty where it calls none;
    expected: what it then expects both models' queries to gain. right: what the full evaluation comes to. gains: by
    that, over the old model, of the crossing, of both models' queries fused, and of full re-embedding, paired: mean and
    95 % interval. scatter: the standard error that the fresh queries themselves leave in what was measured of
    `difference`. curve: the backfill curve as it was predicted and as it was measured, 22 points each; None where none
    was predicted.
    """

    name: str
    metric: str
    pairs: int
    gallery: int
    queries: int
    learned: str
    old: Predicted
    cross: Predicted
    difference: Predicted
    fused: Predicted
    fused_difference: Predicted
    re_embed: Predicted | None
    said: Decision
    served_as: str
    advice: str
    leaning: str
    expected: Predicted | None
    right: Decision
    gains: dict[str, list[float]]
    scatter: float
    curve: tuple[list[float], list[float]] | None
    seconds_to_verdict: float
    seconds: float

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> CheckedMigration:
        values: dict[str, Any] = {k: Predicted(**v) if k in PREDICTED and v else v for k, v in fields.items()}
        return cls(**values)

    @property
    def beyond_doubt(self) -> bool:
        """Whether the full evaluation tells what is right."""
        return self.right != "cannot tell"

    @property
    def agrees(self) -> bool:
        """Whether what was said is right; a search that was accepted and is worse than the old model never is."""
        worse = self.said == "upgrade" and self.gains[self.served_as][2] < 0
        return self.said == self.right and not worse

    @property
    def advised(self) -> Decision:
        """What was said, or what was called the better bet where it could not be told."""
        if self.said != "cannot tell" or not self.leaning:
            return self.said
        return "stay" if self.leaning == "stay" else "upgrade"

    @property
    def bet_agrees(self) -> bool:
        """Whether what was advised is right."""
        return self.agrees or (self.said == "cannot tell" and self.advised == self.right)

    @property
    def curve_error(self) -> float | None:
        """The mean absolute error of the predicted curve; None where none was predicted."""
        return None if self.curve is None else float(np.abs(np.subtract(*self.curve)).mean())

    @property
    def curve_gain_error(self) -> float | None:
        """The same of what is gained over the curve's own start, which leaves aside how well that was predicted."""
        if self.curve is None:
            return None
        predicted, measured = (np.array(each) - each[0] for each in self.curve)
        return float(np.abs(predicted - measured).mean())

    @property
    def difference_with_scatter(self) -> Predicted:
        """The interval of the difference, widened by the scatter of the fresh queries that it was measured with."""
        return _widened(self.difference, NORMAL_95 / 2 * self.scatter)

    @property
    def expected_with_scatter(self) -> Predicted | None:
        """The same of what both models' queries were expected to gain, where the report said so."""
        return None if self.expected is None else _widened(self.expected, NORMAL_95 / 2 * self.error_of_gain("fused"))

    def error_of_gain(self, search: str) -> float:
        """The standard error of what a search, as `gains` names it, was measured to gain."""
        _, low, high = self.gains[search]
        return (high - low) / NORMAL_95


def _widened(figure: Predicted, scatter: float) -> Predicted:
    """With an interval that holds what was measured with so much scatter, half the width of its own 95 % interval."""
    low, high = figure.mean - figure.low, figure.high - figure.mean
    return Predicted(
        figure.mean, figure.mean - np.hypot(low, scatter), figure.mean + np.hypot(high, scatter), figure.measured
    )


def checked(planned: PlannedMigration, posed: Posed) -> CheckedMigration:
    """Learns, proves and advises as an upgrade does; then asks all fresh queries."""
    start = time.perf_counter()
    known = learned(posed.shown, posed.pairs, "auto", 0)
    to_verdict = time.perf_counter() - start
    proof, card = known.proof, known.selection.chosen.card
    assert proof.fused is not None
    by_label = values_by_label(posed.true, known)
    gains = {name: paired_bootstrap(values, by_label["old"]) for name, values in by_label.items() if name != "old"}
    found = by_label if proof.fused.metric == "cmc@1" else values_by_neighbours(posed, known)
    old, cross, both = found["old"], found["crossing"], found["fused"]
    at_gate = next(m for m in proof.metrics if m.metric == proof.fused.metric)
    leaning = proof.recommendation.leaning
    re_embed = next(rung.quality for rung in proof.advice if rung.name == "re_embed")
    used = [card.method, "side" if card.side_dimension else "", "labels" if card.settings.get("labels") else ""]
    return CheckedMigration(
        name=planned.name,
        metric=proof.fused.metric,
        pairs=len(posed.pairs.row),
        gallery=len(posed.true.gallery),
        queries=len(posed.true.queries),
        learned=" + ".join(filter(None, used)),
        old=Predicted.of(at_gate.old_old, float(old.mean())),
        cross=Predicted.of(at_gate.cross, float(cross.mean())),
        difference=Predicted.of(at_gate.difference, float((cross - old).mean())),
        fused=Predicted.of(proof.fused.quality, float(both.mean())),
        fused_difference=Predicted.of(proof.fused.difference, float((both - old).mean())),
        re_embed=None if re_embed is None else Predicted.of(re_embed, float(found["re-embedding"].mean())),
        said=said(proof),
        served_as=proof.served_as if proof.accepted else "",
        advice=next((rung.name for rung in proof.advice if rung.recommended), ""),
        leaning="" if leaning is None else leaning.action,
        expected=None if leaning is None else Predicted.of(leaning.expected, float((both - old).mean())),
        right=right(gains),
        gains={name: [gain.mean, gain.low, gain.high] for name, gain in gains.items()},
        scatter=float((cross - old).std() / np.sqrt(len(old))),
        curve=curves(posed.true, dataset_of(posed.pairs), known),
        seconds_to_verdict=to_verdict,
        seconds=time.perf_counter() - start,
    )


def said(proof: ProofReport) -> Decision:
    """What the report recommends."""
    if proof.accepted:
        return "upgrade"
    return "cannot tell" if proof.recommendation.action == "cannot_tell" else "stay"


def right(gains: dict[str, Interval]) -> Decision:
    """What is right beyond doubt, by the better of the crossing and of both models' queries fused.

    To upgrade, where its gain is at least `WORTH` and its interval above 0; to stay, where its interval is below
    `WORTH`.
    """
    best = max((gains["crossing"], gains["fused"]), key=lambda gain: gain.mean)
    if best.low > 0 and best.mean >= WORTH:
        return "upgrade"
    return "stay" if best.high < WORTH else "cannot tell"


def values_by_label(task: Task, known: Learned) -> dict[str, Floats]:
    """Whether every fresh query's first answer has its label, by every search of the whole gallery: (m,) each."""
    search = HeldOutQueries(task, np.arange(len(task.queries)))
    scorings: dict[str, Scoring] = {
        "old": search.by_old,
        "crossing": partial(search.by_new, known.transformed),
        "fused": partial(search.by_both, known.fusion, known.transformed),
        "re-embedding": partial(search.by_new, task.gallery.new),
    }
    return {name: search.hits(scoring).astype(np.float64) for name, scoring in scorings.items()}


def values_by_neighbours(posed: Posed, known: Learned) -> dict[str, Floats]:
    """How many of the ten items nearest by the new model every fresh query finds, among as many items as there are
    pairs: (m,) each. The items are drawn at random from those that are no pair."""
    task, rng = posed.true, np.random.default_rng(0)
    others = np.setdiff1d(np.arange(len(task.gallery)), posed.pairs.row)
    some = np.sort(rng.permutation(others)[: len(posed.pairs.row)])
    old, new = task.source.metric, task.target.metric
    queries, gallery = task.queries, task.gallery
    truth = top_k(queries.new, gallery.new[some], NEIGHBOURS, new)
    search = HeldOutQueries(task, np.arange(len(queries)))
    both = np.concatenate(
        [
            search.by_both(known.fusion, known.transformed, slice(start, start + 200))[:, some]
            for start in range(0, len(queries), 200)
        ]
    )
    answers = {
        "old": top_k(queries.old, gallery.old[some], NEIGHBOURS, old),
        "crossing": top_k(queries.new, known.transformed[some], NEIGHBOURS, new),
        "fused": np.argsort(-both, axis=1, kind="stable")[:, :NEIGHBOURS],
        "re-embedding": truth,
    }
    return {name: recall_at_k(found, truth) for name, found in answers.items()}


def curves(task: Task, pairs: DatasetPairs, known: Learned) -> tuple[list[float], list[float]] | None:
    """The predicted backfill curve and the measured one, in order of expected error: 22 points each.

    None where no curve is predicted, or one in a metric that the labels do not measure.
    """
    sample = HeldOutSample.of(known.held_out, pairs)
    foretold = (
        None if sample is None else predict_curves(known.proof, AcceptanceGate(), sample, task.source, task.target)
    )
    if foretold is None or foretold.metric != "cmc@1":
        return None
    rows, label, wanted = np.arange(len(task.gallery)), task.gallery.label, task.queries.label
    assert label is not None
    assert wanted is not None
    codes = np.unique(np.concatenate([label, wanted]).astype(str), return_inverse=True)[1]
    measured = values_along(
        task.queries.new,
        codes[len(rows) :],
        known.transformed,
        task.gallery.new,
        codes[: len(rows)],
        orders.most_urgent(rows, orders.by_uncertainty(known.expected_error), len(rows)),
        task.target.metric,
        None,
        "cmc@1",
    ).mean(axis=1)
    return [point.mean for point in foretold.curves["uncertainty"].points], measured.tolist()
