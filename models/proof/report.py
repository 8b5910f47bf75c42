"""What a proof says, as plain data: every figure with its interval and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.evaluation.bootstrap import Interval
from models.json_values import plain
from models.re_embedding.costs import Cost

RungName = Literal["stay", "compatible", "instant", "cascade", "fused", "transform", "backfill", "re_embed"]


@dataclass(frozen=True)
class Quantity:
    """A figure, the ends of its 95 % interval, and what it was measured on."""

    mean: float
    low: float
    high: float
    basis: str


@dataclass(frozen=True)
class FlipCount:
    """Queries right before and wrong after (`negative`), and the other way round, among the queries of one stratum."""

    stratum: str
    negative: int
    positive: int
    queries: int


@dataclass(frozen=True)
class MetricResult:
    """One metric over the whole gallery, or over the judged queries.

    old_old: the self test; cross: M(new, h(old)), both as intervals that a fresh test of as many queries falls into;
    difference: cross − old_old with the confidence interval that the gate reads.
    """

    metric: str
    old_old: Quantity
    cross: Quantity
    difference: Quantity


@dataclass(frozen=True)
class Stratum:
    """A part of the gallery judged in one way, and its figures in the metric of the gate."""

    name: str
    share: float
    gallery_rows: int
    cells: int
    queries: int
    judged_on: str
    old_old: Quantity
    cross: Quantity


@dataclass(frozen=True)
class FullReEmbedding:
    """Full re-embedding, M(new, new), where new vectors are known: the pairs as queries and gallery.

    oracle_gain = M(new, new) / M(old, old), None where the old figure is 0; gain: their paired difference.
    """

    metric: str
    old_old: Quantity
    cross: Quantity
    new_new: Quantity
    gain: Quantity
    oracle_gain: float | None


@dataclass(frozen=True)
class LosingGroup:
    """A label or region that loses: the old model's figure there, the new one's, and how that is known."""

    name: str
    covered: bool
    gallery_rows: int
    pairs: int
    old: float
    new: float
    known_by: str


@dataclass(frozen=True)
class WantedPairs:
    """Pairs that would make a group count as learned from."""

    group: str
    gallery_rows: int
    pairs: int


@dataclass(frozen=True)
class Rung:
    """One way on: its quality (None where it cannot be known) and what it does to the gallery.

    embeddings_per_query: how many models must embed each query. share: of the gallery that is re-embedded, where the
    rung is one of several backfills. cost: in time, bytes and money, once it is known how fast this hardware is.
    """

    name: RungName
    quality: Quantity | None
    predicted: bool
    items_to_re_embed: int
    vectors_rewritten: int
    recommended: bool
    note: str
    embeddings_per_query: int = 1
    share: float | None = None
    cost: Cost | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and finite numbers; a share or cost that is None is left out."""
        rung: dict[str, Any] = plain(self)
        return {name: value for name, value in rung.items() if value is not None or name not in ("share", "cost")}


EvidenceKind = Literal["pairs", "held-out rows", "evaluation rows", "judged queries"]


@dataclass(frozen=True)
class EvidenceNeeded:
    """How much more evidence would decide what is open.

    kind: of what; have: how many there are; more: how many more would as a rule decide, should the figure be as it was
    seen, or, where `decides` is false, would tell it to within a point; None where no number of them would. off: the
    figure that the gate reads less what is asked of it. cost: of embedding so many items with the new model, once
    prices are known.
    """

    kind: EvidenceKind
    have: int
    more: int | None
    off: float
    decides: bool = True
    cost: Cost | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, strings and numbers; a cost that is None is left out."""
        needed: dict[str, Any] = plain(self)
        return {name: value for name, value in needed.items() if value is not None or name != "cost"}


Action = Literal[RungName, "cannot_tell"]


@dataclass(frozen=True)
class Leaning:
    """What to do should it have to be decided before it can be told: the better bet, and no proof.

    action: the rung to take; expected: what searching by both models' queries is expected to gain over the old model,
    with the interval that holds it with 95 % probability; better: the probability that it gains at all.
    """

    action: RungName
    sentence: str
    expected: Quantity
    better: float


@dataclass(frozen=True)
class Recommendation:
    """The one thing to know of a proof.

    action: the rung to take, or that this cannot be told yet; sentence: the same for who reads nothing else; rests_on:
    the figures behind it; needed: what would decide where it cannot be told; costs: what that costs, in words, empty
    where that is not known; leaning: what to do meanwhile, None where nothing speaks for anything but the old model.
    """

    action: Action
    sentence: str
    rests_on: str
    needed: EvidenceNeeded | None = None
    costs: str = ""
    leaning: Leaning | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, strings and numbers; what there is nothing to say of is left out."""
        said: dict[str, Any] = {"action": self.action, "sentence": self.sentence, "rests_on": self.rests_on}
        if self.needed is not None:
            said["needed"] = self.needed.to_json()
        if self.leaning is not None:
            said["leaning"] = plain(self.leaning)
        return said | ({"costs": self.costs} if self.costs else {})


@dataclass(frozen=True)
class AlphaPoint:
    """How good the search is where the new query weighs α, with candidates scored in full and pushed into the old
    index (None where nothing can be pushed): means over the held-out queries, each weighted by the items it stands for.
    """

    alpha: float
    exact: float
    pushed: float | None


@dataclass(frozen=True)
class FusedResult:
    """The search by both models' queries together, in the metric of the gate, over the whole gallery.

    quality, difference: as of MetricResult, with α chosen by other queries than those judged; over_crossing: fused less
    the crossing alone. alpha, pushed_alpha: what all held-out queries choose; 0 is the old search. flips: queries that
    the old search answers right and this one does not, and the other way round. passes: whether the gate would accept
    it, whatever the crossing alone does.
    """

    metric: str
    quality: Quantity
    difference: Quantity
    over_crossing: Quantity
    alpha: float
    pushed_alpha: float
    curve: tuple[AlphaPoint, ...]
    flips: tuple[FlipCount, ...]
    passes: bool = False


ServedAs = Literal["crossing", "fused"]
"""What met the gate: the crossing alone, or only it and the old model's queries together."""


@dataclass(frozen=True)
class Basis:
    """What the whole report rests on; by judged queries, which ask for what they will, nothing is said of coverage."""

    judged_by: Literal["label", "neighbours", "queries"]
    coverage_by: Literal["label", "density", "queries"]
    covered_share: float
    gallery_rows: int
    gallery_rows_searched: int
    pairs: int
    queries: int
    row_folds: int
    cell_folds: int
    dependence_range: int
    resamples: int
    seed: int


@dataclass(frozen=True)
class JudgedBasis:
    """The judged queries that a verdict rests on, and what was left out.

    queries_held: all that have judgements; queries_counted: those with both models' vectors and a relevant item that is
    searched. judgements: of items that are searched, of which `relevant` say that the item is; of_pairs: of items that
    are pairs, each judged as crossed by what has not learned from it. unjudged_old, unjudged_crossing: the share of the
    first `unjudged_depth` answers that nobody judged, which count as not relevant.
    """

    queries_held: int
    queries_with_both_vectors: int
    queries_counted: int
    judgements: int
    relevant: int
    of_items_not_searched: int
    of_pairs: int
    unjudged_depth: int
    unjudged_old: float
    unjudged_crossing: float


@dataclass(frozen=True)
class ProofReport:
    """The verdict on a crossing, and all it rests on.

    served_as: what was accepted, or would have to be; fused: None where it was not measured. judged: what judged
    queries it rests on, None where it rests on none. provisional: why no figure of it may be relied on, and what to
    bring so that they may; None where they may.
    """

    accepted: bool
    reason: str
    gate: str
    metrics: tuple[MetricResult, ...]
    strata: tuple[Stratum, ...]
    flips: tuple[FlipCount, ...]
    backfilled: FullReEmbedding | None
    losing_groups: tuple[LosingGroup, ...]
    wanted_pairs: tuple[WantedPairs, ...]
    recommendation: Recommendation
    advice: tuple[Rung, ...]
    notes: tuple[str, ...]
    basis: Basis
    served_as: ServedAs = "crossing"
    fused: FusedResult | None = None
    judged: JudgedBasis | None = None
    provisional: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and finite numbers, ready for `json.dumps`; NaN becomes None.

        `fused` and `judged` are left out where nothing of the kind was measured; `provisional` is whether it is, and
        `provisional_reason` says why.
        """
        report: dict[str, Any] = plain(self)
        for name in ("fused", "judged"):
            if report[name] is None:
                del report[name]
        report |= {"provisional": self.provisional is not None, "provisional_reason": self.provisional}
        return report | {
            "recommendation": self.recommendation.to_json(),
            "advice": [rung.to_json() for rung in self.advice],
        }


def quantity(interval: Interval, basis: str) -> Quantity:
    return Quantity(interval.mean, interval.low, interval.high, basis)
