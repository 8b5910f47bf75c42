"""Mixed precision where the hardware has it."""

from __future__ import annotations

import torch

from models.training.settings import Precision


def reduced_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The dtype that matrix products are computed in; None for float32 throughout.

    "auto" is bfloat16 where the hardware multiplies it, and float16 on GPUs that do not. "mixed" is bfloat16 also on a
    CPU that does not, where it is correct but slow.
    """
    if precision == "float32":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if precision == "mixed" or has_matrix_units() else None


def has_matrix_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())
