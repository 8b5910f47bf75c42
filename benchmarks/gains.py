"""How the gain of both models' queries goes with the crossing's: the relation that `models.proof.expected_gain` uses.

    python -m benchmarks.gains --rows FILE

The file is that of `benchmarks.migrations`. Fitted by maximum likelihood, the fresh queries' own scatter reckoned with;
then from one half of the migrations (every second one of the plan) and tried on the other. Without labels nothing is
learned.

Nearly all are of texts, and what is upgraded may be of any kind. So the spread in use is not that of migrations around
the relation fitted to them, but about how far those of digits and images lie from what texts alone foretell.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.optimize import minimize

from benchmarks.migration_plan import PLAN
from benchmarks.migration_row import CheckedMigration
from benchmarks.migrations import known_rows
from models.arrays import Floats
from models.proof.expected_gain import OVER_MIGRATIONS, GainRelation

KINDS = ("texts", "digits", "images")


@dataclass(frozen=True)
class MeasuredGains:
    """Of migrations (k,): the gains of crossing and fused search, and the standard error of the latter, as shares of
    the old model's errors."""

    crossing: Floats
    fused: Floats
    error: Floats

    @classmethod
    def of(cls, rows: Sequence[CheckedMigration]) -> MeasuredGains:
        def share(row: CheckedMigration, figure: float) -> float:
            return figure / (1 - row.old.measured)

        return cls(
            np.array([share(row, row.gains["crossing"][0]) for row in rows]),
            np.array([share(row, row.gains["fused"][0]) for row in rows]),
            np.array([share(row, row.error_of_gain("fused")) for row in rows]),
        )

    def fitted(self) -> GainRelation:
        """The likeliest relation."""

        def unlikely(values: Floats) -> float:
            relation = _relation(values)
            variance = relation.spread**2 + np.square(self.error)
            off = self.fused - relation.mended(self.crossing)
            return float((np.log(variance) + np.square(off) / variance).sum())

        return _relation(minimize(unlikely, [0.0, 1.0, -2.5], method="Nelder-Mead", options={"maxiter": 10_000}).x)

    def off(self, relation: GainRelation) -> float:
        """The root mean square of what the fused search gained less what the relation foretells."""
        return float(np.sqrt(np.square(self.fused - relation.mended(self.crossing)).mean()))

    @property
    def scatter(self) -> float:
        """The root mean square of the standard errors that the fresh queries leave in what the fused search gained."""
        return float(np.sqrt(np.square(self.error).mean()))

    def told(self, relation: GainRelation) -> str:
        """How far the relation is off, and how much of that chance explains."""
        return (
            f"off by {self.off(relation):.3f} on {len(self.fused)}, whose fresh queries scatter by {self.scatter:.3f}"
        )


def _relation(values: Floats) -> GainRelation:
    return GainRelation(float(values[0]), float(np.exp(values[1])), float(np.exp(values[2])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="the rows that benchmarks.migrations measured")
    known = known_rows(parser.parse_args().rows)
    rows = [known[each.name] for each in PLAN if each.name in known and known[each.name].metric == "cmc@1"]
    console, everything = Console(width=120, highlight=False), MeasuredGains.of(rows)
    console.print(f"fitted to {len(rows)} migrations: {everything.fitted()}; {everything.told(everything.fitted())}")
    console.print(f"in use: {OVER_MIGRATIONS}; {everything.told(OVER_MIGRATIONS)}")
    for half in (0, 1):
        learned, other = MeasuredGains.of(rows[half::2]), MeasuredGains.of(rows[1 - half :: 2])
        console.print(f"from {len(learned.fused)}: {learned.fitted()}; {other.told(learned.fitted())}")
    of_kind = {kind: MeasuredGains.of([row for row in rows if kind_of(row) == kind]) for kind in KINDS}
    texts = of_kind["texts"].fitted()
    console.print(f"from texts: {texts}")
    for kind, gains in of_kind.items():
        console.print(f"  {kind}: {gains.told(texts)}")


def kind_of(row: CheckedMigration) -> str:
    """What a migration's items are."""
    world = row.name.partition(",")[0]
    return world if world in KINDS else "texts"


if __name__ == "__main__":
    main()
