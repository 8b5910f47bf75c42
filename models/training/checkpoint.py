"""Checkpoints: tensors and a JSON record in one safetensors file, so that nothing is ever unpickled.

A checkpoint replaces the previous one atomically: a crash leaves one of the two, complete.
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
    """The state of training after an epoch. tensors: by prefix and name, joined by a dot; record: JSON values."""

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of a prefix, by their names without it; empty where there are none."""
        start = f"{prefix}."
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def write(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]) -> None:
    """Writes a checkpoint: tensors by prefix and name, and a record of JSON values. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{prefix}.{name}": tensor.detach().cpu().contiguous()
        for prefix, part in parts.items()
        for name, tensor in part.items()
    }
    publish(folder / _FILE, save(tensors, metadata={_RECORD: json.dumps(record)}))


def read(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Reads the checkpoint; None where there is none, it is damaged, or its record has another fingerprint."""
    try:
        with safe_open(folder / _FILE, framework="pt") as file:
            record = json.loads(file.metadata()[_RECORD])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return Checkpoint(tensors, record) if record.get("fingerprint") == fingerprint else None
