from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.proof.advice import advise, recommend, unrewritten
from models.proof.expected_gain import ExpectedGain
from models.proof.gate import AcceptanceGate, VerdictInputs, verdict
from models.proof.report import EvidenceNeeded, FusedResult, Quantity, WantedPairs


def q(mean: float, width: float = 0.02) -> Quantity:
    return Quantity(mean, mean - width, mean + width, "test")


GOOD = VerdictInputs(
    gate=AcceptanceGate(),
    old_old=q(0.75),
    cross=q(0.85),
    difference=q(0.1),
    covered=q(0.9),
    covered_passes=True,
    uncovered=None,
    uncovered_share=0.0,
    uncovered_rows=0,
    gallery_rows=1000,
    new_is_worse=False,
    gain=q(0.12),
    instant=q(0.82),
    instant_passes=True,
    instant_note="approximate",
    backfill=q(0.88),
    re_embed=q(0.89),
    judgeable=True,
    losing=(),
    wanted=(),
    needed=EvidenceNeeded("pairs", 400, 120, 0.1),
)
HALF = replace(
    GOOD,
    cross=q(0.7),
    difference=q(-0.05),
    uncovered=q(0.5),
    uncovered_share=0.5,
    uncovered_rows=500,
    wanted=tuple(WantedPairs(f"g{i}", 10, 4) for i in range(7)),
)


FUSED = FusedResult("cmc@1", q(0.83), q(0.08), q(0.13), 0.6, 0.4, (), ())


def recommended(f: VerdictInputs) -> str:
    return next(rung.name for rung in advise(f, verdict(f)[0]) if rung.recommended)


@pytest.mark.parametrize(
    ("gate", "cross", "difference", "passes"),
    [
        (AcceptanceGate(), q(0.9), q(0.021), True),
        (AcceptanceGate(), q(0.9), q(0.019), False),
        (AcceptanceGate("cmc@1", "not_worse_than_old", 0.01), q(0.9), q(0.011), True),
        (AcceptanceGate("cmc@1", "not_worse_than_old", 0.01), q(0.9), q(0.009), False),
        (AcceptanceGate("cmc@1", "at_least", 0.85), q(0.871), q(-0.5), True),
        (AcceptanceGate("cmc@1", "at_least", 0.85), q(0.869), q(0.5), False),
    ],
)
def test_gate_reads_the_low_end_of_the_interval(
    gate: AcceptanceGate, cross: Quantity, difference: Quantity, passes: bool
) -> None:
    assert gate.passed(cross, difference) is passes


@pytest.mark.parametrize(
    ("body", "gate"),
    [
        ({}, AcceptanceGate("cmc@1", "better_than_old")),
        ({"metric": "map", "require": "not_worse_than_old"}, AcceptanceGate("map", "not_worse_than_old", 0.01)),
        ({"require": {"at_least": 0.85}}, AcceptanceGate("cmc@1", "at_least", 0.85)),
        ({"require": {"not_worse_than_old": 0.02}}, AcceptanceGate("cmc@1", "not_worse_than_old", 0.02)),
    ],
)
def test_gate_is_read_from_json(body: dict[str, Any], gate: AcceptanceGate) -> None:
    assert AcceptanceGate.from_json(body) == gate


@pytest.mark.parametrize(
    "body",
    [
        {"metric": "accuracy"},
        {"require": "best"},
        {"require": {"at_least": 85}},
        {"require": {"at_least": True}},
        {"require": {"at_least": 0.5, "not_worse_than_old": 0.1}},
        {"metrics": "map"},
        {"metric": ["map"]},
    ],
)
def test_gate_that_means_nothing_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"gate has|require"):
        AcceptanceGate.from_json(body)


def test_good_crossing_is_transformed() -> None:
    assert verdict(GOOD)[0]
    assert recommended(GOOD) == "transform"


def test_instant_is_recommended_where_it_serves_as_well() -> None:
    assert recommended(replace(GOOD, instant=q(0.85))) == "instant"


def test_rejection_for_coverage_says_what_to_add() -> None:
    accepted, reason = verdict(HALF)
    assert not accepted
    assert recommended(HALF) == "stay"
    assert "28 pairs for the 7 groups" in reason
    assert "g0, g1, g2, g3, g4 and 2 more" in reason
    assert "50% of the gallery (500 items)" in reason


def test_worse_new_model_is_rejected_whatever_the_gate_says() -> None:
    accepted, reason = verdict(replace(GOOD, new_is_worse=True, gain=q(-0.03)))
    assert not accepted
    assert "itself no better" in reason


def test_unjudgeable_share_is_rejected() -> None:
    accepted, reason = verdict(replace(HALF, judgeable=False))
    assert not accepted
    assert "too few groups to judge" in reason


def test_rungs_state_their_cost() -> None:
    cost = {rung.name: (rung.items_to_re_embed, rung.vectors_rewritten) for rung in advise(HALF, False)}
    assert cost == {
        "stay": (0, 0),
        "instant": (0, 0),
        "transform": (0, 1000),
        "backfill": (500, 1000),
        "re_embed": (1000, 1000),
    }


def test_what_is_not_on_offer_is_no_rung() -> None:
    nothing = replace(GOOD, instant=None, fused=replace(FUSED, alpha=0.0))
    assert [rung.name for rung in advise(nothing, True)] == ["stay", "transform", "re_embed"]
    unwanted = replace(GOOD, fused=FUSED, may_fuse=False)
    assert [rung.name for rung in advise(unwanted, True)] == ["stay", "instant", "transform", "re_embed"]


LOST = replace(GOOD, cross=q(0.7), difference=q(-0.05), fused=FUSED)


def test_what_the_crossing_alone_misses_is_accepted_as_fused_where_that_meets_the_gate() -> None:
    accepted, reason = verdict(LOST)
    assert accepted
    assert recommended(LOST) == "fused"
    assert "The crossing alone does not meet the gate" in reason
    assert "83.0% (81.0% to 85.0%)" in reason
    assert "vectors of both models" in reason
    names = [rung.name for rung in advise(LOST, accepted)]
    assert names == ["stay", "instant", "fused", "transform", "re_embed"]


def test_crossing_that_meets_the_gate_is_accepted_as_such_though_fused_is_better() -> None:
    both = replace(GOOD, fused=replace(FUSED, quality=q(0.9), difference=q(0.15)))
    assert verdict(both)[0]
    assert recommended(both) == "transform"
    assert "both models' queries fused 90.0%" in verdict(both)[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"fused": replace(FUSED, difference=q(0.01))},
        {"fused": replace(FUSED, alpha=0.0)},
        {"judgeable": False},
        {"may_fuse": False},
    ],
)
def test_fused_is_rejected_where_it_misses_the_gate_adds_nothing_or_is_out_of_the_question(
    changed: dict[str, Any],
) -> None:
    lost = replace(LOST, **changed)
    assert not verdict(lost)[0]
    assert recommended(lost) == "stay"


def test_fused_with_a_worse_new_model_must_be_better_than_the_old_whatever_the_gate_asks() -> None:
    lenient = AcceptanceGate("cmc@1", "at_least", 0.5)
    worse = replace(LOST, gate=lenient, new_is_worse=True)
    assert verdict(worse)[0]
    assert recommended(worse) == "fused"
    assert "new model alone is no better than the old" in verdict(worse)[1]
    doubtful = replace(worse, fused=replace(FUSED, difference=q(0.01)))
    assert not verdict(doubtful)[0]
    assert recommended(doubtful) == "stay"


OPEN = replace(GOOD, cross=q(0.77, 0.03), difference=q(0.02, 0.021), needed=EvidenceNeeded("pairs", 1000, 1100, 0.02))


def said(inputs: VerdictInputs) -> tuple[str, str]:
    recommendation = recommend(inputs, verdict(inputs)[0])
    assert recommendation.sentence.endswith(".")
    assert recommendation.sentence.count(". ") == 0, "one sentence"
    return recommendation.action, recommendation.sentence


def test_accepted_crossing_is_recommended_in_a_sentence_with_what_it_brings() -> None:
    assert said(GOOD) == (
        "transform",
        "Switch to the new model by rewriting the stored vectors, without embedding any item again: the first answer is"
        " right in 85.0% of searches instead of 75.0%.",
    )
    action, sentence = said(replace(GOOD, instant=q(0.87)))
    assert action == "instant"
    assert "every stored vector left as it is: the first answer is right in 87.0% of searches" in sentence
    assert said(replace(GOOD, trained=True))[0] == "compatible"
    action, sentence = said(LOST_TO_FUSED)
    assert action == "fused"
    assert "in 83.0% of searches instead of 75.0%" in sentence


def test_what_is_not_to_be_rewritten_is_recommended_as_it_would_be_served() -> None:
    given = recommend(GOOD, accepted=True), advise(GOOD, accepted=True)
    at_once, rungs = unrewritten(*given)
    assert at_once.action == "instant"
    assert "at once, with every stored vector left as it is: the first answer is right in 85.0%" in at_once.sentence
    assert [rung.name for rung in rungs if rung.recommended] == ["instant"]
    cascade = replace(given[1][-1], name="cascade")
    by_candidates, rungs = unrewritten(given[0], (*given[1], cascade))
    assert by_candidates.action == "cascade"
    assert "rewriting" not in by_candidates.sentence
    assert [rung.name for rung in rungs if rung.recommended] == ["cascade"]
    stays = recommend(LOST, accepted=False), advise(LOST, accepted=False)
    assert unrewritten(*stays) == stays


LOST_TO_FUSED = replace(LOST, re_embed=None)


def test_real_gain_that_the_pairs_leave_open_is_not_called_stay() -> None:
    assert said(OPEN) == (
        "cannot_tell",
        "Cannot tell yet: by 1,000 pairs the new model looks 2.0 points better, and about 1,100 more pairs would as a"
        " rule decide.",
    )
    recommendation = recommend(OPEN, False)
    assert recommendation.needed == OPEN.needed
    assert "difference +2.0 (-0.1 to +4.1) points" in recommendation.rests_on
    assert "80% of cases" in recommendation.rests_on
    accepted, reason = verdict(OPEN)
    assert not accepted
    assert "about 1,100 more pairs" in reason
    assert recommended(OPEN) == "stay", "the rung to keep to until then"


def test_doubtful_loss_cannot_be_told_either_and_a_certain_one_can() -> None:
    doubtful = replace(OPEN, cross=q(0.74), difference=q(-0.01, 0.03), needed=replace(OPEN.needed, off=-0.01))
    assert said(doubtful)[0] == "cannot_tell"
    assert "looks 1.0 points worse" in said(doubtful)[1]
    assert said(replace(doubtful, new_is_worse=True, gain=q(-0.005)))[0] == "cannot_tell"
    certain = replace(doubtful, new_is_worse=True, gain=q(-0.03))
    assert said(certain) == (
        "stay",
        "Stay with the old model: the new one is worse, by 3.0 points even where items are embedded anew.",
    )
    assert "more pairs" not in verdict(certain)[1]


def test_worse_model_whose_queries_may_add_to_the_old_ones_is_not_given_up() -> None:
    needed = EvidenceNeeded("pairs", 400, 900, 0.01)
    worse = replace(LOST, new_is_worse=True, gain=q(-0.01, 0.03), fused_needed=needed)
    adds = replace(worse, fused=replace(FUSED, difference=q(0.01)))
    assert said(adds)[0] == "cannot_tell"
    assert said(replace(worse, fused=None))[0] == "stay"


def test_searches_that_are_told_to_be_equal_ask_for_nothing() -> None:
    equal = replace(OPEN, difference=q(0.001, 0.008))
    assert said(equal)[0] == "stay"
    assert "neither better nor worse by as much as a point" in said(equal)[1]
    assert recommend(equal, False).needed is None


def test_better_model_whose_crossing_loses_is_worth_embedding_everything_for() -> None:
    action, sentence = said(replace(GOOD, cross=q(0.7), difference=q(-0.05)))
    assert action == "stay"
    assert "or embed all items anew" in sentence
    assert "embed all" not in said(replace(GOOD, cross=q(0.7), difference=q(-0.05), gain=q(0.01)))[1]


def test_both_models_queries_that_leave_it_open_are_what_cannot_be_told() -> None:
    needed = EvidenceNeeded("pairs", 1000, 700, 0.015)
    doubtful = replace(LOST, fused=replace(FUSED, difference=q(0.015)), fused_needed=needed)
    assert said(doubtful)[0] == "cannot_tell"
    assert "both models' queries looks 1.5 points better" in said(doubtful)[1]
    assert recommend(doubtful, False).needed == needed
    assert said(replace(doubtful, may_fuse=False))[0] == "stay"


def test_while_it_cannot_be_told_the_better_bet_is_named_and_nothing_is_accepted() -> None:
    needed = EvidenceNeeded("pairs", 500, 700, 0.008)
    doubtful = replace(LOST, fused=replace(FUSED, difference=q(0.008)), fused_needed=needed)
    assert recommend(doubtful, False).leaning is None, "nothing is known of other migrations"
    likely = replace(doubtful, fused_expected=ExpectedGain(0.013, -0.002, 0.028, 0.93))
    said = recommend(likely, False)
    assert said.action == "cannot_tell"
    assert said.leaning is not None
    assert said.leaning.action == "fused"
    assert said.leaning.sentence == (
        "Should it have to be decided now: search by the queries of both models together, with every stored vector left"
        " as it is, which may be expected to gain 1.3 points (95%: -0.2 to +2.8); going by other migrations whose"
        " crossing did as well, the probability that it is better at all is 93%. That is a bet, and proves nothing."
    )
    assert said.to_json()["leaning"]["expected"]["high"] == 0.028
    assert not verdict(likely)[0], "a bet is no proof"
    assert recommended(likely) == "stay"
    little = recommend(replace(likely, fused_expected=ExpectedGain(0.006, -0.01, 0.02, 0.8)), False).leaning
    assert little is not None
    assert (little.action, "expected to gain 0.6 points" in little.sentence) == ("stay", True)
    loses = recommend(replace(likely, fused_expected=ExpectedGain(-0.006, -0.02, 0.01, 0.2)), False).leaning
    assert loses is not None
    assert "expected to lose 0.6 points (95%: -2.0 to +1.0)" in loses.sentence
    sure = recommend(replace(likely, fused_expected=ExpectedGain(0.013, 0.002, 0.028, 0.999)), False).leaning
    assert sure is not None
    assert "is more than 99%." in sure.sentence
    hopeless = recommend(replace(likely, fused_expected=ExpectedGain(-0.03, -0.05, -0.01, 0.001)), False).leaning
    assert hopeless is not None
    assert "is less than 1%." in hopeless.sentence
    assert recommend(replace(likely, gallery_rows=1_000_000), False).leaning is None, "no migration known was so large"
    assert recommend(replace(likely, may_fuse=False), False).leaning is None
    assert recommend(replace(likely, fused=FUSED), True).leaning is None, "what is told needs no bet"
    level = replace(likely, gate=AcceptanceGate("cmc@1", "at_least", 0.84))
    assert recommend(level, False).leaning is None, "the gate asks for something else than a gain"


def test_a_worse_new_model_is_not_given_up_while_it_is_open_what_its_queries_add() -> None:
    needed = EvidenceNeeded("pairs", 300, 900, 0.004)
    worse = replace(LOST, new_is_worse=True, gain=q(-0.03), fused_needed=needed)
    adds = replace(worse, fused=replace(FUSED, difference=q(-0.004)))
    assert said(adds)[0] == "cannot_tell"
    assert "about 900 more pairs" in verdict(adds)[1]
    assert said(replace(adds, may_fuse=False))[0] == "stay"
    assert said(replace(worse, fused=replace(FUSED, difference=q(-0.03))))[0] == "stay"


def test_what_no_number_of_pairs_decides_is_said_to_be_so() -> None:
    beyond = replace(OPEN, needed=EvidenceNeeded("pairs", 1000, None, 0.02))
    assert said(beyond)[1] == (
        "Cannot tell: by 1,000 pairs the new model looks 2.0 points better, and no number of pairs that a proof"
        " measures would tell so small a difference, unless they teach a better crossing."
    )
    few = replace(HALF, covered_passes=False, difference=q(-0.01), needed=beyond.needed)
    assert "about 28 more pairs for the 7 groups without enough come first" in said(few)[1]


def test_difference_too_small_to_decide_asks_for_what_narrows_it() -> None:
    small = replace(OPEN, difference=q(0.003), needed=EvidenceNeeded("pairs", 1000, 3000, 0.003, decides=False))
    assert said(small)[1] == (
        "Cannot tell yet: by 1,000 pairs the new model looks 0.3 points better, and about 3,000 more pairs would tell"
        " it to within a point."
    )
    assert "takes more than a proof measures" in recommend(small, False).rests_on


def test_groups_without_pairs_are_what_is_asked_for() -> None:
    assert said(HALF)[0] == "stay"
    assert "about 28 more pairs for the 7 groups without enough may change that" in said(HALF)[1]
    assert said(replace(HALF, judgeable=False))[0] == "cannot_tell"
    assert "50% of the items have no pairs" in said(replace(HALF, judgeable=False))[1]


def test_gate_that_asks_for_a_level_is_spoken_of_as_such() -> None:
    asked = replace(
        OPEN, gate=AcceptanceGate("cmc@1", "at_least", 0.76), needed=EvidenceNeeded("evaluation rows", 50, 90, 0.01)
    )
    assert said(asked)[1] == (
        "Cannot tell yet: by 50 evaluation rows the new model looks 1.0 points above what was asked, and about 90 more"
        " evaluation rows would as a rule decide."
    )


UNLABELLED = replace(GOOD, gate=AcceptanceGate("recall@10"), labelled=False)


def test_without_labels_nothing_is_accepted_that_labels_would_have_to_tell_and_the_advice_says_the_same() -> None:
    """However much more of what the new model would find the crossing finds: the old model is bound to find less."""
    for asked in (
        AcceptanceGate(),
        AcceptanceGate("map", "not_worse_than_old", 0.01),
        AcceptanceGate("cmc@5", "at_least", 0.1),
    ):
        untold = replace(UNLABELLED, untold=asked, fused=FUSED)
        accepted, reason = verdict(untold)
        assert not accepted
        assert f"cannot be told whether the gate is met ({asked})" in reason
        assert "Labels of the items, or judged queries, would tell" in reason
        assert "recall@10 that requires `at_least` a share" in reason
        first = recommend(untold, accepted)
        assert (first.action, recommended(untold)) == ("cannot_tell", "stay")
        assert first.sentence.startswith("Cannot tell whether what was asked for is reached")
        assert "85.0% of the ten nearest that embedding everything anew would find are found" in first.sentence
        assert first.leaning is None


def test_a_gate_of_agreement_with_full_re_embedding_is_told_without_labels_and_what_it_leaves_open_is_said() -> None:
    for gate in (AcceptanceGate("recall@10", "at_least", 0.8), AcceptanceGate("recall@10")):
        agreeing = replace(UNLABELLED, gate=gate)
        accepted, reason = verdict(agreeing)
        assert accepted
        assert "whether the new model is itself the better one was not measured" in reason
        first = recommend(agreeing, accepted)
        assert first.action == "transform"
        assert first.sentence.startswith("Switch to the new model by rewriting")
        assert first.sentence.endswith("Whether the new model is itself the better one was not measured.")
        as_they_are, _ = unrewritten(first, advise(agreeing, accepted))
        assert as_they_are.sentence.startswith("Switch to the new model at once")
    assert "was not measured" not in verdict(GOOD)[1] + recommend(GOOD, True).sentence
    assert not verdict(replace(UNLABELLED, gate=AcceptanceGate("recall@10", "at_least", 0.84)))[0]
    assert "the crossing looks" in said(replace(OPEN, gate=AcceptanceGate("recall@10"), labelled=False))[1]
