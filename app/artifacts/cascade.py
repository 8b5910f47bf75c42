"""How many candidates a cascade re-ranks, as measured when its upgrade was proved."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from app.artifacts.cached import read_once
from app.artifacts.folder import UpgradeArtifacts
from models.portable import check_seal, publish

FEW, MANY = 10, 100  # answers that candidates are counted for
_MOST = 100_000
_KEPT_OPEN = 64


@dataclass(frozen=True)
class Cascade:
    """A cascade of `k` candidates, and what it was measured to do.

    overlap: the share of the rewritten gallery's top 10 that was asked for; measured: the share that is found, with
    the ends of its 95 % interval; k_for_100: what the top 100 takes, None where the gallery holds too few to say.
    """

    overlap: float
    k: int
    k_for_100: int | None
    measured: float
    interval: tuple[float, float]
    queries: int
    gallery_rows: int

    @property
    def finds_enough(self) -> bool:
        """Whether the share that was asked for is found; not so where even the most candidates allowed find less."""
        return self.measured >= self.overlap

    def candidates(self, wanted: int) -> int:
        """How many candidates `wanted` answers take: on the power law through 10 and 100, and never below the first.

        Far beyond 100 answers the law is a guess, and candidates cost; there are never more than `_MOST`, or than
        answers.
        """
        if wanted <= FEW:
            return self.k
        power: float = 1.0 if self.k_for_100 is None else math.log(self.k_for_100 / self.k, MANY / FEW)
        grown = self.k * math.pow(wanted / FEW, max(power, 0.0))
        return max(wanted, min(math.ceil(grown), _MOST))

    def note(self, wanted: int) -> str:
        """What is approximated, for whoever reads an answer."""
        low, high = self.interval
        return (
            f"{self.candidates(wanted)} candidates re-ranked by the transformation; of the rewritten gallery's top "
            f"{FEW}, {self.measured:.1%} ({low:.1%} to {high:.1%}) were found for {self.queries} queries"
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"interval": list(self.interval)}

    def save(self, artifacts: UpgradeArtifacts) -> None:
        """Into an upgrade's artifacts, all of it or none. Raises OSError."""
        publish(artifacts.cascade, json.dumps(self.to_json(), indent=1).encode(), sealed=True)


def has_cascade(artifacts: UpgradeArtifacts) -> bool:
    """Whether an upgrade of these artifacts answers by cascade."""
    return artifacts.cascade.exists()


@read_once(_KEPT_OPEN)
def open_cascade(artifacts: UpgradeArtifacts) -> Cascade:
    """What `save` wrote; it never changes once an upgrade is proved. Raises OSError where there is none, and
    CorruptArtifact where it is not what was written."""
    check_seal(artifacts.cascade)
    fields: dict[str, Any] = json.loads(artifacts.cascade.read_bytes())
    return Cascade(**fields | {"interval": tuple(fields["interval"])})
