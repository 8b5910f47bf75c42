"""What a cascade costs: latency against `instant` over the same untouched gallery, on one core.

    python -m benchmarks.cascade [--data DIR] [--method residual_mlp,fct] [--side] [--rows 50000,500000]

A crossing is learned from Tiny ImageNet features (or made ones), a service is laid out with a gallery of its old
vectors (beyond the file's rows: mixtures of two of a class), and the number of candidates is measured as an upgrade
does, on 500 validation queries. Others are then searched one by one: the index alone, and the whole call
behind HTTP (route, index, items read). `first` keeps no transformed row, as for a query that comes before its
candidates were transformed; `ahead` follows one other query, and the end of what that began: `s ahead`, in seconds of
CPU. Whole calls are measured both ways too. Milliseconds are medians of CPU time over all threads, so that a
busy machine does not count; × is against `instant` in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.galleries import generations
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.schemas import NewGallery, SideInformation
from app.keys.access import EVERYTHING
from app.registry.schemas import NewModel
from app.search.reranking import CascadeSource, Reranking
from app.search.routing import AskedRoute
from app.search.service import Search
from app.settings import Settings
from app.storage.lance_table import vector_type
from app.storage.migrate import migrate
from app.upgrades.states import Event
from benchmarks.crossing import tiny_imagenet
from benchmarks.learned_upgrade import start_learned
from models.portable import Array, Space, Transformation, load_transformation, save_transformation
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.pairs import Pairs
from workers.rows.items import whole_gallery
from workers.serving.cascade import CascadeQueries, measure_cascade
from workers.serving.indexing import build_index

GALLERY = "benchmark"
K, MEASURED, WARMING, TIMED, BATCH = 10, 500, 2_000, 100, 8_192
_LOOK_SECONDS = 0.1


def made(rows: int) -> tuple[Pairs, Pairs]:
    """Pairs to learn from and pairs to ask with, of a world in which the crossing is not linear."""
    rng = np.random.default_rng(0)
    centres, first, second = (rng.standard_normal(shape) for shape in ((100, 24), (24, 128), (24, 128)))

    def draw(count: int) -> Pairs:
        label = rng.integers(100, size=count)
        hidden = centres[label] + 0.7 * rng.standard_normal((count, 24))
        old, new = np.maximum(hidden @ first, 0), np.maximum(np.tanh(hidden) @ second * 2, 0)
        side = hidden @ rng.standard_normal((24, 16))
        return Pairs(old.astype(np.float32), new.astype(np.float32), side.astype(np.float32), label)

    return draw(rows), draw(5_000)


def grown(pairs: Pairs, rows: int) -> Pairs:
    """`rows` of them, the missing ones mixed from two of a class."""
    if rows <= len(pairs):
        return pairs.subset(np.arange(rows))
    assert pairs.label is not None
    rng, order = np.random.default_rng(1), np.argsort(pairs.label, kind="stable")
    one = rng.integers(len(order) - 1, size=rows - len(pairs))
    share = rng.uniform(0.2, 0.8, (len(one), 1)).astype(np.float32)

    def mixed(values: Array) -> Array:
        return np.concatenate([values, share * values[order[one]] + (1 - share) * values[order[one + 1]]])

    side = None if pairs.side is None else mixed(pairs.side)
    label = np.concatenate([pairs.label, pairs.label[order[one]]])
    return Pairs(mixed(pairs.old), mixed(pairs.new), side, label)


def laid_out(folder: Path, gallery: Pairs, spaces: tuple[Space, Space]) -> tuple[Crosswalk, UpgradeArtifacts]:
    """A service whose one gallery is in the old space, and the artifacts, empty so far, of an upgrade that was proved
    on it."""
    crosswalk = compose(Settings(data_dir=folder))
    migrate(crosswalk.database)
    for space in spaces:
        crosswalk.models.create(NewModel(id=space.model, dimension=space.dimension, metric=space.metric))
    source, target = spaces
    assert gallery.side is not None
    side = SideInformation(dimension=gallery.side.shape[1])
    crosswalk.galleries.create(NewGallery(id=GALLERY, model=source.model, side_information=side))
    kinds = {"embedding": vector_type(source.dimension), SIDE_INFORMATION: vector_type(side.dimension)}
    schema = pa.schema([pa.field("id", pa.string()), *(pa.field(name, kind) for name, kind in kinds.items())])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(gallery), BATCH):
            part = gallery.subset(np.arange(start, min(start + BATCH, len(gallery))))
            vectors = [
                pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
                for values in (part.old, part.side)
                if values is not None
            ]
            names = pa.array([f"item-{row}" for row in range(start, start + len(part))])
            yield pa.RecordBatch.from_arrays([names, *vectors], schema=schema)

    info = crosswalk.galleries.info(GALLERY)
    crosswalk.galleries.store(info).put(source.model, source.dimension, lambda: (), schema, batches)
    built = build_index(crosswalk, info, 1, lambda *_: None)
    with crosswalk.database.session() as session:
        generations.published(session, GALLERY, 1, built.version, built.index)
    upgrade = start_learned(crosswalk, source, target, GALLERY, rewrite=False)
    with crosswalk.database.session() as session:
        crosswalk.upgrade_steps.advance(session, upgrade, Event.PROVED)
    return crosswalk, UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade)


def learned_once(recipe: Recipe, pairs: Pairs, spaces: tuple[Space, Space], keep: Path | None) -> Transformation:
    """Learned now, or by an earlier run that kept it."""
    source, target = spaces
    if keep is not None and (keep / recipe.name).exists():
        return load_transformation(keep / recipe.name, source=source, target=target)
    h = learn(recipe, pairs, source, target, device=torch.device("cpu"))
    if keep is not None:
        save_transformation(h, keep / recipe.name)
    return h


def milliseconds(queries: Array, call: Callable[[Array], object]) -> float:
    """The median over the queries, one by one."""
    seconds = []
    for query in queries:
        start = time.process_time()
        call(query[None])
        seconds.append(time.process_time() - start)
    return 1e3 * statistics.median(seconds)


def rested(works: Reranking | Search) -> None:
    """Returns once no row is transformed ahead any more."""
    while works.works_ahead:
        time.sleep(_LOOK_SECONDS)


def compared(
    crosswalk: Crosswalk,
    artifacts: UpgradeArtifacts,
    spaces: tuple[Space, Space],
    queries: Array,
    first_cells: tuple[str, ...],
) -> Iterator[str]:
    """The cells of one line of the table, which begins with `first_cells`."""
    source, target = spaces
    info, crossing = crosswalk.galleries.info(GALLERY), open_crossing(artifacts, source, target)
    sample, warming, timed = queries[:MEASURED], queries[MEASURED : MEASURED + WARMING], queries[-TIMED:]
    cascade = measure_cascade(
        whole_gallery(crosswalk, info, 0),
        CascadeQueries(sample, np.full(len(sample), -1)),
        crossing,
        source=source,
        target=target,
        overlap=crosswalk.settings.cascade_overlap,
        limit=crosswalk.settings.cascade_limit,
        scratch=artifacts.folder,
        tick=lambda *_: None,
    )
    cascade.save(artifacts)
    old = CascadeSource(crosswalk.galleries.store(info).items, crosswalk.live.index(info, 1), crossing, target.metric)
    tables = {"first": Reranking(0), "ahead": Reranking(crosswalk.settings.cascade_memory_bytes)}
    began = time.process_time()
    tables["ahead"].search(("ahead",), old, warming[:1], K, cascade.k)
    rested(tables["ahead"])
    ahead = time.process_time() - began

    def whole_search(query: Array, route: AskedRoute | None = None, service: Crosswalk = crosswalk) -> object:
        return service.search.search(
            service.search_resolver.resolve(GALLERY, target.model, route, EVERYTHING), K, query
        )

    whole_search(warming)
    rested(crosswalk.search)

    def instant(query: Array) -> object:
        pushed = crossing.plain.push(query)
        return old.index.search(pushed.queries, K, score_as=pushed.score)

    index = milliseconds(timed, instant)
    yield from (*first_cells, f"{cascade.k} ({cascade.measured:.1%})", f"{cascade.k_for_100}", f"{index:.2f}")
    for name, reranking in tables.items():
        took = milliseconds(timed, lambda q, r=reranking, n=name: r.search((n,), old, q, K, cascade.k))  # type: ignore[misc]
        yield f"{took:.2f} ({took / index:.1f} ×)"
    yield f"{ahead:.1f}"
    whole = milliseconds(timed, lambda query: whole_search(query, "instant"))
    yield f"{whole:.1f}"
    keeps_none = compose(crosswalk.settings.model_copy(update={"cascade_memory_bytes": 0}))
    whole_search(warming, service=keeps_none)
    for service in (keeps_none, crosswalk):
        took = milliseconds(timed, lambda query, s=service: whole_search(query, service=s))  # type: ignore[misc]
        yield f"{took:.1f} ({took / whole:.1f} ×)"
    keeps_none.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds tiny-imagenet-100/; left out, made vectors")
    parser.add_argument("--method", default="residual_mlp,fct", help="one or several, with commas between")
    parser.add_argument("--side", action="store_true", help="the crossing reads side-information")
    parser.add_argument("--rows", default="50000", help="sizes of the gallery")
    parser.add_argument("--pairs", type=int, default=50_000, help="learned from, at most")
    parser.add_argument("--epochs", type=int, default=4, help="of learning: the cost of h does not depend on it")
    parser.add_argument("--keep", type=Path, help="folder where what is learned is kept for the next run")
    options = parser.parse_args()
    if options.data is None:
        pairs, queries = made(50_000)
        spaces = Space("old", 128, "l2"), Space("new", 128, "l2")
    else:
        task = tiny_imagenet(options.data)
        pairs, queries, spaces = task.learn_from, task.queries, (task.source, task.target)
    learned = pairs.subset(np.arange(min(options.pairs, len(pairs))))
    shown = Table("h", "rows", "K (overlap)", "K of 100", "instant", "first", "ahead", "s ahead")
    for column in ("instant, whole", "first, whole", "ahead, whole"):
        shown.add_column(column)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        plain = learned_once(Recipe("ridge"), learned, spaces, options.keep)
        for method in options.method.split(","):
            recipe = Recipe(method_named(method), options.side, {"epochs": options.epochs})
            chosen = learned_once(recipe, learned, spaces, options.keep)
            for rows in map(int, options.rows.split(",")):
                with tempfile.TemporaryDirectory() as folder:
                    crosswalk, artifacts = laid_out(Path(folder), grown(pairs, rows), spaces)
                    save_transformation(chosen, artifacts.chosen)
                    save_transformation(plain, artifacts.plain)
                    line = compared(crosswalk, artifacts, spaces, queries.new, (recipe.name, f"{rows:,}"))
                    shown.add_row(*line)
                    crosswalk.close()
    Console(width=150).print(shown)


if __name__ == "__main__":
    main()
