"""Chooses the items that a crossing is learned from best, and embeds them with the new model's embedder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.composition import Crosswalk, compose
from app.embedders.configured import ModelEmbedder
from app.galleries.samples import SampleRequest
from app.storage.lance_table import vector_type
from app.upgrades.enough import FEWEST_PAIRS
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import Event
from workers.context import StepContext, StepFailed
from workers.embedders.opening import OpenedEmbedder, opened_embedder
from workers.rows.chosen_sample import choose_sample

_IMAGES_AT_ONCE = 256
"""Images that are read, embedded and let go of at a time."""

_Chosen = list[tuple[str, list[str]]]
"""Each gallery with the ids of items of it."""


def run(context: StepContext) -> None:
    """From galleries to pairs in the upgrade's dataset. After a crash, the same items are chosen, and what was embedded
    is not embedded again."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.begin(context.lease.subject, Event.EMBEDDING_STARTED)
    chosen = _chosen(context, crosswalk, upgrade)
    registered = crosswalk.models.get(upgrade.target)
    assert registered.embedder is not None, "the upgrade was refused without one"
    how = crosswalk.embedders.of(registered.embedder, registered.dimension, registered.metric)
    budget = upgrade.forward.budget
    with opened_embedder(
        context.settings, context.database, how, "document", subject=upgrade.id, budget=budget
    ) as embedder:
        made = _embedded(context, crosswalk, upgrade, how, embedder, chosen)
    if len(made) < FEWEST_PAIRS:
        raise StepFailed(
            f"The budget was enough to embed {len(made)} items, and at least {FEWEST_PAIRS} pairs are needed, "
            "some hundreds to do well. Start the upgrade anew with a larger budget: what was embedded is kept."
        )
    values = np.concatenate(list(made.values()))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), registered.dimension)
    schema = pa.schema({"id": pa.string(), f"embedding.{upgrade.target}": vector_type(registered.dimension)})
    ids = pa.array(list(made), pa.string())
    rows = pa.RecordBatch.from_arrays([ids, vectors.cast(schema.field(1).type)], schema=schema)
    crosswalk.datasets.store(upgrade.asked.dataset).put(schema, lambda: iter([rows]))

    def apply(session: Session) -> None:
        crosswalk.upgrade_steps.advance(session, upgrade.id, Event.PAIRS_EMBEDDED, "train")

    context.finish(apply)


def _embedded(
    context: StepContext,
    crosswalk: Crosswalk,
    upgrade: UpgradeInfo,
    how: ModelEmbedder,
    embedder: OpenedEmbedder,
    chosen: _Chosen,
) -> dict[str, NDArray[np.float32]]:
    """The vectors (d,) of the chosen items by id, of as many as the budget allows; items without a text, or without an
    image that can be decoded, are passed over. Raises StepFailed where too few have one."""
    parts = list(_parts(chosen, _IMAGES_AT_ONCE)) if how.reads == "image" else [chosen]
    left = sum(len(ids) for _, ids in chosen)
    seen: set[str] = set()
    begun = 0
    made: dict[str, NDArray[np.float32]] = {}
    for part in parts:
        left -= sum(len(ids) for _, ids in part)
        inputs = embedder.readable(_inputs(crosswalk, upgrade, how, part, seen))
        seen |= inputs.keys()
        if len(seen) + left < FEWEST_PAIRS:
            raise _too_few(crosswalk, upgrade, how, chosen, len(seen))
        different = len(set(inputs.values()))
        before, total = begun, begun + different + left

        def progress(done: int, before: int = before, total: int = total) -> None:
            context.progress(before + done, total, step="embed")

        done = embedder.embed(list(inputs.values()), progress)
        begun += different
        made |= {item: done.vectors[place] for place, item in enumerate(inputs) if done.has[place]}
    return made


def _parts(chosen: _Chosen, items: int) -> Iterator[_Chosen]:
    """The chosen items, so many at a time."""
    for gallery, ids in chosen:
        for start in range(0, len(ids), items):
            yield [(gallery, ids[start : start + items])]


def _chosen(context: StepContext, crosswalk: Crosswalk, upgrade: UpgradeInfo) -> _Chosen:
    """The items chosen of each gallery: those of the first attempt, whatever was written since."""
    if "wanted" not in context.lease.checkpoint:
        wanted = _wanted(crosswalk, upgrade.galleries, upgrade.forward.pairs or 0)
        context.checkpoint({"wanted": [asdict(one) for one in wanted]})
    else:
        wanted = [SampleRequest(**one) for one in context.lease.checkpoint["wanted"]]
    return [
        (one.gallery, (crosswalk.samples.find(one) or choose_sample(crosswalk, one, context.progress)).ids)
        for one in wanted
    ]


def _wanted(crosswalk: Crosswalk, galleries: Sequence[str], pairs: int) -> list[SampleRequest]:
    """The sample of each gallery that has items: of so many pairs the share that its items are of all."""
    items = {name: crosswalk.galleries.items(crosswalk.galleries.info(name)).count() for name in galleries}
    shares = by_largest_remainders(pairs, list(items.values()))
    return [
        crosswalk.samples.wanted(name, share)
        for (name, many), share in zip(items.items(), shares, strict=True)
        if many and share
    ]


def by_largest_remainders(total: int, sizes: Sequence[int]) -> list[int]:
    """A total divided as the sizes are: `total` in all, or all of the sizes where they are less. Each part is its exact
    share rounded down, and what is left goes to those with the largest remainders (Hamilton's method)."""
    whole = sum(sizes)
    if total >= whole:
        return list(sizes)
    parts = [total * size // whole for size in sizes]
    for place in sorted(range(len(sizes)), key=lambda place: -(total * sizes[place] % whole))[: total - sum(parts)]:
        parts[place] += 1
    return parts


def _inputs(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, how: ModelEmbedder, part: _Chosen, seen: set[str]
) -> dict[str, str]:
    """The texts, or images, of items by id, of those that have one and were not seen before."""
    inputs: dict[str, str] = {}
    for gallery, ids in part:
        found = crosswalk.texts.of(gallery, ids, upgrade.forward.text, how.reads)
        inputs |= {item: found[item] for item in ids if item in found and item not in inputs and item not in seen}
    return inputs


def _too_few(crosswalk: Crosswalk, upgrade: UpgradeInfo, how: ModelEmbedder, chosen: _Chosen, found: int) -> StepFailed:
    places = [crosswalk.texts.place(gallery, upgrade.forward.text, how.reads) for gallery, _ in chosen]
    what = "a text" if how.reads == "text" else "an image that can be decoded"
    return StepFailed(
        f"Of {sum(len(ids) for _, ids in chosen)} items that were chosen, {found} have {what} "
        f"{' or '.join(dict.fromkeys(places))}; at least {FEWEST_PAIRS} are needed."
    )
