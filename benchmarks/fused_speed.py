"""What a search by both models costs, against the searches by one, on one core.

    python -m benchmarks.fused_speed [--rows 50000] [--dimension 384] [--batch 1]

Three galleries of made vectors: untouched with a crossing that is pushed exactly (`fused` is one query to the old
index, against `instant`), untouched with one that is not (candidates scored by both, against `cascade`), and
transformed (two indexes, against `transformed`). Timed is the whole call behind HTTP: route, index, items read; the
two kinds of search take turns, and each was made once before, so that the items are in memory. Milliseconds are medians
of CPU time over all threads, so that a busy machine does not count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from app.artifacts.cascade import Cascade
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries import generations
from app.keys.access import EVERYTHING
from app.search.routing import AskedRoute
from benchmarks.cascade import GALLERY, laid_out
from models.portable import (
    Affine,
    Alphas,
    Array,
    Card,
    Fusion,
    Moments,
    Space,
    Transformation,
    save_fusion,
    save_transformation,
    unit_rows,
)
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs
from workers.serving.indexing import build_index

K, TIMED, LATENT, TOPICS, PAIRS = 10, 200, 48, 150, 2_000


def made(rows: int, dimension: int, seed: int) -> tuple[Array, Array]:
    """What an old and a new model make of the same items, both noisy: (rows, dimension) each."""
    views = np.random.default_rng(0).standard_normal((2, LATENT, dimension)).astype(np.float32)
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(3).standard_normal((TOPICS, LATENT))
    hidden = (topics[rng.integers(TOPICS, size=rows)] + 0.7 * rng.standard_normal((rows, LATENT))).astype(np.float32)
    old, new = (hidden @ view + 2 * rng.standard_normal((rows, dimension)).astype(np.float32) for view in views)
    return old, new


def crossing(spaces: tuple[Space, Space], *, exactly: bool) -> Transformation:
    """Learned from pairs: orthogonal without an intercept, so that it is pushed exactly; or ridge, which is not."""
    source, target = spaces
    pairs = Pairs(*made(PAIRS, source.dimension, 2))
    if not exactly:
        return ridge(pairs, source, target)
    left, _, right = np.linalg.svd(unit_rows(pairs.new).T @ unit_rows(pairs.old))
    card = Card("orthogonal", source, target, None, PAIRS, {}, {}, "2026-01-01T00:00:00Z")
    return Transformation(card, Affine((left @ right).astype(np.float32), np.zeros(target.dimension, np.float32)))


@contextmanager
def service(
    old: Array, spaces: tuple[Space, Space], *, exactly: bool, transformed: bool = False
) -> Iterator[Crosswalk]:
    """A gallery of the old vectors, with what an upgrade learned on it; `transformed`: switched to what it derived."""
    h = crossing(spaces, exactly=exactly)
    with tempfile.TemporaryDirectory() as folder:
        side = np.zeros((len(old), 1), np.float32)
        crosswalk, artifacts = laid_out(Path(folder), Pairs(old, old, side, None), spaces)
        save_transformation(h, artifacts.chosen)
        save_transformation(h, artifacts.plain)
        moments = Moments.of(old, spaces[0].metric), Moments.of(h.apply(old), spaces[1].metric)
        artifacts.fusion(GALLERY).parent.mkdir()
        save_fusion(Fusion(h.card, *moments, Alphas(0.5, 0.6)), artifacts.fusion(GALLERY))
        if not exactly:
            Cascade(0.99, 100, None, 0.99, (0.98, 1.0), TIMED, len(old)).save(artifacts)
        if transformed:
            derive(crosswalk, artifacts, spaces[1])
        yield crosswalk
        crosswalk.close()


def derive(crosswalk: Crosswalk, artifacts: UpgradeArtifacts, space: Space) -> None:
    """A generation of h(old), that is switched to."""
    with crosswalk.database.session() as session:
        number = generations.build(session, GALLERY, space, artifacts.folder.name)
    info = crosswalk.galleries.info(GALLERY)
    store = crosswalk.galleries.store(info)
    generation, version = store.generation(number, space.dimension), store.items.version
    generation.commit(generation.write_fragment(store.project(crosswalk.galleries.lineage(info, number))))
    with crosswalk.database.session() as session:
        generations.stored(session, GALLERY, number, version)
    built = build_index(crosswalk, crosswalk.galleries.info(GALLERY), number, lambda *_: None)
    with crosswalk.database.session() as session:
        generations.published(session, GALLERY, number, built.version, built.index)
        generations.point(session, GALLERY, number)


def compared(crosswalk: Crosswalk, queries: tuple[Array, Array], batch: int) -> tuple[str, float, float, bool]:
    """The route without old vectors, the milliseconds by it and by `fused`, and whether all of `fused` was exact."""
    q_old, q_new = queries
    exact = []

    def search(part: slice, wanted: AskedRoute | None) -> str:
        resolved = crosswalk.search_resolver.resolve(GALLERY, "new", wanted, EVERYTHING)
        beside = q_old[part] if wanted == "fused" else None
        answer = crosswalk.search.search(resolved, K, q_new[part], None, beside)
        exact.append(answer.exact or wanted is None)
        return answer.route

    parts = [slice(start, start + batch) for start in range(0, len(q_new), batch)]
    for part in parts:  # what one kind of search has read must not be of use to the other alone
        search(part, None)
        search(part, "fused")
    timed = [(seconds(search, part, None), seconds(search, part, "fused")) for part in parts]
    alone, both = (1e3 * statistics.median(taken) for taken in zip(*timed, strict=True))
    return search(parts[0], None), alone, both, all(exact)


def seconds(search: Callable[[slice, AskedRoute | None], str], part: slice, wanted: AskedRoute | None) -> float:
    start = time.process_time()
    search(part, wanted)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="size of the gallery")
    parser.add_argument("--dimension", type=int, default=384, help="of both models")
    parser.add_argument("--batch", type=int, default=1, help="queries in a request")
    options = parser.parse_args()
    spaces = Space("old", options.dimension, "cosine"), Space("new", options.dimension, "cosine")
    old, _ = made(options.rows, options.dimension, 0)
    queries = made(TIMED * options.batch, options.dimension, 1)
    shown = Table("gallery", "by one model", "ms", "fused, ms", "×", "exact")
    with threadpool_limits(1):
        for name, exactly, transformed in (
            ("untouched, pushed exactly", True, False),
            ("untouched, candidates", False, False),
            ("transformed", False, True),
        ):
            with service(old, spaces, exactly=exactly, transformed=transformed) as crosswalk:
                route, alone, both, exact = compared(crosswalk, queries, options.batch)
                shown.add_row(name, route, f"{alone:.2f}", f"{both:.2f}", f"{both / alone:.2f}", str(exact))
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
