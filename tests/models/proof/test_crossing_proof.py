"""What a proof claims, checked on a world whose truth is known (`tests.models.world`)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match
from models.portable import Alphas, Fusion, Moments, Transformation, as_indexed
from models.proof.crossing import prove
from models.proof.gate import AcceptanceGate
from models.proof.inputs import PlacedPairs, ProofLimits
from models.proof.report import ProofReport
from models.transformations.pairs import Pairs
from tests.models.world import SOURCE, TARGET, ProofWorld, crossing, draw, gallery, world

QUICK = ProofLimits(row_folds=5, cell_folds=10)
PAIRS = 300


def prove_share(
    share: float, seed: int = 0, labelled: bool = True, old_noise: float = 1.2, **options: object
) -> tuple[ProofReport, Pairs, PlacedPairs, ProofWorld]:
    rng = np.random.default_rng(seed)
    w = world(seed, old_noise=old_noise, new_noise=0.6)
    items = w.items(40, rng)
    e = draw(items, share, PAIRS, rng)
    if not labelled:
        e = PlacedPairs(replace(e.pairs, label=None), e.row)
    options = {"limits": QUICK, "seed": seed} | options
    report = prove(gallery(items, labelled), e, crossing(e.pairs), source=SOURCE, target=TARGET, **options)  # type: ignore[arg-type]
    return report, items, e, w


def measured(items: Pairs, e: PlacedPairs, w: ProofWorld, seed: int) -> float:
    test = w.items(40, np.random.default_rng(seed + 1000))
    vectors = crossing(e.pairs).transformation.apply(items.old)
    assert test.label is not None
    assert items.label is not None
    return float(cmc(ranks_of_first_match(test.new, test.label, vectors, items.label, "cosine"), 1).mean())


@pytest.fixture(scope="module")
def half() -> ProofReport:
    return prove_share(0.5)[0]


@pytest.fixture(scope="module")
def most() -> ProofReport:
    return prove_share(0.9, old_noise=1.6)[0]


@pytest.fixture(scope="module")
def unlabelled() -> ProofReport:
    return prove_share(0.5, labelled=False)[0]


def test_pairs_of_half_the_classes_look_splendid_and_are_rejected(half: ProofReport) -> None:
    seen, unseen = half.strata
    assert seen.name == "covered"
    assert seen.cross.low > seen.old_old.high
    assert unseen.name == "not covered"
    assert unseen.share == pytest.approx(0.5)
    assert unseen.cross.high < unseen.old_old.low
    assert not half.accepted
    assert [rung.name for rung in half.advice if rung.recommended] == ["stay"]


def test_rejection_says_which_groups_need_how_many_pairs(half: ProofReport) -> None:
    assert {w.group for w in half.wanted_pairs} == {f"class-{i:02d}" for i in range(10, 20)}
    assert all(25 <= w.pairs <= 35 for w in half.wanted_pairs)
    assert f"{sum(w.pairs for w in half.wanted_pairs)} pairs" in half.reason
    assert "class-10" in half.reason
    assert "50%" in half.reason


def test_accepted_upgrade_names_the_groups_that_lose(most: ProofReport) -> None:
    assert most.accepted
    assert {g.name for g in most.losing_groups} == {"class-18", "class-19"}
    assert all(not g.covered and g.new < g.old for g in most.losing_groups)
    assert "class-18" in most.reason


def test_pairs_of_all_classes_are_judged_on_held_out_rows_alone() -> None:
    report, *_ = prove_share(1.0)
    assert report.accepted
    assert [s.name for s in report.strata] == ["covered"]
    assert report.losing_groups == ()
    assert report.basis.cell_folds == 0


@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_predicted_interval_holds_what_fresh_queries_measure(share: float) -> None:
    held = []
    for seed in range(4):
        report, items, e, w = prove_share(share, seed)
        cross = report.metrics[0].cross
        held.append(cross.low <= measured(items, e, w, seed) <= cross.high)
    assert sum(held) >= 3


def test_whole_is_the_strata_weighted_by_their_share(half: ProofReport) -> None:
    assert half.metrics[0].cross.mean == pytest.approx(sum(s.share * s.cross.mean for s in half.strata))
    assert half.metrics[0].old_old.mean == pytest.approx(sum(s.share * s.old_old.mean for s in half.strata))


def test_new_model_that_knows_nothing_is_rejected_and_the_advice_is_to_stay() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=0.8, new_noise=8).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    loose = AcceptanceGate("cmc@1", "at_least", 0.05)  # even where the gate itself would let it pass
    report = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, gate=loose, limits=QUICK)
    assert not report.accepted
    assert report.backfilled is not None
    assert report.backfilled.oracle_gain is not None
    assert report.backfilled.oracle_gain < 1
    assert "Stay with the old model" in report.reason
    assert next(r for r in report.advice if r.recommended).name == "stay"


def test_weaker_new_model_that_knows_something_else_is_accepted_as_fused() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=1.2, new_noise=1.5).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    report = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK)
    assert (report.accepted, report.served_as) == (True, "fused")
    assert report.metrics[0].difference.high < 0  # of the crossing alone
    assert report.fused is not None
    assert report.fused.passes
    assert report.fused.difference.low > 0
    assert report.fused.over_crossing.low > 0
    assert "fused with the old model's queries it meets the gate" in report.reason
    rung = next(r for r in report.advice if r.recommended)
    assert (rung.name, rung.quality, rung.embeddings_per_query) == ("fused", report.fused.quality, 2)
    assert (rung.items_to_re_embed, rung.vectors_rewritten) == (0, 0)


def test_curve_over_alpha_leads_from_the_old_model_to_the_crossing() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=1.2, new_noise=1.2).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    c = crossing(e.pairs)
    report = prove(gallery(items), e, c, source=SOURCE, target=TARGET, instant=c, limits=QUICK)
    instant = next(r for r in report.advice if r.name == "instant").quality
    assert report.fused is not None
    assert instant is not None
    first, *between, last = report.fused.curve
    assert (first.alpha, last.alpha) == (0, 1)
    assert first.exact == first.pushed == pytest.approx(report.metrics[0].old_old.mean, abs=0.02)
    assert last.exact == pytest.approx(report.metrics[0].cross.mean, abs=0.02)
    assert last.pushed == pytest.approx(instant.mean, abs=0.02)
    for curve, alpha in (
        ([p.exact for p in report.fused.curve], report.fused.alpha),
        ([p.pushed for p in report.fused.curve if p.pushed is not None], report.fused.pushed_alpha),
    ):
        assert len(curve) == len(between) + 2
        assert max(curve[1:-1]) > max(curve[0], curve[-1])
        assert 0 < alpha < 1
    lost = sum(f.negative for f in report.fused.flips)
    won = sum(f.positive for f in report.fused.flips)
    assert (won - lost) / PAIRS == pytest.approx(report.fused.difference.mean, abs=0.02)


@pytest.mark.parametrize("share", [0.75, 1.0])
def test_fused_interval_holds_what_fresh_queries_measure(share: float) -> None:
    held, differences_held = [], []
    for seed in range(4):
        report, items, e, w = prove_share(share, seed)
        assert report.fused is not None
        test, h = w.items(40, np.random.default_rng(seed + 1000)), crossing(e.pairs).transformation
        crossed = h.apply(items.old)
        moments = Moments.of(items.old, "cosine"), Moments.of(crossed, "cosine")
        alpha = report.fused.alpha
        fusion = Fusion(h.card, *moments, Alphas(alpha, alpha))
        assert test.label is not None
        assert items.label is not None
        right, right_before = [], []
        for start in range(0, len(test), 200):
            some = test.subset(np.arange(start, start + 200))
            s_old = as_indexed(some.old, "cosine") @ as_indexed(items.old, "cosine").T
            s_new = as_indexed(some.new, "cosine") @ crossed.T
            scores = fusion.scores(some.old, some.new, s_old, s_new)
            right.append(items.label[scores.argmax(axis=1)] == some.label)
            right_before.append(items.label[s_old.argmax(axis=1)] == some.label)
        found, before = np.concatenate(right).mean(), np.concatenate(right_before).mean()
        held.append(report.fused.quality.low <= found <= report.fused.quality.high)
        differences_held.append(report.fused.difference.low <= found - before <= report.fused.difference.high)
    assert sum(held) >= 3
    assert sum(differences_held) >= 3


def test_unlabelled_data_is_judged_by_neighbours_and_the_report_says_so(unlabelled: ProofReport) -> None:
    assert unlabelled.basis.judged_by == "neighbours"
    assert [m.metric for m in unlabelled.metrics] == ["recall@10"]
    assert unlabelled.backfilled is None
    text = " ".join(unlabelled.notes)
    assert "cannot be known" in text
    assert "recall@10 was measured in its place, and decides nothing" in text
    assert (unlabelled.accepted, unlabelled.recommendation.action) == (False, "cannot_tell")
    assert unlabelled.gate == "cmc@1 better than the old model"
    assert unlabelled.fused is not None
    assert (unlabelled.fused.metric, unlabelled.fused.flips) == ("recall@10", ())
    assert "leans to the new model" in text
    assert next(r for r in unlabelled.advice if r.name == "re_embed").quality is None


def test_unlabelled_gallery_is_covered_by_density(unlabelled: ProofReport) -> None:
    assert unlabelled.basis.coverage_by == "density"
    assert 0.3 < unlabelled.basis.covered_share < 0.75
    assert {s.judged_on for s in unlabelled.strata} == {"pairs, rows held out", "pairs, whole regions held out"}


def test_few_labels_are_not_taken_for_many() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=1.2).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    report = prove(gallery(items, labelled=False), e, crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK)
    assert report.basis.judged_by == "neighbours"


def test_pairs_of_one_class_cannot_speak_for_the_others() -> None:
    rng = np.random.default_rng(0)
    items = world(0).items(40, rng)
    e = draw(items, 0.05, 30, rng)
    report = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK)
    assert not report.accepted
    assert "too few groups to judge" in report.reason


def test_siblings_in_the_gallery_do_not_flatter() -> None:
    rng = np.random.default_rng(0)
    w = world(0, old_noise=1.6, new_noise=1.1)
    items = w.items(80, rng, run=4, likeness=0.8)
    truth = w.items(80, np.random.default_rng(1), run=4, likeness=0.8)
    e = draw(items, 1.0, 600, rng)
    shuffle = rng.permutation(len(items))
    place = np.argsort(shuffle)
    written = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK)
    mixed = prove(
        gallery(items.subset(shuffle)),
        PlacedPairs(e.pairs, place[e.row]),
        crossing(e.pairs),
        source=SOURCE,
        target=TARGET,
        limits=QUICK,
    )
    assert items.label is not None
    assert truth.label is not None
    real = cmc(ranks_of_first_match(truth.old, truth.label, items.old, items.label, "cosine"), 1).mean()
    assert written.basis.dependence_range >= 3
    assert mixed.basis.dependence_range == 0
    assert mixed.metrics[0].old_old.low > real
    assert abs(written.metrics[0].old_old.mean - real) < 0.5 * (mixed.metrics[0].old_old.mean - real)


def test_separate_evaluation_set_speaks_for_the_classes_it_holds() -> None:
    rng = np.random.default_rng(0)
    w = world(0, old_noise=1.2, new_noise=0.6)
    items, fresh = w.items(40, rng), w.items(10, rng)
    e = draw(items, 0.5, PAIRS, rng)
    held = PlacedPairs(fresh, np.full(len(fresh), -1))
    report = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, evaluation=held, limits=QUICK)
    assert [(s.name, s.judged_on) for s in report.strata] == [
        ("covered", "evaluation set"),
        ("evaluated, not covered", "evaluation set"),
    ]
    assert sum(s.queries for s in report.strata) == len(fresh)
    assert not report.accepted


def test_evaluation_rows_that_were_learned_from_are_left_out() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=1.2, new_noise=0.6).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    rows = np.arange(len(items))
    held = PlacedPairs(items, rows)
    report = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, evaluation=held, limits=QUICK)
    assert report.strata[0].queries == len(items) - PAIRS
    assert any(f"{PAIRS} rows of the evaluation set were learned from" in note for note in report.notes)


def test_large_gallery_is_sampled_and_the_report_says_so() -> None:
    report, *_ = prove_share(1.0, limits=replace(QUICK, gallery=500, queries=100))
    assert report.basis.gallery_rows == 800
    assert report.basis.gallery_rows_searched == 500
    assert report.basis.queries == 100
    assert any("500 of 800 gallery rows" in note for note in report.notes)


def test_instant_rung_is_measured_and_says_whether_it_is_exact() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=1.2, new_noise=0.6).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    c = crossing(e.pairs)
    report = prove(gallery(items), e, c, source=SOURCE, target=TARGET, instant=c, limits=QUICK)
    instant = next(r for r in report.advice if r.name == "instant")
    assert instant.quality is not None
    assert 0.5 < instant.quality.mean <= 1
    assert instant.vectors_rewritten == 0
    assert "approximated" in instant.note


def test_chosen_pairs_count_by_the_items_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    items = world(0, old_noise=1.2, new_noise=0.6).items(40, rng)
    easy = np.linalg.norm(items.old - items.new.mean(0), axis=1)
    e = draw(items, 1.0, PAIRS, rng)
    weight = easy[e.row] / easy[e.row].sum()
    plain = prove(gallery(items), e, crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK)
    weighted = prove(
        gallery(items), replace(e, weight=weight**8), crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK
    )
    assert weighted.metrics[0].cross.mean != plain.metrics[0].cross.mean


def test_pairs_beside_a_sample_keep_its_weights_and_the_report_says_so() -> None:
    rng = np.random.default_rng(1)
    items = world(0, old_noise=1.2, new_noise=0.6).items(40, rng)
    e = draw(items, 1.0, PAIRS, rng)
    some = np.arange(len(e.row)) % 4 != 0
    share = np.where(some, rng.uniform(size=len(e.row)) ** 4, np.nan)
    plain, mixed = (
        prove(gallery(items), placed, crossing(e.pairs), source=SOURCE, target=TARGET, limits=QUICK)
        for placed in (e, replace(e, weight=share))
    )
    assert mixed.metrics[0].cross.mean != plain.metrics[0].cross.mean
    told = [note for note in mixed.notes if note not in plain.notes]
    assert len(told) == 1
    assert told[0].startswith(f"{some.sum()} of {len(e.row)} pairs are of a sample that was chosen")


def test_flips_add_up_to_the_difference_of_the_queries(half: ProofReport) -> None:
    seen = next(f for f in half.flips if f.stratum == "covered")
    assert seen.positive > seen.negative
    unseen = next(f for f in half.flips if f.stratum == "not covered")
    assert unseen.negative > unseen.positive
    assert unseen.queries == PAIRS


def test_report_is_plain_json_and_the_same_again(half: ProofReport) -> None:
    again, *_ = prove_share(0.5)
    assert json.dumps(half.to_json(), sort_keys=True, allow_nan=False) == json.dumps(again.to_json(), sort_keys=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_figures_do_not_depend_on_how_many_threads_there_are(half: ProofReport, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = prove_share(0.5)[0]
    finally:
        torch.set_num_threads(before)
    for one, other in zip(half.metrics, again.metrics, strict=True):
        for figure in ("old_old", "cross", "difference"):
            first, second = getattr(one, figure), getattr(other, figure)
            assert (second.mean, second.low, second.high) == pytest.approx(
                (first.mean, first.low, first.high), abs=1e-4
            )
    assert again.recommendation.action == half.recommendation.action


def test_progress_counts_every_fold() -> None:
    seen: list[tuple[int, int]] = []
    prove_share(0.5, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 15) for i in range(15)]


def test_labels_that_the_gallery_does_not_hold_are_refused_as_evidence() -> None:
    rng = np.random.default_rng(0)
    items = world(0).items(10, rng)
    strange = replace(items, label=np.full(len(items), "elsewhere", dtype=object))
    with pytest.raises(ValueError, match="0 of 200 pairs"):
        prove(
            gallery(items),
            PlacedPairs(strange, np.full(len(items), -1)),
            crossing(items),
            source=SOURCE,
            target=TARGET,
            limits=QUICK,
        )


def test_every_fold_learns_without_its_own_queries() -> None:
    rng = np.random.default_rng(0)
    items = world(0).items(20, rng)
    e = draw(items, 0.5, 100, rng)
    c = crossing(e.pairs)
    learned: list[Pairs] = []

    def refit(part: Pairs) -> Transformation:
        learned.append(part)
        return c.refit(part)

    prove(gallery(items), e, replace(c, refit=refit), source=SOURCE, target=TARGET, limits=QUICK)
    rows, cells = learned[:5], learned[5:]
    assert sum(100 - len(part) for part in rows) == 100
    assert e.pairs.label is not None
    for part in cells:
        assert part.label is not None
        left_out = set(e.pairs.label) - set(part.label)
        assert len(left_out) == 1


def test_full_re_embedding_is_predicted_near_what_it_would_measure(most: ProofReport) -> None:
    rung = next(r for r in most.advice if r.name == "re_embed")
    assert rung.quality is not None
    assert rung.predicted
    assert rung.items_to_re_embed == 800
    assert most.metrics[0].cross.mean < rung.quality.mean <= 1
    assert most.backfilled is not None
    assert rung.quality.high >= 0.99  # the world's new model makes no mistake on its whole gallery
