"""The device that tensors are computed on."""

from __future__ import annotations

from typing import Literal

import torch

Device = Literal["auto", "cpu", "cuda"]


def resolve(device: Device = "auto") -> torch.device:
    """The PyTorch device of that name; "auto" is a GPU if there is one. Raises ValueError for "cuda" without a GPU."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("no CUDA device is available here; ask for 'auto' or 'cpu'")
    return torch.device("cuda" if available and device != "cpu" else "cpu")
