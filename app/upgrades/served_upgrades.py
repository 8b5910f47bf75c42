"""Forward upgrades whose crossing may answer, as those see them who answer outside of any gallery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.keys.access import Access
from app.problems import WrongState
from app.upgrades import rows, states
from app.upgrades.request import FORWARD, FUSED
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow


@dataclass(frozen=True)
class ProvedQuality:
    """What was proved of one way to answer: a metric, and the 95 % interval of it where one was worked out."""

    metric: str
    mean: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4f} to {self.high:.4f})"
        return f"{self.metric}={self.mean:.4f}{interval}"


@dataclass(frozen=True)
class ServedUpgrade:
    """An accepted crossing from the model `source` to the model `target`. fused_only: it answers only together with the
    old model's queries. instant, fused: what was proved of queries that are pushed into the old space, alone and fused,
    in the gallery where it is least."""

    id: str
    source: str
    target: str
    galleries: tuple[str, ...]
    fused_only: bool
    instant: ProvedQuality | None
    fused: ProvedQuality | None


def served_upgrade(session: Session, upgrade: str, caller: Access) -> ServedUpgrade:
    """Raises NotFound for one that is not there, or that the caller's key does not see; and WrongState unless it is a
    forward upgrade that was accepted, and not rolled back."""
    row = session.get(UpgradeRow, upgrade)
    if row is None or not caller.sees_upgrade_of(row.galleries):
        raise rows.no_such(upgrade)
    if row.strategy != FORWARD:
        raise WrongState(
            f"Upgrade {row.id} trained a model whose vectors search the old index as they are: nothing is to be pushed."
        )
    if UpgradeState(row.state) not in states.CROSSABLE:
        raise WrongState(
            f"Upgrade {row.id} is {row.state}, and answers queries once it was accepted, and until it is rolled back.",
            state=row.state,
        )
    return ServedUpgrade(
        row.id,
        row.source,
        row.target,
        tuple(row.galleries),
        row.served_as == FUSED,
        _least(row, _instant),
        _least(row, _fused),
    )


def _least(row: UpgradeRow, of: Callable[[dict[str, Any]], dict[str, Any] | None]) -> ProvedQuality | None:
    """The least of what the proofs of all galleries say; None where one of them does not say it."""
    told = [of(proof) for proof in (row.proofs or {}).values()]
    known = [one for one in told if one is not None]
    if not known or len(known) < len(told):
        return None
    least = min(known, key=lambda quality: quality["mean"])
    return ProvedQuality(str(row.request["gate"]["metric"]), least["mean"], least.get("low"), least.get("high"))


def _instant(proof: dict[str, Any]) -> dict[str, Any] | None:
    known: list[dict[str, Any]] = [
        one["quality"] for one in proof.get("advice", []) if one["name"] == "instant" and one.get("quality")
    ]
    return known[0] if known else None


def _fused(proof: dict[str, Any]) -> dict[str, Any] | None:
    """Of the fused search as one query to the old index; the proof's own figure is of candidates scored in full."""
    fused = proof.get("fused") or {}
    pushed = [one["pushed"] for one in fused.get("curve", []) if one["alpha"] == fused.get("pushed_alpha")]
    return {"mean": pushed[0]} if pushed and pushed[0] is not None else None
