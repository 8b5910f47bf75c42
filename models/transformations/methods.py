"""The methods by name, and recipes: a method with its settings, to be learned from any pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch

from models.arrays import Progress, silent
from models.portable import Space, Transformation
from models.training.threads import blas_threads_worth_it
from models.transformations import labels
from models.transformations.fct import fct
from models.transformations.kernel import kernel_ridge
from models.transformations.linear import low_rank, orthogonal, ridge
from models.transformations.pairs import Pairs
from models.transformations.residual_mlp import residual_mlp

MethodName = Literal["orthogonal", "ridge", "low_rank", "kernel_ridge", "residual_mlp", "fct"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
LINEAR: tuple[MethodName, ...] = ("orthogonal", "ridge", "low_rank")
NETWORKS: tuple[MethodName, ...] = ("residual_mlp", "fct")


def method_named(name: str) -> MethodName:
    """The method of this name; raises ValueError for an unknown one."""
    for method in METHODS:
        if method == name:
            return method
    raise ValueError(f"unknown method {name!r}; there are {', '.join(METHODS)}")


@dataclass(frozen=True)
class Recipe:
    """A method, whether it reads side-information, and its settings; settings left out are chosen in learning.

    The setting `labels` says how much labels count (`models.transformations.labels`); 0 or absent, they do not.
    """

    method: MethodName
    uses_side: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The recipe's name in reports, such as "ridge + side-information"."""
        beside = (("side-information", self.uses_side), ("labels", self.uses_labels))
        return " + ".join([self.method, *(what for what, used in beside if used)])

    @property
    def uses_labels(self) -> bool:
        """Whether it learns from labels."""
        return bool(self.settings.get("labels"))

    def with_labels(self) -> Recipe:
        """This recipe, learning from labels too."""
        counted = labels.WEIGHT if self.method in NETWORKS else labels.SHARE
        return replace(self, settings={**self.settings, "labels": counted})

    @property
    def pushes(self) -> bool:
        """Whether the transformation can be pushed into the query."""
        return self.method in LINEAR and not self.uses_side


def learn(
    recipe: Recipe,
    pairs: Pairs,
    source: Space,
    target: Space,
    *,
    device: torch.device,
    seed: int = 0,
    progress: Progress = silent,
) -> Transformation:
    """Learns a transformation from source to target by a recipe.

    progress: counts a network's epochs. Raises ValueError where the pairs lack the side-information that the recipe
    reads, or are too few.
    """
    if recipe.uses_side and pairs.side is None:
        raise ValueError(f"{recipe.name} needs pairs with side-information")
    rows = pairs if recipe.uses_side else pairs.without_side()
    settings = dict(recipe.settings)
    if recipe.uses_labels and recipe.method not in NETWORKS:
        share = settings.pop("labels")
        rows = labels.towards_class_means(rows, target, share)
        h = learn(replace(recipe, settings=settings), rows, source, target, device=device, seed=seed, progress=progress)
        return replace(h, card=replace(h.card, settings={**h.card.settings, "labels": share}))
    match recipe.method:
        case "orthogonal" | "ridge" | "low_rank":
            with blas_threads_worth_it(_decomposing(rows)):
                return _linear(recipe.method, rows, source, target, seed, settings)
        case "kernel_ridge":
            return kernel_ridge(rows, source, target, seed=seed, **settings)
        case "residual_mlp":
            return residual_mlp(rows, source, target, device=device, seed=seed, progress=progress, **settings)
        case "fct":
            return fct(rows, source, target, device=device, seed=seed, progress=progress, **settings)


def _linear(
    method: Literal["orthogonal", "ridge", "low_rank"],
    rows: Pairs,
    source: Space,
    target: Space,
    seed: int,
    settings: Mapping[str, Any],
) -> Transformation:
    if method == "orthogonal":
        return orthogonal(rows, source, target)
    return {"ridge": ridge, "low_rank": low_rank}[method](rows, source, target, seed=seed, **settings)


def _decomposing(rows: Pairs) -> float:
    """About how many floating-point operations it takes to decompose what a linear method learns from."""
    read = rows.old.shape[1] + (0 if rows.side is None else rows.side.shape[1])
    width = min(len(rows), max(read, rows.new.shape[1]))
    return float(2 * len(rows) * read * width + 10 * width**3)
