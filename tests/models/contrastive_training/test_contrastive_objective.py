"""The losses against the papers' formulas, term by term."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.contrastive_training.objective import Contrast, alignment, info_nce, nt_xent, uniformity

Floats = NDArray[np.float64]


def views(rows: int = 5, width: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.randn(2, rows, width, generator=torch.Generator().manual_seed(seed))
    return first, second


def cosine(one: Floats, other: Floats) -> float:
    return float(one @ other / math.sqrt(one @ one) / math.sqrt(other @ other))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_nt_xent_is_the_papers_sum_over_all_other_views(temperature: float) -> None:
    first, second = views()
    z: list[Floats] = [row.double().numpy() for row in torch.cat([first, second])]

    def loss(i: int, j: int) -> float:
        others = sum(math.exp(cosine(z[i], z[k]) / temperature) for k in range(len(z)) if k != i)
        return -math.log(math.exp(cosine(z[i], z[j]) / temperature) / others)

    expected = [(loss(row, row + 5) + loss(row + 5, row)) / 2 for row in range(5)]
    assert nt_xent(first, second, temperature).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_info_nce_is_the_papers_sum_over_second_views(temperature: float) -> None:
    first, second = views()
    one, other = first.double().numpy(), second.double().numpy()
    expected = []
    for i in range(5):
        near = [math.exp(cosine(one[i], other[j]) / temperature) for j in range(5)]
        expected.append(-math.log(near[i] / sum(near)))
    assert info_nce(first, second, temperature).tolist() == pytest.approx(expected, rel=1e-4)


def test_alignment_and_uniformity_are_means_over_pairs() -> None:
    first, second = views(6)
    unit = [row / np.linalg.norm(row) for row in first.double().numpy()]
    other = [row / np.linalg.norm(row) for row in second.double().numpy()]
    between = [math.exp(-2 * np.sum((unit[i] - unit[j]) ** 2)) for i in range(6) for j in range(i)]
    assert uniformity(first) == pytest.approx(math.log(np.mean(between)), abs=1e-5)
    assert alignment(first, second) == pytest.approx(
        np.mean([np.sum((a - b) ** 2) for a, b in zip(unit, other, strict=True)]), abs=1e-5
    )
    assert alignment(first, 3 * first) == pytest.approx(0, abs=1e-6)
    assert uniformity(torch.ones(4, 3)) == pytest.approx(0, abs=1e-5)


def test_the_head_is_beside_the_features_and_not_in_them() -> None:
    class Doubling(torch.nn.Module):
        dimension = 4

        def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return 2 * batch["pixels"]

    batch = {"pixels": torch.randn(3, 4)}
    features, compared = Contrast(Doubling(), 7)(batch)  # type: ignore[arg-type]
    assert torch.equal(features, 2 * batch["pixels"])
    assert compared.shape == (3, 7)
    features, compared = Contrast(Doubling(), None)(batch)  # type: ignore[arg-type]
    assert torch.equal(features, compared)
