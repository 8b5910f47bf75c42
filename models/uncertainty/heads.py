"""The uncertainty head of FastFill (arXiv 2303.04766).

From the output of a transformation h it predicts σ, the logarithm of the variance of h's error L, by minimising
mean[½·exp(−σ)·L + ½·σ].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.arrays import Codes, Floats
from models.portable import Array, Dense, Head
from models.spread import dimension_spreads, mean_spread
from models.training.threads import threads_worth_it

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # on the squared weights of standardised inputs
HELD_OUT = 0.2
ITERATIONS = 50
MOST_ROWS = 20_000
SMALLEST_LOSS = 1e-6
"""Of the mean loss: what a smaller one counts as. The logarithm of a variance of 0 has no minimum to be found."""
LABEL_SMOOTHING = 0.1
CLASSIFIER_PENALTY = 1e-4


def fit_head(transformed: Array, loss: Floats, *, device: torch.device, seed: int) -> Head:
    """The Linear(d_new → 1) that minimises mean[½·exp(−σ)·L + ½·σ] + penalty·‖w‖².

    transformed: (n, d_new) float32, out-of-fold output of the transformation h; loss: (n,) none below 0. With h fixed,
    the problem is convex (a gamma regression with logarithmic link), so that L-BFGS finds its minimum. The penalty is
    chosen on a fifth of the rows.
    """
    chosen = np.random.default_rng(seed).permutation(len(transformed))[:MOST_ROWS]
    mean = transformed[chosen].mean(axis=0)
    spreads = dimension_spreads(transformed[chosen]).astype(np.float32)
    level = float(loss[chosen].mean()) or 1.0
    inputs = torch.from_numpy((transformed[chosen] - mean) / spreads).to(device)
    target = torch.from_numpy(np.maximum(loss[chosen] / level, SMALLEST_LOSS).astype(np.float32)).to(device)
    learning = max(1, round((1 - HELD_OUT) * len(chosen)))
    tried = [_descend(inputs[:learning], target[:learning], penalty) for penalty in PENALTIES]
    checked = slice(learning, None) if learning < len(chosen) else slice(None)
    losses = np.array([float(_loss(inputs[checked], target[checked], *each)) for each in tried])
    best = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
    weight, bias = _descend(inputs, target, PENALTIES[best])
    slopes = weight.cpu().numpy() / spreads
    shift = float(bias) + np.log(level) - float(mean @ slopes)
    return Head(Dense(slopes[None].astype(np.float32), np.array([shift], np.float32)))


def cross_entropy_of_new_classifier(
    transformed: Array, new: Array, codes: Codes, *, device: torch.device, seed: int
) -> Floats:
    """Label-smoothed cross-entropy, (n,) float64, of a classifier of the new space applied to transformed vectors.

    FastFill takes the classifier that the new model was trained with. Crosswalk has no such classifier, and fits a
    linear softmax on the pairs' new vectors instead. transformed, new: (n, d_new) float32; codes: (n,) int64 from 0.
    """
    rows = np.random.default_rng(seed).permutation(len(new))[:MOST_ROWS]
    mean = new[rows].mean(axis=0)
    spread = np.float32(mean_spread(new[rows]))
    known, answers = (torch.from_numpy(each).to(device) for each in ((new[rows] - mean) / spread, codes[rows]))
    weight = torch.zeros(int(codes.max()) + 1, new.shape[1], device=device, requires_grad=True)
    bias = torch.zeros(len(weight), device=device, requires_grad=True)

    def objective() -> Tensor:
        fit = nn.functional.cross_entropy(nn.functional.linear(known, weight, bias), answers)
        return fit + CLASSIFIER_PENALTY * weight.square().sum()

    _minimise(objective, [weight, bias], 6.0 * known.numel() * len(weight))
    with torch.no_grad():
        inputs = torch.from_numpy((transformed - mean) / spread).to(device)
        entropy = nn.functional.cross_entropy(
            nn.functional.linear(inputs, weight, bias),
            torch.from_numpy(codes).to(device),
            label_smoothing=LABEL_SMOOTHING,
            reduction="none",
        )
    return entropy.cpu().numpy().astype(np.float64)


def _descend(inputs: Tensor, target: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The weight (d,) and bias () that minimise FastFill's loss with this penalty; inputs: (n, d), target: (n,).

    Where the search for them leaves float32, as with one row far from all others, the best without slopes: a weight of
    0 and the logarithm of the mean.
    """
    weight = torch.zeros(inputs.shape[1], device=inputs.device, requires_grad=True)
    bias = torch.zeros((), device=inputs.device, requires_grad=True)

    def objective() -> Tensor:
        return _loss(inputs, target, weight, bias) + penalty * weight.square().sum()

    _minimise(objective, [weight, bias], 6.0 * inputs.numel())
    if not (torch.isfinite(weight).all() and torch.isfinite(bias)):
        return torch.zeros_like(weight), target.mean().log()
    return weight.detach(), bias.detach()


def _loss(inputs: Tensor, target: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """FastFill's loss: mean[½·exp(−σ)·L + ½·σ]."""
    log_variance = inputs @ weight + bias
    return (0.5 * torch.exp(-log_variance) * target + 0.5 * log_variance).mean()


def _minimise(objective: Callable[[], Tensor], parameters: list[Tensor], operations: float) -> None:
    """Minimises `objective` over `parameters` in place, by L-BFGS; operations: of floating point, for one gradient."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with threads_worth_it(operations):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
