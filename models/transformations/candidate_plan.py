"""Which recipes a selection tries, in which order, and which of them it skips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from models.transformations.candidates import CandidateTrials, TriedRecipe, is_better
from models.transformations.held_out_retrieval import MANY
from models.transformations.methods import LINEAR, METHODS, NETWORKS, MethodName, Recipe
from models.transformations.training_cost import epochs_within

FEWEST_PAIRS_OF_NETWORK: dict[MethodName, int] = {"residual_mlp": 100, "fct": MANY}
FEWEST_EPOCHS = 5

WORK: dict[MethodName, int] = {
    "orthogonal": 1,
    "ridge": 1,
    "low_rank": 1,
    "kernel_ridge": 4,
    "residual_mlp": 10,
    "fct": 40,
}
"""The work of trying a method, for progress, in units of the cheapest."""


def plan_recipes(method: MethodName | Literal["auto"], *, side: bool, labels: bool) -> list[Recipe]:
    """The recipes to try, the cheapest first; side, labels: whether the pairs have side-information and labels.

    A named method is joined by the linear ones that push, for the transformation that is pushed into queries. Raises
    ValueError for an unknown method.
    """
    if method != "auto":
        if method not in METHODS:
            raise ValueError(f"unknown method {method!r}; there are auto, {', '.join(METHODS)}")
        named = [Recipe(method, True)] if side else []
        plain = [Recipe(m) for m in ("ridge", "orthogonal", method) if m in LINEAR or not side]
        distinct = list({recipe.name: recipe for recipe in [*plain, *named]}.values())
        return [*distinct, *_labelled(distinct if labels else [])]
    variants = (False, True) if side else (False,)
    ridges = [Recipe("ridge", uses) for uses in variants]
    others = [Recipe(m, uses) for m in METHODS if m not in ("orthogonal", "ridge") for uses in variants]
    plain = [ridges[0], Recipe("orthogonal"), *ridges[1:]]
    if not labels:
        return [*plain, *others]
    return [*plain, *_labelled(ridges), *(r for other in others for r in (other, other.with_labels()))]


def in_waves(plan: Sequence[Recipe]) -> list[list[Recipe]]:
    """The plan in its order, cut where a candidate needs to know how earlier ones did: those between two cuts can be
    learned side by side. A network, which is compared while it learns, is by itself."""
    waves: list[list[Recipe]] = []
    before: str | None = None
    for recipe in plan:
        kind = "ridge" if recipe.method == "orthogonal" else recipe.method
        if kind != before or recipe.method in NETWORKS:
            waves.append([])
        waves[-1].append(recipe)
        before = kind
    return waves


def prepare_recipe(
    recipe: Recipe, tried: Sequence[TriedRecipe], trials: CandidateTrials, budget_seconds: float, *, choosing: bool
) -> Recipe | str:
    """The recipe with the settings that follow from the budget and from earlier candidates, or why it is skipped.

    tried: the candidates before it. choosing: whether methods are chosen among, so that a hopeless one may be skipped.
    """
    settings_of = {candidate.recipe.name: candidate.recipe.settings for candidate in tried}
    ridge = settings_of.get(replace(recipe, method="ridge").name, {})
    if recipe.method == "low_rank":  # whose search for a strength would find what ridge's has found
        return replace(recipe, settings={**ridge, **recipe.settings})
    if recipe.method in LINEAR:
        return recipe
    if recipe.method not in NETWORKS:
        return (choosing and _worse_as_ridge(recipe, tried, trials.seed)) or recipe
    side = 0 if not recipe.uses_side or trials.pairs.side is None else trials.pairs.side.shape[1]
    epochs = epochs_within(
        budget_seconds,
        recipe.method,
        len(trials.pairs),
        (trials.source.dimension, side, trials.target.dimension),
        len(trials.held_out.folds) + 1,
        trials.device,
    )
    if choosing and (reason := _reason_to_skip_network(recipe, tried, trials, epochs)):
        return reason
    ridge = settings_of.get(Recipe("ridge", recipe.uses_side).name, {}) if recipe.method == "residual_mlp" else {}
    return replace(recipe, settings={**ridge, **recipe.settings, "epochs": max(epochs, FEWEST_EPOCHS)})


def _labelled(recipes: Sequence[Recipe]) -> list[Recipe]:
    return [recipe.with_labels() for recipe in recipes if recipe.method != "orthogonal"]


def _reason_to_skip_network(
    recipe: Recipe, tried: Sequence[TriedRecipe], trials: CandidateTrials, epochs: int
) -> str | None:
    fewest, pairs = FEWEST_PAIRS_OF_NETWORK[recipe.method], len(trials.pairs)
    if pairs < fewest:
        return f"{pairs} pairs are too few for this network, which is tried from {fewest} on"
    by_name = {candidate.recipe.name: candidate for candidate in tried}
    if reason := _worse_as_ridge(recipe, tried, trials.seed):
        return reason
    if epochs < FEWEST_EPOCHS:
        return f"the time allowed is enough for {epochs} epochs, and fewer than {FEWEST_EPOCHS} teach nothing"
    small, ridge = by_name.get(replace(recipe, method="residual_mlp").name), replace(recipe, method="ridge")
    if recipe.method == "fct" and small and not is_better(small, by_name[ridge.name], trials.seed):
        return "the residual MLP found nothing that ridge misses, so a larger network has nothing to find"
    return None


def _worse_as_ridge(recipe: Recipe, tried: Sequence[TriedRecipe], seed: int) -> str | None:
    """Why an expensive recipe is skipped that reads side-information or labels where ridge is better without them, or
    reads none where ridge is better with them; None where ridge does not say so."""
    by_name, ridge = {candidate.recipe.name: candidate for candidate in tried}, replace(recipe, method="ridge")
    plain = dict(ridge.settings)
    plain.pop("labels", None)
    for what, used, without, using in (
        ("side-information", ridge.uses_side, replace(ridge, uses_side=False), replace(ridge, uses_side=True)),
        ("labels", ridge.uses_labels, replace(ridge, settings=plain), ridge.with_labels()),
    ):
        ridge_with, ridge_without = by_name.get(using.name), by_name.get(without.name)
        if ridge_with and ridge_without and is_better(ridge_with, ridge_without, seed) != used:
            how = "without" if used else "with"
            return f"ridge does best {how} {what}, so this is tried {how} it alone"
    return None
