"""The transformation of forward-compatible training, h(old, side) → new (FCT, arXiv 2112.02805, §4.1)."""

from __future__ import annotations

import torch

from models.arrays import Progress, silent
from models.portable import Space, Transformation
from models.transformations.fit_network import Schedule, train
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
    """Old branch d_old → 2·d_old → 2·d_new, side branch likewise, trunk 4·d_new → width → width → d_new.

    Without side-information the old vector feeds both branches. `labels` weighs what they add to the MSE
    (`models.transformations.labels`), beyond the paper. Raises ValueError for fewer than 4 pairs.
    """
    d = design(pairs, source, target)
    beside = d.inputs.shape[1] - d.old_dimension or d.old_dimension
    new = target.dimension

    def build() -> BranchedNetwork:
        branches = [(width_in, 2 * width_in, 2 * new) for width_in in (d.old_dimension, beside)]
        return BranchedNetwork(branches[0], branches[1], (width, width, new))

    schedule = Schedule(epochs=epochs, batch=batch, labels=labels)
    codes = codes_of(pairs) if labels else None
    network = train(build, d, d.outputs, schedule, codes=codes, device=device, seed=seed, progress=progress)
    settings = {"epochs": epochs, "batch": batch, "width": width, "labels": labels}
    return Transformation(describe("fct", pairs, source, target, settings), None, network)
