"""A detour around heap corruption in PyTorch's CPU library, oneDNN, which a backbone takes wherever it needs it.

Where a 1 × 1 convolution has a stride above 1, no padding and one group, oneDNN may pick a kernel for the gradient of
its weight that writes beyond its buffers: with fewer channels than a vector register holds (8 of AVX2, 16 of AVX-512)
in channels-last memory (uxlfoundation/oneDNN#6035). The process dies some time later, or its gradients are wrong.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d


class SubsampledPointwise(nn.Conv2d):
    """A strided 1 × 1 convolution that, on a CPU, drops the pixels that its stride passes over, then takes stride 1.

    The same function of the same weights: an output pixel of a 1 × 1 convolution is made of one input pixel. The kernel
    that oneDNN picks for stride 1 is a sound one. A GPU computes with the stride, as ever.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        down, across = self.stride
        if input.is_cpu:
            return conv2d(input[..., ::down, ::across], weight, bias)
        return conv2d(input, weight, bias, stride=(down, across))


def avoid_strided_pointwise(network: nn.Module) -> None:
    """Turns every strided 1 × 1 convolution in the network into a SubsampledPointwise, in place.

    Whatever its number of channels, since the detour costs next to nothing. Parameters stay the objects that they are,
    and keep their names. Subclasses of nn.Conv2d, which may compute something else, are left alone.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_strided_pointwise(module):
            module.__class__ = SubsampledPointwise


def _is_strided_pointwise(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (1, 1)
        and max(convolution.stride) > 1
        and convolution.padding in ((0, 0), "valid")
        and convolution.groups == 1
    )
