"""What stands in for the side-information of an item that lacks it: predicted from the old vector, where that helps.

The alternative is the plain transformation, which reads none. For linear ones the two come to nearly the same: leaving
side-information out of a regression, or putting its own regression in its place (the omitted-variable formula). So the
stand-in, which serves items that lack side-information by the transformation of all the others, is taken only where it
retrieves better from a mixed gallery of held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.arrays import ONE_STANDARD_ERROR
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.portable import Affine, Array, Space, Transformation, as_indexed
from models.transformations.held_out_retrieval import HeldOutRetrieval
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs

Refit = Callable[[Pairs], Transformation]


@dataclass(frozen=True)
class StandInResult:
    """Retrieval from held-out rows of which a `share` was taken to lack side-information; intervals from 0 to 1.

    helps: whether the stand-in is better by more than one standard error of the paired difference.
    """

    share: float
    metric: str
    stand_in: Interval
    plain: Interval
    helps: bool


def learn_stand_in(old: Array, side: Array, source: Space, *, seed: int = 0) -> Affine:
    """Ridge from the old vectors (n, d_old), as their index holds them, to side-information (n, d_side), float32."""
    space = Space("side-information", side.shape[1], "l2")
    affine = ridge(Pairs(old, side), source, space, seed=seed).affine
    assert affine is not None
    return Affine(affine.weight, affine.bias)


def guessed(stand_in: Affine, old: Array, source: Space) -> Array:
    """What stands in for the side-information of rows, (n, d_old) → (n, d_side) float32."""
    return stand_in(as_indexed(old, source.metric), None)


def try_stand_in(
    pairs: Pairs, target: Space, stand_in: Affine, refit: Refit, refit_plain: Refit, *, share: float, seed: int = 0
) -> StandInResult:
    """Measures both ways of serving a gallery of which a `share` lacks side-information, on the same held-out rows.

    refit, refit_plain: learn the transformation that reads side-information, and the one for items without, from
    other pairs.
    """
    held_out = HeldOutRetrieval(pairs, target, seed)
    has = np.random.default_rng(seed).random(held_out.rows) >= share
    models = held_out.models(refit)
    plain = held_out.moved(held_out.models(refit_plain))
    mixed = np.where(has[:, None], held_out.moved(models), plain)
    filled = held_out.moved([replace(h, stand_in=stand_in) for h in models], has)
    ours, theirs = (held_out.retrieval(gallery).hits for gallery in (filled, mixed))
    gain = paired_bootstrap(ours, theirs, seed=seed, confidence=ONE_STANDARD_ERROR)
    return StandInResult(
        share,
        held_out.metric,
        bootstrap_mean(ours, seed=seed),
        bootstrap_mean(theirs, seed=seed),
        gain.low > 0,
    )
