"""Tunes published indexes for the queries of upgrades. Needs no torch, so that building an index need not load it."""

from __future__ import annotations

import numpy as np

from app.artifacts.cascade import FEW, has_cascade, open_cascade
from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.tuning import Tuning
from app.composition import Crosswalk
from app.galleries.info import GalleryInfo
from app.index import CorruptIndex
from app.upgrades.accepted_crossings import crossable
from models.portable import Array, check_seal


def tune_for_crossings(crosswalk: Crosswalk, info: GalleryInfo, number: int, index: str) -> None:
    """Tunes an index just published for every crossing whose queries search it. Call before it is pointed to."""
    generation = info.generations[number]
    crossings = set() if generation.upgrade is None else {(generation.space.model, generation.upgrade)}
    if number == info.active:
        with crosswalk.database.read() as session:
            crossings |= crossable(session, info)
    for model, upgrade in sorted(crossings):
        if UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade).queries.exists():
            tune_for_queries(crosswalk, info, number, index, upgrade, model)


def tune_for_queries(
    crosswalk: Crosswalk, info: GalleryInfo, number: int, index: str | None, upgrade: str, model: str
) -> Tuning:
    """What an index gives to an upgrade's queries, which `model` made; kept for search where the index is not exact."""
    artifacts = UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade)
    check_seal(artifacts.queries)
    queries: Array = np.load(artifacts.queries)
    if index is None:
        return Tuning.exact(len(queries), FEW)
    try:
        engine = crosswalk.galleries.index_engine
        snapshot = engine.open(crosswalk.galleries.store(info).index_folder(number) / index)
    except CorruptIndex:  # search goes exactly until it is rebuilt, which tunes it
        return Tuning.exact(len(queries), FEW)
    generation, neighbours = info.generations[number], FEW
    score = generation.space.metric
    if generation.upgrade != upgrade:
        pushed = open_crossing(artifacts, generation.space, crosswalk.models.space(model)).plain.push(queries)
        queries, score = pushed.queries, pushed.score
        neighbours = _candidates(artifacts)
    tuned = engine.tune(snapshot, queries, score, min(neighbours, snapshot.block.ranked.count))
    if tuned is None:
        return Tuning.exact(len(queries), neighbours)
    before, after = tuned
    tuning = Tuning(
        snapshot.manifest.kind, before.effort, before.recall, after.effort, after.recall, len(queries), neighbours
    )
    tuning.save(artifacts, index)
    return tuning


def _candidates(artifacts: UpgradeArtifacts) -> int:
    """How many rows a pushed query asks an index for."""
    return open_cascade(artifacts).k if has_cascade(artifacts) else FEW
