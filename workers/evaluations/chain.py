"""The evaluation of a chain of versions: the compatibility matrix, and AC and AM of each metric.

M(i, j), j ≤ i, is measured where both versions' vectors share a space: at once for j = i, through the accepted crossing
from j to i, or through crossings composed over versions in between where there is no direct one. Where there are both,
the direct one is the cell, and the composition is measured against it: never composed blindly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from app.evaluations.schemas import ChainEvaluation
from app.upgrades.accepted_crossings import UpgradeCrossing
from models.evaluation.searches import SearchResult, compare
from models.evaluation.version_chain import chain_scores
from workers.evaluations.searches import SEED, SearchBench, measured_json

Between = Callable[[str, str], UpgradeCrossing | None]


def evaluate_chain(bench: SearchBench, evaluation: ChainEvaluation, between: Between) -> dict[str, Any]:
    """The result, JSON. between: the accepted crossing from one model's vectors to another's queries, if any."""
    models = evaluation.models
    accepted_crossings = {
        (j, i): crossing
        for i in range(len(models))
        for j in range(i)
        if (crossing := between(models[j], models[i])) is not None
    }
    matrices = {metric: np.full((len(models), len(models)), np.nan) for metric in evaluation.metrics}
    cells = []
    for i in range(len(models)):
        for j in range(i + 1):
            cell, result = _cell(bench, models, i, j, accepted_crossings)
            cells.append(cell)
            if result is not None:
                for metric, matrix in matrices.items():
                    matrix[i, j] = result.figure(metric).interval.mean
    return {
        "kind": "chain",
        "models": models,
        "rows": {
            "queries": len(bench.queries),
            "gallery": len(bench.gallery),
            "gallery_drawn_from": bench.gallery.held,
        },
        "matrices": {
            metric: [[None if np.isnan(value) else value for value in row] for row in matrix.tolist()]
            for metric, matrix in matrices.items()
        },
        "scores": {metric: chain_scores(matrix).to_json() for metric, matrix in matrices.items()},
        "cells": cells,
    }


def shortest(
    accepted_crossings: dict[tuple[int, int], UpgradeCrossing], start: int, end: int
) -> list[UpgradeCrossing] | None:
    """The composition of fewest crossings, at least two, that leads up from version `start` to `end`."""
    waiting: deque[tuple[int, list[UpgradeCrossing]]] = deque([(start, [])])
    reached = {start}
    while waiting:
        version, path = waiting.popleft()
        for (source, target), crossing in sorted(accepted_crossings.items(), key=lambda known: known[0]):
            if source != version or target in reached or (source, target) == (start, end):
                continue
            reached.add(target)
            if target == end:
                return [*path, crossing]
            waiting.append((target, [*path, crossing]))
    return None


def _cell(
    bench: SearchBench,
    models: Sequence[str],
    i: int,
    j: int,
    accepted_crossings: dict[tuple[int, int], UpgradeCrossing],
) -> tuple[dict[str, Any], SearchResult | None]:
    """The cell M(i, j) as JSON, and what was measured of it; None where nothing could be."""
    new, old = models[i], models[j]
    cell: dict[str, Any] = {"queries": new, "gallery": old, "measured": None, "composition": None, "reason": None}
    direct, composed = accepted_crossings.get((j, i)), shortest(accepted_crossings, j, i)
    if i != j and direct is None and composed is None:
        cell["reason"] = (
            f"no accepted upgrade leads from {old!r} to {new!r}, at once or over versions in between: "
            f'POST /models/{old}/upgrade with {{"to": "{new}", "dataset": …}}'
        )
        return cell, None
    path = [] if i == j else [direct] if direct is not None else composed or []
    crossed = bench.search(new, old, path)
    result = bench.measure(crossed)
    cell["measured"] = measured_json(crossed, result)
    if i != j and direct is not None and composed is not None:
        crossed_by_composition = bench.search(new, old, composed)
        by_composition = bench.measure(crossed_by_composition)
        cell["composition"] = {
            "measured": measured_json(crossed_by_composition, by_composition),
            "against_direct": compare(result, by_composition, seed=SEED).to_json(),
        }
    return cell, result
