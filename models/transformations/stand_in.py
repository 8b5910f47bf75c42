"""Stand-ins for missing side-information: predicted from the old vector, where that helps.

The alternative for items without side-information is the plain transformation, which reads none. For linear methods the
two are nearly equal: leaving side-information out of a regression, or replacing it by its own regression (the
omitted-variable formula). So a stand-in, with which one transformation serves all items, is used only where it
retrieves better from held-out rows of which some lack side-information.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.arrays import ONE_STANDARD_ERROR
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.portable import Affine, Array, Space, as_indexed
from models.transformations.held_out_retrieval import HeldOutRetrieval
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs, Refit


@dataclass(frozen=True)
class StandInResult:
    """Retrieval from held-out rows, a `share` of which were treated as lacking side-information; intervals from 0 to 1.

    stand_in: with predicted side-information; plain: with the plain transformation for these rows; helps: whether the
    stand-in is better by more than one standard error of the paired difference.
    """

    share: float
    metric: str
    stand_in: Interval
    plain: Interval
    helps: bool


def learn_stand_in(old: Array, side: Array, source: Space, *, seed: int = 0) -> Affine:
    """Learns to predict side-information (n, d_side) from old vectors (n, d_old), both float32, by ridge regression.

    The affine map reads old vectors as their index holds them.
    """
    space = Space("side-information", side.shape[1], "l2")
    affine = ridge(Pairs(old, side), source, space, seed=seed).affine
    assert affine is not None
    return Affine(affine.weight, affine.bias)


def predict_side(stand_in: Affine, old: Array, source: Space) -> Array:
    """The side-information that a stand-in predicts for old vectors: (n, d_old) → (n, d_side) float32."""
    return stand_in(as_indexed(old, source.metric), None)


def try_stand_in(
    pairs: Pairs, target: Space, stand_in: Affine, refit: Refit, refit_plain: Refit, *, share: float, seed: int = 0
) -> StandInResult:
    """Compares a stand-in with the plain transformation on held-out rows, a random `share` of which lack
    side-information.

    refit, refit_plain: learn the transformation that reads side-information, and the plain one.
    """
    held_out = HeldOutRetrieval(pairs, target, seed)
    has = np.random.default_rng(seed).random(held_out.rows) >= share
    models = held_out.fit(refit)
    plain = held_out.transform(held_out.fit(refit_plain))
    mixed = np.where(has[:, None], held_out.transform(models), plain)
    filled = held_out.transform([replace(h, stand_in=stand_in) for h in models], has)
    with_stand_in, with_plain = (held_out.retrieval(gallery).hits for gallery in (filled, mixed))
    gain = paired_bootstrap(with_stand_in, with_plain, seed=seed, confidence=ONE_STANDARD_ERROR)
    return StandInResult(
        share,
        held_out.metric,
        bootstrap_mean(with_stand_in, seed=seed),
        bootstrap_mean(with_plain, seed=seed),
        gain.low > 0,
    )
