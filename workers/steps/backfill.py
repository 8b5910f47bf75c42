"""Re-embeds transformed items with the new model's embedder, the most useful first, as far as a budget goes."""

from __future__ import annotations

from dataclasses import dataclass

from app.backfills.service import BackfillOrder
from app.composition import Crosswalk, compose
from app.embedders.choice import EmbedderInput
from app.embedders.configured import ModelEmbedder
from app.galleries.schemas import Backfill
from app.galleries.traffic import FoundCounts
from app.problems import NotFound
from workers.context import StepContext, StepFailed
from workers.embedders.opening import OpenedEmbedder, opened_embedder
from workers.serving.re_embedding import ReEmbedded, ReEmbeddedHere, ReEmbeddedInStore

_AT_ONCE = {"text": 2_048, "image": 256}
"""Items that are embedded and stored at a time, by what is embedded of them: images are held whole. The order is worked
out anew for each such part, but in a store of the user's own, where that takes a pass over it."""


def run(context: StepContext) -> None:
    """Part after part: what is stored is not embedded again, so that an attempt goes on where the last one stopped."""
    crosswalk = compose(context.settings, context.database)
    order = crosswalk.backfill_runs.begin(context.lease.subject)
    how = _embedder(crosswalk, order)
    with opened_embedder(
        context.settings, context.database, how, "document", subject=order.id, budget=order.asked.budget
    ) as embedder:
        found = crosswalk.traffic.counts(order.gallery) if order.asked.order == "traffic" else None
        items = _items(crosswalk, order, how.reads)
        outcome = _Backfilling(context, crosswalk, order, embedder, found, how.reads, items).done()
        items.end()
    context.finish(lambda session: crosswalk.backfill_runs.finish(session, order.id, outcome))


def _embedder(crosswalk: Crosswalk, order: BackfillOrder) -> ModelEmbedder:
    generation = crosswalk.galleries.info(order.gallery).generations.get(order.generation)
    if generation is None:
        raise NotFound(f"Gallery {order.gallery!r} has no generation {order.generation} any more.")
    model = crosswalk.models.get(generation.space.model)
    assert model.embedder is not None, "the backfill was refused without one"
    return crosswalk.embedders.of(model.embedder, model.dimension, model.metric)


def _items(crosswalk: Crosswalk, order: BackfillOrder, reads: EmbedderInput) -> ReEmbedded:
    info = crosswalk.galleries.info(order.gallery)
    if info.elsewhere is not None:
        return ReEmbeddedInStore(crosswalk, order.gallery, order.generation, order.asked.text, reads)
    model = info.generations[order.generation].space.model
    return ReEmbeddedHere(crosswalk, order.gallery, model, order.asked.text, reads, _AT_ONCE[reads])


@dataclass(frozen=True)
class _Backfilling:
    """One attempt at a backfill. found: how often items were found as it began, for the order that goes by it."""

    context: StepContext
    crosswalk: Crosswalk
    order: BackfillOrder
    embedder: OpenedEmbedder
    found: FoundCounts | None
    reads: EmbedderInput
    items: ReEmbedded

    def done(self) -> str:
        """Works until the budget is spent or nothing is left; what it came to, in a sentence."""
        self.items.begin()
        without: set[str] = set()
        changed: set[str] = set()
        first: int | None = None
        while True:
            chosen = self._next(len(without) + len(changed))
            first = chosen.native_items if first is None else first
            waiting = [one.id for one in chosen.next if one.id not in without and one.id not in changed]
            if not waiting:
                without &= {one.id for one in chosen.next}  # those that are still there
                return self._told(chosen, len(without), "Nothing more is left to embed")
            embedded = chosen.native_items
            for start in range(0, len(waiting), _AT_ONCE[self.reads]):
                part = waiting[start : start + _AT_ONCE[self.reads]]
                self._require_active(self.crosswalk.galleries.info(self.order.gallery).active)
                read = self.items.texts(part)
                texts = self.embedder.readable({item: read[item] for item in part if item in read})
                without |= set(part) - texts.keys()
                enough, kept = self._embed(texts, embedded - first, chosen.items - first)
                embedded += len(kept)
                if not enough:
                    now = self.crosswalk.backfills.next(self.order.gallery, self.order.asked.order, 1, self.found)
                    return self._told(now, len(without), "The budget is spent")
                changed |= texts.keys() - kept

    def _next(self, passed_over: int) -> Backfill:
        budget = self.order.asked.budget
        rows = self.items.chosen_at_once
        if budget is not None and budget.items is not None:
            rows = min(rows, max(budget.items, _AT_ONCE[self.reads]))
        rows += passed_over
        chosen = self.crosswalk.backfills.next(self.order.gallery, self.order.asked.order, rows, self.found)
        self._require_active(chosen.generation)
        return chosen

    def _require_active(self, generation: int) -> None:
        if generation != self.order.generation:
            raise StepFailed(
                f"Gallery {self.order.gallery!r} was switched to generation {generation} meanwhile. Start a "
                "backfill of that one, if it is to be backfilled."
            )

    def _embed(self, texts: dict[str, str], before: int, total: int) -> tuple[bool, set[str]]:
        """Embeds and stores; whether the budget was enough for all of these, and the items that have their vectors.
        before, total: items that are done, and that there are to do, for what is told of the progress."""
        if not texts:
            return True, set()
        done = self.embedder.embed(
            list(texts.values()),
            lambda many: self.context.progress(min(before + many, total), total, step="embed"),
        )
        embedded = {item: text for (item, text), has in zip(texts.items(), done.has, strict=True) if has}
        kept = self.items.keep(embedded, done.vectors[done.has]) if embedded else set()
        self.embedder.forget([embedded[item] for item in kept])  # the gallery keeps them from now on
        return bool(done.has.all()), kept

    def _told(self, now: Backfill, without: int, why: str) -> str:
        waiting = now.items - now.native_items
        told = f"{why}: {now.native_items:,} of {now.items:,} items have vectors that {now.model!r} made of them"
        what = "text" if self.reads == "text" else "image that can be decoded"
        place = self.crosswalk.texts.place(self.order.gallery, self.order.asked.text, self.reads)
        lacking = f"; {without:,} have no {what} {place}" if without else ""
        return f"{told}, and {waiting:,} are transformed{lacking}."
