"""Pairs whose new vector seems to be that of another item: rows that slipped while two files were put together.

The new vector of a pair is as a rule nearer to its own old vector, transformed by what had not learned from it, than
to nearly all other pairs'. That of another item has its own anywhere among the others: the share of them that are
nearer is then uniform from 0 to 1. So the pairs are a mixture of two groups, of which the far end of that share shows
one alone (Efron, "Microarrays, empirical Bayes and the two-groups model", Statistical Science 23, 2008; the size of
the uniform part after Storey, JRSS B 64, 2002). As a query such a pair asks for one item by another's vector, and no
search can answer it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, RowNumbers
from models.evaluation.score_blocks import for_each_block
from models.portable import Array, Distance, as_indexed

FAR_HALF = 0.5
"""A pair that is paired rightly does not have its own among the farther half of all, unless its old vector says nothing
of it; pairs beyond tell how many are paired wrongly."""

NEAREST = 0.15
"""Rightly paired items have their own among so many of all, or a little beyond, where it can be told who is not."""

FEWEST_FAR = 5
"""Fewer pairs so far out are taken for rightly paired items that the transformation misses."""

MOST = 0.3
"""Where a larger share seems to be paired wrongly, it is the transformation that knows nothing."""

_STEPS = np.linspace(0.02, FAR_HALF, 25)
_SLACK = 1.25  # of the pairs beyond a share, four in five are then paired wrongly
_SPECIFIC = 0.5  # of the median squared distance from the mean


def mismatched(new: Array, transformed: Array, metric: Distance) -> NDArray[np.bool_]:
    """Which pairs have the new vector of another item, far more likely than not: (m,) bool.

    new, transformed: (m, d) float32, new vectors and old ones as transformed by what had not learned from each. A pair
    whose old vector says little, so that it is transformed to somewhere near the mean of all, is never called so: it
    has its own anywhere, too, and rightly counts as one that a search does not find.
    """
    if len(new) < 2 * FEWEST_FAR:
        return np.zeros(len(new), bool)
    rows = as_indexed(transformed, metric)
    from_mean = np.square(rows - rows.mean(axis=0)).sum(axis=1)
    specific = from_mean >= _SPECIFIC * np.median(from_mean)
    found = np.zeros(len(new), bool)
    found[specific] = spread_evenly(share_nearer(new, transformed, metric)[specific])
    return found


def share_nearer(new: Array, transformed: Array, metric: Distance) -> Floats:
    """Of each pair the share of the others whose transformed old vector is nearer to its new vector than its own is.

    new, transformed: (m, d) float32, at least two pairs; → (m,) float64, from 0 to 1.
    """
    nearer = np.zeros(len(new))

    def take(rows: RowNumbers, scores: Array) -> None:
        own = scores[np.arange(len(rows)), rows]
        nearer[rows] = np.count_nonzero(scores > own[:, None], axis=1)

    for_each_block(take, new, transformed, metric, None)
    return nearer / (len(new) - 1)


def spread_evenly(nearer: Floats) -> NDArray[np.bool_]:
    """Which pairs are of the group whose `share_nearer`, (m,), is spread evenly from 0 to 1: (m,) bool.

    The pairs in the far half tell how many there are in all. Taken are the pairs beyond the least share beyond which
    hardly more lie than that. None are where pairs grow fewer from the third quarter to the last, as do rightly paired
    items that the transformation misses; nor where the rightly paired reach far beyond the nearest, as under a new
    model whose vectors say little of an item: the end of one group is then no other group.
    """
    none, far = np.zeros(len(nearer), bool), int((nearer > FAR_HALF).sum())
    farthest = int((nearer > (1 + FAR_HALF) / 2).sum())
    evenly = far / (1 - FAR_HALF)
    thinning = far - farthest > farthest + 2 * np.sqrt(far)
    between = evenly * (FAR_HALF - NEAREST)  # are expected there, were the rightly paired all among the nearest
    one_group = np.count_nonzero((nearer > NEAREST) & (nearer <= FAR_HALF)) > 2 * (between + np.sqrt(between))
    if far < FEWEST_FAR or thinning or one_group or evenly > MOST * len(nearer):
        return none
    beyond = np.count_nonzero(nearer[:, None] > _STEPS, axis=0)
    few_enough = beyond <= _SLACK * evenly * (1 - _STEPS)  # as the last step is
    found: NDArray[np.bool_] = nearer > _STEPS[few_enough.argmax()]
    return found
