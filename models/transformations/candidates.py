"""Candidates of a selection: recipes that are learned and measured on held-out rows, and compared with each other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import torch

from models.arrays import ONE_STANDARD_ERROR, Progress, silent
from models.evaluation.bootstrap import paired_bootstrap
from models.portable import Array, Space, Transformation
from models.side_by_side import SideBySide
from models.training.threads import fits_side_by_side
from models.transformations.candidate_progress import Rounds
from models.transformations.held_out_retrieval import MANY, HeldOutRetrieval, RetrievalScores
from models.transformations.methods import NETWORKS, Recipe, learn
from models.transformations.pairs import Pairs, Refit

BEYOND_DOUBT = 0.95
CURVE_SHARES = (0.125, 0.25, 0.5)
FEWEST_QUERIES_TO_STOP = 30
"""Of the folds measured so far, for a candidate to be given up by them."""


@dataclass(frozen=True)
class TriedRecipe:
    """A candidate: a recipe with the settings chosen for it, and its held-out retrieval.

    transformed: (rows, d_new) float32, the held-out rows as each fold's model transforms them. pushed: retrieval by
    queries pushed into the old space, None where the recipe does not push. transformation: learned from all pairs, None
    where that was not needed to choose settings. seconds: that learning took.
    """

    recipe: Recipe
    measured: RetrievalScores
    transformed: Array
    pushed: RetrievalScores | None
    transformation: Transformation | None
    seconds: float

    def as_pushed(self) -> TriedRecipe:
        """This candidate with the retrieval of pushed queries in the place of `measured`; only for recipes that
        push."""
        assert self.pushed is not None
        return replace(self, measured=self.pushed)


@dataclass(frozen=True)
class StoppedRecipe:
    """A candidate that was given up after some folds, as it could not win; seconds: that learning took until then."""

    recipe: Recipe
    seconds: float
    why: str


@dataclass(frozen=True)
class CandidateTrials:
    """Learns candidates and measures them, all from the same pairs and on the same held-out rows."""

    pairs: Pairs
    source: Space
    target: Space
    device: torch.device
    seed: int
    held_out: HeldOutRetrieval

    def refit(self, recipe: Recipe, progress: Progress = silent) -> Refit:
        """The function that learns a recipe from any pairs."""
        return partial(
            learn,
            recipe,
            source=self.source,
            target=self.target,
            device=self.device,
            seed=self.seed,
            progress=progress,
        )

    def side_by_side(self, candidates: int) -> AbstractContextManager[SideBySide]:
        """Threads that so many candidates are learned in: one where each has much to copy, or where they are fewer than
        the threads; then, as for a single one, what it learns in is shared between threads."""
        each_in_one = len(self.pairs) < MANY and candidates >= torch.get_num_threads()
        return fits_side_by_side(max(1, candidates) if each_in_one else 1)

    def run(self, recipe: Recipe, progress: Progress, rival: TriedRecipe | None = None) -> TriedRecipe | StoppedRecipe:
        """Learns a recipe once per fold and measures it; one without epochs first from all pairs, for its settings.

        rival: what a network is to beat. One that lags behind it by more than one standard error, in the folds learned
        so far, is given up: it would have to be better beyond doubt in the end.
        """
        start = time.perf_counter()
        whole = None if recipe.method in NETWORKS else self.refit(recipe)(self.pairs)
        if whole is not None:
            recipe = replace(recipe, settings=whole.card.settings)
        folds = len(self.held_out.folds)
        refit = self.refit(recipe, Rounds(progress, folds))
        one_after_another = recipe.method in NETWORKS
        models = [] if one_after_another else list(self.held_out.fit(refit))
        for fold in range(len(models), folds):
            models.append(self.held_out.fit_fold(refit, fold))
            if rival is None or fold + 1 == folds:
                continue
            if self._lags(models, rival):
                why = f"given up after {fold + 1} of {folds} folds, where it was behind {rival.recipe.name} by more "
                why += "than one standard error"
                return StoppedRecipe(recipe, time.perf_counter() - start, why)
        recipe = replace(recipe, settings=models[0].card.settings)
        seconds = time.perf_counter() - start
        pushed = self.held_out.measure_pushed(models) if recipe.pushes else None
        transformed = self.held_out.transform(models)
        return TriedRecipe(recipe, self.held_out.retrieval(transformed), transformed, pushed, whole, seconds)

    def _lags(self, models: Sequence[Transformation], rival: TriedRecipe) -> bool:
        """Whether the rival is ahead by more than one standard error in the folds of these models, the first ones."""
        mine, theirs = (
            self.held_out.retrieval_in_first(len(models), vectors)
            for vectors in (self.held_out.transform(models), rival.transformed)
        )
        enough = len(mine.hits) >= FEWEST_QUERIES_TO_STOP
        return enough and leads(theirs, mine, network=False, seed=self.seed)

    def fit_all(self, candidate: TriedRecipe, progress: Progress) -> Transformation:
        """The candidate's transformation learned from all pairs, with its held-out measurement on the card."""
        h = candidate.transformation or self.refit(candidate.recipe, progress)(self.pairs)
        metrics = {f"held-out {self.held_out.metric}": float(candidate.measured.hits.mean())}
        return replace(h, card=replace(h.card, metrics=metrics))

    def learning_curve(self, candidate: TriedRecipe) -> tuple[tuple[int, float], ...]:
        """(pairs learned from, held-out metric) for `CURVE_SHARES` of the pairs, and for all outside a fold."""
        available = min(len(others) for others, _ in self.held_out.folds)
        points = []
        for share in CURVE_SHARES:
            if available * share >= 8:
                models = self.held_out.fit(self.refit(candidate.recipe), share)
                points.append((models[0].card.pairs, float(self.held_out.measure(models).hits.mean())))
        return (*points, (available, float(candidate.measured.hits.mean())))


def last_in_chain(candidates: Sequence[TriedRecipe], seed: int) -> TriedRecipe:
    """The champion after each candidate, in order, has replaced the one before where it leads it."""
    champion = candidates[0]
    for challenger in candidates[1:]:
        if is_better(challenger, champion, seed):
            champion = challenger
    return champion


def is_better(challenger: TriedRecipe, champion: TriedRecipe, seed: int) -> bool:
    """Whether the challenger leads the champion, by the margin that its method needs."""
    return leads(challenger.measured, champion.measured, network=challenger.recipe.method in NETWORKS, seed=seed)


def leads(challenger: RetrievalScores, champion: RetrievalScores, *, network: bool, seed: int) -> bool:
    """Whether the challenger is better by more than its margin, in `hits` or, if not worse in `hits`, in `finer`.

    Both are measured on the same queries. The margin is one standard error of the paired difference, and for a
    `network` its 95 % interval.
    """
    margin = BEYOND_DOUBT if network else ONE_STANDARD_ERROR
    hits, finer = (
        paired_bootstrap(a, b, seed=seed, confidence=margin)
        for a, b in ((challenger.hits, champion.hits), (challenger.finer, champion.finer))
    )
    return hits.low > 0 or (hits.mean >= 0 and finer.low > 0)
