"""Whether vectors are of the model that they are said to be of: a model's signature, and what it says of a batch.

A model's vectors have directions in which they vary much and directions in which they hardly vary. Another topic moves
their mean and shifts weight among the directions; another model's vectors do not know the directions at all. So what
is measured is the squared Mahalanobis distance of a unit vector, with the covariance shrunk towards a ball (Ledoit &
Wolf, J. Multivariate Anal. 2004; here by a fixed share), and it is read on a scale of the model's own: 0 is how the
model's own vectors look, 1 how directions drawn uniformly from the sphere look, which know nothing of it.

Three things make a verdict trustworthy. The model's own vectors are cut into clusters, each is judged by the signature
of the others, and the limit lies beyond the farthest such change of topic; where there is no room for a limit, nothing
is called a stranger's (`blind`). Where another model's signature takes a batch for its own, and not this model's own
vectors, no topic explains that. And a batch is judged by its lower quantile: most of it must look foreign.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from .space_sketch import AnyArray, SpaceSketch, sketch_rows

ROWS_TO_LEARN = 1_000
ROWS_TO_JUDGE = 64
ROWS_LOOKED_AT = 256
_FEWEST_SKETCHED = 256
_FEWEST_DIMENSIONS = 16
_SHRINKAGE = 0.1
_QUANTILE = 0.15
_CLUSTERS = 6
_SMALLEST_CLUSTER = 32
LEAST_GAP = 0.15
STRANGER = 0.85
_NEW_TOPIC = 0.45
_TELLABLE = 0.97
ADVANTAGE = 0.5
AT_HOME = 0.4
_STRANGE = 0.3
_SAME_POINT = 0.005
_UNUSED = 1e-4  # of the largest value of any dimension


@dataclass(frozen=True)
class _Ellipsoid:
    """mean: (d,); axes: (d, r), orthonormal columns; saved: (r,), how much less a unit of squared length along an axis
    weighs than one elsewhere; outside: the weight of one elsewhere; spread: the trace of the covariance."""

    mean: AnyArray
    axes: AnyArray
    saved: AnyArray
    outside: float
    spread: float

    @classmethod
    def around(cls, directions: AnyArray) -> _Ellipsoid:
        """Of unit vectors (n, d), at least two different ones."""
        mean = directions.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = directions - mean
        count, dimension = centred.shape
        # The smaller of the two Gram matrices has all the axes there are.
        if count < dimension:
            values, vectors = np.linalg.eigh(centred @ centred.T)
            known = values > max(values[-1], 1e-12) * 1e-6
            axes = centred.T @ (vectors[:, known] / np.sqrt(values[known]))
            values = values[known]
        else:
            values, axes = np.linalg.eigh(centred.T @ centred)
        variances = np.maximum(values.astype(np.float64), 0) / count
        spread = max(float(variances.sum()), 1e-12)
        ball = _SHRINKAGE * spread / dimension
        weights = 1 / ((1 - _SHRINKAGE) * variances + ball)
        return cls(mean, axes.astype(np.float32), (1 / ball - weights).astype(np.float32), 1 / ball, spread)

    def scores(self, directions: AnyArray) -> AnyArray:
        """Logarithms of the squared distances, by dimension, of unit vectors (n, d): (n,) float64."""
        centred = directions - self.mean
        squared = np.square(centred, dtype=np.float64).sum(axis=1) * self.outside
        squared -= np.square(centred @ self.axes, dtype=np.float64) @ self.saved
        return np.asarray(np.log(np.maximum(squared, 1e-9) / directions.shape[1]))


@dataclass(frozen=True)
class SpaceScale:
    """A signature's ellipsoid, and the scores that are 0 and 1 of its scale, of lower quantiles and of single rows.

    1 is of directions drawn uniformly among the dimensions that the model uses: one that holds nothing but zeros, in
    every vector of many a model, is no sign of any.
    row_limit: the position from which on a single row is rather a stranger's: halfway between where hardly any own row
    comes and where hardly any stranger's does not.
    """

    ellipsoid: _Ellipsoid
    own: float
    gap: float
    own_row: float
    gap_row: float
    row_limit: float

    @classmethod
    def of(cls, learnt: AnyArray, held_out: AnyArray) -> SpaceScale:
        ellipsoid = _Ellipsoid.around(learnt)
        noise = np.random.default_rng(0).standard_normal((512, learnt.shape[1]), np.float32)
        strange = ellipsoid.scores(unit_rows(noise * _used(learnt)))
        own = ellipsoid.scores(held_out)
        low, typical = float(np.quantile(own, _QUANTILE)), float(np.median(own))
        gap_row = float(np.median(strange)) - typical
        between = (float(np.quantile(own, 0.98)) + float(np.quantile(strange, 0.02))) / 2
        return cls(
            ellipsoid,
            low,
            float(np.quantile(strange, _QUANTILE)) - low,
            typical,
            gap_row,
            float(np.clip((between - typical) / max(gap_row, 1e-9), 0.5, 0.9)),
        )

    def position(self, directions: AnyArray) -> float:
        """Of a batch."""
        return (float(np.quantile(self.ellipsoid.scores(directions), _QUANTILE)) - self.own) / max(self.gap, 1e-9)

    def rows(self, directions: AnyArray) -> AnyArray:
        """Of every row by itself."""
        return np.asarray((self.ellipsoid.scores(directions) - self.own_row) / max(self.gap_row, 1e-9))


@dataclass(frozen=True)
class SpaceJudgement:
    """What a signature says of a batch.

    rows: distinct directions looked at; position: 0 the model's own, 1 a stranger's; foreign: whether they are another
    model's beyond doubt; likely: the model that they look like, where one is known; nearest: its position there;
    scaled: whether their lengths are none that this model's vectors have.
    """

    rows: int
    position: float
    foreign: bool
    likely: str | None
    nearest: float | None
    scaled: bool


@dataclass(frozen=True, eq=False)
class SpaceSignature:
    """What is characteristic of one model's vectors. topic: the farthest that one topic of its own vectors lies, judged
    by the others; known: (m, d), some of its directions; shortest, longest: lengths. Each is equal to itself alone."""

    scale: SpaceScale
    topic: float
    known: AnyArray
    shortest: float
    longest: float
    _strange: WeakKeyDictionary[SpaceSignature, bool] = field(default_factory=WeakKeyDictionary, init=False, repr=False)

    @classmethod
    def of(cls, sketch: SpaceSketch) -> SpaceSignature | None:
        """None where the sketch has seen too little for a judgement."""
        wanted = max(_FEWEST_SKETCHED, min(ROWS_TO_LEARN, sketch_rows(sketch.dimension)))
        if len(sketch) < wanted or sketch.dimension < _FEWEST_DIMENSIONS:
            return None
        lengths = float(sketch.norms.min()), float(sketch.norms.max())
        return signature_of_directions(unit_rows(sketch.directions), *lengths)

    def judge(self, vectors: AnyArray, others: Mapping[str, SpaceSignature]) -> SpaceJudgement | None:
        """Of vectors (n, d), finite, said to be this model's; `others`: signatures of the same dimension.

        None where they are too few for a judgement: fewer than ROWS_TO_JUDGE that are distinct.
        """
        vectors = spread_out(vectors, ROWS_LOOKED_AT)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        directions = unit_rows(vectors[norms > 0])
        directions = directions[_distinct(directions, _SAME_POINT * self.scale.ellipsoid.spread)]
        if len(directions) < ROWS_TO_JUDGE:
            return None
        return self.position_of(directions, others, float(np.median(norms[norms > 0])))

    def position_of(
        self, directions: AnyArray, others: Mapping[str, SpaceSignature], norm: float | None = None
    ) -> SpaceJudgement:
        """What `judge` says, of however few unit vectors (n, d), n > 0."""
        position = self.scale.position(directions) if self.scale.gap >= LEAST_GAP else 0.0
        homes = {name: other.scale.position(directions) for name, other in others.items() if self.strange_to(other)}
        likely = min(homes, key=lambda name: homes[name], default=None)
        home = None if likely is None else homes[likely]
        claimed = home is not None and home <= AT_HOME and position - home >= ADVANTAGE
        if not claimed:
            likely, home = None, None
        stranger = not self.blind and position >= self.limit
        scaled = norm is not None and not self.shortest / 1.5 <= norm <= self.longest * 1.5
        return SpaceJudgement(len(directions), position, stranger or claimed, likely, home, scaled)

    @property
    def limit(self) -> float:
        """From which position on a batch is a stranger's: beyond where a topic never seen before may lie, which is
        farther than any that was seen."""
        return max(STRANGER, self.topic + _NEW_TOPIC)

    @property
    def blind(self) -> bool:
        """Whether strangers cannot be told from new topics: a space without shape, or known from few topics."""
        return self.scale.gap < LEAST_GAP or self.limit > _TELLABLE

    def strange_to(self, other: SpaceSignature) -> bool:
        """Whether another model can claim vectors: not where this model's own vectors look like its own as well, as
        those of a model that is registered twice, or of one that was trained to be compatible. It is worked
        out once for each other."""
        if (strange := self._strange.get(other)) is None:
            strange = other.scale.gap >= LEAST_GAP and other.scale.position(self.known) - AT_HOME >= _STRANGE
            self._strange[other] = strange
        return strange

    def row_positions(self, vectors: AnyArray) -> AnyArray:
        """Of each vector (n, d) by itself: (n,) float64; of a zero vector 0."""
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        positions = np.zeros(len(vectors))
        positions[norms > 0] = self.scale.rows(unit_rows(vectors[norms > 0]))
        return positions


def signature_of_directions(directions: AnyArray, shortest: float = 1.0, longest: float = 1.0) -> SpaceSignature:
    """The signature of unit vectors (n, d) float32 in random order, n at least a few hundred; `shortest`, `longest`:
    the lengths that they had."""
    held_out = np.arange(len(directions)) % 5 == 0
    scale = SpaceScale.of(directions[~held_out], directions[held_out])
    topic = max((_left_out(directions, which) for which in _clusters(directions)), default=1.0)
    return SpaceSignature(scale, topic, directions[held_out][:ROWS_LOOKED_AT], shortest, longest)


def spread_out(vectors: AnyArray, most: int) -> AnyArray:
    """Up to `most` rows, evenly from the first to the last."""
    if len(vectors) <= most:
        return vectors
    return np.asarray(vectors[np.linspace(0, len(vectors) - 1, most).astype(np.int64)])


def unit_rows(vectors: AnyArray) -> AnyArray:
    """Vectors (n, d) without a zero row, at length 1: float32."""
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)


def _used(directions: AnyArray) -> AnyArray:
    """Which dimensions of unit vectors (n, d) hold more than next to nothing, by their largest value: (d,) bool."""
    largest = np.abs(directions).max(axis=0)
    return np.asarray(largest > _UNUSED * largest.max())


def _distinct(directions: AnyArray, squared: float) -> AnyArray:
    """Places of rows of which no two are nearer than a squared distance: the first of each heap of near-copies.

    In float64 and about their mean, since vectors that are all nearly alike differ by less than float32 rounds to.
    """
    off = directions - directions.mean(axis=0, dtype=np.float64)
    squares = np.square(off).sum(axis=1)
    near = squares[:, None] + squares - 2 * off @ off.T < squared
    if not np.tril(near, -1).any():  # as in most batches: nothing to go through row by row
        return np.arange(len(directions))
    kept: list[int] = []
    for row in range(len(directions)):
        if not near[row, kept].any():
            kept.append(row)
    return np.asarray(kept, np.int64)


def _clusters(directions: AnyArray) -> list[AnyArray]:
    """Which rows are in each cluster that is large enough to be judged and leaves enough to judge it by."""
    from scipy.cluster.vq import kmeans2  # slow to import, and of no use to whoever only applies

    clusters = min(_CLUSTERS, len(np.unique(directions, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster is passed over
        _, labels = kmeans2(directions, clusters, iter=10, minit="++", seed=0)
    sizes = np.bincount(labels, minlength=_CLUSTERS)
    return [labels == one for one in np.flatnonzero((sizes >= _SMALLEST_CLUSTER) & (sizes <= len(labels) // 2))]


def _left_out(directions: AnyArray, cluster: AnyArray) -> float:
    """The position of a cluster on the scale of all others."""
    others = directions[~cluster]
    held_out = np.arange(len(others)) % 5 == 0
    return SpaceScale.of(others[~held_out], others[held_out]).position(directions[cluster])
