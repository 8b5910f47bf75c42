"""How hard an approximate index must look for queries it was not tuned for.

An index is tuned on its own rows. Queries of a new model, pushed into the old space or searching the transformed
vectors, lie elsewhere; what they need is measured for each published index, and kept in a file named for it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.artifacts.cached import read_once
from app.artifacts.folder import UpgradeArtifacts
from app.index import Kind
from models.portable import check_seal, publish

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

    @classmethod
    def exact(cls, queries: int, neighbours: int) -> Tuning:
        """Of an index that looks at every row."""
        return cls("flat", None, 1.0, None, 1.0, queries, neighbours)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def save(self, artifacts: UpgradeArtifacts, index: str) -> None:
        """Beside an upgrade's other artifacts, all of it or none. Raises OSError."""
        path = artifacts.tuning(index)
        path.parent.mkdir(exist_ok=True)
        publish(path, json.dumps(self.to_json(), indent=1).encode(), sealed=True)


def tuned_effort(artifacts: UpgradeArtifacts, index: str | None) -> int | None:
    """The effort for an upgrade's queries in a published index; None where its own is as good as is known.

    Raises CorruptArtifact.
    """
    if index is None or not artifacts.tuning(index).exists():
        return None
    return _read(artifacts.tuning(index))


@read_once(_KEPT_OPEN)
def _read(path: Path) -> int | None:
    check_seal(path)
    effort: int | None = json.loads(path.read_bytes())["effort"]
    return effort
