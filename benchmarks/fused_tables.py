"""What the benchmark of fused queries measured, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.table import Table


@dataclass(frozen=True)
class Result:
    """One migration from one set of pairs; shares from 0 to 1, differences as mean, low and high.

    backfilled, real: with these shares of the gallery re-embedded, fused and by the new query alone.
    """

    migration: str
    pairs: str
    seed: int
    method: str
    accepted: str
    old: float
    crossing: float
    pushed_crossing: float
    re_embedded: float
    rrf: float
    fused: float
    pushed: float
    alpha: float
    pushed_alpha: float
    best: float
    best_alpha: float
    lost: int
    won: int
    over_old: list[float]
    over_crossing: list[float]
    over_rrf: list[float]
    over_re_embedded: list[float]
    pushed_over_old: list[float]
    backfilled: dict[str, float]
    backfilled_over_re_embedded: dict[str, list[float]]
    real: dict[str, float]
    seconds: float

    @property
    def key(self) -> str:
        return f"{self.migration}/{self.pairs}/{self.method}/{self.seed}"


def tables(results: list[Result]) -> Iterator[Table]:
    """What was measured so far: the searches, and the backfills."""
    searches = Table(title="label at rank 1, in %")
    for column in (
        *("migration", "pairs", "old", "crossing", "pushed", "re-embedded", "rrf", "fused (α)", "best α"),
        *("pushed fused (α)", "over old", "over crossing", "over rrf", "lost/won", "accepted"),
    ):
        searches.add_column(column)
    backfills = Table(title="fused with a part re-embedded (by the new query alone), and over full re-embedding")
    for column in ("migration", "pairs", "re-embedded", "0 %", *results[0].backfilled):
        backfills.add_column(column)
    for r in results:
        pairs = r.pairs if r.method == "ridge" else f"{r.pairs} {r.method}"
        searches.add_row(
            *(r.migration, f"{pairs} #{r.seed}", *map(percent, (r.old, r.crossing, r.pushed_crossing, r.re_embedded))),
            *(percent(r.rrf), f"{percent(r.fused)} ({r.alpha:.2f})", f"{percent(r.best)} ({r.best_alpha:.2f})"),
            *(f"{percent(r.pushed)} ({r.pushed_alpha:.2f})", points(r.over_old), points(r.over_crossing)),
            *(points(r.over_rrf), f"{r.lost}/{r.won}", r.accepted),
        )
        parts = (
            f"{percent(r.backfilled[share])} ({percent(r.real[share])}) {points(over)}"
            for share, over in r.backfilled_over_re_embedded.items()
        )
        start = f"{percent(r.fused)} ({percent(r.crossing)}) {points(r.over_re_embedded)}"
        backfills.add_row(r.migration, f"{pairs} #{r.seed}", percent(r.re_embedded), start, *parts)
    yield searches
    yield backfills


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def points(over: list[float]) -> str:
    mean, low, high = (100 * value for value in over)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def summary(results: list[Result]) -> Iterator[str]:
    """How often the fused search is above, level with and below the others, by the intervals."""
    for pairs in dict.fromkeys((r.pairs, r.method) for r in results):
        these = [r for r in results if (r.pairs, r.method) == pairs]
        of = " ".join(pairs)
        for name, overs in (
            ("old", [r.over_old for r in these]),
            ("crossing", [r.over_crossing for r in these]),
            ("rrf", [r.over_rrf for r in these]),
            ("full re-embedding", [r.over_re_embedded for r in these]),
            ("old, pushed", [r.pushed_over_old for r in these]),
        ):
            above, below = sum(low > 0 for _, low, _ in overs), sum(high < 0 for _, _, high in overs)
            least = min(mean for mean, _, _ in overs)
            yield (
                f"{of}: fused over {name} beyond the interval in {above} of {len(overs)}, below in {below}; least"
                f" {100 * least:+.1f}"
            )
        for share in these[0].backfilled:
            near = sum(r.backfilled_over_re_embedded[share][0] >= -0.005 for r in these)
            yield f"{of}: {share} re-embedded, within half a point of all in {near} of {len(these)}"
        behind = [r.best - r.fused for r in these]
        yield f"{of}: lost by choosing α on pairs {100 * np.mean(behind):.2f}, most {100 * max(behind):.2f}"
