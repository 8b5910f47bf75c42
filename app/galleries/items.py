"""The items of a gallery: what a bulk body of them must look like, and how they are written, read and deleted."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from app.filters import Filter, FilteredRows, has_empty_part
from app.galleries import schemas
from app.galleries.embedded_texts import note_of, text_in
from app.galleries.info import GalleryInfo
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.service import Galleries, require_here
from app.galleries.writing import writing
from app.kept_cells import given_columns
from app.problems import NotFound, Unprocessable
from app.registry.service import Models
from app.storage.lance_table import embedding_model
from app.uploads import Expected, UploadedRows
from app.uploads.offences import TOLD, Offences


class GalleryItems:
    """Items as users give them and read them back. Which generation answers plays no part here: items outlive them."""

    def __init__(self, models: Models, galleries: Galleries, filtered: FilteredRows) -> None:
        self._models = models
        self._galleries = galleries
        self._filtered = filtered

    def expected(self, info: GalleryInfo, model: str) -> Expected:
        """What a bulk body of items stamped with `model` must look like. Raises Unprocessable for a wrong stamp, and
        ItemsElsewhere where items are not put here."""
        require_here(info)
        lineage = [generation.space for generation in info.ancestry(info.active)]
        for space in lineage:
            if space.model == model:
                return Expected.items(space.dimension, info.side_dimension)
        compatible_with = self._models.get(model).compatible_with
        if compatible_with in {space.model for space in lineage}:
            raise Unprocessable.at(
                f"Gallery {info.id!r} keeps vectors of {compatible_with!r}, which queries of {model!r} search as they "
                f"are. Put items with vectors of {compatible_with!r}; to move the gallery to {model!r}, learn a "
                f'crossing: POST /models/{lineage[-1].model}/upgrade with {{"to": "{model}", "strategy": "forward"}}.',
                parameter="model",
                message=f"{model!r} makes queries for this gallery, not items",
            )
        raise Unprocessable.at(
            f"Gallery {info.id!r} is in the space of model {lineage[-1].model!r}; it takes vectors of "
            f"{', '.join(repr(space.model) for space in lineage)}, not of {model!r}. Send model= with the model that "
            f"really made the vectors, or upgrade first: POST /models/{lineage[-1].model}/upgrade.",
            parameter="model",
            message=f"{model!r} is no model of this gallery",
        )

    def put(self, info: GalleryInfo, model: str, rows: UploadedRows) -> tuple[schemas.UpsertedItems, GalleryInfo]:
        """Upserts validated items; durable when it returns. An item that is stored already keeps the values of the
        columns left out, and its vectors of newer models unless its vector of this one changes. Returns what was done,
        and the gallery as it was when it was done.

        info: the gallery as it was when the body began to come. Raises NotFound where it has been deleted since.
        """
        now = self._as_it_is(info)

        def newer() -> list[str]:
            """The models after `model`, with those of the generations that upgrades have made since, and those of none,
            whose vectors were kept for a generation to come."""
            nonlocal now
            now = self._as_it_is(info)
            stored = map(embedding_model, self._galleries.store(now).items.columns())
            of_none = {one for one in stored if one is not None} - {
                generation.space.model for generation in now.generations.values()
            }
            after = {later for number in now.generations for later in _models_after(now, number, model)}
            return sorted(after | of_none)

        dimension = self._models.space(model).dimension
        with writing(self._galleries, now) as store:
            written = store.put(model, dimension, newer, rows.schema, rows.batches)
        done = schemas.UpsertedItems(inserted=written.inserted, updated=written.updated, dropped=written.dropped)
        return done, now

    def change(self, info: GalleryInfo, rows: UploadedRows) -> schemas.ItemsChanged:
        """Gives items that are there the labels and payloads of validated rows, as of `Expected.changes`. Vectors that
        an embedder made here of another text go. Durable when it returns: all of it, or nothing.

        info: the gallery as it was when the body began to come. Raises Unprocessable where the rows change nothing,
        InvalidRows where an id is no item's, and NotFound where the gallery has been deleted since.
        """
        if given_columns(rows.schema).names == ["id"]:
            raise Unprocessable(
                "The body says nothing that is to change. Send `label`, or `payload`, or both, beside each `id`."
            )
        with writing(self._galleries, self._as_it_is(info)) as store:
            changed = store.change(rows.schema, rows.batches, lambda unknown: _refuse_unknown(info.id, unknown, rows))
        return schemas.ItemsChanged(updated=changed.updated, dropped=changed.dropped)

    def re_embed(self, gallery: str, model: str, texts: Mapping[str, str], vectors: np.ndarray, field: str) -> int:
        """Gives items the vectors (n, d) float32 that a model of the gallery made of their texts, by id, in one commit;
        how many there were. An item that is gone, or has another text by now in that field of its payload, is passed
        over. Durable when it returns. Raises NotFound for the gallery."""
        wanted = list(texts.values())

        def same(stored: pa.Table) -> np.ndarray:
            now = [text_in(payload, field) for payload in stored.column("payload").to_pylist()]
            return np.array([one == text for one, text in zip(now, wanted, strict=True)], bool)

        with writing(self._galleries, self._galleries.info(gallery)) as store:
            return store.re_embed(model, list(texts), vectors, [note_of(text, field) for text in wanted], same)

    def _as_it_is(self, info: GalleryInfo) -> GalleryInfo:
        """The gallery now. Raises NotFound where it was deleted since, though another may have its id."""
        now = self._galleries.info(info.id)
        if now.folder != info.folder:
            raise NotFound(
                f"Gallery {info.id!r} was deleted, and registered anew, while the items came. Send them again."
            )
        return now

    def get(self, gallery: str, item: str) -> schemas.Item:
        """Raises NotFound for the gallery and for the item."""
        rows = self._galleries.items(self._galleries.info(gallery)).by_id([item]).to_pylist()
        if not rows:
            raise NotFound(f"Gallery {gallery!r} has no item {item!r}.")
        return _item(rows[0])

    def delete(self, gallery: str, ids: Sequence[str]) -> int:
        """Removes items in one commit. Returns how many of the ids were items. Raises NotFound for the gallery."""
        with writing(self._galleries, self._galleries.info(gallery)) as store:
            return store.items.delete(ids)

    def delete_matching(self, gallery: str, only: Filter) -> int:
        """Removes the items that a filter lets through as of one version, in one commit; how many there were.

        Of an item that is written meanwhile, what is written decides whether it stays. Raises NotFound for the gallery,
        Unprocessable for a filter without a condition, or with an empty one among others, which may let every item
        through unmeant, and Unavailable where the items are written too fast to ever know which are meant.
        """
        if has_empty_part(only.condition):
            raise Unprocessable.at(
                "This filter is empty, or has an empty one among others, which lets every item through. To delete them "
                'all, say {"filter": {"id": {"exists": true}}}.',
                pointer="/filter",
            )
        info = self._galleries.info(gallery)
        with writing(self._galleries, info) as store:

            def matching(version: int) -> np.ndarray:
                rows = self._filtered.rows(info.folder, lambda: store.items, only, version)
                assert rows is not None, "a filter without an empty part looks at some field"
                return rows

            return store.items.delete_rows(matching)


def _refuse_unknown(gallery: str, unknown: np.ndarray, rows: UploadedRows) -> None:
    """Raises InvalidRows where some rows, (n,) bool, have the id of no item."""
    if not unknown.any():
        return
    offences = Offences()
    ids = pa.chunked_array([batch.column("id") for batch in rows.batches()], pa.string())
    for place in np.flatnonzero(unknown)[:TOLD].tolist():
        message = f"is no item of gallery {gallery!r}; PUT /galleries/{gallery}/items stores items"
        offences.add(place, ids[place].as_py(), "id", message)
    offences.raise_if_any()


def _models_after(info: GalleryInfo, number: int, model: str) -> tuple[str, ...]:
    """The models that come after `model` on the way to a generation; none where that does not pass through it."""
    names = [generation.space.model for generation in info.ancestry(number)]
    return tuple(names[names.index(model) + 1 :]) if model in names else ()


def _item(row: dict[str, Any]) -> schemas.Item:
    """A row of the items' table as it is shown to users."""
    embeddings = {
        model: vector
        for name, vector in row.items()
        if (model := embedding_model(name)) is not None and vector is not None
    }
    return schemas.Item(
        id=row["id"],
        label=row["label"],
        payload=None if row["payload"] is None else json.loads(row["payload"]),
        side_information=row.get(SIDE_INFORMATION),
        embeddings=embeddings,
    )
