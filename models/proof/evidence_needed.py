"""Whether a gate is met, missed or open, and how much more evidence would decide: a power estimate.

The standard error seen holds all that makes queries tell less than their number promises: weights, and items or classes
that depend on each other. It is taken to shrink with the square root of the number of queries, for queries of the same
kind. Source: Chow, Shao, Wang and Lokhnygina, "Sample Size Calculations in Clinical Research" (3rd ed., 2017), ch. 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from models.evaluation.bootstrap import Interval
from models.proof.report import EvidenceKind, EvidenceNeeded, Quantity
from models.proof.stratum_estimate import Draws

SMALLEST_THAT_MATTERS = 0.01
"""Two searches whose figures differ by less, a point, are as good as equal."""

FEWEST_MORE = 10
"""Fewer are not asked for: an estimate is not as exact as that."""

POWER = 0.8  # how likely what is asked for is to decide, should the difference be as it was seen
_CONFIDENCE = float(stats.norm.ppf(0.975))
_ERRORS = _CONFIDENCE + float(stats.norm.ppf(POWER))  # standard errors between the difference and what is asked

Standing = Literal["met", "missed", "equal", "open"]
"""The whole interval is beyond what is asked; it is short of it; it is within a point of it; or none of these."""


def standing(interval: Interval | Quantity, asked: float, *, met: bool) -> Standing:
    """How an interval stands to the figure that is asked of it; met: whether the gate accepts it."""
    if met:
        return "met"
    if interval.high < asked:
        return "missed"
    close = max(asked - interval.low, interval.high - asked) <= SMALLEST_THAT_MATTERS
    return "equal" if close else "open"


@dataclass(frozen=True)
class Judges:
    """What a figure was judged by, and what there may be more of.

    have: how many of `kind` there are; queries: how many of them were measured, of `most_queries` that may be.
    """

    kind: EvidenceKind
    have: int
    queries: int
    most_queries: int


def evidence_needed(mean: float, asked: float, error: float, lasting: float, judges: Judges) -> EvidenceNeeded:
    """What decides whether a figure reaches what is asked of it, or at least tells the figure to within a point.

    mean: the figure; error: its standard error; lasting: the part of that which more queries would not take away, such
    as classes without pairs.
    """
    off = mean - asked

    def more(bearable: float) -> int | None:
        if bearable <= lasting:
            return None
        times = max(1.0, (error**2 - min(lasting, error) ** 2) / (bearable**2 - lasting**2))
        if times * judges.queries > judges.most_queries:
            return None
        return max(FEWEST_MORE, _rounded_up((times - 1) * judges.have))

    within_a_point = SMALLEST_THAT_MATTERS / _CONFIDENCE
    decisive = more(_error_that_decides(abs(off)))
    narrowing = more(within_a_point) if decisive is None and error > within_a_point else None
    if narrowing is not None:
        return EvidenceNeeded(judges.kind, judges.have, narrowing, off, decides=False)
    return EvidenceNeeded(judges.kind, judges.have, decisive, off)


def _error_that_decides(off: float) -> float:
    """The largest standard error at which a figure that is `off` from what is asked is as a rule told from it, or told
    to be within `SMALLEST_THAT_MATTERS` of it, whichever asks for less."""
    return max(off, SMALLEST_THAT_MATTERS - off) / _ERRORS


def error_of_difference(figures: Draws) -> tuple[float, float]:
    """The standard error of M(new, h(old)) − M(old, old), and the part of it that more queries would not take away."""
    return float(np.std(figures.cross - figures.old)), float(np.std(figures.lasting_cross - figures.lasting_old))


def error_of_cross(figures: Draws) -> tuple[float, float]:
    """The same of a fresh cross test of as many queries."""
    return float(np.std(figures.fresh_cross)), float(np.std(figures.lasting_cross))


def in_words(needed: EvidenceNeeded) -> str:
    """What would decide, as the end of a sentence."""
    if needed.more is None:
        unless = ", unless they teach a better crossing" if needed.kind == "pairs" else ""
        return f"no number of {needed.kind} that a proof measures would tell so small a difference{unless}"
    would = "as a rule decide" if needed.decides else "tell it to within a point"
    return f"about {needed.more:,} more {needed.kind} would {would}"


def _rounded_up(number: float) -> int:
    """To two digits, upwards: more would be pretence."""
    step = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return math.ceil(number / step) * step
