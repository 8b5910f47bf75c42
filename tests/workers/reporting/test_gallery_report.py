"""A gallery's report: its JSON to the letter, and the sentences that follow from the reports."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from app.upgrades.states import Event
from models.proof.report import AlphaPoint, FlipCount, FusedResult
from tests.workers.reporting.reports import BARE, CASCADE, FULL, PROOF, quantity
from workers.reporting.gallery_report import (
    GalleryReport,
    early_end,
    served_fused,
    verdict_reasons,
    why_not_served_unrewritten,
)

FREE = {"items_to_re_embed": 0, "bytes_written": 0, "compute_seconds": 0.0, "price": 0.0, "unknown": []}


def figure(mean: float, basis: str = "test") -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.125, "high": mean + 0.125, "basis": basis}


def unpriced(embedded: int, written: int, seconds: float) -> dict[str, Any]:
    return {
        "items_to_re_embed": embedded,
        "bytes_written": written,
        "compute_seconds": seconds,
        "price": None,
        "unknown": ["compute_price"],
    }


def rung(
    name: str,
    quality: dict[str, Any] | None,
    predicted: bool,
    embedded: int,
    rewritten: int,
    note: str,
    recommended: bool = False,
    **more: Any,
) -> dict[str, Any]:
    return {
        "name": name,
        "quality": quality,
        "predicted": predicted,
        "items_to_re_embed": embedded,
        "vectors_rewritten": rewritten,
        "recommended": recommended,
        "note": note,
        "embeddings_per_query": 2 if name == "fused" else 1,
        **more,
    }


def backfill(percent: int, mean: float, cost: dict[str, Any]) -> dict[str, Any]:
    note = f"re-embed the {percent}% that the transformation is least certain of, transform the rest"
    quality = {
        "mean": mean,
        "low": round(mean - 0.125, 5),
        "high": round(mean + 0.125, 5),
        "basis": "predicted from held-out pairs",
    }
    return rung("backfill", quality, True, percent * 10, 1000, note, share=percent / 100, cost=cost)


STAY = rung("stay", figure(0.5), False, 0, 0, "keep", cost=FREE)
INSTANT = rung("instant", None, False, 0, 0, "at once", cost=FREE)
CASCADED = rung(
    "cascade",
    figure(0.75),
    True,
    0,
    0,
    "40 candidates by the linear push are transformed and ranked anew for each query: 96.9% of what the rewritten "
    "gallery finds, and no vector rewritten",
    cost=FREE,
)
TRANSFORM = rung("transform", figure(0.75), False, 0, 1000, "rewrite", True, cost=unpriced(0, 81_000, 500.0))
RE_EMBED = rung("re_embed", figure(0.875), True, 1000, 1000, "embed", cost=unpriced(1000, 113_000, 2000.0))
BACKFILLS = [
    backfill(5, 0.75625, unpriced(50, 82_600, 575.0)),
    backfill(10, 0.7625, unpriced(100, 84_200, 650.0)),
    backfill(25, 0.78125, unpriced(250, 89_000, 875.0)),
    backfill(50, 0.8125, unpriced(500, 97_000, 1250.0)),
]


def report_json(advice: list[dict[str, Any]], notes: list[str], **more: Any) -> dict[str, Any]:
    return {
        "accepted": True,
        "reason": "It is better.",
        "gate": "cmc@1, better than old",
        "metrics": [
            {"metric": "cmc@1", "old_old": figure(0.5), "cross": figure(0.75), "difference": figure(0.25)},
        ],
        "strata": [
            {
                "name": "covered",
                "share": 1.0,
                "gallery_rows": 1000,
                "cells": 10,
                "queries": 200,
                "judged_on": "pairs",
                "old_old": figure(0.5),
                "cross": figure(0.75),
            }
        ],
        "flips": [{"stratum": "covered", "negative": 3, "positive": 9, "queries": 200}],
        "backfilled": {
            "metric": "cmc@1",
            "old_old": figure(0.5),
            "cross": figure(0.75),
            "new_new": figure(0.875),
            "gain": figure(0.375),
            "oracle_gain": 1.75,
        },
        "losing_groups": [
            {
                "name": "a",
                "covered": True,
                "gallery_rows": 100,
                "pairs": 20,
                "old": 0.5,
                "new": None,
                "known_by": "pairs",
            }
        ],
        "wanted_pairs": [{"group": "a", "gallery_rows": 100, "pairs": 4}],
        "recommendation": {"action": "transform", "sentence": "Switch.", "rests_on": "Figures."},
        "advice": advice,
        "notes": notes,
        "basis": {
            "judged_by": "label",
            "coverage_by": "label",
            "covered_share": 1.0,
            "gallery_rows": 1000,
            "gallery_rows_searched": 1000,
            "pairs": 400,
            "queries": 200,
            "row_folds": 5,
            "cell_folds": 5,
            "dependence_range": 0,
            "resamples": 2000,
            "seed": 0,
        },
        "served_as": "crossing",
        "provisional": False,
        "provisional_reason": None,
        **more,
    }


def test_report_with_everything_is_this_json_in_this_order() -> None:
    expected = report_json(
        [STAY, INSTANT, CASCADED, TRANSFORM, *BACKFILLS, RE_EMBED],
        ["A note.", "Another note."],
        backfill={
            "metric": "cmc@1",
            "pairs": 300,
            "any_order": False,
            "curves": {
                "uncertainty": {
                    "order": "uncertainty",
                    "measure": "cmc@1",
                    "mean": 0.8125,
                    "points": [
                        {"share": 0.0, "mean": 0.75, "low": 0.625, "high": 0.875},
                        {"share": 1.0, "mean": 0.875, "low": 0.75, "high": 1.0},
                    ],
                }
            },
        },
        cascade={
            "overlap": 0.95,
            "k": 40,
            "k_for_100": 300,
            "measured": 0.96875,
            "interval": [0.9375, 1.0],
            "queries": 200,
            "gallery_rows": 1000,
        },
        index={
            "kind": "ivf_flat",
            "effort_before": 4,
            "recall_before": 0.875,
            "effort": 16,
            "recall": 0.984375,
            "queries": 200,
            "neighbours": 40,
        },
        items_without_side_information=7,
    )
    assert json.dumps(FULL.to_json(), indent=1) == json.dumps(expected, indent=1)


def test_what_there_is_nothing_to_report_of_has_no_key() -> None:
    expected = report_json([STAY, INSTANT, TRANSFORM, RE_EMBED], ["A note."])
    assert json.dumps(BARE.to_json(), indent=1) == json.dumps(expected, indent=1)
    assert "cost" not in PROOF.to_json()["advice"][0]


def test_no_item_lacking_side_information_is_reported_as_zero() -> None:
    assert replace(BARE, items_without_side_information=0).to_json()["items_without_side_information"] == 0


def test_report_of_the_fused_search_has_its_figures_and_the_curve_over_alpha() -> None:
    fused = FusedResult(
        "cmc@1",
        quantity(0.75),
        quantity(0.25),
        quantity(0.125),
        0.5,
        0.25,
        (AlphaPoint(0.0, 0.5, 0.5), AlphaPoint(1.0, 0.625, None)),
        (FlipCount("covered", 3, 9, 200),),
        passes=True,
    )
    written = replace(BARE, proof=replace(PROOF, served_as="fused", fused=fused)).to_json()
    assert written["served_as"] == "fused"
    assert written["fused"] == {
        "metric": "cmc@1",
        "quality": figure(0.75),
        "difference": figure(0.25),
        "over_crossing": figure(0.125),
        "alpha": 0.5,
        "pushed_alpha": 0.25,
        "curve": [{"alpha": 0.0, "exact": 0.5, "pushed": 0.5}, {"alpha": 1.0, "exact": 0.625, "pushed": None}],
        "flips": [{"stratum": "covered", "negative": 3, "positive": 9, "queries": 200}],
        "passes": True,
    }


def with_cascade(measured: float) -> GalleryReport:
    return replace(BARE, cascade=replace(CASCADE, measured=measured))


def test_gallery_whose_cascade_finds_too_little_cannot_be_served_unrewritten() -> None:
    reports = {"short": with_cascade(0.9375), "enough": with_cascade(0.95), "pushed exactly": BARE}
    why = why_not_served_unrewritten(reports)
    assert why.startswith(
        "Gallery 'short' cannot be served without being rewritten: 40 candidates a query, the most that are allowed, "
        "find 93.8% of what the rewritten gallery finds, and 95.0% was asked."
    )
    assert "'enough'" not in why
    assert why_not_served_unrewritten({"enough": with_cascade(0.95), "pushed exactly": BARE}) == ""


def test_reason_is_headed_by_its_gallery_where_there_are_several() -> None:
    other = replace(PROOF, reason="It is worse.")
    assert verdict_reasons({"a": other}) == "It is worse."
    assert verdict_reasons({"a": PROOF, "b": other}) == "Gallery 'a': It is better. Gallery 'b': It is worse."


def test_reports_end_an_upgrade_that_is_a_dry_run_loses_or_cannot_be_served_as_it_is() -> None:
    lost = replace(FULL, proof=replace(PROOF, accepted=False, reason="It is worse."))
    short = replace(FULL, cascade=replace(CASCADE, measured=CASCADE.overlap - 0.01))

    def end(*reports: GalleryReport, dry_run: bool = False, rewrite: bool = True) -> tuple[Event, str] | None:
        named = {f"g{place}": report for place, report in enumerate(reports)}
        return early_end(named, dry_run=dry_run, rewrite=rewrite)

    assert end(FULL, dry_run=True) == (Event.REPORTED, "It is better.")
    assert end(FULL, lost, dry_run=True) == (Event.REPORTED, "It is worse.")
    assert end(FULL, lost) == (Event.REJECTED, "It is worse.")
    assert end(short, rewrite=False) == (Event.REJECTED, why_not_served_unrewritten({"g0": short}))
    assert end(short) is None
    assert end(FULL, rewrite=False) is None


def test_galleries_are_served_fused_where_one_needs_it_and_all_can_be() -> None:
    result = FusedResult(
        "cmc@1",
        PROOF.metrics[0].cross,
        PROOF.metrics[0].difference,
        PROOF.metrics[0].difference,
        0.5,
        0.5,
        (),
        (),
        passes=True,
    )
    either = replace(BARE, proof=replace(PROOF, fused=result))
    only = replace(BARE, proof=replace(PROOF, fused=result, served_as="fused"))
    alone = replace(BARE, proof=replace(PROOF, fused=replace(result, passes=False)))
    short = replace(only, cascade=replace(CASCADE, measured=CASCADE.overlap - 0.01))
    assert not served_fused({"a": either, "b": alone})
    assert served_fused({"a": either, "b": only})
    for rewrite in (True, False):
        assert early_end({"a": either, "b": only}, dry_run=False, rewrite=rewrite) is None
        assert early_end({"a": short}, dry_run=False, rewrite=rewrite) is None
        end = early_end({"a": alone, "b": only}, dry_run=False, rewrite=rewrite)
        assert end is not None
        assert end[0] == Event.REJECTED
        assert "start one for b and another for a" in end[1]
