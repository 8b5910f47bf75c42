"""Chooses the items that a crossing is learned from best, and embeds them with the new model's embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import pyarrow as pa
from sqlalchemy.orm import Session

from app.composition import Crosswalk, compose
from app.galleries.samples import SampleRequest
from app.storage.lance_table import vector_type
from app.upgrades.enough import FEWEST_PAIRS
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import Event
from workers.context import StepContext, StepFailed
from workers.embedders.opening import opened_embedder
from workers.rows.chosen_sample import choose_sample


def run(context: StepContext) -> None:
    """From galleries to pairs in the upgrade's dataset. After a crash, the same items are chosen, and what was embedded
    is not embedded again."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.begin(context.lease.subject, Event.EMBEDDING_STARTED)
    texts = _texts(crosswalk, upgrade, _chosen(context, crosswalk, upgrade))
    ids = list(texts)
    registered = crosswalk.models.get(upgrade.target)
    assert registered.embedder is not None, "the upgrade was refused without one"
    how = crosswalk.embedders.of(registered.embedder, registered.dimension, registered.metric)
    progress = partial(context.progress, total=len(set(texts.values())), step="embed")
    budget = upgrade.forward.budget
    with opened_embedder(
        context.settings, context.database, how, "document", subject=upgrade.id, budget=budget
    ) as embedder:
        done = embedder.embed(list(texts.values()), progress)
    if done.has.sum() < FEWEST_PAIRS:
        raise StepFailed(
            f"The budget was enough to embed {done.has.sum()} items, and at least {FEWEST_PAIRS} pairs are needed, "
            "some hundreds to do well. Start the upgrade anew with a larger budget: what was embedded is kept."
        )
    named = [item for item, has in zip(ids, done.has, strict=True) if has]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(done.vectors[done.has].ravel()), registered.dimension)
    schema = pa.schema({"id": pa.string(), f"embedding.{upgrade.target}": vector_type(registered.dimension)})
    rows = pa.RecordBatch.from_arrays([pa.array(named, pa.string()), vectors.cast(schema.field(1).type)], schema=schema)
    crosswalk.datasets.store(upgrade.asked.dataset).put(schema, lambda: iter([rows]))

    def apply(session: Session) -> None:
        crosswalk.upgrade_steps.advance(session, upgrade.id, Event.PAIRS_EMBEDDED, "train")

    context.finish(apply)


def _chosen(context: StepContext, crosswalk: Crosswalk, upgrade: UpgradeInfo) -> list[tuple[str, list[str]]]:
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


def _texts(crosswalk: Crosswalk, upgrade: UpgradeInfo, chosen: Sequence[tuple[str, list[str]]]) -> dict[str, str]:
    """The texts of the chosen items, by id; items without one are passed over. Raises StepFailed where too few have
    one."""
    field = upgrade.forward.text
    texts: dict[str, str] = {}
    places: list[str] = []
    for gallery, ids in chosen:
        places.append(crosswalk.texts.place(gallery, field))
        found = crosswalk.texts.of(gallery, ids, field)
        texts |= {item: found[item] for item in ids if item in found and item not in texts}
    if len(texts) < FEWEST_PAIRS:
        raise StepFailed(
            f"Of {sum(len(ids) for _, ids in chosen)} items that were chosen, {len(texts)} have a text "
            f"{' or '.join(dict.fromkeys(places))}; at least {FEWEST_PAIRS} are needed."
        )
    return texts
