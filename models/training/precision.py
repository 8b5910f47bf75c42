"""Mixed precision where the hardware has it."""

from __future__ import annotations

import torch

from models.training.settings import Precision


def reduced(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The type that products are computed in, None for float32 throughout.

    "auto" takes bfloat16 where there are matrix units for it, on a processor too, and float16 on GPUs without them.
    "mixed" insists: on a processor without such units it is right, and slow.
    """
    if precision == "float32":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if precision == "mixed" or has_matrix_units() else None


def has_matrix_units() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())
