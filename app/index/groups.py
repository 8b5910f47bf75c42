"""Rows written since an index was published, grouped around centroids, of which a search looks into a few groups only.

A search knows beforehand what it must find to add anything: the score at place k among the published rows. No row of a
group is nearer to a query than its centroid less the distance to the group's furthest row (Cauchy–Schwarz, or the
triangle inequality), so that groups are passed over with certainty. Where the published index is approximate itself,
and so need not be certain, a part of that distance is counted on: the *reach*, measured as the least that finds what
the index promises. It is 1 where every answer must be exact. Unlike a number of groups that is the same for all, it
lets a query look into as many as it needs. The group around the nearest centroid is always looked into, so that who
writes a row and then searches by its own vector finds it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss
from app.index.bitmap import Bitmap, Positions
from app.index.exact import left_out
from app.index.protocol import PADDING, Vectors
from models.portable import Distance

EXACT_REACH = 1.0
_TRAINING_ROWS = 40  # per group
_ROUNDS = 10
_SEED = 19
_LEARNED_ANEW = 2  # times as many rows as groups were learned from, or published, before others are learned
_MEASURED_ANEW = 1.1  # times as many rows published as the reach was measured beside, before it is again
_GROUPED_MOST = 8  # times as many rows as that were put into them since, of which none may be left


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """Which groups each query looks into: (m, c) bool; and the share of the rows that these have, (m,)."""

    groups: npt.NDArray[np.bool_]
    share: npt.NDArray[np.float64]

    def of(self, which: npt.NDArray[np.bool_] | Positions) -> Near:
        """Those of some of the queries."""
        return Near(self.groups[which], self.share[which])

    def listed(self) -> Positions:
        """The numbers of the groups of each query, -1 after the last: (m, most) int64."""
        if len(self.groups) == 1:
            return np.flatnonzero(self.groups[0])[None, :]
        counts = self.groups.sum(axis=1)
        first = np.argsort(~self.groups, axis=1, kind="stable")[:, : counts.max(initial=0)]
        return np.where(np.arange(first.shape[1]) < counts[:, None], first, -1)


@dataclass(frozen=True, slots=True)
class Origin:
    """What centroids were learned from, and their reach measured with.

    rows: how many there were to learn from. grouped: how many were put into groups by them since, those included.
    reach: of a search that need not be exact. published: how many published rows it was measured beside; 0 where it was
    not measured.
    """

    rows: int
    grouped: int = 0
    reach: float = EXACT_REACH
    published: int = 0

    def outgrown(self, rows: int, published: int) -> bool:
        """Whether there are so many more rows to be grouped, or published ones, or so many were grouped since, that
        others should be learned."""
        return rows >= _LEARNED_ANEW * self.rows or self.passed(published) or self.grouped >= _GROUPED_MOST * self.rows

    def passed(self, published: int) -> bool:
        """Whether there are so many more published rows that the reach says little of a search beside these."""
        return 0 < _LEARNED_ANEW * self.published <= published

    def stale(self, published: int) -> bool:
        """Whether there are enough more published rows that the reach should be measured anew."""
        return 0 < _MEASURED_ANEW * self.published <= published


class Groups:
    """The first `count` rows of vectors (n, w) float32, as they are compared, by their nearest centroid."""

    def __init__(
        self, index: faiss.IndexIVFFlat, nearest: npt.NDArray[np.int32], radii: Vectors, origin: Origin
    ) -> None:
        """index: the groups' rows, copied, by l2. nearest: (n,) the group of each. radii: (c,) no row of a group is
        further from its centroid."""
        self._index = index
        self._nearest = nearest
        self.centroids: Vectors = index.quantizer.reconstruct_n(0, index.nlist)
        """(c, w) float32"""
        self._uncertain = (index.d + 16) * 2.0**-23  # share of what is compared that float32 loses, as `exact.rounding`
        lengths = _lengths(self.centroids)
        self._lost = self._uncertain * (lengths + radii)  # of a product with a query of length 1
        self._squares, self._longest = np.square(lengths), lengths.max(initial=0)
        self._each = np.arange(index.nlist)
        self._radii = radii
        self._sizes = np.bincount(nearest, minlength=index.nlist)
        self.count = int(index.ntotal)
        self.origin = origin
        self._by_product = faiss.IndexIVFFlat(index.quantizer, index.d, index.nlist, faiss.METRIC_INNER_PRODUCT)
        self._by_product.replace_invlists(index.invlists, False)
        self._by_product.ntotal = index.ntotal

    @classmethod
    def learned(cls, vectors: Vectors) -> Groups:
        """Of all these vectors (n, w), n > 0: some 2·√n groups, by k-means; exact until `reaching`."""
        count, width = vectors.shape
        groups = min(count, math.ceil(2 * math.sqrt(count)))
        chosen = np.random.default_rng(_SEED).choice(count, min(count, groups * _TRAINING_ROWS), replace=False)
        means = faiss.Kmeans(width, groups, niter=_ROUNDS, seed=_SEED, min_points_per_centroid=1)
        means.train(np.ascontiguousarray(vectors[np.sort(chosen)]))
        none, radii = np.empty(0, np.int32), np.zeros(groups, np.float32)
        return cls(_empty(means.centroids), none, radii, Origin(count)).with_more(vectors)

    @property
    def nbytes(self) -> int:
        return (4 * int(self._index.d) + 12) * self.count + 2 * int(self.centroids.nbytes)

    @property
    def reach(self) -> float:
        """That of a search that need not be exact."""
        return self.origin.reach

    def with_more(self, vectors: Vectors) -> Groups:
        """With the rows (m, w) that come next. These groups stay as they are, for whoever searches them."""
        given = np.ascontiguousarray(vectors)
        nearest = self._index.quantizer.search(given, 1)[1]
        index, at = faiss.clone_index(self._index), faiss.swig_ptr
        index.add_core(len(given), at(given), None, at(nearest))
        # Measured pair by pair: what the search above says of a close pair may be off by as much as lies between them.
        distances, pairs = np.empty(len(given), np.float32), np.ascontiguousarray(nearest)
        faiss.fvec_L2sqr_by_idx(at(distances), at(given), at(self.centroids), at(pairs), index.d, len(given), 1)
        radii, nearest = self._radii.copy(), nearest[:, 0].astype(np.int32)
        np.maximum.at(radii, nearest, np.sqrt(distances))
        origin = replace(self.origin, grouped=self.origin.grouped + len(given))
        return Groups(index, np.concatenate([self._nearest, nearest]), radii, origin)

    def only(self, positions: Positions, vectors: Vectors) -> Groups:
        """Of those of the rows at positions (p,), with vectors (p, w), groups around the same centroids."""
        index, nearest, at = _empty(self.centroids), self._nearest[positions], faiss.swig_ptr
        lists = nearest.astype(np.int64)
        index.add_core(len(lists), at(np.ascontiguousarray(vectors)), None, at(lists))
        return Groups(index, nearest, self._radii, self.origin)

    def reaching(self, reach: float, published: int) -> Groups:
        """The same groups with a reach that was measured beside so many published rows."""
        origin = replace(self.origin, reach=reach, published=published)
        return Groups(self._index, self._nearest, self._radii, origin)

    def near(self, queries: Vectors, floor: npt.NDArray[np.float64], score: Distance, reach: float) -> Near:
        """The groups that each query (m, w) looks into for rows that are no less similar than its floor (m,).

        floor: inner products or, by `l2`, squared distances negated. reach: 1 to pass over none that has such a row;
        where it is less, the group that the query itself would be of is among them.
        """
        to_centroids, lengths = self._to_centroids(queries, score), _lengths(queries)[:, None]
        if score == "l2":
            furthest = np.sqrt(np.maximum(-floor, 0))[:, None] + self._uncertain * (to_centroids + self._radii)
            groups = to_centroids - reach * self._radii <= furthest
        else:
            groups = to_centroids + lengths * (reach * self._radii + self._lost) >= floor[:, None]
        if reach < EXACT_REACH:
            squared = np.square(to_centroids) if score == "l2" else self._squares - 2 * to_centroids
            uncertain = self._uncertain * np.square(lengths + self._longest)
            groups |= squared <= squared.min(axis=1, keepdims=True) + uncertain
        return Near(groups, (groups @ self._sizes) / max(self.count, 1))

    def reach_to(
        self, queries: Vectors, floor: npt.NDArray[np.float64], score: Distance, rows: Vectors
    ) -> npt.NDArray[np.float64]:
        """The least reach with which each query (m, w) looks into the group of a row, each its own (m, w): (m,)."""
        nearest = self._index.quantizer.search(np.ascontiguousarray(rows), 1)[1][:, 0]
        to_centroids = self._to_centroids(queries, score)[np.arange(len(queries)), nearest]
        radii = self._radii[nearest].astype(np.float64)
        missing = to_centroids - np.sqrt(np.maximum(-floor, 0)) if score == "l2" else floor - to_centroids
        reached = radii if score == "l2" else radii * _lengths(queries)
        needed = np.full(len(queries), -np.inf)
        np.divide(missing, reached, out=needed, where=reached > 0)
        return needed

    def propose(
        self, queries: Vectors, fetch: int, selected: Bitmap, near: Near, score: Distance
    ) -> tuple[Positions, npt.NDArray[np.float32]]:
        """As `exact.Propose`, among the rows of the groups that are near. selected: of all n rows."""
        lists, m, at = near.listed(), len(queries), faiss.swig_ptr
        values, positions = np.empty((m, fetch), np.float32), np.full((m, fetch), PADDING)
        if not lists.shape[1]:
            return positions, np.full(m, -np.inf, np.float32)
        every = selected.count == selected.size
        how = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=None if every else selected.selector())
        unused = np.zeros(lists.shape, np.float32)  # distances to centroids, which lists of whole vectors do without
        index = self._index if score == "l2" else self._by_product
        out = at(values), at(positions)
        index.search_preassigned_c(m, at(queries), fetch, at(lists), at(unused), *out, False, how)
        return positions, left_out(-values if score == "l2" else values, positions)

    def _to_centroids(self, queries: Vectors, score: Distance) -> npt.NDArray[np.float64]:
        """(m, c) distances or inner products, by a kernel that sees one pair at a time: what a query looks into does
        not turn on those that it came in with."""
        m, at = len(queries), faiss.swig_ptr
        pairs = np.ascontiguousarray(np.broadcast_to(self._each, (m, len(self._each))))
        found = np.empty(pairs.shape, np.float32)
        kernel = faiss.fvec_L2sqr_by_idx if score == "l2" else faiss.fvec_inner_products_by_idx
        kernel(at(found), at(queries), at(self.centroids), at(pairs), queries.shape[1], *pairs.shape)
        return np.asarray(np.sqrt(found) if score == "l2" else found, np.float64)


def _empty(centroids: Vectors) -> faiss.IndexIVFFlat:
    """Groups without rows around these centroids (c, w)."""
    count, width = centroids.shape
    quantizer = faiss.IndexFlatL2(width)
    quantizer.add(centroids)
    return faiss.IndexIVFFlat(quantizer, width, count)


def _lengths(vectors: Vectors) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1)))
