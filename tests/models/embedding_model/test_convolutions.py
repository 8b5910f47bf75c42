"""Strided 1 × 1 convolutions compute what PyTorch's do, and learn without corrupting memory."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from models.embedding_model.backbones import build
from models.embedding_model.convolutions import SubsampledPointwise, avoid_strided_pointwise
from tests.models.embedding_model.small_backbones import IMAGES, probe, tiny
from tests.waiting import PATIENCE_SECONDS

ROUNDING = 1e-4
"""Of float32, as a share of the largest component."""

TWENTY_BACKWARD_PASSES = """
import torch
from torch import nn
from torch.nn.functional import conv2d
from models.embedding_model.convolutions import avoid_strided_pointwise

def gradients(convolve, x, weight):
    x, weight = (tensor.detach().clone().requires_grad_() for tensor in (x, weight))
    convolve(x, weight).square().sum().backward()
    return x.grad.double(), weight.grad.double()

torch.manual_seed(0)
layer = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2, bias=False))
avoid_strided_pointwise(layer)
x = torch.randn(32, 4, 16, 16).to(memory_format=torch.channels_last)
weight = torch.randn(8, 4, 1, 1).to(memory_format=torch.channels_last)
expected = gradients(lambda x, weight: conv2d(x, weight, stride=2), x.double().contiguous(), weight.double())
mended = lambda x, weight: torch.func.functional_call(layer, {"0.weight": weight}, (x,))
worst = 0.0
for _ in range(20):
    for found, true in zip(gradients(mended, x, weight), expected):
        worst = max(worst, float((found - true).abs().max() / true.abs().max()))
print(worst)
"""


@pytest.mark.parametrize("instructions", ["as this machine has them", "AVX2"])
def test_gradients_of_few_channels_in_channels_last_memory_are_right(instructions: str) -> None:
    """In a process of its own, since it may die; oneDNN reads how far to go in instruction sets when it is loaded."""
    limit = {} if instructions == "as this machine has them" else {"ONEDNN_MAX_CPU_ISA": instructions}
    ended = subprocess.run(
        [sys.executable, "-c", TWENTY_BACKWARD_PASSES],
        env={**os.environ, **limit, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, f"it ended with {ended.returncode}: {ended.stderr}"
    assert float(ended.stdout) < ROUNDING


@pytest.mark.parametrize(
    "settings", [{"stride": 2}, {"stride": (1, 3), "bias": False}, {"stride": 2, "padding": "valid"}]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_size_gives_what_the_strided_convolution_gives(settings: dict[str, object], dtype: torch.dtype) -> None:
    plain = nn.Conv2d(3, 5, 1, **settings, dtype=dtype)  # type: ignore[arg-type]
    mended = nn.Sequential(nn.Conv2d(3, 5, 1, **settings, dtype=dtype))  # type: ignore[arg-type]
    avoid_strided_pointwise(mended)
    mended[0].load_state_dict(plain.state_dict())
    for shape in ((2, 3, 7, 8), (1, 3, 1, 1), (3, 6, 5)):
        x = torch.randn(shape, dtype=dtype)
        assert isinstance(mended[0], SubsampledPointwise)
        torch.testing.assert_close(mended(x), plain(x))


def test_no_other_convolution_is_touched() -> None:
    class Own(nn.Conv2d):
        pass

    others = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 1, stride=2, padding=1),
        nn.Conv2d(4, 4, 1, stride=2, groups=2),
        nn.Conv1d(4, 4, 1, stride=2),
        Own(4, 4, 1, stride=2),
    )
    before = [type(each) for each in others]
    avoid_strided_pointwise(others)
    assert [type(each) for each in others] == before


def strided_pointwise(network: nn.Module) -> list[nn.Module]:
    """Found by what the layers do, not by how they were mended."""
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    return [each for each in convolutions if each.kernel_size == (1, 1) and each.stride != (1, 1)]


@pytest.mark.parametrize("family", IMAGES)
def test_every_backbone_is_built_without_the_strided_kernel(family: str) -> None:
    layers = strided_pointwise(build(tiny(family)))
    assert bool(layers) == (family in ("resnet", "regnet"))
    assert all(isinstance(layer, SubsampledPointwise) for layer in layers)


def test_weights_of_before_and_after_are_interchangeable() -> None:
    mended = build(tiny("resnet")).eval()
    names = list(mended.state_dict())
    plain = build(tiny("resnet")).eval()
    for layer in strided_pointwise(plain):
        layer.__class__ = nn.Conv2d
    assert list(plain.state_dict()) == names
    plain.load_state_dict(mended.state_dict())
    batch = probe(tiny("resnet"))
    torch.testing.assert_close(plain(batch), mended(batch))


def test_an_exported_graph_and_reduced_precision_take_the_detour_too() -> None:
    embedder, batch = build(tiny("resnet")).eval(), probe(tiny("resnet"))
    graph = torch.export.export(embedder, (batch,))
    assert any(node.target is torch.ops.aten.slice.Tensor for node in graph.graph.nodes)
    torch.testing.assert_close(graph.module()(batch), embedder(batch))
    with torch.autocast("cpu", torch.bfloat16):
        assert embedder(batch).isfinite().all()
