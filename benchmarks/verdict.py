"""Does the verdict hold? Predictions from pairs alone, against what a real test set then measures (CLINC150).

    python -m benchmarks.verdict --data DIR [--seeds 10] [--pairs 4000] [--shares 0.5,0.75,0.9,1.0] [--json FILE]
                                 [--chosen] [--shuffled]

The gallery is the training set, 18,000 items; pairs are drawn from a part of the classes; the crossing is ridge with
side-information. With --chosen the pairs are not random but spread over the gallery; with --shuffled the gallery's
order of writing is lost. The prediction sees the gallery and the pairs, never the 4,500 test queries. A row says how
often the predicted interval of the cross test held the measured figure, and how often the upgrade was accepted.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match
from models.portable import Space, Transformation
from models.proof.crossing import Refittable, prove
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.report import ProofReport
from models.re_embedding.sampling import choose
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs

OLD, NEW = Space("tfidf-svd", 256, "cosine"), Space("minilm", 384, "cosine")


@dataclass(frozen=True)
class Outcome:
    """One draw of classes and pairs: what was predicted, and what was then measured."""

    share: float
    seed: int
    accepted: bool
    predicted: float
    low: float
    high: float
    measured: float
    difference_low: float
    difference_high: float
    losing: int
    losing_uncovered: int
    uncovered: int
    strength: float
    seconds: float
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the predicted interval holds the measured figure."""
        return self.low <= self.measured <= self.high


def read(path: Path) -> Pairs:
    """A CLINC150 file: vectors of both models, side-information, labels."""
    table = pq.read_table(path).combine_chunks()
    vectors = []
    for name in ("old", "new", "side_information"):
        column = table[name].chunk(0)
        vectors.append(np.asarray(column.values, np.float32).reshape(len(table), -1))
    return Pairs(vectors[0], vectors[1], vectors[2], np.array(table["label"].to_pylist(), object))


def one(train: Pairs, test: Pairs, share: float, pairs: int, seed: int, chosen: bool) -> tuple[Outcome, ProofReport]:
    """Draws classes and pairs, learns, predicts, measures."""
    rng = np.random.default_rng(seed)
    assert train.label is not None
    assert test.label is not None
    names = np.unique(train.label.astype(str))
    seen = rng.permutation(names)[: round(len(names) * share)]
    rows, weight = np.flatnonzero(np.isin(train.label.astype(str), seen)), None
    if chosen:
        sample = choose([(train.old[rows], None if train.side is None else train.side[rows])], pairs, seed=seed)
        rows, weight = rows[sample.indices], sample.weights
    else:
        rows = np.sort(rng.choice(rows, pairs, replace=False))
    learned_from = train.subset(rows)
    h = ridge(learned_from, OLD, NEW)
    strength = float(h.card.settings["strength"])

    def refit(part: Pairs) -> Transformation:
        return ridge(part, OLD, NEW, strength=strength)

    start = time.perf_counter()
    report = prove(
        ProofGallery(train.old, train.side, train.label),
        PlacedPairs(learned_from, rows, weight),
        Refittable(h, refit),
        source=OLD,
        target=NEW,
        seed=seed,
    )
    seconds = time.perf_counter() - start
    ranks = ranks_of_first_match(test.new, test.label, h.apply(train.old, train.side), train.label, "cosine")
    result = next(m for m in report.metrics if m.metric == "cmc@1")
    outcome = Outcome(
        share=share,
        seed=seed,
        accepted=report.accepted,
        predicted=result.cross.mean,
        low=result.cross.low,
        high=result.cross.high,
        measured=float(cmc(ranks, 1).mean()),
        difference_low=result.difference.low,
        difference_high=result.difference.high,
        losing=len(report.losing_groups),
        losing_uncovered=sum(not g.covered for g in report.losing_groups),
        uncovered=len(names) - len(seen),
        strength=strength,
        seconds=seconds,
        reason=report.reason,
    )
    return outcome, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds clinc150/")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--shares", default="0.5,0.75,0.9,1.0")
    parser.add_argument("--chosen", action="store_true", help="pairs chosen as GET /galleries/{id}/sample does")
    parser.add_argument("--shuffled", action="store_true", help="the gallery in random order")
    parser.add_argument("--json", type=Path, help="write every draw here")
    options = parser.parse_args()
    train = read(options.data / "clinc150" / "train.parquet")
    test = read(options.data / "clinc150" / "test.parquet")
    if options.shuffled:
        train = train.subset(np.random.default_rng(0).permutation(len(train)))
    assert test.label is not None
    assert train.label is not None
    old = cmc(ranks_of_first_match(test.old, test.label, train.old, train.label, "cosine"), 1).mean()
    console = Console()
    table = Table(title=f"Predicted cross test against the measured one; {options.pairs} pairs; old/old {old:.1%}")
    for name in ("classes", "predicted", "interval", "measured", "error", "holds", "accepted", "difference", "losing"):
        table.add_column(name, justify="right")
    table.add_column("seconds", justify="right")
    outcomes: list[Outcome] = []
    for share in map(float, options.shares.split(",")):
        drawn = []
        for seed in range(options.seeds):
            outcome, _ = one(train, test, share, options.pairs, seed, options.chosen)
            drawn.append(outcome)
            verdict = "accepted" if outcome.accepted else "rejected"
            held = "holds" if outcome.holds else "misses"
            console.print(
                f"{share:.0%} seed {seed}: {outcome.predicted:.1%} ({outcome.low:.1%} to {outcome.high:.1%}) {held}"
                f" {outcome.measured:.1%}; {verdict}; {outcome.losing} losing groups; {outcome.seconds:.1f} s",
                highlight=False,
            )
        mean = {k: float(np.mean([getattr(o, k) for o in drawn])) for k in ("predicted", "low", "high", "measured")}
        error = [o.predicted - o.measured for o in drawn]
        table.add_row(
            f"{share:.0%}",
            f"{mean['predicted']:.1%}",
            f"{mean['low']:.1%} to {mean['high']:.1%}",
            f"{mean['measured']:.1%}",
            f"{100 * np.mean(error):+.1f} ± {100 * np.std(error):.1f}",
            f"{sum(o.holds for o in drawn)}/{len(drawn)}",
            f"{sum(o.accepted for o in drawn)}/{len(drawn)}",
            f"{100 * np.mean([o.difference_low for o in drawn]):+.1f}"
            f" to {100 * np.mean([o.difference_high for o in drawn]):+.1f}",
            f"{np.mean([o.losing for o in drawn]):.0f}",
            f"{np.mean([o.seconds for o in drawn]):.1f}",
        )
        console.print(drawn[0].reason, highlight=False)
        outcomes += drawn
    console.print(table)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(o) | {"holds": o.holds} for o in outcomes], indent=1))


if __name__ == "__main__":
    main()
