"""A log of queries in vectors of both models, learned from by `instant` beside the pairs of items, MiniLM → E5.

    OMP_NUM_THREADS=1 python -m benchmarks.query_pairs --data DIR --cache DIR [--json FILE]

Three sets: CLINC150's sentences asked for by others of its sentences, of which 300 or 3,000 are the log and 1,500
judge (nDCG@10 by intent); its intents asked for by keywords, and docstrings asked for by their summary lines, as in
`benchmarks.asymmetric`, where the log are other queries of the kind. Ridge; E5's queries are embedded with `query: `
and its items with `passage: `. The choice is made by what held-out queries of the log find of held-out pairs, as an
upgrade makes it; the quality is of queries that nothing learned from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.asymmetric_sets import AsymmetricSet, docstring_set, intent_set
from benchmarks.real_migrations import real_vectors
from benchmarks.space_data import minilm_in_float32, packages
from models.arrays import Floats
from models.evaluation.bootstrap import paired_bootstrap
from models.evaluation.judged_metrics import JudgedMetric, Judgements, judged_ranks
from models.portable import Array, Distance, Space, Transformation, as_indexed
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.pairs import Pairs, Refit
from models.transformations.query_pairs import items_and_queries, try_query_pairs

SPACES = Space("minilm", 384, "cosine"), Space("e5", 384, "cosine")
METRIC = JudgedMetric.parsed("ndcg@10")
JUDGING, KEYWORD_FOLDS = 1_500, 5


@dataclass(frozen=True)
class LoggedSet:
    """Pairs of items, a log of queries, and what judges: queries that search the old gallery (n, d), and what answers
    them."""

    name: str
    pairs: Pairs
    log: Pairs
    gallery: Array
    queries: Pairs
    judgements: Judgements


def sets(data: Path, cache: Path) -> Iterator[list[LoggedSet]]:
    """The cases; a list of several is one case, in which queries take turns to judge."""
    for pairs, log in ((300, 300), (300, 3_000), (1_000, 300), (1_000, 3_000)):
        yield [_sentences(data, cache, pairs, log)]
    keywords = intent_set(data, cache, 2_000)
    fold = np.random.default_rng(0).permutation(len(keywords.query_id)) % KEYWORD_FOLDS
    yield [_logged("keywords", keywords, fold != k, fold == k) for k in range(KEYWORD_FOLDS)]
    lines = docstring_set(cache, 1_500, 500, 400)
    fresh = np.isin(np.arange(len(lines.query_id)), lines.fresh)
    yield [_logged("docstrings", lines, ~fresh, fresh)]


def _logged(name: str, given: AsymmetricSet, log: np.ndarray, judging: np.ndarray) -> LoggedSet:
    queries = Pairs(given.old_queries, given.e5_queries["query"])
    rows = np.flatnonzero(judging)
    return LoggedSet(
        name,
        Pairs(given.old[given.paired], given.e5_paired["passage"]),
        queries.subset(np.flatnonzero(log)),
        given.old,
        queries.subset(rows),
        _judgements([np.asarray(given.relevant[row]) for row in rows.tolist()]),
    )


def _sentences(data: Path, cache: Path, pairs: int, log: int) -> LoggedSet:
    train, test = (
        pq.read_table(data / "clinc150" / f"{part}.parquet", columns=["label"]) for part in ("train", "test")
    )
    label, asked = (np.array(part.column("label").to_pylist()) for part in (train, test))
    old, new = minilm_in_float32(data, cache), real_vectors(data)["e5"][0]
    queries = Pairs(old[len(label) :], packages(data, cache)["e5-query"])
    rng = np.random.default_rng(0)
    paired, order = rng.permutation(len(label))[:pairs], rng.permutation(len(asked))
    judging = np.sort(order[-JUDGING:])
    return LoggedSet(
        "sentences",
        Pairs(old[paired], new[paired]),
        queries.subset(order[:log]),
        old[: len(label)],
        queries.subset(judging),
        _judgements([np.flatnonzero(label == asked[row]) for row in judging]),
    )


def _judgements(relevant: list[np.ndarray]) -> Judgements:
    query = np.repeat(np.arange(len(relevant)), [len(rows) for rows in relevant])
    rows = np.concatenate(relevant).astype(np.int64)
    return Judgements(len(relevant), query, rows, np.ones(len(rows)))


def quality(given: LoggedSet, h: Transformation | None) -> Floats:
    """Of every judging query: pushed by `h` into the old gallery, or where that is None of the old queries; (m,)."""
    if h is None:
        return judged_ranks(given.queries.old, given.gallery, "cosine", given.judgements).values(METRIC)
    pushed = h.push(given.queries.new)
    score: Distance = pushed.score
    return judged_ranks(pushed.queries, as_indexed(given.gallery, "cosine"), score, given.judgements).values(METRIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    recipe = Recipe(method_named("ridge"))
    refit = partial(learn, recipe, source=SPACES[0], target=SPACES[1], device=torch.device("cpu"), seed=0)
    table = Table("set", "pairs", "log", "old", "instant", "with the log", "gain", "held-out recall@10", "gain", "kept")
    written = []
    for parts in sets(options.data, options.cache):
        first = parts[0]
        old, without, beside = (
            np.concatenate(values) for values in zip(*(_measured(each, refit) for each in parts), strict=True)
        )
        gain, tried = paired_bootstrap(beside, without, seed=0), try_query_pairs(first.pairs, first.log, refit)
        assert tried is not None
        table.add_row(
            first.name,
            f"{len(first.pairs):,}",
            f"{len(first.log):,}",
            *(f"{100 * values.mean():.1f}" for values in (old, without, beside)),
            f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})",
            f"{100 * tried.without.mean:.1f} → {100 * tried.beside.mean:.1f}",
            f"{100 * tried.gain.mean:+.1f} ({100 * tried.gain.low:+.1f} to {100 * tried.gain.high:+.1f})",
            "yes" if tried.helps else "no",
        )
        written.append({"set": first.name, "pairs": len(first.pairs), "log": len(first.log), "kept": tried.helps})
        Console(width=150).print(table)
    if options.json:
        options.json.write_text(json.dumps(written, indent=1))


def _measured(given: LoggedSet, refit: Refit) -> tuple[Floats, Floats, Floats]:
    both = items_and_queries(given.pairs, given.log)
    return quality(given, None), quality(given, refit(given.pairs)), quality(given, refit(both))


if __name__ == "__main__":
    main()
