"""The table of migrations, and the lines that sum it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.table import Table

from benchmarks.fused_coverage import Predicted
from benchmarks.migration_plan import PLAN
from benchmarks.migration_row import CheckedMigration
from benchmarks.perfect_estimate import best_conceivable

HEADS = (
    "migration",
    "chosen",
    "crossing: predicted",
    "measured",
    "over old: predicted",
    "measured ±",
    "said (as)",
    "right",
    "crossing / fused / re-embedding over old",
    "curve error",
    "s",
)


def table(rows: Sequence[CheckedMigration]) -> Table:
    """Figures in %, differences in points; ✗ is a miss, (✗) one that the fresh queries' own scatter explains."""
    shown = Table(*HEADS)
    for row in rows:
        shown.add_row(*_cells(row))
    return shown


def markdown(rows: Sequence[CheckedMigration]) -> str:
    """The same as a Markdown table, without the seconds."""
    lines = [each[:-1] for each in (HEADS, ("---",) * len(HEADS), *map(_cells, rows))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: CheckedMigration) -> tuple[str, ...]:
    missed = "" if row.bet_agrees or not row.beyond_doubt else " ✗"
    how = f" ({row.served_as})" if row.served_as else f": rather {row.leaning}" if row.leaning else ""
    gains = " / ".join(f"{100 * row.gains[each][0]:+.1f}" for each in ("crossing", "fused", "re-embedding"))
    return (
        row.name,
        row.learned,
        f"{100 * row.cross.mean:.1f} ({100 * row.cross.low:.1f} to {100 * row.cross.high:.1f})",
        f"{100 * row.cross.measured:.1f}{_miss(row.cross)}",
        f"{100 * row.difference.mean:+.1f} ({100 * row.difference.low:+.1f} to {100 * row.difference.high:+.1f})",
        f"{100 * row.difference.measured:+.1f} ± {196 * row.scatter:.1f}{_missed_difference(row)}",
        f"{row.said}{how}",
        f"{row.right if row.beyond_doubt else 'in doubt'}{missed}",
        gains,
        "" if row.curve_error is None else f"{100 * row.curve_error:.1f}",
        f"{row.seconds:.0f}",
    )


def _miss(figure: Predicted) -> str:
    return "" if figure.holds else " ✗"


def _missed_difference(row: CheckedMigration) -> str:
    if row.difference.holds:
        return ""
    return " (✗)" if row.difference_with_scatter.holds else " ✗"


FIGURES: dict[str, Callable[[CheckedMigration], Predicted | None]] = {
    "crossing": lambda row: row.cross,
    "crossing over old": lambda row: row.difference,
    "the same, with the fresh queries' own scatter": lambda row: row.difference_with_scatter,
    "fused": lambda row: row.fused,
    "fused over old": lambda row: row.fused_difference,
    "fused over old as expected, where it cannot be told": lambda row: row.expected,
    "the same, with that scatter": lambda row: row.expected_with_scatter,
    "old": lambda row: row.old,
    "full re-embedding": lambda row: row.re_embed,
}


def summary(rows: Sequence[CheckedMigration]) -> Iterator[str]:
    """How often intervals held, how often what was said was right, and how far curves were off."""
    for name, figure in FIGURES.items():
        found = [each for each in map(figure, rows) if each is not None]
        if not found:
            continue
        held, error = sum(each.holds for each in found), [each.mean - each.measured for each in found]
        yield (
            f"{name}: held {held} of {len(found)} ({held / len(found):.0%}); bias {100 * np.mean(error):+.2f} points,"
            f" mean error {100 * np.mean(np.abs(error)):.2f}, half width"
            f" {100 * np.mean([(each.high - each.low) / 2 for each in found]):.1f}"
        )
    fitted = {each.name for each in PLAN if each.old_is_fitted_to_the_gallery}
    holding = {row.name for row in rows if row.difference_with_scatter.holds}
    by_fit = [[row.name in holding for row in rows if (row.name in fitted) == which] for which in (True, False)]
    yield (
        f"crossing over old, with that scatter: held {sum(by_fit[0])} of {len(by_fit[0])} where the old model was"
        f" fitted to the gallery itself, {sum(by_fit[1])} of {len(by_fit[1])} elsewhere"
    )
    told = [row for row in rows if row.beyond_doubt]
    agree = sum(row.agrees for row in told)
    silent = sum(row.said == "cannot tell" for row in told)
    yield (
        f"what the gate tells: right in {agree} of {len(told)} that are beyond doubt ({agree / max(1, len(told)):.0%}),"
        f" cannot tell in {silent}, wrong in {len(told) - agree - silent}"
    )
    bets = [row for row in told if row.said == "cannot tell"]
    right = sum(row.bet_agrees for row in told)
    yield (
        f"advice, with the better bet where it cannot tell: right in {right} of {len(told)}"
        f" ({right / max(1, len(told)):.0%}); of the bets {sum(row.bet_agrees for row in bets)} of {len(bets)}"
    )
    if told:
        yield best_conceivable(rows)
    with_curve = [row.curve for row in rows if row.curve is not None]
    if with_curve:
        error = [np.abs(np.subtract(*curve)).mean() for curve in with_curve]
        gain = [row.curve_gain_error for row in rows if row.curve_gain_error is not None]
        bias = np.mean([np.subtract(*curve).mean() for curve in with_curve])
        yield (
            f"backfill curves: mean error {100 * np.mean(error):.2f} points (median {100 * np.median(error):.2f}, most"
            f" {100 * max(error):.1f}), bias {100 * bias:+.2f}; of what is gained over their start"
            f" {100 * np.mean(gain):.2f} ({len(error)} migrations)"
        )
    seconds = [row.seconds for row in rows]
    yield f"seconds: {np.mean(seconds):.0f} on average, {sum(seconds):.0f} in all"
