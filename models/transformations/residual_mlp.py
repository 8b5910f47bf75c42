"""Ridge regression corrected by a small network, which learns what a linear map misses from enough pairs."""

from __future__ import annotations

import numpy as np
import torch

from models.arrays import Progress, silent
from models.portable import Space, Transformation
from models.transformations.fit_network import Schedule, fit_network
from models.transformations.labels import codes_of
from models.transformations.linear import choose_strength, decompose
from models.transformations.networks import BranchedNetwork
from models.transformations.pairs import Pairs, describe, design


def residual_mlp(
    pairs: Pairs,
    source: Space,
    target: Space,
    *,
    strength: float | None = None,
    epochs: int = 40,
    batch: int = 1024,
    width: int = 1024,
    labels: float = 0.0,
    device: torch.device,
    seed: int = 0,
    progress: Progress = silent,
) -> Transformation:
    """Learns y = ridge(p, s) + network(p, s); the network has one hidden layer, and its last layer starts at zero.

    The network learns the ridge's leave-one-out residuals: with few pairs, its fitted residuals are nearly zero. The
    ridge's strength is chosen where it is None. labels: the weight of a supervised contrastive loss beside the MSE.
    Raises ValueError for fewer than 4 pairs.
    """
    d = design(pairs, source, target)
    spectrum = decompose(d)
    if strength is None:
        strength = choose_strength(spectrum, d, target.metric, seed)
    weight, bias = spectrum.solution(strength)
    base = spectrum.left_out(strength, np.arange(len(pairs)), d.outputs)

    def build() -> BranchedNetwork:
        beside = d.inputs.shape[1] - d.old_dimension
        network = BranchedNetwork((d.old_dimension,), (beside,) if beside else (), (width, target.dimension))
        torch.nn.init.zeros_(network.last.weight)
        torch.nn.init.zeros_(network.last.bias)
        return network

    network = fit_network(
        build,
        d,
        d.outputs - base,
        Schedule(epochs=epochs, batch=batch, labels=labels),
        codes=codes_of(pairs) if labels else None,
        base=base,
        device=device,
        seed=seed,
        progress=progress,
    )
    settings = {"strength": strength, "epochs": epochs, "batch": batch, "width": width, "labels": labels}
    return Transformation(describe("residual_mlp", pairs, source, target, settings), d.affine(weight, bias), network)
