"""The device that tensors are computed on."""

from __future__ import annotations

from typing import Literal

import torch

Device = Literal["auto", "cpu", "cuda"]


def resolve(device: Device = "auto") -> torch.device:
    """The PyTorch device of that name; "auto" is a GPU if there is one. Raises ValueError for "cuda" without a GPU.

    From then on this process convolves float32 in float32 on GPUs: cuDNN would round to TF32, which moves a vector by
    some 3e-4 of its length from what the processor gives.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("no CUDA device is available here; ask for 'auto' or 'cpu'")
    if not available or device == "cpu":
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")
