"""The charts of a report, drawn by the worker that wrote it, and opened for the gateway."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.portable import check_seal, publish

Drawings = Mapping[str, str]
"""SVG elements by the `chart_key` of what they draw."""


def chart_key(chart: Mapping[str, Any]) -> str:
    """A chart's name among drawings: the SHA-256 of its specification, data included. So a report whose chart a newer
    release specifies otherwise is never shown with the drawing of the older one."""
    return hashlib.sha256(json.dumps(chart, sort_keys=True).encode()).hexdigest()


def save_drawings(path: Path, drawings: Drawings) -> None:
    """All of them or none. Raises OSError."""
    publish(path, json.dumps(dict(drawings)).encode(), sealed=True)


def open_drawings(path: Path) -> Drawings:
    """What was saved; empty where nothing was. Raises CorruptArtifact where it is not what was written."""
    if not path.exists():
        return {}
    check_seal(path)
    drawings: Drawings = json.loads(path.read_bytes())
    return drawings
