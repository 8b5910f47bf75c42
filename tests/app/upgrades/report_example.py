"""A report with everything that its page draws."""

from __future__ import annotations

from typing import Any

from tests.workers.reporting.reports import FULL


def _figure(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}


def _points(*means: float) -> list[dict[str, float]]:
    return [{"share": place / (len(means) - 1), **_figure(mean)} for place, mean in enumerate(means)]


METRICS: list[dict[str, Any]] = [
    {"metric": metric, "old_old": _figure(old), "cross": _figure(new), "difference": _figure(new - old)}
    for metric, old, new in (("cmc@1", 0.8, 0.84), ("map", 0.5, 0.55))
]
ALPHA: dict[str, Any] = {
    "metric": "cmc@1",
    "quality": _figure(0.85),
    "difference": _figure(0.05),
    "over_crossing": _figure(0.01),
    "alpha": 0.6,
    "flips": [],
    "curve": [
        {"alpha": alpha, "exact": exact, "pushed": exact - 0.01}
        for alpha, exact in ((0.0, 0.8), (0.3, 0.83), (0.6, 0.85), (1.0, 0.84))
    ],
}
BACKFILL: dict[str, Any] = {
    "metric": "cmc@1",
    "pairs": 300,
    "curves": {
        "uncertainty": {"points": _points(0.84, 0.87, 0.89, 0.9), "mean": 0.875},
        "random": {"points": _points(0.84, 0.86, 0.88, 0.9), "mean": 0.87},
        "class_mean_distance": {"points": _points(0.84, 0.855, 0.885, 0.9), "mean": 0.868},
        "old_model_poor": {"points": _points(0.84, 0.85, 0.87, 0.9), "mean": 0.862},
    },
    "fused": {"points": _points(0.85, 0.875, 0.9, 0.91), "mean": 0.884},
}
FLIPS: list[dict[str, Any]] = [
    {"stratum": "covered", "negative": 12, "positive": 31, "queries": 900},
    {"stratum": "not covered", "negative": 9, "positive": 4, "queries": 100},
]
LEARNING: list[dict[str, Any]] = [
    {"pairs": pairs, "recall@10": value} for pairs, value in ((125, 0.52), (250, 0.58), (500, 0.62), (1000, 0.65))
]
EPOCHS: list[dict[str, float | None]] = [
    {"loss": 4.0 / n, "influence_loss": 2.0 / n, "cross": 0.1 * n, "self": 0.2 * n} for n in (1, 2, 3)
]
RELIABILITY: list[dict[str, Any]] = [
    {"rows": 100, "expected": expected, "observed": {"mean": mean, "low": 0.8 * mean, "high": 1.2 * mean}}
    for expected, mean in ((0.1, 0.12), (0.2, 0.19), (0.4, 0.43))
]
SCORES: dict[str, Any] = {
    "items": 600,
    "routes": {
        "transformed": {
            "queries": 200,
            "pairs": 60_000,
            "error": {"to_new": 0.04, "to_old": 0.05},
            "seen": {"old": [-0.9, 0.99], "new": [-0.8, 0.97]},
            "kept": [{"items": 10, "old": 0.8125, "new": 0.6875, "before": 10.1, "after": 9.8, "same": 0.71}],
        }
    },
}
LEARNED: dict[str, Any] = {
    "method": "ridge",
    "uses_side_information": False,
    "uses_labels": False,
    "pairs": 1000,
    "metric": "recall@10",
    "candidates": [{"name": "ridge", "held_out": _figure(0.65), "fit_seconds": 0.1, "skipped": ""}],
    "learning_curve": LEARNING,
    "uncertainty": {"method": "distance", "reliability": RELIABILITY},
    "scores": SCORES,
}
GALLERY: dict[str, Any] = FULL.to_json() | {
    "metrics": METRICS,
    "fused": ALPHA,
    "backfill": BACKFILL,
    "flips": FLIPS,
    "recommendation": {
        "action": "cannot_tell",
        "sentence": "Cannot tell yet: the new model looks 2.0 points better, and about 900 more pairs would decide.",
        "rests_on": "cmc@1: old model 80.0%, crossing 82.0%.",
        "costs": "Embedding them with the new model takes about 3 minutes.",
        "leaning": {
            "action": "fused",
            "sentence": "Should it have to be decided now: search by the queries of both models together.",
            "expected": {"mean": 0.013, "low": -0.002, "high": 0.028, "basis": "other migrations"},
            "better": 0.93,
        },
    },
}
