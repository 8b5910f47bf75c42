"""What share of migrations the best conceivable estimate would tell right: one without error but that of its queries.

As many queries as there are pairs, drawn at random, each alone: their scatter is what the fresh queries show. It is
what no report can do without more queries, or without knowing something else than them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from benchmarks.migration_row import WORTH, CheckedMigration
from models.re_embedding.backfill_curve import NORMAL_95

_NORMAL_95 = NORMAL_95 / 2  # from the middle of an interval to its end, in standard errors


def told_by_interval(row: CheckedMigration, times: float = 1.0) -> float:
    """The probability that 95 % intervals of so many times the pairs tell what is right: better than the old model, or
    neither better nor so close that more would not matter."""
    chances = []
    for gain, error in _gains(row, times):
        if row.right == "upgrade":
            chances.append(norm.sf(_NORMAL_95 - gain / error))
            continue
        within = (WORTH - _NORMAL_95 * error) / error
        equal = norm.cdf(within - gain / error) - norm.cdf(-within - gain / error) if within > 0 else 0.0
        chances.append(max(float(norm.cdf(-_NORMAL_95 - gain / error)), float(equal)))
    return float(max(chances) if row.right == "upgrade" else min(chances))


def told_by_mean(row: CheckedMigration, times: float = 1.0) -> float:
    """The probability that what they gain on average is on the right side of what is worth it."""
    above = [float(norm.sf((WORTH - gain) / error)) for gain, error in _gains(row, times)]
    return max(above) if row.right == "upgrade" else 1 - max(above)


def best_conceivable(rows: Sequence[CheckedMigration]) -> str:
    """The shares of what is beyond doubt, in words."""
    told = [row for row in rows if row.beyond_doubt]

    def share(chances: list[float]) -> str:
        return f"{np.mean(chances):.0%}"

    return (
        "an estimate without error but that of as many queries as there are pairs would be right by 95 % intervals in"
        f" {share([told_by_interval(row) for row in told])}, of three times as many in"
        f" {share([told_by_interval(row, 3) for row in told])}; by its mean, as a bet, in"
        f" {share([told_by_mean(row) for row in told])}"
    )


def _gains(row: CheckedMigration, times: float) -> list[tuple[float, float]]:
    """Of the crossing and of both models' queries: the measured gain, and the standard error of such an estimate."""
    shrunk = np.sqrt(row.queries / (times * row.pairs))
    return [(row.gains[search][0], max(row.error_of_gain(search) * shrunk, 1e-6)) for search in ("crossing", "fused")]
