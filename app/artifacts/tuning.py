"""How hard an approximate index must look for queries it was not tuned for: artifacts/<upgrade>/tuning/<index>.json.

An index is tuned on its own rows. Queries of a new model, pushed into the old space or searching the transformed
vectors, lie elsewhere; what they need is measured for each published index, whose name is in the file's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.index import Kind
from models.portable import publish

FOLDER = "tuning"
_KEPT_OPEN = 256


@dataclass(frozen=True)
class Tuning:
    """Recall of the true nearest `neighbours` of `queries` queries, at the index's own effort and at the one they get.

    Of an index that looks at every row, no effort and recall 1.
    """

    kind: Kind
    effort_before: int | None
    recall_before: float
    effort: int | None
    recall: float
    queries: int
    neighbours: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def save(self, artifacts: Path, index: str) -> None:
        """Beside an upgrade's other artifacts, all of it or none. Raises OSError."""
        (artifacts / FOLDER).mkdir(exist_ok=True)
        publish(_path(artifacts, index), json.dumps(self.to_json(), indent=1).encode())


def tuned_effort(artifacts: Path, index: str | None) -> int | None:
    """The effort for an upgrade's queries in a published index; None where its own is as good as is known."""
    if index is None or not _path(artifacts, index).exists():
        return None
    return _read(_path(artifacts, index))


def _path(artifacts: Path, index: str) -> Path:
    return artifacts / FOLDER / f"{index}.json"


@lru_cache(maxsize=_KEPT_OPEN)
def _read(path: Path) -> int | None:
    effort: int | None = json.loads(path.read_bytes())["effort"]
    return effort
