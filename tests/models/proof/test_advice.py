from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.proof.advice import advise
from models.proof.gate import AcceptanceGate, VerdictInputs, verdict
from models.proof.report import FusedResult, Quantity, WantedPairs


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


LOST = replace(GOOD, cross=q(0.7), difference=q(-0.05), fused=FUSED)


def test_what_the_crossing_alone_misses_is_accepted_as_fused_where_that_meets_the_gate() -> None:
    accepted, reason = verdict(LOST)
    assert accepted
    assert recommended(LOST) == "fused"
    assert "The crossing alone does not meet the gate" in reason
    assert "83.0% (81.0% to 85.0%)" in reason
    assert "vectors of both models" in reason
    names = [rung.name for rung in advise(LOST, accepted)]
    assert names == ["stay", "instant", "fused", "transform", "backfill", "re_embed"]


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
