"""Chooses a transformation by held-out retrieval, trying the cheapest first, and learns it from all pairs.

A later candidate replaces an earlier one only where it is better by more than one standard error of the paired
difference, in the metric or, if the metric is no worse, in its finer form (the rule that also chooses the strength of a
ridge: Breiman et al., CART, 1984, §3.4.3). A network, which is expensive to learn and to apply, replaces one only where
the 95 % interval of the difference is above zero. So a tie goes to the cheaper candidate and to the one that pushes
into the query; of ridge and orthogonal, which are alike in both, ridge is tried first, since it learns better, though
orthogonal pushes better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from models.arrays import Progress, silent
from models.device import Device, resolve
from models.evaluation.bootstrap import Interval, bootstrap_mean
from models.portable import Space, Transformation
from models.transformations.candidate_plan import WORK, in_waves, plan_recipes, prepare_recipe
from models.transformations.candidate_progress import Meter
from models.transformations.candidates import CandidateTrials, StoppedRecipe, TriedRecipe, last_in_chain
from models.transformations.held_out_retrieval import HeldOutRetrieval, RetrievalScores
from models.transformations.labels import has_repeated_label
from models.transformations.methods import NETWORKS, MethodName, Recipe
from models.transformations.pairs import Pairs, Refit


@dataclass(frozen=True)
class CandidateResult:
    """The outcome of one candidate; intervals are of the selection's metric, from 0 to 1.

    uses_side: whether it reads side-information. pushes: whether it can be pushed into queries. held_out: retrieval
    from transformed rows. pushed: retrieval by pushed queries from old vectors, None where it does not push. skipped:
    why it was not tried, or not to the end, None where it was; fit_seconds: that learning took, beside others, until it
    was given up.
    """

    name: str
    uses_side: bool
    pushes: bool
    fit_seconds: float = 0.0
    held_out: Interval | None = None
    pushed: Interval | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class Selection:
    """The transformation chosen, learned from all pairs, and the measurements that it was chosen by.

    instant: the best transformation to push into queries; the object `chosen` itself where that is the one. candidates:
    in the order of trial. measured: the chosen recipe's scores on `HeldOutRetrieval(pairs, target, seed)`.
    learning_curve: its (pairs learned from, held-out metric). refit, refit_instant: learn both recipes, with the
    settings chosen, from other pairs, ignoring side-information where the recipe does.
    """

    chosen: Transformation
    instant: Transformation
    metric: Literal["cmc@1", "recall@10"]
    candidates: tuple[CandidateResult, ...]
    measured: RetrievalScores
    learning_curve: tuple[tuple[int, float], ...]
    refit: Refit
    refit_instant: Refit


def select(
    pairs: Pairs,
    source: Space,
    target: Space,
    *,
    method: MethodName | Literal["auto"] = "auto",
    labels: bool = True,
    device: Device = "auto",
    seed: int = 0,
    budget_seconds: float = 900.0,
    progress: Progress = silent,
) -> Selection:
    """Tries every method, or the one named, and keeps the best on held-out rows.

    labels: whether candidates may learn from the pairs' labels. That favours the classes that have pairs, and held-out
    rows are of such classes only: to be False where the gallery has other classes. budget_seconds: bounds the estimated
    cost of each network, which gets fewer epochs or, under "auto", is skipped. progress: counts shares of the work.

    Raises ValueError for fewer than two pairs, an unknown method, an absent device, or dimensions that are not those of
    the spaces.
    """
    trials = CandidateTrials(pairs, source, target, resolve(device), seed, HeldOutRetrieval(pairs, target, seed))
    plan = plan_recipes(method, side=pairs.side is not None, labels=labels and has_repeated_label(pairs))
    work = [WORK[recipe.method] for recipe in plan]
    meter = Meter(progress, sum(work) + max(work))
    tried: list[TriedRecipe] = []
    results: list[CandidateResult] = []
    for wave in in_waves(plan):
        prepared = [prepare_recipe(recipe, tried, trials, budget_seconds, choosing=method == "auto") for recipe in wave]
        with trials.side_by_side(sum(isinstance(recipe, Recipe) for recipe in prepared)) as threads:
            run = partial(_outcome, trials, tuple(tried), meter, choosing=method == "auto")
            for recipe, outcome in zip(wave, threads.map(run, prepared), strict=True):
                if isinstance(outcome, TriedRecipe):
                    tried.append(outcome)
                results.append(_result(recipe, outcome, seed))
                meter.advance(WORK[recipe.method])
    best = last_in_chain([each for each in tried if method in ("auto", each.recipe.method)], seed)
    pushed = last_in_chain([each.as_pushed() for each in tried if each.pushed is not None], seed)
    chosen = trials.fit_all(best, meter.within(max(work)))
    curve = trials.learning_curve(best)
    meter.advance(max(work))
    return Selection(
        chosen=chosen,
        instant=chosen if pushed.recipe == best.recipe else trials.fit_all(pushed, silent),
        metric=trials.held_out.metric,
        candidates=tuple(results),
        measured=best.measured,
        learning_curve=curve,
        refit=trials.refit(best.recipe),
        refit_instant=trials.refit(pushed.recipe),
    )


def _outcome(
    trials: CandidateTrials, tried: Sequence[TriedRecipe], meter: Meter, prepared: Recipe | str, *, choosing: bool
) -> TriedRecipe | StoppedRecipe | str:
    """What became of a recipe, or why it is not tried; tried: the candidates that were before it began."""
    if isinstance(prepared, str):
        return prepared
    network = prepared.method in NETWORKS
    rival = last_in_chain(tried, trials.seed) if network and tried and choosing else None
    return trials.run(prepared, meter.within(WORK[prepared.method]) if network else silent, rival)


def _result(asked: Recipe, candidate: TriedRecipe | StoppedRecipe | str, seed: int) -> CandidateResult:
    if isinstance(candidate, str):
        return CandidateResult(asked.name, asked.uses_side, asked.pushes, skipped=candidate)
    recipe = candidate.recipe
    if isinstance(candidate, StoppedRecipe):
        return CandidateResult(recipe.name, recipe.uses_side, recipe.pushes, candidate.seconds, skipped=candidate.why)
    pushed = candidate.pushed
    return CandidateResult(
        recipe.name,
        recipe.uses_side,
        recipe.pushes,
        candidate.seconds,
        bootstrap_mean(candidate.measured.hits, seed=seed),
        None if pushed is None else bootstrap_mean(pushed.hits, seed=seed),
    )
