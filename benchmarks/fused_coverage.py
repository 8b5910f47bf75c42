"""Does what a proof says of the search by both models hold? Its intervals against what fresh queries then measure.

    python -m benchmarks.fused_coverage --data DIR [--only NAME] [--pairs 300,1000] [--seeds 0,1,2] [--json FILE]

The six migrations between real models of `benchmarks.real_migrations`; ridge, learned and proved from random pairs and
the gallery as an upgrade does it. What was predicted (figures of `models.proof`, gate: better than the old model) is
compared with the label at rank 1 of all test queries, in points. *held*: how often the 95 % interval held what was
measured. *wrong*: of what the gate would accept, how many were below the old model when measured. The
interval of a difference is one of the search's true difference: the test queries' own scatter comes on top of it.

Parts can be run one by one: results accumulate in the JSON file, and the table shows all that it holds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.crossing import Task
from benchmarks.fused import drawn_pairs
from benchmarks.fused_search import HeldOutQueries
from benchmarks.real_migrations import REAL, migrations
from models.portable import Alphas, Fusion, Moments
from models.proof.crossing import Refittable, prove
from models.proof.inputs import ProofGallery
from models.proof.report import Quantity
from models.transformations.selection import select


@dataclass(frozen=True)
class Predicted:
    """A figure as it was predicted, with the ends of its interval, and as it was then measured."""

    mean: float
    low: float
    high: float
    measured: float

    @classmethod
    def of(cls, predicted: Quantity, measured: float) -> Predicted:
        return cls(predicted.mean, predicted.low, predicted.high, measured)

    @property
    def holds(self) -> bool:
        return self.low <= self.measured <= self.high


@dataclass(frozen=True)
class Checked:
    """One migration from one draw of pairs; differences are to the old model.

    would_pass: whether the gate accepts the fused search, whatever it says of the crossing.
    """

    migration: str
    pairs: str
    seed: int
    alpha: float
    would_pass: bool
    old: Predicted
    fused: Predicted
    fused_difference: Predicted
    crossing: Predicted
    crossing_difference: Predicted

    @property
    def key(self) -> str:
        return f"{self.migration}, {self.pairs} pairs, seed {self.seed}"

    @classmethod
    def from_json(cls, fields: dict[str, object]) -> Checked:
        return cls(**{k: Predicted(**v) if isinstance(v, dict) else v for k, v in fields.items()})  # type: ignore[arg-type]


def checked(task: Task, pairs: str, seed: int) -> Checked:
    """Learns and proves from one draw of pairs, then asks all test queries."""
    drawn, gallery = drawn_pairs(task, pairs, seed, labelled=True), task.gallery
    learned = select(drawn.pairs, task.source, task.target, method="ridge", labels=False, device="cpu", seed=seed)
    proof = prove(
        ProofGallery(gallery.old, gallery.side, gallery.label),
        drawn,
        Refittable(learned.chosen, learned.refit),
        source=task.source,
        target=task.target,
        seed=seed,
    )
    if proof.fused is None:
        raise SystemExit(f"{task.name}: too few pairs to measure the fused search")
    crossed, alpha = learned.chosen.apply(gallery.old, None), proof.fused.alpha
    moments = Moments.of(gallery.old, task.source.metric), Moments.of(crossed, task.target.metric)
    fusion = Fusion(learned.chosen.card, *moments, Alphas(alpha, alpha))
    search = HeldOutQueries(task, np.arange(len(task.queries)))
    old = search.hits(search.by_old).mean()
    crossing = search.hits(partial(search.by_new, crossed)).mean()
    fused = search.hits(partial(search.by_both, fusion, crossed)).mean()
    at_first = next(m for m in proof.metrics if m.metric == proof.fused.metric)
    return Checked(
        task.name,
        pairs,
        seed,
        alpha,
        proof.fused.passes,
        old=Predicted.of(at_first.old_old, float(old)),
        fused=Predicted.of(proof.fused.quality, float(fused)),
        fused_difference=Predicted.of(proof.fused.difference, float(fused - old)),
        crossing=Predicted.of(at_first.cross, float(crossing)),
        crossing_difference=Predicted.of(at_first.difference, float(crossing - old)),
    )


FIGURES: dict[str, Callable[[Checked], Predicted]] = {
    "old": lambda c: c.old,
    "fused": lambda c: c.fused,
    "fused over old": lambda c: c.fused_difference,
    "crossing": lambda c: c.crossing,
    "crossing over old": lambda c: c.crossing_difference,
}


def table(results: list[Checked]) -> Table:
    """A row for every count of pairs and figure."""
    shown = Table(title="Predicted from the pairs, against all test queries; points")
    for column in ("pairs", "figure", "draws", "held", "too low", "too high", "bias", "half width", "passes", "wrong"):
        shown.add_column(column, justify="right")
    for pairs in dict.fromkeys(r.pairs for r in results):
        mine = [r for r in results if r.pairs == pairs]
        passed = [r for r in mine if r.would_pass]
        for name, figure in FIGURES.items():
            found = [figure(r) for r in mine]
            gate = ["", ""]
            if name == "fused over old":
                gate = [str(len(passed)), str(sum(r.fused_difference.measured < 0 for r in passed))]
            shown.add_row(
                pairs,
                name,
                str(len(found)),
                str(sum(f.holds for f in found)),
                str(sum(f.high < f.measured for f in found)),
                str(sum(f.low > f.measured for f in found)),
                f"{100 * np.mean([f.mean - f.measured for f in found]):+.2f}",
                f"{100 * np.mean([(f.high - f.low) / 2 for f in found]):.1f}",
                *gate,
            )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/")
    parser.add_argument("--only", help="a part of the migration's name")
    parser.add_argument("--pairs", default="300,1000", help="counts, or chosenN")
    parser.add_argument("--seeds", default="0,1,2", help="of the draws of pairs")
    parser.add_argument("--json", type=Path, default=Path("fused_coverage.json"))
    options = parser.parse_args()
    known = json.loads(options.json.read_text()) if options.json.exists() else {}
    results = {key: Checked.from_json(fields) for key, fields in known.items()}
    console = Console(width=160)
    for name, read in migrations(options.data).items():
        if set(name.split(" → ")) - set(REAL) or (options.only and options.only not in name):
            continue
        task = read()
        for pairs in options.pairs.split(","):
            for seed in map(int, options.seeds.split(",")):
                result = checked(task, pairs, seed)
                results[result.key] = result
                options.json.write_text(json.dumps({k: asdict(r) for k, r in results.items()}, indent=1))
                d = result.fused_difference
                said = f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
                console.print(f"{result.key}: predicted {said}, measured {100 * d.measured:+.1f}")
    console.print(table(list(results.values())))


if __name__ == "__main__":
    main()
