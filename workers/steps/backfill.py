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

_AT_ONCE = {"text": 2_048, "image": 256}
"""Items that are chosen, embedded and stored at a time, by what is embedded of them: the order is worked out anew for
each such part, and images are held whole."""


def run(context: StepContext) -> None:
    """Part after part: what is stored is not embedded again, so that an attempt goes on where the last one stopped."""
    crosswalk = compose(context.settings, context.database)
    order = crosswalk.backfill_runs.begin(context.lease.subject)
    how = _embedder(crosswalk, order)
    with opened_embedder(
        context.settings, context.database, how, "document", subject=order.id, budget=order.asked.budget
    ) as embedder:
        found = crosswalk.traffic.counts(order.gallery) if order.asked.order == "traffic" else None
        outcome = _Backfilling(context, crosswalk, order, embedder, found, how.reads).done()
    context.finish(lambda session: crosswalk.backfill_runs.finish(session, order.id, outcome))


def _embedder(crosswalk: Crosswalk, order: BackfillOrder) -> ModelEmbedder:
    generation = crosswalk.galleries.info(order.gallery).generations.get(order.generation)
    if generation is None:
        raise NotFound(f"Gallery {order.gallery!r} has no generation {order.generation} any more.")
    model = crosswalk.models.get(generation.space.model)
    assert model.embedder is not None, "the backfill was refused without one"
    return crosswalk.embedders.of(model.embedder, model.dimension, model.metric)


@dataclass(frozen=True)
class _Backfilling:
    """One attempt at a backfill. found: how often items were found as it began, for the order that goes by it."""

    context: StepContext
    crosswalk: Crosswalk
    order: BackfillOrder
    embedder: OpenedEmbedder
    found: FoundCounts | None
    reads: EmbedderInput

    def done(self) -> str:
        """Works until the budget is spent or nothing is left; what it came to, in a sentence."""
        without: set[str] = set()
        first: int | None = None
        while True:
            passed_over = len(without)
            part = self._next(passed_over)
            first = part.native_items if first is None else first
            texts = self._texts(part, without)
            without |= {one.id for one in part.next} - texts.keys()
            if not texts:
                if len(part.next) < _AT_ONCE[self.reads] + passed_over:
                    return self._told(part, without, "Nothing more is left to embed")
                continue
            if not self._embed(part, first, texts):
                return self._told(self._next(0), without, "The budget is spent")

    def _next(self, passed_over: int) -> Backfill:
        asked, rows = self.order.asked.order, _AT_ONCE[self.reads] + passed_over
        part = self.crosswalk.backfills.next(self.order.gallery, asked, rows, self.found)
        if part.generation != self.order.generation:
            raise StepFailed(
                f"Gallery {self.order.gallery!r} was switched to generation {part.generation} meanwhile. Start a "
                "backfill of that one, if it is to be backfilled."
            )
        return part

    def _texts(self, part: Backfill, without: set[str]) -> dict[str, str]:
        """The texts, or images, of the next items, the most useful first, by id."""
        ids = [one.id for one in part.next if one.id not in without][: _AT_ONCE[self.reads]]
        found = self.crosswalk.texts.of(self.order.gallery, ids, self.order.asked.text, self.reads)
        return self.embedder.readable({item: found[item] for item in ids if item in found})

    def _embed(self, part: Backfill, first: int, texts: dict[str, str]) -> bool:
        """Embeds and stores; whether the budget was enough for all of these."""
        before = part.native_items - first
        total = part.items - first
        done = self.embedder.embed(
            list(texts.values()),
            lambda many: self.context.progress(min(before + many, total), total, step="embed"),
        )
        embedded = {item: text for (item, text), has in zip(texts.items(), done.has, strict=True) if has}
        if embedded:
            self.crosswalk.items.re_embed(
                self.order.gallery, part.model, embedded, done.vectors[done.has], self.order.asked.text
            )
            info = self.crosswalk.galleries.info(self.order.gallery)
            self.crosswalk.retirement.after_put(info, part.model)
            self.embedder.forget(list(embedded.values()))  # the gallery keeps them from now on
        return bool(done.has.all())

    def _told(self, part: Backfill, without: set[str], why: str) -> str:
        waiting = part.items - part.native_items
        told = f"{why}: {part.native_items:,} of {part.items:,} items have vectors that {part.model!r} made of them"
        what = "text" if self.reads == "text" else "image that can be decoded"
        lacking = f"; {len(without):,} have no {what} in the field {self.order.asked.text!r}" if without else ""
        return f"{told}, and {waiting:,} are transformed{lacking}."
