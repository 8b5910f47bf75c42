"""Which share of the gallery the pairs cover: by label where there are labels, else by density in the old space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Labels
from models.evaluation.retrieval_metrics import top_k
from models.k_means import k_means, nearest_centroid
from models.portable import Array, Distance, as_indexed

PAIRS_PER_REGION = 10  # expected under even sampling: a region with next to none is then no accident
MOST_REGIONS = 512
SPARSE = 0.1  # a region is not covered under this share of the pairs that it would hold under even sampling
LEARNING_ROWS = 20_000
TRIMMED_ABOVE = 2.0  # times the mean weight: a few pairs that stand for much would otherwise decide alone


@dataclass(frozen=True)
class Coverage:
    """The gallery and the pairs cut into cells: labels, or regions of the old space.

    names: (c,) the cells; gallery_cell: (N,), pair_cell: (n,) and evaluation_cell: (e,) int64 codes into `names`, -1
    for none; covered: (c,) bool, whether the pairs speak for the cell; size: (c,) int64, gallery rows in it.
    """

    by: Literal["label", "density"]
    names: tuple[str, ...]
    gallery_cell: Codes
    pair_cell: Codes
    evaluation_cell: Codes
    covered: NDArray[np.bool_]
    size: Codes

    @property
    def share(self) -> float:
        """The share of the gallery's (labelled) rows in covered cells."""
        return float(self.size[self.covered].sum() / self.size.sum())

    def pair_weights(self, chosen: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The gallery rows each pair stands for: (n,) float64; trimmed (Potter, ASA Survey Research Methods, 1990).

        A cell's rows are shared out among its pairs, equally among those of which nothing more is known. chosen: (n,)
        the shares of the gallery given with pairs that were chosen to stand for others, NaN for a pair that was not;
        a cell's chosen pairs weigh as much as its others on the average, and among themselves by these shares. A pair
        of no cell stands for nothing.
        """
        known = self.pair_cell >= 0
        weight = np.zeros(len(known))
        weight[known] = (self.size / self._per_cell(known))[self.pair_cell[known]]
        if chosen is not None:
            some = known & ~np.isnan(chosen)
            cell = self.pair_cell[some]
            mean = np.bincount(cell, chosen[some], minlength=len(self.names)) / self._per_cell(some)
            weight[some] *= np.where(mean[cell] > 0, chosen[some] / np.where(mean > 0, mean, 1)[cell], 1)
        trimmed: NDArray[np.float64] = np.minimum(weight, TRIMMED_ABOVE * weight.mean())
        return trimmed

    def _per_cell(self, pairs: NDArray[np.bool_]) -> Codes:
        """How many of these pairs, (n,) bool, every cell holds, 1 for a cell that holds none: (c,)."""
        return np.maximum(np.bincount(self.pair_cell[pairs], minlength=len(self.names)), 1)


def cover_by_label(gallery: Labels, pairs: Labels, evaluation: Labels, learned_from: Labels | None = None) -> Coverage:
    """A label of the gallery is covered where it was learned from: where it has a pair, unless `learned_from` says.

    gallery: (N,), pairs: (n,), evaluation: (e,) labels, strings or integers, None for none; learned_from: labels too. A
    label that the gallery does not hold counts as none: nothing could be found for it.
    """
    codes = {label: code for code, label in enumerate(dict.fromkeys(v for v in gallery.tolist() if v is not None))}
    gallery, pair, query = (
        np.fromiter((codes.get(v, -1) for v in labels.tolist()), np.int64, len(labels))
        for labels in (gallery, pairs, evaluation)
    )
    size = np.bincount(gallery[gallery >= 0], minlength=len(codes))
    if learned_from is None:
        covered = np.bincount(pair[pair >= 0], minlength=len(codes)) > 0
    else:
        covered = np.isin(np.array(list(codes), object), learned_from)
    return Coverage("label", tuple(map(str, codes)), gallery, pair, query, covered, size)


def cover_by_density(gallery: Array, pairs: Array, evaluation: Array, metric: Distance, *, seed: int = 0) -> Coverage:
    """K-means regions of the gallery in the old space, covered unless they hold (almost) no pairs.

    gallery: (N, d), pairs: (n, d), evaluation: (e, d) float32, old vectors each.
    """
    regions = int(np.clip(len(pairs) // PAIRS_PER_REGION, 2, min(MOST_REGIONS, max(2, len(gallery) // 2))))
    rng = np.random.default_rng(seed)
    learning = gallery[np.sort(rng.permutation(len(gallery))[:LEARNING_ROWS])]
    learning = as_indexed(np.asarray(learning, np.float32), metric)
    centroids = k_means(learning, learning[rng.permutation(len(learning))[:regions]])
    gallery_cell, pair_cell, evaluation_cell = (
        nearest_centroid(as_indexed(np.asarray(rows, np.float32), metric), centroids)[0]
        for rows in (gallery, pairs, evaluation)
    )
    size = np.bincount(gallery_cell, minlength=len(centroids))
    held = np.bincount(pair_cell, minlength=len(centroids))
    covered = held > np.minimum(SPARSE * size * len(pairs) / len(gallery), held.max() - 1)
    exemplar = top_k(centroids, as_indexed(np.asarray(gallery, np.float32), metric), 1, "l2")[:, 0]
    names = tuple(f"region around gallery row {row}" for row in exemplar)
    return Coverage("density", names, gallery_cell, pair_cell, evaluation_cell, covered, size)
