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
from app.upgrades.accepted_crossings import AcceptedCrossing
from models.evaluation.searches import SearchResult, compare
from models.evaluation.version_chain import chain_scores
from workers.evaluations.pair import said
from workers.evaluations.searches import SEED, SearchBench

Between = Callable[[str, str], AcceptedCrossing | None]


def evaluate_chain(bench: SearchBench, asked: ChainEvaluation, between: Between) -> dict[str, Any]:
    """The result, JSON. between: the accepted crossing from one model's vectors to another's queries, if any."""
    models = asked.models
    accepted_crossings = {
        (j, i): hop for i in range(len(models)) for j in range(i) if (hop := between(models[j], models[i])) is not None
    }
    matrices = {metric: np.full((len(models), len(models)), np.nan) for metric in asked.metrics}
    cells = []
    for i in range(len(models)):
        for j in range(i + 1):
            cell, found = _cell(bench, models, i, j, accepted_crossings)
            cells.append(cell)
            if found is not None:
                for metric, matrix in matrices.items():
                    matrix[i, j] = found.figure(metric).interval.mean
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
    accepted_crossings: dict[tuple[int, int], AcceptedCrossing], start: int, end: int
) -> list[AcceptedCrossing] | None:
    """The composition of fewest crossings, at least two, that leads up from version `start` to `end`."""
    waiting: deque[tuple[int, list[AcceptedCrossing]]] = deque([(start, [])])
    reached = {start}
    while waiting:
        place, path = waiting.popleft()
        for (source, target), hop in sorted(accepted_crossings.items(), key=lambda known: known[0]):
            if source != place or target in reached or (source, target) == (start, end):
                continue
            reached.add(target)
            if target == end:
                return [*path, hop]
            waiting.append((target, [*path, hop]))
    return None


def _cell(
    bench: SearchBench,
    models: Sequence[str],
    i: int,
    j: int,
    accepted_crossings: dict[tuple[int, int], AcceptedCrossing],
) -> tuple[dict[str, Any], SearchResult | None]:
    """M(i, j) as the result tells of it, and as measured; None where it could not be."""
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
    found = bench.measure(crossed)
    cell["measured"] = said(crossed, found)
    if i != j and direct is not None and composed is not None:
        longer = bench.search(new, old, composed)
        other = bench.measure(longer)
        cell["composition"] = {
            "measured": said(longer, other),
            "against_direct": compare(found, other, seed=SEED).to_json(),
        }
    return cell, found
