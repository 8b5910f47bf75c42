"""Does as much evidence as the advice asks for decide? Real migrations, proved from few pairs and then from so many.

    python -m benchmarks.evidence --data DIR [--pairs 300,1000] [--seeds 5] [--gallery 6000] [--json FILE]

CLINC150 and its real models. Pairs are drawn at random from the gallery and the crossing is ridge. Where the gate,
better than the old model, is left open, as many pairs more are drawn as the advice asks for, and the proof is made
again. A row says how often it was then decided, and how often half of what was asked for would have.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.crossing import Task
from benchmarks.real_migrations import REAL, between, real_vectors
from models.portable import Transformation
from models.proof.crossing import Refittable, prove
from models.proof.evidence_needed import Standing
from models.proof.gate import AcceptanceGate
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.report import ProofReport
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs

GATE = AcceptanceGate()


@dataclass(frozen=True)
class Asked:
    """One draw of pairs that left the gate open: the difference then, what was asked for, and what came of it.

    decides: whether it was to decide, or only to tell the difference to within a point. told: how the gate stood then;
    told_by_half: by half as many pairs; None where that is fewer than there were. half_width_then: of the interval.
    """

    migration: str
    pairs: int
    seed: int
    difference: float
    low: float
    high: float
    more: int | None
    decides: bool
    told: Standing | None = None
    told_by_half: Standing | None = None
    difference_then: float | None = None
    half_width_then: float | None = None


def proof_of(task: Task, pairs: int, rows: int, seed: int) -> ProofReport:
    """A proof on `rows` items of the gallery, from so many pairs of it; equal seeds draw equal items."""
    rng = np.random.default_rng(seed)
    gallery = task.gallery.subset(np.sort(rng.permutation(len(task.gallery))[:rows]))
    placed = np.sort(rng.permutation(len(gallery))[:pairs])
    learned_from = gallery.subset(placed)
    h = ridge(learned_from, task.source, task.target)
    strength = float(h.card.settings["strength"])

    def refit(part: Pairs) -> Transformation:
        return ridge(part, task.source, task.target, strength=strength)

    return prove(
        ProofGallery(gallery.old, None, gallery.label),
        PlacedPairs(learned_from, placed),
        Refittable(h, refit),
        source=task.source,
        target=task.target,
        gate=GATE,
        may_fuse=False,
        seed=seed,
    )


def stands(report: ProofReport) -> Standing:
    result = next(one for one in report.metrics if one.metric == GATE.metric)
    return GATE.standing(result.cross, result.difference)


def asked(task: Task, pairs: int, rows: int, seed: int) -> Asked | None:
    """What came of asking for more; None where nothing was left open."""
    report = proof_of(task, pairs, rows, seed)
    needed = report.recommendation.needed
    if needed is None:
        return None
    seen = next(one for one in report.metrics if one.metric == GATE.metric).difference
    first = Asked(task.name, pairs, seed, seen.mean, seen.low, seen.high, needed.more, needed.decides)
    if needed.more is None or pairs + needed.more > rows:
        return first
    whole = proof_of(task, pairs + needed.more, rows, 1000 + seed)
    half = (pairs + needed.more) // 2
    then = next(one for one in whole.metrics if one.metric == GATE.metric).difference
    return replace(
        first,
        told=stands(whole),
        told_by_half=stands(proof_of(task, half, rows, 2000 + seed)) if half >= pairs else None,
        difference_then=then.mean,
        half_width_then=(then.high - then.low) / 2,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds clinc150/")
    parser.add_argument("--pairs", default="300,1000")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--gallery", type=int, default=6000, help="items searched, drawn anew for each seed")
    parser.add_argument("--json", type=Path, help="write every draw that was left open here")
    options = parser.parse_args()
    console, vectors = Console(), real_vectors(options.data)
    table = Table(title=f"Left open, and then decided by as much as was asked for; {options.gallery} items")
    for name in ("migration", "pairs", "left open", "asked for (median)", "decided", "decided by half"):
        table.add_column(name, justify="left" if name == "migration" else "right")
    every: list[Asked] = []
    for old in REAL:
        for new in REAL:
            if old == new:
                continue
            task = between(options.data, vectors, old, new)
            for pairs in map(int, options.pairs.split(",")):
                drawn = [asked(task, pairs, options.gallery, seed) for seed in range(options.seeds)]
                left = [one for one in drawn if one is not None]
                every += left
                for one in left:
                    console.print(one, highlight=False)
                table.add_row(task.name, str(pairs), f"{len(left)}/{len(drawn)}", *_summary(left))
    table.add_row("all", "", str(len(every)), *_summary(every))
    console.print(table)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in every], indent=1))


def _summary(left: list[Asked]) -> tuple[str, str, str]:
    more = [one.more for one in left if one.more is not None]
    told, half = ([s for s in of if s is not None] for of in ([o.told for o in left], [o.told_by_half for o in left]))
    return (
        f"{np.median(more):,.0f}" if more else "–",
        f"{sum(s != 'open' for s in told)}/{len(told)}",
        f"{sum(s != 'open' for s in half)}/{len(half)}",
    )


if __name__ == "__main__":
    main()
