"""How fast transformations are learned, each beside its bare arithmetic in the same run.

    python -m benchmarks.fit_speed [--rows 50000 --old 128 --new 128 --side 64] [--rounds 3] [--device cpu]

Ridge: learned as an upgrade learns it, the strength chosen among 20 by the retrieval of held-out rows, against one fit
by numpy.linalg.solve on the same normal equations. Its two parts are shown apart: the decomposition that serves every
strength, and the retrieval with the predictions that it searches. FCT: one epoch of training against the matrix
products of the same shapes alone (forward, and backward to weights and inputs). Each figure is the best of the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from models.device import resolve
from models.portable import Space
from models.transformations.fct import fct
from models.transformations.linear import STRENGTHS, choose_strength, decompose, ridge
from models.transformations.pairs import Design, Pairs, design
from models.transformations.training_cost import weights

BATCH, WIDTH = 1024, 2048


def made(rows: int, old: int, new: int, side: int) -> Pairs:
    """Noisy views of one hidden cause."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((rows, 32), np.float32)
    views = (
        hidden @ rng.standard_normal((32, d), np.float32) + rng.standard_normal((rows, d), np.float32)
        for d in (old, new, side)
    )
    return Pairs(*views)


def seconds(work: Callable[[], object]) -> float:
    """One run on the wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def solved(d: Design) -> np.ndarray:
    """One ridge fit as numpy does it: centre, normal equations, solve."""
    x, y = d.inputs - d.inputs.mean(axis=0), d.outputs - d.outputs.mean(axis=0)
    gram = (x.T @ x).astype(np.float64)
    return np.linalg.solve(gram + 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram)), (x.T @ y).astype(np.float64))


def ridge_rows(pairs: Pairs, source: Space, target: Space, rounds: int) -> list[tuple[str, float, float]]:
    """(what, seconds, ratio to one solve)."""
    d = design(pairs, source, target)

    def decompose_and_solve() -> None:
        decompose(d).solution(float(STRENGTHS[10]))

    fit = whole = decomposed = retrieval = np.inf
    for _ in range(rounds):
        fit = min(fit, seconds(lambda: solved(d)))
        whole = min(whole, seconds(lambda: ridge(pairs, source, target)))
        decomposed = min(decomposed, seconds(decompose_and_solve))
        spectrum = decompose(d)
        retrieval = min(retrieval, seconds(lambda s=spectrum: choose_strength(s, d, "l2", 0)))  # type: ignore[misc]
    return [
        ("ridge: one fit by numpy.linalg.solve", fit, 1.0),
        ("ridge: as an upgrade learns it, the best of 20 strengths", whole, whole / fit),
        ("  of that, the decomposition for all strengths, and one solution", decomposed, decomposed / fit),
        ("  of that, held-out retrieval of 20 strengths", retrieval, retrieval / fit),
    ]


def layers(old: int, side: int, new: int) -> list[tuple[int, int, bool]]:
    """(d_in, d_out, whether the input needs a gradient) of every product in FCT."""
    branches = [layer for d in (old, side or old) for layer in ((d, 2 * d, False), (2 * d, 2 * new, True))]
    return [*branches, (4 * new, WIDTH, True), (WIDTH, WIDTH, True), (WIDTH, new, True)]


def bare_step(shapes: list[tuple[int, int, bool]], device: torch.device) -> Callable[[], None]:
    """The matrix products of one training step of one batch, nothing else."""
    operands = [
        (
            torch.randn(BATCH, i, device=device),
            torch.randn(o, i, device=device),
            torch.randn(BATCH, o, device=device),
            grad,
        )
        for i, o, grad in shapes
    ]

    def step() -> None:
        for x, w, g, grad in operands:
            x @ w.T
            g.T @ x
            if grad:
                g @ w
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def fct_rows(
    pairs: Pairs, source: Space, target: Space, device: torch.device, rounds: int
) -> list[tuple[str, float, float]]:
    """(what, seconds, share of the bare rate)."""
    side = 0 if pairs.side is None else pairs.side.shape[1]
    shapes = layers(source.dimension, side, target.dimension)
    assert sum(i * o for i, o, _ in shapes) == weights("fct", source.dimension, side, target.dimension)
    steps = len(pairs) * 0.95 / BATCH
    operations = steps * sum(2 * BATCH * i * o * (3 if grad else 2) for i, o, grad in shapes)
    torch.set_float32_matmul_precision("high")
    step = bare_step(shapes, device)
    step()
    bare = trained = np.inf
    for _ in range(rounds):
        bare = min(bare, seconds(lambda: [step() for _ in range(round(steps))]))
        trained = min(
            trained, seconds(lambda: fct(pairs, source, target, epochs=1, batch=BATCH, width=WIDTH, device=device))
        )
    return [
        (f"fct: bare matrix products, {operations / bare / 1e9:,.0f} GFLOP/s", bare, 1.0),
        (f"fct: one epoch of training, {operations / trained / 1e9:,.0f} GFLOP/s", trained, bare / trained),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--old", type=int, default=128)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    pairs = made(options.rows, options.old, options.new, options.side)
    source, target = Space("old", options.old, "l2"), Space("new", options.new, "l2")
    shown = Table("what", "seconds", "ratio", "wanted")
    rows = ridge_rows(pairs, source, target, options.rounds)
    rows += fct_rows(pairs, source, target, resolve(options.device), options.rounds)
    for (what, taken, ratio), wanted in zip(rows, ("", "", "< 3", "", "", "≥ 0.6"), strict=True):
        shown.add_row(what, f"{taken:.3f}", f"{ratio:.2f}", wanted)
    Console().print(shown)


if __name__ == "__main__":
    main()
