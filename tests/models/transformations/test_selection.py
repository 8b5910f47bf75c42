"""Selection keeps the method that retrieves best, honestly measured, and says what became of the others."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from models.device import resolve
from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match
from models.portable import Array, Space, Transformation
from models.transformations.candidate_plan import in_waves, plan_recipes, prepare_recipe
from models.transformations.candidates import CandidateTrials, StoppedRecipe, TriedRecipe
from models.transformations.held_out_retrieval import HeldOutRetrieval
from models.transformations.methods import METHODS, NETWORKS, Recipe, learn, method_named
from models.transformations.pairs import Pairs
from models.transformations.selection import Selection, select
from models.transformations.training_cost import epochs_within

SOURCE, TARGET = Space("old", 16, "cosine"), Space("new", 24, "cosine")
CLASSES = 12
CPU = resolve("cpu")


def trials_on(pairs: Pairs) -> CandidateTrials:
    """Trials of candidates on these pairs."""
    return CandidateTrials(pairs, SOURCE, TARGET, CPU, 0, HeldOutRetrieval(pairs, TARGET, 0))


def rival_with(trials: CandidateTrials, transformed: Array) -> TriedRecipe:
    """A rival that leaves the held-out rows at these vectors."""
    return TriedRecipe(Recipe("ridge"), trials.held_out.retrieval(transformed), transformed, None, None, 0.0)


def world(rows: int, *, seed: int = 0, side: int = 0, curved: bool = False) -> Pairs:
    """Labelled rows; the old model misses half of what the new one sees, and side-information tells it."""
    plan = np.random.default_rng(1234)
    centres = plan.standard_normal((CLASSES, 10))
    rng = np.random.default_rng(seed)
    label = rng.integers(CLASSES, size=rows)
    hidden = centres[label] + 0.6 * rng.standard_normal((rows, 10))
    to_old, to_new, to_side = (
        plan.standard_normal((5, 16)),
        plan.standard_normal((10, 24)),
        plan.standard_normal((10, 8)),
    )
    new = np.concatenate([np.abs(hidden[:, :5]) - 1, hidden[:, 5:]], axis=1) if curved else hidden
    old = hidden[:, :5] @ to_old + 0.3 * rng.standard_normal((rows, 16))
    beside = (hidden @ to_side).astype(np.float32) if side else None
    return Pairs(old.astype(np.float32), (new @ to_new).astype(np.float32), beside, label)


def hits(h: Transformation, gallery: Pairs, queries: Pairs) -> float:
    """CMC@1 of new queries on other rows, transformed."""
    assert gallery.label is not None
    assert queries.label is not None
    transformed: Array = h.apply(gallery.old, gallery.side if h.card.side_dimension else None)
    return float(cmc(ranks_of_first_match(queries.new, queries.label, transformed, gallery.label, "cosine"), 1).mean())


@pytest.fixture(scope="module")
def chosen_with_side() -> Selection:
    return select(world(400, side=8), SOURCE, TARGET, device="cpu")


def test_side_information_that_tells_is_used_and_the_instant_answer_does_without(chosen_with_side: Selection) -> None:
    assert chosen_with_side.chosen.card.side_dimension == 8
    assert chosen_with_side.instant.pushable
    assert chosen_with_side.metric == "cmc@1"
    gallery, queries = world(600, seed=1, side=8), world(300, seed=2, side=8)
    assert hits(chosen_with_side.chosen, gallery, queries) > hits(chosen_with_side.instant, gallery, queries)


def test_every_candidate_is_measured_or_says_why_not(chosen_with_side: Selection) -> None:
    assert {c.name.split(" ")[0] for c in chosen_with_side.candidates} == set(METHODS)
    for candidate in chosen_with_side.candidates:
        assert (candidate.held_out is None) == (candidate.skipped is not None)
        assert (candidate.pushed is None) == (not candidate.pushes)
        if candidate.held_out is not None:
            assert 0 <= candidate.held_out.low <= candidate.held_out.mean <= candidate.held_out.high <= 1


def test_held_out_measure_is_carried_on_the_card_and_ends_the_learning_curve(chosen_with_side: Selection) -> None:
    card = chosen_with_side.chosen.card
    pairs, values = zip(*chosen_with_side.learning_curve, strict=True)
    assert card.metrics["held-out cmc@1"] == values[-1]
    assert card.pairs == 400
    assert list(pairs) == sorted(pairs)
    assert pairs[-1] == 320
    assert values[-1] > values[0]


def test_held_out_rows_tell_the_truth_where_fitted_rows_flatter() -> None:
    """Old vectors that know nothing of the new ones, and few pairs for their inputs: learnt by heart, worth nothing."""
    told = world(40)
    pairs = Pairs(np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32), told.new, None, told.label)
    held_out = HeldOutRetrieval(pairs, TARGET, seed=0)

    def learned(rows: Pairs) -> Transformation:
        return learn(Recipe("ridge", settings={"strength": 1e-3}), rows, SOURCE, TARGET, device=CPU)

    honest = held_out.measure(held_out.fit(learned)).hits.mean()
    flattering = held_out.measure([learned(pairs)] * len(held_out.folds)).hits.mean()
    assert honest < 0.25  # twelve classes: chance is a twelfth
    assert flattering > honest + 0.25


def test_a_method_that_is_not_linear_is_chosen_where_the_crossing_is_curved() -> None:
    picked = select(world(900, curved=True), SOURCE, TARGET, method="auto", device="cpu")
    assert picked.chosen.card.method in ("kernel_ridge", "residual_mlp")
    assert picked.instant.linear
    skipped = {c.name: c.skipped for c in picked.candidates}
    assert "too few" in (skipped["fct"] or "")


def test_tie_goes_to_the_one_that_pushes_without_the_side_information() -> None:
    rng = np.random.default_rng(0)
    old = rng.standard_normal((300, 16)).astype(np.float32)
    rotation = np.linalg.qr(rng.standard_normal((24, 16)))[0].astype(np.float32)
    pairs = Pairs(old, old @ rotation.T, rng.standard_normal((300, 8)).astype(np.float32))
    picked = select(pairs, SOURCE, TARGET, device="cpu")
    assert picked.metric == "recall@10"
    assert picked.chosen.pushable


@pytest.mark.parametrize("method", METHODS)
def test_named_method_is_the_one_chosen(method: str) -> None:
    picked = select(world(12, side=8), SOURCE, TARGET, method=method_named(method), device="cpu", budget_seconds=0.01)
    assert picked.chosen.card.method == method
    assert picked.instant.pushable


def test_refit_learns_the_same_recipe_from_other_pairs(chosen_with_side: Selection) -> None:
    pairs = world(400, side=8)
    again = chosen_with_side.refit(pairs)
    np.testing.assert_array_equal(
        again.apply(pairs.old, pairs.side), chosen_with_side.chosen.apply(pairs.old, pairs.side)
    )
    part = chosen_with_side.refit(pairs.subset(np.arange(100)))
    assert part.card.pairs == 100
    assert part.card.settings == chosen_with_side.chosen.card.settings
    assert chosen_with_side.refit_instant(pairs).card.method == chosen_with_side.instant.card.method


def test_same_seed_selects_the_same() -> None:
    first, again = (select(world(120), SOURCE, TARGET, device="cpu", seed=3) for _ in range(2))
    assert first.chosen.card.settings == again.chosen.card.settings
    assert [c.held_out for c in first.candidates] == [c.held_out for c in again.candidates]
    assert first.learning_curve == again.learning_curve


def test_progress_rises_to_its_total() -> None:
    seen: list[tuple[int, int]] = []
    select(world(120, side=8), SOURCE, TARGET, device="cpu", progress=lambda done, total: seen.append((done, total)))
    done = [d for d, _ in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("labels", ["none", "unique", "partly"])
def test_labels_that_cannot_be_searched_for_are_done_without(labels: str) -> None:
    plain = world(80)
    assert plain.label is not None
    label = {
        "none": None,
        "unique": np.arange(80),
        "partly": np.array([str(v) if i % 2 else None for i, v in enumerate(plain.label)], object),
    }[labels]
    picked = select(Pairs(plain.old, plain.new, None, label), SOURCE, TARGET, method="ridge", device="cpu")
    assert picked.metric == ("cmc@1" if labels == "partly" else "recall@10")


@pytest.mark.parametrize("rows", [2, 3, 7])
def test_a_handful_of_pairs_is_enough_to_choose_from(rows: int) -> None:
    picked = select(world(rows, side=8), SOURCE, TARGET, device="cpu")
    assert np.isfinite(picked.instant.apply(world(5).old)).all()


def test_what_cannot_be_selected_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        select(world(1), SOURCE, TARGET, device="cpu")
    with pytest.raises(ValueError, match="unknown method"):
        method_named("magic")
    with pytest.raises(ValueError, match="must have shape"):
        select(world(50), Space("old", 17, "cosine"), TARGET, device="cpu")
    with pytest.raises(ValueError, match="at least 4 pairs"):
        select(world(3), SOURCE, TARGET, method="fct", device="cpu")


def test_budget_lowers_the_epochs_and_never_exceeds_what_a_network_wants() -> None:
    plenty, tight = (epochs_within(s, "fct", 50_000, (128, 64, 128), 2, CPU) for s in (1e9, 300.0))
    assert plenty == 80
    assert 0 < tight < 80
    assert epochs_within(300.0, "fct", 100_000, (128, 64, 128), 2, CPU) in (tight // 2, tight // 2 + 1)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_what_is_chosen_does_not_depend_on_how_many_threads_there_are(threads: Callable[[int], None]) -> None:
    pairs = world(160, side=8)
    found: list[Selection] = []
    epochs: list[int] = []
    for many in (1, 2, 3):
        threads(many)
        found.append(select(pairs, SOURCE, TARGET, device="cpu"))
        epochs.append(epochs_within(300.0, "fct", 50_000, (128, 64, 128), 2, CPU))
    one, *others = found
    for other in others:
        assert other.chosen.card.method == one.chosen.card.method
        assert dict(other.chosen.card.settings) == pytest.approx(dict(one.chosen.card.settings), rel=1e-4)
        assert [each.name for each in other.candidates] == [each.name for each in one.candidates]
        figures = [
            [each.held_out.mean for each in selection.candidates if each.held_out is not None]
            for selection in (other, one)
        ]
        assert figures[0] == pytest.approx(figures[1], abs=1e-4)
        assert len(figures[0]) > 2
    assert len(set(epochs)) == 1


def test_network_that_is_behind_after_some_folds_is_given_up_with_the_seconds_that_it_took() -> None:
    pairs = world(300)
    trials = trials_on(pairs)
    held_out = np.concatenate([rows for _, rows in trials.held_out.folds])
    best = rival_with(trials, pairs.new[held_out])  # all re-embedded: half of it cannot be told from the old vectors
    outcome = trials.run(Recipe("residual_mlp", settings={"epochs": 2}), lambda done, total: None, best)
    assert isinstance(outcome, StoppedRecipe)
    assert outcome.seconds > 0
    assert "of 5 folds" in outcome.why
    assert "ridge" in outcome.why


def test_network_that_is_not_behind_is_measured_in_every_fold() -> None:
    trials = trials_on(world(100))
    noise = np.random.default_rng(0).standard_normal((100, 24)).astype(np.float32)
    outcome = trials.run(
        Recipe("residual_mlp", settings={"epochs": 2}), lambda done, total: None, rival_with(trials, noise)
    )
    assert isinstance(outcome, TriedRecipe)
    assert len(outcome.transformed) == 100


@pytest.mark.parametrize("labelled", [True, False])
def test_retrieval_in_all_folds_is_that_of_the_whole(labelled: bool) -> None:
    pairs = world(60)
    pairs = pairs if labelled else Pairs(pairs.old, pairs.new)
    held_out = HeldOutRetrieval(pairs, TARGET, 0)
    noise = np.random.default_rng(0).standard_normal((60, 24)).astype(np.float32)
    whole = held_out.retrieval(noise)
    part = held_out.retrieval_in_first(5, noise)
    assert 0 < whole.hits.mean() < 1
    np.testing.assert_array_equal(part.hits, whole.hits)
    np.testing.assert_array_equal(part.finer, whole.finer)
    fewer = held_out.retrieval_in_first(2, noise)
    noise[24:] = np.nan  # rows of other folds are not read
    np.testing.assert_array_equal(held_out.retrieval_in_first(2, noise).finer, fewer.finer)


def test_low_rank_takes_the_strength_that_ridge_has_found_and_would_find_it_itself() -> None:
    pairs = world(120)
    trials = trials_on(pairs)
    ridge = trials.run(Recipe("ridge"), lambda done, total: None)
    assert isinstance(ridge, TriedRecipe)
    prepared = prepare_recipe(Recipe("low_rank"), [ridge], trials, 900.0, choosing=True)
    assert isinstance(prepared, Recipe)
    assert prepared.settings["strength"] == ridge.recipe.settings["strength"]
    alone = learn(Recipe("low_rank"), pairs, SOURCE, TARGET, device=CPU)
    assert alone.card.settings["strength"] == prepared.settings["strength"]


def test_candidates_are_learned_side_by_side_only_where_none_needs_to_know_of_another() -> None:
    plan = plan_recipes("auto", side=True, labels=True)
    waves = in_waves(plan)
    assert [recipe for wave in waves for recipe in wave] == plan
    methods = [sorted({recipe.method for recipe in wave}) for wave in waves]
    assert methods[:3] == [["orthogonal", "ridge"], ["low_rank"], ["kernel_ridge"]]
    assert all(len(wave) == 1 for wave in waves if wave[0].method in NETWORKS)
