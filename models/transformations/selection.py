"""Chooses a transformation by held-out retrieval, trying the cheapest first, and learns it from all pairs.

A later candidate replaces an earlier one only where it is better by more than one standard error of the paired
difference, in the metric or, if the metric is no worse, in its finer form (the rule that chooses strengths as well:
Breiman et al., CART, 1984, §3.4.3); a network, which is dear to learn and to apply, only beyond doubt: with a 95 %
interval above zero. A tie goes to the cheaper one and to the one that pushes into the query; of two alike in both,
ridge goes before orthogonal, which is the better pushed and the worse learner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from models.arrays import ONE_STANDARD_ERROR, Progress, silent
from models.device import Device, resolve
from models.evaluation.retrieval_metrics import Interval, bootstrap_mean, paired_bootstrap
from models.portable import Space, Transformation
from models.transformations.held_out_retrieval import MANY, HeldOutRetrieval, RetrievalScores
from models.transformations.labels import tell_rows_together
from models.transformations.methods import LINEAR, METHODS, NETWORKS, MethodName, Recipe, learn
from models.transformations.pairs import Pairs
from models.transformations.training_cost import epochs_within

FEWEST_PAIRS: dict[MethodName, int] = {"residual_mlp": 100, "fct": MANY}
FEWEST_EPOCHS = 5
BEYOND_DOUBT = 0.95
CURVE_SHARES = (0.125, 0.25, 0.5)

Refit = Callable[[Pairs], Transformation]


@dataclass(frozen=True)
class CandidateResult:
    """What became of one candidate; intervals are of the selection's metric, from 0 to 1.

    `pushed` is for candidates that push: pushed queries searching the old vectors. `skipped` says why it was not tried.
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
    """The transformation chosen, learned from all pairs, and the evidence that it was chosen by.

    `instant` is the best one to push into the query, the same object as `chosen` where that is the one. For the recipe
    chosen, `measured` is its retrieval from the rows of `HeldOut(pairs, target, seed)`, and `learning_curve` holds
    (pairs learned from, held-out metric). `refit` and `refit_instant` learn the same recipes, with the settings chosen,
    from other pairs, and leave side-information aside where the recipe does.
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

    labels: whether candidates may learn from the pairs' labels. They favour the classes that have pairs, and held-out
    rows are of such classes only: say False where the gallery has others.
    `budget_seconds` bounds each network by an estimate of its cost: it gets fewer epochs, or under "auto" is skipped.
    `progress` counts shares of the work. Raises ValueError for fewer than two pairs, an unknown method, an absent
    device, or dimensions that are not the spaces'.
    """
    ground = _Ground(pairs, source, target, resolve(device), seed, HeldOutRetrieval(pairs, target, seed))
    plan = _plan(method, side=pairs.side is not None, labels=labels and tell_rows_together(pairs))
    work = [_WORK[recipe.method] for recipe in plan]
    meter = _Meter(progress, sum(work) + max(work))
    entries: list[_Entry] = []
    results: list[CandidateResult] = []
    for recipe, share in zip(plan, work, strict=True):
        tried = ground.prepared(recipe, entries, budget_seconds, choosing=method == "auto")
        if isinstance(tried, str):
            results.append(CandidateResult(recipe.name, recipe.uses_side, recipe.pushes, skipped=tried))
        else:
            entries.append(ground.tried(tried, meter.within(share)))
            results.append(_result(entries[-1], seed))
        meter.advance(share)
    best = _best([entry for entry in entries if method in ("auto", entry.recipe.method)], seed)
    pushed = _best([entry.as_pushed() for entry in entries if entry.pushed is not None], seed)
    chosen = ground.learned(best, meter.within(max(work)))
    curve = ground.curve(best)
    meter.advance(max(work))
    return Selection(
        chosen=chosen,
        instant=chosen if pushed.recipe == best.recipe else ground.learned(pushed, silent),
        metric=ground.held_out.metric,
        candidates=tuple(results),
        measured=best.measured,
        learning_curve=curve,
        refit=ground.learner(best.recipe),
        refit_instant=ground.learner(pushed.recipe),
    )


_WORK: dict[MethodName, int] = {
    "orthogonal": 1,
    "ridge": 1,
    "low_rank": 1,
    "kernel_ridge": 4,
    "residual_mlp": 10,
    "fct": 40,
}


def _plan(method: MethodName | Literal["auto"], *, side: bool, labels: bool) -> list[Recipe]:
    """What is tried, cheapest first. A named method is joined by those that push, for the instant answer alone."""
    if method != "auto":
        if method not in METHODS:
            raise ValueError(f"unknown method {method!r}; there are auto, {', '.join(METHODS)}")
        named = [Recipe(method, True)] if side else []
        plain = [Recipe(m) for m in ("ridge", "orthogonal", method) if m in LINEAR or not side]
        known = list({recipe.name: recipe for recipe in [*plain, *named]}.values())
        return [*known, *_labelled(known if labels else [])]
    variants = (False, True) if side else (False,)
    ridges = [Recipe("ridge", uses) for uses in variants]
    others = [Recipe(m, uses) for m in METHODS if m not in ("orthogonal", "ridge") for uses in variants]
    plain = [ridges[0], Recipe("orthogonal"), *ridges[1:]]
    if not labels:
        return [*plain, *others]
    return [*plain, *_labelled(ridges), *(r for other in others for r in (other, other.with_labels()))]


def _labelled(recipes: Sequence[Recipe]) -> list[Recipe]:
    return [recipe.with_labels() for recipe in recipes if recipe.method != "orthogonal"]


@dataclass(frozen=True)
class _Entry:
    """A candidate that was tried: its recipe with the settings chosen, and its measurements."""

    recipe: Recipe
    measured: RetrievalScores
    pushed: RetrievalScores | None
    transformation: Transformation | None
    seconds: float

    def as_pushed(self) -> _Entry:
        assert self.pushed is not None
        return replace(self, measured=self.pushed)


@dataclass(frozen=True)
class _Ground:
    """What stays the same for every candidate."""

    pairs: Pairs
    source: Space
    target: Space
    device: torch.device
    seed: int
    held_out: HeldOutRetrieval

    def learner(self, recipe: Recipe, progress: Progress = silent) -> Refit:
        return partial(
            learn,
            recipe,
            source=self.source,
            target=self.target,
            device=self.device,
            seed=self.seed,
            progress=progress,
        )

    def prepared(
        self, recipe: Recipe, entries: Sequence[_Entry], budget_seconds: float, *, choosing: bool
    ) -> Recipe | str:
        """The recipe with the settings that are known beforehand, or why it is skipped."""
        if recipe.method in LINEAR:
            return recipe
        if recipe.method not in NETWORKS:
            return (choosing and self._worse_as_ridge(recipe, entries)) or recipe
        side = 0 if not recipe.uses_side or self.pairs.side is None else self.pairs.side.shape[1]
        epochs = epochs_within(
            budget_seconds,
            recipe.method,
            len(self.pairs),
            (self.source.dimension, side, self.target.dimension),
            len(self.held_out.folds) + 1,
            self.device,
        )
        if choosing and (reason := self._reason_to_skip(recipe, entries, epochs)):
            return reason
        known = {entry.recipe.name: entry.recipe.settings for entry in entries}
        ridge = known.get(Recipe("ridge", recipe.uses_side).name, {}) if recipe.method == "residual_mlp" else {}
        return replace(recipe, settings={**ridge, **recipe.settings, "epochs": max(epochs, FEWEST_EPOCHS)})

    def _reason_to_skip(self, recipe: Recipe, entries: Sequence[_Entry], epochs: int) -> str | None:
        fewest, pairs = FEWEST_PAIRS[recipe.method], len(self.pairs)
        if pairs < fewest:
            return f"{pairs} pairs are too few for this network, which is tried from {fewest} on"
        of = {entry.recipe.name: entry for entry in entries}
        if reason := self._worse_as_ridge(recipe, entries):
            return reason
        if epochs < FEWEST_EPOCHS:
            return f"the time allowed is enough for {epochs} epochs, and fewer than {FEWEST_EPOCHS} teach nothing"
        small, like = of.get(replace(recipe, method="residual_mlp").name), replace(recipe, method="ridge")
        if recipe.method == "fct" and small and not _better(small, of[like.name], self.seed):
            return "the residual MLP found nothing that ridge misses, so a larger network has nothing to find"
        return None

    def _worse_as_ridge(self, recipe: Recipe, entries: Sequence[_Entry]) -> str | None:
        """What is dear to learn reads what ridge does best with, and leaves aside what ridge does no better with."""
        of, like = {entry.recipe.name: entry for entry in entries}, replace(recipe, method="ridge")
        plain = dict(like.settings)
        plain.pop("labels", None)
        for what, used, without, using in (
            ("side-information", like.uses_side, replace(like, uses_side=False), replace(like, uses_side=True)),
            ("labels", like.uses_labels, replace(like, settings=plain), like.with_labels()),
        ):
            both = of.get(using.name), of.get(without.name)
            if both[0] and both[1] and _better(both[0], both[1], self.seed) != used:
                how = "without" if used else "with"
                return f"ridge does best {how} {what}, so this is tried {how} it alone"
        return None

    def tried(self, recipe: Recipe, progress: Progress) -> _Entry:
        """Learns the candidate: one without epochs from all pairs, for its settings, and then once per fold."""
        start = time.perf_counter()
        whole = None if recipe.method in NETWORKS else self.learner(recipe)(self.pairs)
        if whole is not None:
            recipe = replace(recipe, settings=whole.card.settings)
        models = self.held_out.models(self.learner(recipe, _Rounds(progress, len(self.held_out.folds))))
        recipe = replace(recipe, settings=models[0].card.settings)
        seconds = time.perf_counter() - start
        pushed = self.held_out.measure_pushed(models) if recipe.pushes else None
        return _Entry(recipe, self.held_out.measure(models), pushed, whole, seconds)

    def learned(self, entry: _Entry, progress: Progress) -> Transformation:
        """The entry's transformation from all pairs, the held-out measurement on its card."""
        h = entry.transformation or self.learner(entry.recipe, progress)(self.pairs)
        metrics = {f"held-out {self.held_out.metric}": float(entry.measured.hits.mean())}
        return replace(h, card=replace(h.card, metrics=metrics))

    def curve(self, entry: _Entry) -> tuple[tuple[int, float], ...]:
        """(pairs, held-out metric), the last point being the entry's own."""
        available = min(len(others) for others, _ in self.held_out.folds)
        points = []
        for share in CURVE_SHARES:
            if available * share >= 8:
                models = self.held_out.models(self.learner(entry.recipe), share)
                points.append((models[0].card.pairs, float(self.held_out.measure(models).hits.mean())))
        return (*points, (available, float(entry.measured.hits.mean())))


def _best(entries: Sequence[_Entry], seed: int) -> _Entry:
    """The last of a chain of entries of which each is better than the one before."""
    best = entries[0]
    for entry in entries[1:]:
        if _better(entry, best, seed):
            best = entry
    return best


def _better(challenger: _Entry, champion: _Entry, seed: int) -> bool:
    return leads(challenger.measured, champion.measured, network=challenger.recipe.method in NETWORKS, seed=seed)


def leads(challenger: RetrievalScores, champion: RetrievalScores, *, network: bool, seed: int) -> bool:
    """Whether the challenger leads by over its margin, in the metric or, that no worse, in its finer form.

    Both are measured on the same queries. network: whether the challenger is one.
    """
    margin = BEYOND_DOUBT if network else ONE_STANDARD_ERROR
    hits, finer = (
        paired_bootstrap(a, b, seed=seed, confidence=margin)
        for a, b in ((challenger.hits, champion.hits), (challenger.finer, champion.finer))
    )
    return hits.low > 0 or (hits.mean >= 0 and finer.low > 0)


def _result(entry: _Entry, seed: int) -> CandidateResult:
    recipe, pushed = entry.recipe, entry.pushed
    return CandidateResult(
        recipe.name,
        recipe.uses_side,
        recipe.pushes,
        entry.seconds,
        bootstrap_mean(entry.measured.hits, seed=seed),
        None if pushed is None else bootstrap_mean(pushed.hits, seed=seed),
    )


class _Meter:
    """Adds the progress of parts up to one count."""

    RESOLUTION = 100

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total * self.RESOLUTION, 0

    def advance(self, share: int) -> None:
        self._done += share * self.RESOLUTION
        self._progress(self._done, self._total)

    def within(self, share: int) -> Progress:
        """A callback whose count, ever rising, is worth at most `share` of the whole."""
        return lambda done, total: self._progress(
            self._done + share * self.RESOLUTION * done // (total + 1), self._total
        )


class _Rounds:
    """Counts several rounds, each of which begins at its own start again, as one."""

    def __init__(self, progress: Progress, rounds: int) -> None:
        self._progress, self._rounds, self._round, self._last = progress, rounds, 0, 0

    def __call__(self, done: int, total: int) -> None:
        self._round += done < self._last
        self._last = done
        self._progress(min(self._round, self._rounds - 1) * total + done, self._rounds * total)
