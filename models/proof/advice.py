"""What to do next: one thing first, then every way on that is on offer, with its quality and what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from models.proof.evidence_needed import POWER, SMALLEST_THAT_MATTERS, in_words
from models.proof.gate import NEIGHBOURS_DECIDE, VerdictInputs, figures_of
from models.proof.judged_queries import compared_by_queries
from models.proof.report import EvidenceNeeded, Leaning, Quantity, Recommendation, Rung, RungName

_SWITCH: dict[RungName, str] = {
    "compatible": "Switch to the new model, whose queries search the stored vectors as they are",
    "instant": "Switch to the new model at once, with every stored vector left as it is",
    "fused": "Search by the queries of both models together, with every stored vector left as it is",
    "cascade": "Switch to the new model, ranking a few candidates anew in each search, with no stored vector rewritten",
    "transform": "Switch to the new model by rewriting the stored vectors, without embedding any item again",
}
_COMPARED: dict[str, str] = {
    "cmc@1": "the first answer is right in {new} of searches instead of {old}",
    "cmc@5": "one of the first five answers is right in {new} of searches instead of {old}",
    "map": "right answers are ranked at a mean average precision of {new} instead of {old}",
    "recall@10": "{new} of the ten nearest that embedding everything anew would find are found, instead of {old}",
}

_CERTAIN = 0.99
_TOO_MANY_TO_BET = 1_000_000  # items: the migrations that a bet goes by have 18,000 at most


def recommend(inputs: VerdictInputs, accepted: bool) -> Recommendation:
    """The one thing to do, or what has to be known before that can be said, and what to do meanwhile."""
    said = _recommended(inputs, accepted)
    return replace(said, leaning=_leaning(inputs)) if said.action == "cannot_tell" else said


def _recommended(inputs: VerdictInputs, accepted: bool) -> Recommendation:
    rests_on = f"{figures_of(inputs)}; {inputs.cross.basis}."
    if accepted:
        return Recommendation(_accepted(inputs), _switch(inputs), rests_on)
    if inputs.untold is not None:
        return Recommendation("cannot_tell", _untold(inputs), f"{rests_on} {NEIGHBOURS_DECIDE}")
    if inputs.worse_beyond_doubt:
        return Recommendation("stay", _no_gain(inputs), rests_on)
    if not inputs.judgeable:
        sentence = (
            f"Cannot tell yet: {inputs.uncovered_share:.0%} of the items have no pairs and nothing that speaks for"
            f" them, and {_wanted(inputs)} would decide."
        )
        return Recommendation("cannot_tell", sentence, rests_on)
    needed = inputs.open_evidence
    if inputs.uncovered is not None and inputs.covered_passes:
        sentence = (
            f"{'Stay with the old model' if needed is None else 'Cannot tell yet'}: the new model does well where there"
            f" are pairs, but {inputs.uncovered_share:.0%} of the items have none, and {_wanted(inputs)} may change"
            " that."
        )
        return Recommendation("stay" if needed is None else "cannot_tell", sentence, rests_on)
    if needed is not None:
        rests_on = f"{rests_on} {_reckoned(inputs, needed)}"
        return Recommendation("cannot_tell", _cannot_tell(inputs, needed), rests_on, needed)
    return Recommendation("stay", _stay(inputs), rests_on)


def advise(inputs: VerdictInputs, accepted: bool) -> tuple[Rung, ...]:
    """The rungs of an upgrade that are on offer, cheapest first. What was accepted is recommended, else to stay."""
    best = _accepted(inputs) if accepted else "stay"
    return tuple(_rungs(inputs, best))


def unrewritten(said: Recommendation, rungs: Sequence[Rung]) -> tuple[Recommendation, tuple[Rung, ...]]:
    """The same advice where no vector is to be rewritten: what would serve by transforming the gallery does so by its
    cascade, or at once where none is on offer, since queries are pushed exactly."""
    if said.action != "transform":
        return said, tuple(rungs)
    best: RungName = "cascade" if any(rung.name == "cascade" for rung in rungs) else "instant"
    sentence = said.sentence.replace(_SWITCH["transform"], _SWITCH[best])
    chosen = tuple(replace(rung, recommended=rung.name == best) for rung in rungs)
    return replace(said, action=best, sentence=sentence), chosen


def _accepted(inputs: VerdictInputs) -> RungName:
    """The rung that was accepted."""
    if not inputs.crossing_passes:
        return "fused"
    if inputs.trained:
        return "compatible"
    instant = inputs.instant
    suffices = instant is not None and inputs.instant_passes and instant.mean >= inputs.cross.mean
    return "instant" if suffices else "transform"


def _switch(inputs: VerdictInputs) -> str:
    action = _accepted(inputs)
    what, quality = _SWITCH[action], inputs.cross
    if action == "instant" and inputs.instant is not None:
        quality = inputs.instant
    elif action == "fused" and inputs.fused is not None:
        quality = inputs.fused.quality
    rest = "" if inputs.labelled else ". Whether the new model is itself the better one was not measured"
    return f"{what}: {_compared(inputs, quality)}{rest}."


def _untold(inputs: VerdictInputs) -> str:
    """What is not known where nothing says which answers are right, and what would tell."""
    return (
        "Cannot tell whether what was asked for is reached, since nothing says which answers are right, and labels or"
        " judged queries would; if you know that the new model is the better one: with it"
        f" {_compared(inputs, inputs.cross)}."
    )


def _no_gain(inputs: VerdictInputs) -> str:
    if inputs.gain is None or inputs.gain.high >= 0:
        return "Stay with the old model: the new one shows no gain, even where items are embedded anew."
    return (
        "Stay with the old model: the new one is worse, by"
        f" {_points(-inputs.gain.mean)} even where items are embedded anew."
    )


def _cannot_tell(inputs: VerdictInputs, needed: EvidenceNeeded) -> str:
    which = "the new model" if inputs.labelled else "the crossing"
    if needed is inputs.fused_needed:
        which = "the search by both models' queries"
    off = _points(abs(needed.off))
    looks = f"by {needed.have:,} {needed.kind} {which} looks {off}"
    if inputs.gate.require == "better_than_old":
        looks += " better" if needed.off > 0 else " worse"
    else:
        looks += " above what was asked" if needed.off >= 0 else " below what was asked"
    if needed.more is not None:
        return f"Cannot tell yet: {looks}, and {in_words(needed)}."
    if inputs.uncovered is not None and inputs.wanted:
        return (
            f"Cannot tell yet: {looks}, but {inputs.uncovered_share:.0%} of the items are of groups with too few pairs,"
            f" and {_wanted(inputs)} come first."
        )
    return f"Cannot tell: {looks}, and {in_words(needed)}."


def _leaning(inputs: VerdictInputs) -> Leaning | None:
    """The better bet while nothing is told: to search by both models' queries, which is undone as easily as it is done,
    where that is expected to gain as much as matters over the old model; else to stay."""
    expected = inputs.fused_expected
    if expected is None or not inputs.fuses or inputs.gate.require != "better_than_old":
        return None
    if inputs.gallery_rows >= _TOO_MANY_TO_BET:
        return None
    within = f"(95%: {100 * expected.low:+.1f} to {100 * expected.high:+.1f})"
    gain = f"be expected to {'lose' if expected.mean < 0 else 'gain'} {_points(abs(expected.mean))} {within}"
    basis = "the figures of the pairs, and what other migrations gained whose crossing did as well"
    figure = Quantity(expected.mean, expected.low, expected.high, basis)
    better = (
        "going by other migrations whose crossing did as well, the probability that it is better at all is"
        f" {_chance(expected.better)}. That is a bet, and proves nothing"
    )
    if expected.mean >= SMALLEST_THAT_MATTERS:
        sentence = f"Should it have to be decided now: {_lowered(_SWITCH['fused'])}, which may {gain}; {better}."
        return Leaning("fused", sentence, figure, expected.better)
    sentence = f"Should it have to be decided now: stay with the old model; both models' queries may {gain}; {better}."
    return Leaning("stay", sentence, figure, expected.better)


def _chance(probability: float) -> str:
    """In whole percent, and never as certain."""
    if probability > _CERTAIN:
        return "more than 99%"
    return "less than 1%" if probability < 1 - _CERTAIN else f"{probability:.0%}"


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _reckoned(inputs: VerdictInputs, needed: EvidenceNeeded) -> str:
    """What the amount of evidence that would decide rests on."""
    if needed.more is None and inputs.uncovered is not None and inputs.wanted:
        return (
            "Groups without pairs are judged by others that were held out whole: however many pairs those have, that"
            " stays uncertain."
        )
    if needed.more is None:
        return (
            f"Too many {needed.kind} would be needed beside the {needed.have:,} that there are, or more of their kind"
            " would not narrow what is unknown."
        )
    beyond = needed.kind == "pairs" and needed.have + needed.more > inputs.gallery_rows
    return (
        f"Reckoned from the scatter of the {needed.have:,} {needed.kind} that there are: "
        + (
            f"should the difference be as it was seen, so many more of the same kind decide in {POWER:.0%} of cases."
            if needed.decides
            else "to tell so small a difference, should it be as it was seen, takes more than a proof measures."
        )
        + (" What more pairs teach the crossing is not counted." if needed.kind == "pairs" else "")
        + (" The gallery has fewer items: others that both models embed count as well." if beyond else "")
    )


def _stay(inputs: VerdictInputs) -> str:
    """Why to stay where it is told that the gate is not met."""
    if inputs.standing == "equal":
        if inputs.gate.require == "better_than_old":
            return "Stay with the old model: the new one is neither better nor worse by as much as a point."
        return "Stay with the old model: what was asked is missed, or met, by less than a point, too little to tell."
    if inputs.gain is not None and inputs.gain.low > 0 and inputs.re_embed is not None:
        return (
            "Stay with the old model, or embed all items anew: the new model is the better one, but not on vectors"
            f" transformed by what these pairs teach, where {_compared(inputs, inputs.cross)}."
        )
    return f"Stay with the old model: with the new one, {_compared(inputs, inputs.cross)}."


def _compared(inputs: VerdictInputs, quality: Quantity) -> str:
    said = compared_by_queries(inputs.gate.metric) if inputs.by_queries else _COMPARED[inputs.gate.metric]
    return said.format(new=f"{quality.mean:.1%}", old=f"{inputs.old_old.mean:.1%}")


def _wanted(inputs: VerdictInputs) -> str:
    pairs = sum(one.pairs for one in inputs.wanted)
    kind = "training rows" if inputs.trained else "pairs"
    return f"about {pairs:,} more {kind} for the {len(inputs.wanted)} groups without enough"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} points"


def _rungs(inputs: VerdictInputs, best: RungName) -> Iterator[Rung]:
    n, predicted = inputs.gallery_rows, inputs.uncovered_rows > 0

    def rung(
        name: RungName, quality: Quantity | None, predicted: bool, embedded: int, rewritten: int, note: str
    ) -> Rung:
        models = 2 if name == "fused" else 1
        return Rung(name, quality, predicted, embedded, rewritten, name == best, note, embeddings_per_query=models)

    yield rung("stay", inputs.old_old, False, 0, 0, "keep the old model")
    if inputs.trained:
        as_they_are = "new queries search the old vectors, zero-padded, as they are"
        yield rung("compatible", inputs.cross, predicted, 0, 0, as_they_are)
    else:
        if inputs.instant is not None:
            yield rung("instant", inputs.instant, False, 0, 0, inputs.instant_note)
        if inputs.fused is not None and inputs.fuses:
            together = (
                f"every query is embedded by both models, and the new one's opinion weighs {inputs.fused.alpha:.0%};"
                " no vector rewritten"
            )
            yield rung("fused", inputs.fused.quality, predicted, 0, 0, together)
        yield rung("transform", inputs.cross, predicted, 0, n, "rewrite the gallery's vectors, re-embed nothing")
        if predicted:
            unseen = "re-embed the items of groups without pairs, transform the rest"
            yield rung("backfill", inputs.backfill, True, inputs.uncovered_rows, n, unseen)
    yield rung("re_embed", inputs.re_embed, True, n, n, "embed every item with the new model")
