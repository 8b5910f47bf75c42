"""The nearest rows of an array, the same to the last bit whatever the batch, the BLAS and the threads.

A fast pass proposes candidates; its rounding depends on how the queries were batched. Every candidate is then scored
again, pair by pair, by one kernel. A query is answered once its k-th score is better than anything left out can be,
rounding included; until then more candidates are asked for. So ranks and scores are a function of the query and the
rows alone, and stay the same when a row moves from the delta into the snapshot.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss
from app.index.bitmap import Bitmap, Positions
from app.index.protocol import PADDING, WORST, Hits, RowIds, Vectors
from models.portable import Distance

# FAISS chooses between BLAS and SIMD by the size of a call, by a rule that changed between releases and that favours
# SIMD far too long. With 1 it takes BLAS unless a selector is given, so the choice is made here.
faiss.cvar.distance_compute_blas_threshold = 1

MARGIN = 8  # candidates asked for beyond k: what lets most queries be answered in one pass
_GROWTH = 8  # how many times more are asked for in the next pass
_BLAS_QUERIES = 4  # from how many queries on BLAS wins
_BLAS_SHARE = 0.25  # share of selected rows below which BLAS wastes more than it wins
_SPARSE_SHARE = 1 / 16  # of selected rows, below which a list of them is better than a look at each bit
_MANY_LINES = 16  # from which on it pays to look whether they are in order before they are sorted
PAIRS = 2**20  # scored at once, which bounds memory
_LAST = np.iinfo(np.int64).max


class Propose(Protocol):
    """A fast search, perhaps approximate, that proposes candidates for the exact one."""

    def __call__(self, queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Positions, npt.NDArray[np.float32]]:
        """At least `fetch` candidates for each query, where there are so many.

        Returns positions (m, f) int64, all selected, -1 where there is none; and (m,) float32, the similarity (inner
        product, or squared distance negated) that no row left out exceeds, as this pass rounds; -inf: none left out.
        """


def one_thread() -> AbstractContextManager[None]:
    """Runs FAISS in the calling thread alone: searches are many, and OpenMP's threads spin while they wait."""
    return _OneThread()


class _OneThread:
    """A generator would take longer than what it is around."""

    def __enter__(self) -> None:
        self._threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        faiss.omp_set_num_threads(self._threads)


class Scan:
    """The fast pass that looks at every row of vectors (n, d) float32."""

    def __init__(self, vectors: Vectors, score: Distance) -> None:
        self._vectors = vectors
        self._score = score

    def __call__(self, queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Positions, npt.NDArray[np.float32]]:
        share = selected.count / selected.size
        if share < _SPARSE_SHARE:
            members = selected.members()
            listed = faiss.IDSelectorArray(len(members), faiss.swig_ptr(members))
            similarity, positions = self._knn(queries, fetch, listed)
            return positions, left_out(similarity, positions)
        if len(queries) < _BLAS_QUERIES or share < _BLAS_SHARE:
            similarity, positions = self._knn(queries, fetch, selected.selector())
            return positions, left_out(similarity, positions)
        similarity, positions = self._knn(queries, min(int(fetch / share), len(self._vectors)), None)
        bound = left_out(similarity, positions)
        if share < 1:
            positions[~selected.has(positions)] = PADDING
        return positions, bound

    def _knn(
        self, queries: Vectors, fetch: int, selector: faiss.IDSelector | None
    ) -> tuple[npt.NDArray[np.float32], Positions]:
        (m, d), n, at = queries.shape, len(self._vectors), faiss.swig_ptr
        values, positions = np.empty((m, fetch), np.float32), np.empty((m, fetch), np.int64)
        sizes = (d, m, n, fetch)
        if self._score == "l2":
            faiss.knn_L2sqr(at(queries), at(self._vectors), *sizes, at(values), at(positions), None, selector)
            np.negative(values, out=values)
        else:
            faiss.knn_inner_product(at(queries), at(self._vectors), *sizes, at(values), at(positions), selector)
        return values, positions


def left_out(similarity: npt.NDArray[np.float32], positions: Positions) -> npt.NDArray[np.float32]:
    """An upper bound (m,) on the similarity of rows not fetched: the last of (m, f) descending ones, or -inf."""
    return np.where(positions[:, -1] < 0, np.float32(-np.inf), similarity[:, -1])


def nearest(
    queries: Vectors,
    k: int,
    *,
    vectors: Vectors,
    rows: RowIds,
    score: Distance,
    longest: float,
    selected: Bitmap,
    propose: Propose,
) -> Hits:
    """The k nearest of the selected vectors (n, d) to each query (m, d), as far as `propose` looks.

    Cosine takes unit vectors and unit queries. rows: (n,) the ids to answer with. longest: no vector is longer.
    """
    slack, count = rounding(queries, longest, score), len(queries)
    fetch = k + MARGIN
    if 0 < count * fetch <= PAIRS and 2 * fetch < selected.count:
        hits, sure = attempt(queries, k, vectors, rows, score, slack, propose(queries, fetch, selected))
        if sure.all():  # as most are, and one query always comes alone: the rest is not worth its time then
            return hits
        pending, fetch = np.flatnonzero(~sure), fetch * _GROWTH
    else:
        hits, pending = padding(count, k, score), np.arange(count if selected.count else 0)
    while len(pending):
        everything = 2 * fetch >= selected.count
        width = selected.count if everything else fetch
        unsure = []
        for part in np.array_split(pending, min(len(pending), -(-len(pending) * width // PAIRS))):
            batch = queries[part]
            if everything:
                positions = np.broadcast_to(selected.members(), (len(part), width))
                proposed = positions, np.full(len(part), -np.inf, np.float32)
            else:
                proposed = propose(batch, fetch, selected)
            best, sure = attempt(batch, k, vectors, rows, score, slack[part], proposed)
            hits.rows[part[sure]], hits.scores[part[sure]] = best.rows[sure], best.scores[sure]
            unsure.append(part[~sure])
        pending, fetch = np.concatenate(unsure), fetch * _GROWTH
    return hits


def attempt(
    queries: Vectors,
    k: int,
    vectors: Vectors,
    rows: RowIds,
    score: Distance,
    slack: npt.NDArray[np.float64],
    proposed: tuple[Positions, npt.NDArray[np.float32]],
    floor: npt.NDArray[np.float32] | None = None,
) -> tuple[Hits, npt.NDArray[np.bool_]]:
    """The k best of each query's proposed candidates, and whether nothing that was left out can be among them.

    slack: (m,) as `rounding` says. floor: (m,) scores; where given, rows of a worse one are not asked for.
    """
    positions, bound = proposed
    best = best_of(rows[positions], _pair_scores(queries, vectors, positions, score), positions >= 0, k, score)
    reached = similarity_of(best.scores[:, -1], score)
    if floor is not None:
        reached = np.maximum(reached, similarity_of(floor, score))
    return best, (bound == -np.inf) | (reached > bound + slack)


def similarity_of(scores: npt.NDArray[np.float32], score: Distance) -> npt.NDArray[np.float64]:
    """Scores as similarities, which rise as rows are nearer: inner products, or squared distances negated."""
    wide = scores.astype(np.float64)
    return -(wide**2) if score == "l2" else wide


def ranked(queries: Vectors, vectors: Vectors, rows: RowIds, positions: Positions, k: int, score: Distance) -> Hits:
    """The k best of each query's own candidates, as an index over the vectors would score and order them.

    queries: (m, d); vectors: (n, d), both as indexed, with the ids rows (n,); positions: (m, f), -1 for none.
    """
    if not len(vectors):
        return padding(len(queries), k, score)
    scores = candidate_scores(queries, vectors, positions, score)
    return best_of(rows[positions], scores, positions >= 0, k, score)


def candidate_scores(queries: Vectors, vectors: Vectors, positions: Positions, score: Distance) -> Vectors:
    """What an index over the vectors would score each query's own candidates, (m, f) float32.

    queries: (m, d); vectors: (n, d), n > 0, both as indexed; positions: (m, f), and where one is -1, any score.
    """
    scores = np.concatenate(
        [
            _pair_scores(queries[part], vectors, positions[part], score)
            for part in np.array_split(np.arange(len(queries)), max(1, -(-positions.size // PAIRS)))
        ]
    )
    if score == "cosine":  # A vector without a direction comes last.
        scores[~np.any(vectors, axis=1)[positions]] = -1
    return scores


def best_of(
    rows: RowIds,
    scores: npt.NDArray[np.float32] | npt.NDArray[np.float64],
    real: npt.NDArray[np.bool_],
    k: int,
    score: Distance,
) -> Hits:
    """The k best of (m, f) scored rows, ties by row id, padded where fewer are `real`."""
    every = bool(real.all())
    if every and k <= rows.shape[1] and len(rows) >= _MANY_LINES:
        return _best_of_sorted(rows, scores, k, score)
    if not every:
        rows, scores = np.where(real, rows, _LAST), np.where(real, scores, np.float32(WORST[score]))
    order, line = np.lexsort((rows, scores if score == "l2" else -scores), axis=-1)[:, :k], _lines(len(rows))
    if every and order.shape[1] == k:
        return Hits(rows[line, order], scores[line, order].astype(np.float32, copy=False))
    best, filled = padding(len(rows), k, score), order.shape[1]
    best.rows[:, :filled] = np.where(real[line, order], rows[line, order], PADDING)
    best.scores[:, :filled] = scores[line, order]
    return best


def _best_of_sorted(
    rows: RowIds, scores: npt.NDArray[np.float32] | npt.NDArray[np.float64], k: int, score: Distance
) -> Hits:
    """As `best_of`, of rows that are all real, where most lines are in order already, as a fast pass proposes them: to
    see that takes a tenth of the time of sorting them."""
    best = Hits(rows[:, :k].copy(), scores[:, :k].astype(np.float32))
    nearer = np.less if score == "l2" else np.greater
    mixed = np.flatnonzero(~nearer(scores[:, :-1], scores[:, 1:]).all(axis=1))
    if len(mixed):
        rows, scores = rows[mixed], scores[mixed]
        order = np.lexsort((rows, scores if score == "l2" else -scores), axis=-1)[:, :k]
        best.rows[mixed] = np.take_along_axis(rows, order, axis=1)
        best.scores[mixed] = np.take_along_axis(scores, order, axis=1)
    return best


def _lines(count: int) -> Positions:
    """0 … count - 1, one below the other."""
    return np.arange(count)[:, None]


def padding(count: int, k: int, score: Distance) -> Hits:
    """The answers to `count` queries before anything is found."""
    return Hits(np.full((count, k), PADDING), np.full((count, k), WORST[score], np.float32))


def _pair_scores(queries: Vectors, vectors: Vectors, positions: Positions, score: Distance) -> Vectors:
    """The score of each query with each of its (m, f) positions, by a kernel that sees one pair at a time."""
    known = np.ascontiguousarray(np.maximum(positions, 0))
    scores, at = np.empty(known.shape, np.float32), faiss.swig_ptr
    kernel = faiss.fvec_L2sqr_by_idx if score == "l2" else faiss.fvec_inner_products_by_idx
    kernel(at(scores), at(queries), at(vectors), at(known), queries.shape[1], *known.shape)
    if score == "cosine":
        return np.minimum(np.maximum(scores, -1, out=scores), 1, out=scores)  # np.clip takes four times as long for few
    return np.sqrt(scores) if score == "l2" else scores


def rounding(queries: Vectors, longest: float, score: Distance) -> npt.NDArray[np.float64]:
    """How far two float32 evaluations of one similarity can lie apart, for each query: (m,) float64.

    Either errs by at most γ_n·Σ|xᵢyᵢ|, γ_n ≈ n·2⁻²⁴, in any order of summation (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., eq. 3.5); ‖q‖·‖x‖ bounds the sum for ip, (‖q‖ + ‖x‖)² for l2 as BLAS expands it. The
    16 more are for the few operations after the sum; the last term is for what underflows.
    """
    dimension = queries.shape[1]
    unit = np.full(len(queries), 1 + 2.0**-20)  # as cosine's queries are, but for rounding
    lengths = unit if score == "cosine" else np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1))
    relative = (dimension + 16) * 2.0**-23
    magnitude = np.square(lengths + longest) if score == "l2" else lengths * longest
    return np.asarray(relative * magnitude + dimension * 2.0**-126, np.float64)
