"""Two models at once: the old query on the old vectors and the new query on the crossed ones, fused.

    python -m benchmarks.fused --data DIR [--only NAME] [--pairs 300,1000,4000,chosen1000] [--method ridge]
                               [--seeds 0] [--queries N] [--label-free] [--json FILE]

Every migration of `benchmarks.real_migrations`: a crossing is learned from the pairs as an upgrade learns it, the proof
chooses the weights α from the pairs and the gallery alone, and the fusion that is then served ranks the whole gallery
for test queries that nothing before has seen. Figures are the label at rank 1, in %; differences are paired over the
queries, with 95 % intervals. `rrf` is reciprocal rank fusion (k = 60) of the first 100 of the old search and of the
crossing's; `best α` is the best that could have been chosen had one looked at the test queries, and so is no way to
choose. A part re-embedded is the first in order of expected error. With --label-free the upgrade is shown no label:
crossing and α are then chosen by agreement with the new model's own neighbours among the pairs.

Parts can be run one by one: results accumulate in the JSON file, and the tables show all that it holds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from app.galleries import orders
from benchmarks.crossing import Task, named_labels
from benchmarks.fused_search import HeldOutQueries, Hits
from benchmarks.fused_tables import Result, percent, summary, tables
from benchmarks.real_migrations import migrations
from models.arrays import silent
from models.evaluation.bootstrap import paired_bootstrap
from models.portable import Alphas, Array, Fusion, Moments, as_indexed
from models.proof.crossing import Refittable, prove
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.report import ProofReport
from models.re_embedding.sampling import choose
from models.transformations.selection import Selection, select
from workers.rows.label_cover import show_labels
from workers.rows.pairs import DatasetPairs
from workers.training.held_out_pairs import HeldOutPairs, held_out_fits, learn_from_held_out

PAIRS = "300,1000,4000,chosen300,chosen1000"
SHARES = (0.1, 0.25, 1.0)


@dataclass(frozen=True)
class Learned:
    """What an upgrade knows before anybody searches.

    transformed: (N, d_new) float32 the gallery as the crossing moves it; expected_error: (N,) float32. held_out: the
    pairs as transformed by what had not learned from them.
    """

    selection: Selection
    proof: ProofReport
    fusion: Fusion
    transformed: Array
    expected_error: Array
    held_out: HeldOutPairs


def drawn_pairs(task: Task, pairs: str, seed: int, *, labelled: bool) -> PlacedPairs:
    """So many random pairs, or `chosenN`, as `sample` chooses them; in the gallery where that is learned from."""
    rows = task.learn_from
    weights = None
    if pairs.startswith("chosen"):
        count = int(pairs.removeprefix("chosen"))
        sample = choose([(rows.old, rows.side)], count, metric=task.source.metric, seed=seed)
        places, weights = sample.indices, sample.weights
    else:
        places = np.random.default_rng(seed).permutation(len(rows))[: int(pairs)]
    stored = places if rows is task.gallery else np.full(len(places), -1)
    taken = rows.subset(places)
    return PlacedPairs(taken if labelled else dataclasses.replace(taken, label=None), stored, weights)


def learned(task: Task, drawn: PlacedPairs, method: str, seed: int) -> Learned:
    """Learns and proves as an upgrade does, from the pairs and the gallery; no test query is looked at."""
    gallery = task.gallery if drawn.pairs.label is not None else dataclasses.replace(task.gallery, label=None)
    labels = method == "auto" and gallery.label is not None and show_labels(*named_labels(drawn.pairs, gallery))
    chosen: Any = method
    selection = select(drawn.pairs, task.source, task.target, method=chosen, labels=labels, device="cpu", seed=seed)
    proof = prove(
        ProofGallery(gallery.old, gallery.side, gallery.label),
        drawn,
        Refittable(selection.chosen, selection.refit),
        instant=Refittable(selection.instant, selection.refit_instant),
        source=task.source,
        target=task.target,
        seed=seed,
    )
    if proof.fused is None:
        raise SystemExit(f"{task.name}: too few pairs to measure the fused search")
    h = selection.chosen
    side = gallery.side if h.card.side_dimension else None
    transformed = h.apply(gallery.old, side)
    fusion = Fusion(
        h.card,
        Moments.of(gallery.old, task.source.metric),
        Moments.of(transformed, task.target.metric),
        Alphas(pushed=proof.fused.pushed_alpha, exact=proof.fused.alpha),
    )
    missing = learn_from_held_out(
        dataset_of(drawn),
        h,
        held_out_fits(dataset_of(drawn), h, selection.refit, silent),
        device="cpu",
        progress=silent,
    )
    if missing is None:
        raise SystemExit(f"{task.name}: too few pairs to learn an expected error from")
    expected = missing[0].uncertainty.expected_error(gallery.old, side, transformed)
    return Learned(selection, proof, fusion, transformed, expected, missing[1])


def dataset_of(drawn: PlacedPairs) -> DatasetPairs:
    """The pairs as a step reads them from a dataset: with ids."""
    return DatasetPairs(np.array([f"pair-{row}" for row in range(len(drawn.row))], object), drawn.pairs)


def measured(task: Task, name: str, pairs: str, seed: int, options: argparse.Namespace) -> Result:
    """Learns from one set of pairs, then asks the test queries, once."""
    start = time.perf_counter()
    drawn = drawn_pairs(task, pairs, seed, labelled=not options.label_free)
    known = learned(task, drawn, options.method, seed)
    count = min(options.queries or len(task.queries), len(task.queries))
    search = HeldOutQueries(task, np.random.default_rng(0).permutation(len(task.queries))[:count])
    fusion, h, instant = known.fusion, known.transformed, known.selection.instant
    alone = dataclasses.replace(fusion, alphas=Alphas(pushed=1, exact=1))
    old = search.hits(search.by_old)
    crossing = search.hits(partial(search.by_new, h))
    real = search.hits(partial(search.by_new, task.gallery.new))
    rrf = search.reciprocal_ranks(h)
    fused = search.hits(partial(search.by_both, fusion, h))
    pushed = search.hits(partial(search.by_pushed, fusion, instant))
    alphas, curve = search.curve(h)
    partly = {f"{share:.0%}": partly_real(task, known, share) for share in SHARES}
    backfilled = {share: search.hits(partial(search.by_both, fusion, vectors)) for share, vectors in partly.items()}
    by_new = {share: search.hits(partial(search.by_new, vectors)) for share, vectors in partly.items()}
    return Result(
        migration=name,
        pairs=pairs,
        seed=seed,
        method=f"{options.method}{', no labels' if options.label_free else ''}",
        accepted=known.proof.served_as if known.proof.accepted else "no",
        old=float(old.mean()),
        crossing=float(crossing.mean()),
        pushed_crossing=float(search.hits(partial(search.by_pushed, alone, instant)).mean()),
        re_embedded=float(real.mean()),
        rrf=float(rrf.mean()),
        fused=float(fused.mean()),
        pushed=float(pushed.mean()),
        alpha=fusion.alphas.exact,
        pushed_alpha=fusion.alphas.pushed,
        best=float(curve.max()),
        best_alpha=float(alphas[curve.argmax()]),
        lost=int((old & ~fused).sum()),
        won=int((~old & fused).sum()),
        over_old=difference(fused, old),
        over_crossing=difference(fused, crossing),
        over_rrf=difference(fused, rrf),
        over_re_embedded=difference(fused, real),
        pushed_over_old=difference(pushed, old),
        backfilled={share: float(hits.mean()) for share, hits in backfilled.items()},
        backfilled_over_re_embedded={share: difference(hits, real) for share, hits in backfilled.items()},
        real={share: float(hits.mean()) for share, hits in by_new.items()},
        seconds=time.perf_counter() - start,
    )


def partly_real(task: Task, known: Learned, share: float) -> Array:
    """The crossed gallery (N, d_new) with the share of it re-embedded that is expected to be furthest off."""
    rows = np.arange(len(known.transformed))
    first = orders.most_urgent(rows, orders.by_uncertainty(known.expected_error), round(share * len(rows)))
    return np.where(np.isin(rows, first)[:, None], as_indexed(task.gallery.new, task.target.metric), known.transformed)


def difference(hits: Hits, others: Hits) -> list[float]:
    """Of the means, with its 95 % interval: mean, low, high."""
    return list(dataclasses.astuple(paired_bootstrap(hits, others)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--only", help="a part of the migration's name")
    parser.add_argument("--pairs", default=PAIRS, help="counts, or chosenN")
    parser.add_argument("--method", default="ridge", help="ridge, or auto: what an upgrade would choose")
    parser.add_argument("--label-free", action="store_true", help="shows the upgrade no labels")
    parser.add_argument("--queries", type=int, help="so many of the test queries; all by default")
    parser.add_argument("--seeds", default="0", help="of the draws of pairs")
    parser.add_argument("--json", type=Path, default=Path("fused.json"))
    options = parser.parse_args()
    known = json.loads(options.json.read_text()) if options.json.exists() else {}
    results = {key: Result(**fields) for key, fields in known.items()}
    console = Console(width=260)
    for name, read in migrations(options.data).items():
        if options.only and options.only not in name:
            continue
        task = read()
        for pairs in options.pairs.split(","):
            for seed in map(int, options.seeds.split(",")):
                result = measured(task, name, pairs, seed, options)
                results[result.key] = result
                options.json.write_text(json.dumps({k: dataclasses.asdict(r) for k, r in results.items()}, indent=1))
                console.print(f"{result.key}: {percent(result.fused)}, {result.seconds:.0f} s")
    for table in tables(list(results.values())):
        console.print(table)
    for line in summary(list(results.values())):
        console.print(line)


if __name__ == "__main__":
    main()
