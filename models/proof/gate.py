"""The gate: what a crossing must show to be accepted, and the verdict with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.evaluation.bootstrap import Interval
from models.evaluation.judged_metrics import JudgedMetric
from models.evaluation.retrieval_metrics import METRICS, RetrievalMetric
from models.proof.evidence_needed import Standing, in_words, standing
from models.proof.expected_gain import ExpectedGain
from models.proof.report import EvidenceNeeded, FusedResult, LosingGroup, Quantity, WantedPairs

Requirement = Literal["better_than_old", "not_worse_than_old", "at_least"]


MARGIN = 0.01  # how far under the old model "not worse" may reach
NEIGHBOURS_DECIDE = (
    "If you know that the new model is the better one, say how much is enough of what embedding everything anew would"
    " find: a gate of the metric recall@10 that requires `at_least` a share."
)
NAMED = 5  # groups spelled out in a reason; the report lists all


@dataclass(frozen=True)
class AcceptanceGate:
    """What a crossing must show: the whole interval beyond the requirement, never the point alone.

    metric: by label or neighbours, or of judged queries (`models.evaluation.judged_metrics`). level: with `at_least`
    the figure that must be reached; with `not_worse_than_old` the margin.
    """

    metric: str = "cmc@1"
    require: Requirement = "better_than_old"
    level: float = 0.0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> AcceptanceGate:
        """Reads `{"metric": …, "require": "better_than_old" | "not_worse_than_old" | {"at_least": 0.85}}`.

        `{"not_worse_than_old": 0.02}` sets the margin. Raises ValueError that says what is allowed.
        """
        metric, require = body.get("metric", "cmc@1"), body.get("require", "better_than_old")
        unknown = set(body) - {"metric", "require"}
        if unknown or not (metric in METRICS or _is_of_judged_queries(metric)):
            raise ValueError(
                f"a gate has `metric`, one of {', '.join(METRICS)} or of judged queries as ndcg@10, and `require`;"
                f" got {dict(body)}"
            )
        if require == "better_than_old":
            return cls(metric, "better_than_old")
        if require == "not_worse_than_old":
            return cls(metric, "not_worse_than_old", MARGIN)
        if isinstance(require, Mapping) and len(require) == 1:
            name, level = next(iter(require.items()))
            if name in ("at_least", "not_worse_than_old") and _is_share(level):
                return cls(metric, name, float(level))
        raise ValueError(
            "`require` is better_than_old, not_worse_than_old, {at_least: share} or {not_worse_than_old: margin},"
            f" shares and margins between 0 and 1; got {require!r}"
        )

    def __str__(self) -> str:
        match self.require:
            case "at_least":
                return f"{self.metric} at least {self.level:.1%}"
            case "not_worse_than_old":
                return f"{self.metric} at most {self.level:.1%} under the old model"
            case _:
                return f"{self.metric} better than the old model"

    @property
    def of_judged_queries(self) -> bool:
        """Whether its metric is one that judged queries alone can tell."""
        return self.metric not in METRICS

    def judged_in(self, *, labelled: bool) -> RetrievalMetric:
        """The metric that judges by label: the gate's, or agreement with full re-embedding where no labels say what is
        right. Raises ValueError for a metric of judged queries, which labels cannot judge."""
        for metric in METRICS:
            if metric == self.metric:
                return metric if labelled else "recall@10"
        raise ValueError(f"{self.metric} takes judged queries")

    @property
    def asked(self) -> float:
        """What the figure that is read must reach."""
        return -self.level if self.require == "not_worse_than_old" else self.level

    def read(self, cross: Quantity | Interval, difference: Quantity | Interval) -> Quantity | Interval:
        """The figure that is read: `cross`, the crossing's, for `at_least`, else `difference`, the crossing's less the
        old model's."""
        return cross if self.require == "at_least" else difference

    def passed(self, cross: Quantity | Interval, difference: Quantity | Interval) -> bool:
        """Whether the low end of the interval that is read meets the requirement."""
        low = self.read(cross, difference).low
        return low > 0 if self.require == "better_than_old" else low >= self.asked

    def standing(self, cross: Quantity | Interval, difference: Quantity | Interval) -> Standing:
        """How the interval that is read stands to the requirement."""
        return standing(self.read(cross, difference), self.asked, met=self.passed(cross, difference))


@dataclass(frozen=True)
class VerdictInputs:
    """What the verdict and the advice are derived from; quantities in the metric of the gate, over the whole gallery.

    A quantity is None where it could not be measured. covered_passes: whether the part of the gallery that pairs cover
    would pass the gate by itself. judgeable: whether there was evidence for every part of the gallery.
    """

    gate: AcceptanceGate
    old_old: Quantity
    cross: Quantity
    difference: Quantity
    covered: Quantity | None
    covered_passes: bool
    uncovered: Quantity | None
    uncovered_share: float
    uncovered_rows: int
    gallery_rows: int
    new_is_worse: bool
    gain: Quantity | None
    instant: Quantity | None
    instant_passes: bool
    instant_note: str
    backfill: Quantity | None
    re_embed: Quantity | None
    judgeable: bool
    losing: tuple[LosingGroup, ...]
    wanted: tuple[WantedPairs, ...]
    needed: EvidenceNeeded
    """What would decide whether the crossing meets the gate, where that is open."""
    fused_needed: EvidenceNeeded | None = None
    """The same of both models' queries together, where they were measured."""
    by_queries: bool = False
    """Whether judged queries say what is right, and not labels."""
    labelled: bool = True
    """Whether labels say what is right, and not only what full re-embedding would find."""
    untold: AcceptanceGate | None = None
    """The gate that was asked for, where there is nothing to tell its metric by: `gate` is then of what was measured in
    its place, and decides nothing."""
    trained: bool = False
    """Whether the new model was trained to be compatible, so that no vector is rewritten."""
    fused: FusedResult | None = None
    """The search by both models' queries together, where it was measured."""
    may_fuse: bool = True
    """Whether that may meet the gate where the crossing alone does not."""
    fused_expected: ExpectedGain | None = None
    """What it may be expected to gain, where other migrations tell."""

    @property
    def crossing_passes(self) -> bool:
        """Whether the crossing alone is to be accepted."""
        told = self.untold is None and self.judgeable and not self.new_is_worse
        return told and self.gate.passed(self.cross, self.difference)

    @property
    def standing(self) -> Standing:
        """How the crossing alone stands to the gate, whatever else may speak against it."""
        return self.gate.standing(self.cross, self.difference)

    @property
    def worse_beyond_doubt(self) -> bool:
        """Whether re-embedding everything would lose as well, and nothing that more evidence decides speaks against.

        A model that is worse by itself may still know what the old one does not: the search by both tells.
        """
        if not self.new_is_worse or self.gain is None:
            return False
        return self.open_evidence is None or (self.gain.high < 0 and not self._fused_is_open)

    @property
    def fuses(self) -> bool:
        """Whether searching by both models' queries is on offer, and something else than searching by the old one's."""
        return self.fused is not None and self.may_fuse and self.fused.alpha > 0

    @property
    def open_evidence(self) -> EvidenceNeeded | None:
        """What would decide where the gate is neither met nor missed, by the crossing alone or else by both models'
        queries together; None where all is decided."""
        if self.standing == "open":
            return self.needed
        return self.fused_needed if self._fused_is_open else None

    @property
    def _fused_is_open(self) -> bool:
        """Whether it is open how the search by both models' queries stands to the gate."""
        if self.fused is None or not self.fuses:
            return False
        return self.gate.standing(self.fused.quality, self.fused.difference) == "open"

    @property
    def fused_passes(self) -> bool:
        """Whether the search by both models' queries is to be accepted where the crossing alone is not.

        The new model may itself be the worse one, and still know something that the old one does not; then both
        together must be better than the old model beyond doubt, whatever the gate asks.
        """
        if self.fused is None or not self.fuses or not self.judgeable or self.untold is not None:
            return False
        better = self.fused.difference.low > 0
        return self.gate.passed(self.fused.quality, self.fused.difference) and (better or not self.new_is_worse)


def verdict(inputs: VerdictInputs) -> tuple[bool, str]:
    """Accepted or not, with a reason that a person can act on."""
    figures = figures_of(inputs)
    if inputs.untold is not None:
        return False, (
            f"It cannot be told whether the gate is met ({inputs.untold}): nothing says which answers are right. Labels"
            " of the items, or judged queries, would tell. How much of what embedding everything anew would find the"
            f" crossing finds was measured ({figures}), which says nothing of which model is the better one."
            f" {NEIGHBOURS_DECIDE}"
        )
    if inputs.fused_passes and not inputs.crossing_passes:
        alone = (
            "The new model alone is no better than the old"
            if inputs.new_is_worse
            else f"The crossing alone does not meet the gate ({inputs.gate})"
        )
        return True, (
            f"{alone}; fused with the old model's queries it meets the gate ({inputs.gate}). {figures}. No vector"
            f" is rewritten, and every search needs its query's vectors of both models.{_untold(inputs)}"
        )
    if inputs.new_is_worse and inputs.gain is not None:
        return False, (
            f"The new model is itself no better than the old: re-embedding the pairs changes {inputs.gate.metric} by"
            f" {_points(inputs.gain)} points. {_next_step(inputs)} ({figures})"
        )
    if not inputs.judgeable:
        return False, (
            f"{inputs.uncovered_share:.0%} of the gallery has no pairs, and the pairs are of too few groups to judge"
            f" how the crossing does on groups it never saw. {_ask(inputs)}"
        )
    if inputs.crossing_passes:
        losing = (
            f" It loses on {len(inputs.losing)} groups: {_names([g.name for g in inputs.losing])}."
            if inputs.losing
            else ""
        )
        return True, f"The crossing meets the gate ({inputs.gate}). {figures}.{losing}{_untold(inputs)}"
    start = f"The crossing does not meet the gate ({inputs.gate}). {figures}."
    if inputs.uncovered is not None and inputs.covered is not None and inputs.covered_passes:
        return False, (
            f"{start} Where there are pairs it reaches {_span(inputs.covered)}, but {inputs.uncovered_share:.0%} of the"
            f" gallery ({inputs.uncovered_rows} items) has none and is predicted at {_span(inputs.uncovered)}."
            f" {_ask(inputs)}"
        )
    return False, f"{start} {_next_step(inputs)}"


def figures_of(inputs: VerdictInputs) -> str:
    """The figures that everything rests on, in a line."""
    figures = (
        f"{inputs.gate.metric}: old model {inputs.old_old.mean:.1%}, crossing {_span(inputs.cross)},"
        f" difference {_points(inputs.difference)} points"
    )
    if (fused := inputs.fused) is not None:
        figures += f"; both models' queries fused {_span(fused.quality)}, difference {_points(fused.difference)} points"
    return figures


def _untold(inputs: VerdictInputs) -> str:
    """What an acceptance leaves open where nothing says which answers are right."""
    if inputs.labelled:
        return ""
    return (
        " These figures are agreement with full re-embedding by the new model, which the old one is bound to have less"
        " of: whether the new model is itself the better one was not measured. Labels or judged queries would tell."
    )


def _next_step(inputs: VerdictInputs) -> str:
    """What to do where nothing is accepted: stay, for good or until it is decided."""
    needed = None if inputs.worse_beyond_doubt else inputs.open_evidence
    if needed is None:
        return "Stay with the old model."
    if needed.more is None and inputs.uncovered is not None and inputs.wanted:
        return _ask(inputs)
    return f"It cannot be told beyond doubt yet: {in_words(needed)}. Until then stay with the old model."


def _ask(inputs: VerdictInputs) -> str:
    """The sentence that asks for more pairs, of which groups and how many."""
    total = sum(w.pairs for w in inputs.wanted)
    names, rows = _names([w.group for w in inputs.wanted]), "training rows" if inputs.trained else "pairs"
    return (
        f"Add about {total} {rows} for the {len(inputs.wanted)} groups without enough ({names}) and try again;"
        " until then stay with the old model."
    )


def _names(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _span(q: Quantity) -> str:
    return f"{q.mean:.1%} ({q.low:.1%} to {q.high:.1%})"


def _points(q: Quantity) -> str:
    return f"{100 * q.mean:+.1f} ({100 * q.low:+.1f} to {100 * q.high:+.1f})"


def _is_of_judged_queries(metric: object) -> bool:
    try:
        JudgedMetric.parsed(str(metric))
    except ValueError:
        return False
    return True


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
