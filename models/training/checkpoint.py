"""Checkpoints: tensors and a JSON record in one safetensors file, so that nothing is ever unpickled.

A checkpoint replaces the one before in one rename: a crash leaves either, whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.portable import publish

_FILE = "checkpoint.safetensors"
_RECORD = "record"


@dataclass(frozen=True)
class Checkpoint:
    """Where training stands after an epoch. tensors: by dotted name; record: JSON."""

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def write(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]) -> None:
    """Persists tensors by prefix and name, and the record with them. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{prefix}.{name}": tensor.detach().cpu().contiguous()
        for prefix, part in parts.items()
        for name, tensor in part.items()
    }
    publish(folder / _FILE, save(tensors, metadata={_RECORD: json.dumps(record)}))


def read(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The checkpoint of this very training; None where there is none, it is damaged, or it is of another training."""
    try:
        with safe_open(folder / _FILE, framework="pt") as file:
            record = json.loads(file.metadata()[_RECORD])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return Checkpoint(tensors, record) if record.get("fingerprint") == fingerprint else None
