"""The transformation of forward-compatible training, h(old, side) → new (FCT, arXiv 2112.02805, §4.1)."""

from __future__ import annotations

import torch

from models.arrays import Progress, silent
from models.portable import Space, Transformation
from models.transformations.fit_network import Schedule, fit_network
from models.transformations.labels import codes_of
from models.transformations.networks import BranchedNetwork
from models.transformations.pairs import Pairs, describe, design


def fct(
    pairs: Pairs,
    source: Space,
    target: Space,
    *,
    epochs: int = 80,
    batch: int = 1024,
    width: int = 2048,
    labels: float = 0.0,
    device: torch.device,
    seed: int = 0,
    progress: Progress = silent,
) -> Transformation:
    """Learns an FCT network: old branch d_old → 2·d_old → 2·d_new, side branch d_side → 2·d_side → 2·d_new, trunk
    4·d_new → width → width → d_new.

    Without side-information both branches read the old vector. labels: the weight of a supervised contrastive loss
    beside the MSE, which the paper does not have. Raises ValueError for fewer than 4 pairs.
    """
    d = design(pairs, source, target)
    beside = d.inputs.shape[1] - d.old_dimension or d.old_dimension
    new = target.dimension

    def build() -> BranchedNetwork:
        branches = [(width_in, 2 * width_in, 2 * new) for width_in in (d.old_dimension, beside)]
        return BranchedNetwork(branches[0], branches[1], (width, width, new))

    schedule = Schedule(epochs=epochs, batch=batch, labels=labels)
    codes = codes_of(pairs) if labels else None
    network = fit_network(build, d, d.outputs, schedule, codes=codes, device=device, seed=seed, progress=progress)
    settings = {"epochs": epochs, "batch": batch, "width": width, "labels": labels}
    return Transformation(describe("fct", pairs, source, target, settings), None, network)
