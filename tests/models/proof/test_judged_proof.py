"""What a proof by judged queries claims, on a world of passages and of short questions of them.

Either model sees a passage, and a question of it, as linear images of what they are about; the old one less clearly.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.judged_metrics import JudgedMetric, Judgements, judged_ranks
from models.portable import Space, Transformation, as_indexed
from models.proof.crossing import Refittable
from models.proof.gate import AcceptanceGate
from models.proof.inputs import NothingToJudge, PlacedPairs, ProofGallery, ProofLimits
from models.proof.judged_proof import prove_by_queries
from models.proof.judged_queries import FEWEST_QUERIES, JudgedQueries
from models.proof.judged_scores import ALPHAS, JudgedBench, cross_val_ranks
from models.proof.report import ProofReport
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs

SOURCE, TARGET = Space("old", 40, "cosine"), Space("new", 24, "cosine")
PASSAGES, QUESTIONS, ABOUT = 800, 300, 16
NDCG = JudgedMetric("ndcg", 10)
GATE = AcceptanceGate("ndcg@10")


class Passages:
    """Passages and questions of them, drawn anew by every seed; `views` are the same for one seed of them."""

    def __init__(self, seed: int, views: int = 0) -> None:
        rng = np.random.default_rng((views, 1))
        self.old_view, self.new_view = (rng.normal(size=(ABOUT, s.dimension)) for s in (SOURCE, TARGET))
        self.rng = np.random.default_rng((seed, 2))
        self.about = self.rng.normal(size=(PASSAGES, ABOUT))
        self.old, self.new = self.seen(self.about, self.old_view, 4.0), self.seen(self.about, self.new_view, 0.5)

    def seen(self, about: np.ndarray, view: np.ndarray, noise: float) -> np.ndarray:
        noisy = about @ view + noise * self.rng.normal(size=(len(about), view.shape[1]))
        return np.asarray(noisy, np.float32)

    def asked(self, of: np.ndarray, many: int = QUESTIONS, *, wrongly: bool = False) -> JudgedQueries:
        """Questions of the passages `of`, each of one, graded 2; of the passage beside it, looked at and not relevant.
        `wrongly`: as the new model embeds them without the prefix that it wants."""
        rows = self.rng.choice(of, many)
        about = self.about[rows] + 0.7 * self.rng.normal(size=(many, ABOUT))
        new = self.seen(about, self.new_view, 0.5)
        if wrongly:
            new = np.roll(new, 1, axis=1)
        beside = (rows + 1) % PASSAGES
        judgements = Judgements(
            many, np.repeat(np.arange(many), 2), np.column_stack([rows, beside]).ravel(), np.tile([2.0, 0.0], many)
        )
        return JudgedQueries(self.seen(about, self.old_view, 4.0), new, judgements, held=many)

    def placed(self, rows: np.ndarray) -> PlacedPairs:
        return PlacedPairs(Pairs(self.old[rows], self.new[rows], None, None), rows)

    @property
    def gallery(self) -> ProofGallery:
        return ProofGallery(self.old)


def learner(pairs: Pairs, strength: float = 0.1) -> Refittable[Transformation]:
    def refit(part: Pairs) -> Transformation:
        return ridge(part, SOURCE, TARGET, strength=strength)

    return Refittable(refit(pairs), refit)


def proof(passages: Passages, rows: np.ndarray, queries: JudgedQueries, **more: object) -> ProofReport:
    pairs = passages.placed(rows)
    h = learner(pairs.pairs)
    options = {"gate": GATE, "instant": h} | more
    return prove_by_queries(
        passages.gallery,
        pairs,
        h,
        queries,
        source=SOURCE,
        target=TARGET,
        **options,  # type: ignore[arg-type]
    )


def found(passages: Passages, h: Transformation, queries: JudgedQueries) -> tuple[float, float]:
    """nDCG@10 by the old model, and by the crossing, without anything held out."""
    old = judged_ranks(queries.old, passages.old, "cosine", queries.judgements).values(NDCG)
    new = judged_ranks(queries.new, h.apply(passages.old), "cosine", queries.judgements).values(NDCG)
    return float(old.mean()), float(new.mean())


ROWS, ELSEWHERE = np.arange(0, 60), np.arange(60, PASSAGES)


@pytest.fixture(scope="module")
def passages() -> Passages:
    return Passages(0)


@pytest.fixture(scope="module")
def accepted(passages: Passages) -> ProofReport:
    return proof(passages, np.arange(400), passages.asked(np.arange(PASSAGES)))


def test_questions_of_strangers_are_judged_by_what_will_be_served(passages: Passages) -> None:
    queries = passages.asked(ELSEWHERE)
    report = proof(passages, ROWS, queries)
    old, new = found(passages, learner(passages.placed(ROWS).pairs).transformation, queries)
    ndcg = report.metrics[0]
    assert ndcg.metric == "ndcg@10"
    assert (ndcg.old_old.mean, ndcg.cross.mean) == pytest.approx((old, new))
    assert ndcg.difference.mean == pytest.approx(new - old)
    assert report.judged is not None
    assert report.judged.of_pairs <= 1  # the last passage before those of the pairs may be judged beside another
    assert report.basis.judged_by == "queries"


def test_no_item_is_judged_by_what_has_learned_from_it() -> None:
    """Of 60 pairs in 40 dimensions much is learned by heart: questions of the very pairs would be answered far better
    than any to come."""
    gaps = []
    for seed in range(3):
        passages = Passages(seed)
        queries = passages.asked(ROWS)
        report = proof(passages, ROWS, queries)
        h = learner(passages.placed(ROWS).pairs).transformation
        by_heart, strangers = found(passages, h, queries)[1], found(passages, h, passages.asked(ELSEWHERE))[1]
        assert by_heart > strangers + 0.15
        gaps.append(report.metrics[0].cross.mean - strangers)
    assert abs(float(np.mean(gaps))) < 0.06


def test_pair_that_is_no_item_by_its_id_is_known_by_its_vector(passages: Passages) -> None:
    queries, placed = passages.asked(ROWS), passages.placed(ROWS)
    nameless = PlacedPairs(placed.pairs, np.full(len(ROWS), -1))
    benches = [
        JudgedBench.of(queries, passages.gallery, pairs, SOURCE, TARGET, 5, seed=0) for pairs in (placed, nameless)
    ]
    for bench in benches:
        judged = np.unique(queries.judgements.row)
        assert (bench.fold[np.isin(ROWS, judged)] >= 0).all()
        assert (bench.item_fold[judged[judged < len(ROWS)]] >= 0).all()
        assert (bench.item_fold[judged[judged >= len(ROWS)]] == -1).all()
        for fold in range(bench.folds):
            learned = bench.learned_in(fold).old
            for row in np.flatnonzero(bench.item_fold == fold):
                assert not (learned == passages.old[row]).all(axis=1).any()


def test_ranks_are_those_of_each_items_own_crossing(passages: Passages) -> None:
    queries = passages.asked(np.arange(100), 40)
    pairs = passages.placed(ROWS)
    h = learner(pairs.pairs)
    bench = JudgedBench.of(queries, passages.gallery, pairs, SOURCE, TARGET, 4, seed=0)
    ranks = cross_val_ranks(bench, (h.transformation, h.refit), (h.transformation, h.refit), same=True, progress=None)
    learned = {fold: h.refit(bench.learned_in(fold)) for fold in range(bench.folds)} | {-1: h.transformation}
    assert ranks.pushed is not None
    crossed, pushed, middle = ranks.crossed.new, ranks.pushed.new, ranks.crossed.at(5)
    assert ALPHAS[5] == 0.5
    compared = 0
    for query in range(40):
        own = np.flatnonzero(queries.judgements.query == query)
        alone = []
        for place in own.tolist():
            row = queries.judgements.row[place]
            own_h = learned[int(bench.item_fold[row])]
            by_old = passages_scores(queries.old[query], passages.old)
            by_new = passages_scores(queries.new[query], own_h.apply(passages.old))
            turned = own_h.push(queries.new[query : query + 1])
            by_push = as_indexed(passages.old, "cosine") @ turned.queries[0]
            fused = by_old / by_old.std() - by_old.mean() / by_old.std() + (by_new - by_new.mean()) / by_new.std()
            alone.append([int((s > s[row]).sum()) + 1 for s in (by_new, by_push, fused)])
        if len({tuple(ranks) for ranks in alone}) == len(alone):
            for place, expected in zip(own.tolist(), alone, strict=True):
                got = [ranks.rank[place] for ranks in (crossed, pushed, middle)]
                assert np.abs(np.subtract(got, expected)).max() <= 1  # 1: the middle's scores are rounded otherwise
                compared += 1
    assert compared > 60


def passages_scores(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return np.asarray(rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query))


def of_many(passages: Passages, many: int) -> JudgedQueries:
    """Questions that the twelve passages answer that are about what is nearest."""
    queries = passages.asked(np.arange(PASSAGES), many)
    nearest = np.argsort(-passages.about[queries.judgements.row[::2]] @ passages.about.T, axis=1)[:, :12]
    grades = np.tile(np.repeat([2.0, 1.0, 0.0], 4), many)
    return replace(queries, judgements=Judgements(many, np.repeat(np.arange(many), 12), nearest.ravel(), grades))


def test_relevant_items_of_a_query_have_a_rank_each(passages: Passages) -> None:
    queries, pairs = of_many(passages, 60), passages.placed(np.arange(0, PASSAGES, 2))
    h = learner(pairs.pairs)
    bench = JudgedBench.of(queries, passages.gallery, pairs, SOURCE, TARGET, 10, seed=0)
    ranks = cross_val_ranks(bench, (h.transformation, h.refit), None, same=False, progress=None).crossed
    for by_alpha in ranks.rank.reshape(len(ALPHAS), 60, 12)[:, :, :8]:
        assert (np.diff(np.sort(by_alpha, axis=1), axis=1) > 0).all()
        assert by_alpha.min() >= 1
    assert np.nanmax(ranks.values(NDCG)) <= 1
    old = judged_ranks(queries.old, passages.old, "cosine", queries.judgements)
    np.testing.assert_array_equal(ranks.old.rank.reshape(60, 12)[:, :8], old.rank.reshape(60, 12)[:, :8])


def test_where_nothing_is_learned_by_heart_holding_out_changes_nothing(passages: Passages) -> None:
    """Though half of what answers a query is pairs, and each is ranked among others that were learned from."""
    queries, rows = of_many(passages, 200), np.arange(0, PASSAGES, 2)
    report = proof(passages, rows, queries)
    as_served = found(passages, learner(passages.placed(rows).pairs).transformation, queries)[1]
    assert report.judged is not None
    assert report.judged.of_pairs > 0.4 * report.judged.judgements
    assert report.metrics[0].cross.mean == pytest.approx(as_served, abs=0.03)


def test_better_model_is_accepted_and_its_ways_on_are_measured(accepted: ProofReport) -> None:
    assert accepted.accepted, accepted.reason
    rungs = {rung.name: rung for rung in accepted.advice}
    stay, transform, instant = (rungs[name].quality for name in ("stay", "transform", "instant"))
    assert stay is not None
    assert transform is not None
    assert instant is not None
    assert stay.mean < transform.mean
    assert 0 < instant.mean <= transform.mean + 0.02
    assert accepted.backfilled is not None
    assert accepted.backfilled.gain.low > 0
    re_embed = rungs["re_embed"].quality
    assert re_embed is not None
    assert re_embed.mean >= transform.mean
    assert "the old model's errors" in re_embed.basis
    assert accepted.fused is not None
    assert accepted.fused.quality.mean > stay.mean
    assert [accepted.recommendation.action] == [rung.name for rung in accepted.advice if rung.recommended]
    assert "nDCG" in accepted.recommendation.sentence
    assert json.loads(json.dumps(accepted.to_json()))["judged"]["queries_counted"] == QUESTIONS


def test_where_queries_are_too_few_to_tell_more_of_them_are_asked_for(passages: Passages) -> None:
    report = proof(passages, np.arange(400), passages.asked(np.arange(PASSAGES), 30))
    assert not report.accepted
    assert report.recommendation.action == "cannot_tell"
    assert report.recommendation.needed is not None
    assert report.recommendation.needed.kind == "judged queries"
    assert "more judged queries" in report.recommendation.sentence


def test_queries_embedded_without_the_prefix_that_the_model_wants_are_rejected(passages: Passages) -> None:
    report = proof(passages, np.arange(400), passages.asked(np.arange(PASSAGES), wrongly=True))
    assert not report.accepted
    assert report.metrics[0].difference.high < 0
    assert "Stay with the old model" in report.reason


def test_interval_holds_what_fresh_questions_measure() -> None:
    held = 0
    for seed in range(5):
        passages = Passages(seed)
        report = proof(passages, ROWS, passages.asked(np.arange(200)))
        h = learner(passages.placed(ROWS).pairs).transformation
        fresh = found(passages, h, passages.asked(ELSEWHERE))[1]
        held += report.metrics[0].cross.low <= fresh <= report.metrics[0].cross.high
    assert held >= 4


@pytest.mark.parametrize(("gate", "read"), [("cmc@1", "hit_rate@1"), ("cmc@5", "hit_rate@5"), ("map", "map")])
def test_gate_by_label_is_read_as_what_asks_the_same_of_judged_queries(
    passages: Passages, gate: str, read: str
) -> None:
    report = proof(passages, ROWS, passages.asked(ELSEWHERE, 40), gate=AcceptanceGate(gate, "at_least", 0.1))
    assert report.metrics[0].metric == read
    assert report.gate.startswith(read)
    assert any(f"read as {read}" in note for note in report.notes) == (gate != read)


def test_queries_that_nothing_answers_are_not_counted_and_too_few_are_refused(passages: Passages) -> None:
    queries = passages.asked(ELSEWHERE, 60)
    j = queries.judgements
    unanswerable = replace(queries, judgements=Judgements(60, j.query, j.row, np.where(j.query < 20, 0, j.grade)))
    report = proof(passages, ROWS, replace(unanswerable, held=90, with_both_vectors=80))
    judged = report.judged
    assert judged is not None
    assert (judged.queries_held, judged.queries_with_both_vectors, judged.queries_counted) == (90, 80, 40)
    nothing = replace(
        queries, judgements=Judgements(60, j.query, j.row, np.where(j.query < 61 - FEWEST_QUERIES, 0, j.grade))
    )
    assert not nothing.enough
    with pytest.raises(NothingToJudge, match=f"{FEWEST_QUERIES - 1} of 60 judged queries"):
        proof(passages, ROWS, nothing)


def test_of_a_larger_gallery_the_judged_rows_are_always_searched(passages: Passages) -> None:
    queries = passages.asked(np.arange(PASSAGES), 100)
    judged = len(np.unique(queries.judgements.row))
    report = proof(passages, ROWS, queries, limits=ProofLimits(gallery=judged + 50, queries=80))
    assert report.judged is not None
    assert report.judged.of_items_not_searched == 0
    assert report.judged.queries_counted == 80
    assert report.basis.gallery_rows_searched == judged + 50
    assert sum("drawn at random" in note for note in report.notes) == 2


def test_labels_of_what_was_asked_for_name_the_groups_that_lose(passages: Passages) -> None:
    label = np.array(["first half" if row < PASSAGES // 2 else "second half" for row in range(PASSAGES)], object)
    queries = passages.asked(np.arange(PASSAGES))
    wanted = queries.judgements.row[::2]
    new = np.where((wanted < PASSAGES // 2)[:, None], -queries.new, queries.new)
    pairs = passages.placed(np.arange(0, PASSAGES, 2))
    h = learner(pairs.pairs)
    report = prove_by_queries(
        ProofGallery(passages.old, None, label),
        pairs,
        h,
        replace(queries, new=new),
        source=SOURCE,
        target=TARGET,
        gate=GATE,
    )
    assert [group.name for group in report.losing_groups] == ["first half"]
    assert report.losing_groups[0].gallery_rows == PASSAGES // 2
