"""Wire shapes of the galleries resource."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.galleries.orders import Order
from app.ids import ResourceId
from app.index import AskedKind, Kind
from app.jobs.schemas import Progress
from app.stores.protocol import Snapshot, Switching
from app.validation import wrong


class SideInformation(BaseModel):
    """An auxiliary vector stored with every item, from whatever encoder the user has."""

    model_config = ConfigDict(extra="forbid")

    dimension: Annotated[int, Field(ge=1, le=65_536, examples=[64])]


class IndexChoice(BaseModel):
    """How a gallery is indexed. `auto` is `flat`, which is exact, up to some thousands of items; then a graph (`hnsw`),
    and for millions an inverted file of quantised vectors (`ivf_sq8`) whose finds are scored exactly: where these,
    tuned by measured recall, are measured to be faster than `flat`, new ones by a fourth. In Milvus the number of items
    alone decides. `ivf_rabitq` has a bit for each component where `ivf_sq8` has a byte, for galleries of which even
    those are too many for memory; in Milvus it is `ivf_sq8`."""

    model_config = ConfigDict(extra="forbid")

    kind: AskedKind = "auto"


class IndexTrial(BaseModel):
    """How an approximate index did against comparing with every item, one query at a time on one thread of a worker."""

    kind: Kind
    rows: Annotated[int, Field(description="How many items it held.")]
    recall: Annotated[float, Field(description="What it was tuned to find.")]
    ms: Annotated[float, Field(description="Milliseconds of the processor for a query by this index; the median.")]
    exact_ms: Annotated[float, Field(description="The same, compared with every item.")]


class PublishedIndex(BaseModel):
    """The index of the items as of some version; what was written since is searched exactly beside it."""

    kind: Kind
    recall: Annotated[float, Field(description="Share of the true 10 nearest that it finds, as measured; 1 if exact.")]
    parameters: Annotated[
        dict[str, int], Field(description="How it was built and is searched, by its kind's own names.", examples=[{}])
    ]
    trial: Annotated[
        IndexTrial | None,
        Field(
            description="What the kind was chosen by, for this index or one before it; null where the kind was asked "
            "for, or goes by the number of items alone."
        ),
    ]
    rows: Annotated[int, Field(description="How many items it holds.")]
    bytes: Annotated[
        int | None, Field(description="Its size on disk, vectors included; null where a server keeps the vectors.")
    ]
    created_at: datetime


PlaceName = Annotated[str, Field(min_length=1, max_length=255)]


class StoreChoice(BaseModel):
    """A place in a store of your own, by that store's own names: the items stay there. `table` or `collection` names
    it, whichever word the store uses."""

    model_config = ConfigDict(extra="forbid")

    connection: Annotated[ResourceId, Field(description="A connection that the service's operator configured.")]
    table: PlaceName | None = None
    collection: PlaceName | None = None
    id: Annotated[PlaceName | None, Field(description="Left out: the key, where the store knows it.")] = None
    vector: Annotated[PlaceName | None, Field(description="Left out: the only one, where there is one alone.")] = None
    text: Annotated[PlaceName | None, Field(description="What a model embeds.")] = None
    image: Annotated[PlaceName | None, Field(description="The same, as encoded images.")] = None
    label: PlaceName | None = None
    payload: Annotated[list[PlaceName] | None, Field(max_length=64, description="Further columns or fields.")] = None
    max_writes_per_second: Annotated[
        int | None, Field(ge=1, description="Vectors that an upgrade writes there, at most. Left out: no limit.")
    ] = None

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        if (self.table is None) == (self.collection is None):
            raise wrong("name the place by `table` or by `collection`, and by one of them alone", "table")
        if self.text is not None and self.image is not None:
            raise wrong("items have a `text` or an `image`, not both", "image")
        return self


class StoreAbilities(BaseModel):
    """What a store can do, and so what is guaranteed of an upgrade there."""

    snapshot: Annotated[
        Snapshot, Field(description="What one reading sees: `all` items as of one moment, or each `batch` of them.")
    ]
    switching: Annotated[
        Switching,
        Field(description="`atomic`: readers are switched in one step. `statement`: your application switches them."),
    ]
    conditional_write: Annotated[
        bool, Field(description="Whether a vector is left out whose item has changed since it was read.")
    ]


class StoreState(BaseModel):
    """What the store in which a gallery's items lie says now."""

    rows: int | None = None
    rows_exact: Annotated[
        bool | None,
        Field(description="False where `rows` is the store's own estimate, as counting would read all of a large one."),
    ] = None
    metric: Annotated[str | None, Field(description="By which the store itself ranks, where it says so.")] = None
    abilities: StoreAbilities | None = None
    statement: Annotated[
        str | None,
        Field(description="What your application has to do to read what the gallery points at; null for nothing."),
    ] = None
    unavailable: Annotated[str | None, Field(description="Why the store cannot be asked now, if it cannot.")] = None
    follow_failed: Annotated[
        str | None,
        Field(description="Why the vectors that the gallery points at could not catch up, until they have again."),
    ] = None


class NewGallery(BaseModel):
    """What registers a gallery."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"id": "faq", "model": "tfidf-v1", "side_information": {"dimension": 2}}],
        },
    )

    id: ResourceId
    model: Annotated[ResourceId, Field(description="The model whose vectors the gallery is filled with.")]
    side_information: SideInformation | None = None
    index: IndexChoice = IndexChoice()
    store: Annotated[
        StoreChoice | None, Field(description="Where the items lie, if in a store of your own. Left out: here.")
    ] = None

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.store is not None and self.side_information is not None:
            raise wrong("items in a store of your own have no side-information", "side_information")
        if self.store is not None and self.index != IndexChoice():
            raise wrong("a store of your own has indexes of its own", "index")
        return self


class Gallery(NewGallery):
    """A gallery as it is now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={})

    active_generation: Annotated[int, Field(description="The generation that searches are answered from.")]
    active_model: Annotated[str, Field(description="The model whose space that generation is in.")]
    items: Annotated[
        int | None,
        Field(
            description="How many items there are; null while a store of your own is not asked, and about how many "
            "where its `rows_exact` is false."
        ),
    ]
    published_index: Annotated[
        PublishedIndex | None,
        Field(description="The active generation's index; null until one is published, while every item is looked at."),
    ]
    store_state: Annotated[
        StoreState | None,
        Field(description="What the store of your own says, where this gallery alone is asked for; null otherwise."),
    ]
    created_at: datetime


class GenerationInStore(BaseModel):
    """Vectors that an upgrade writes into a store of your own."""

    target: Annotated[str, Field(description="What they are called there.")]
    caught_up_at: Annotated[
        datetime | None, Field(description="When every item that there was had its vector; null before the first time.")
    ]
    behind: Annotated[
        int, Field(description="Items that differed even then, since they change all the time; the next time has them.")
    ]
    statement: Annotated[str | None, Field(description="What your application has to do once it is switched to.")]
    follow_failed: Annotated[
        str | None, Field(description="Why it was asked to catch up and could not; null once it has again.")
    ] = None


class Followed(BaseModel):
    """Transformed vectors are catching up with the items of a store of your own."""

    progress: Annotated[
        Progress | None,
        Field(
            description="How far it is; `caught_up_at` of GET /galleries/{id}/generations tells when it is done, and "
            "`follow_failed` why it could not be."
        ),
    ]


class Generation(BaseModel):
    """One searchable state of a gallery."""

    number: int
    model: str
    state: Annotated[Literal["building", "ready"], Field(description="Only a ready one can be activated.")]
    active: bool
    parent: Annotated[int | None, Field(description="The generation whose vectors were transformed into this one's.")]
    upgrade: Annotated[str | None, Field(description="The upgrade that made it.")]
    native_items: Annotated[int, Field(description="Items with a vector that this generation's model really made.")]
    transformed_items: Annotated[int, Field(description="Items with a vector transformed from an older model's.")]
    missing_items: Annotated[
        int, Field(description="Items that only newer models have vectors of: kept, but not found in this generation.")
    ]
    created_at: datetime
    ready_at: datetime | None
    retired_at: Annotated[
        datetime | None,
        Field(description="Since when all its items are native, so that the transformation is needed no longer."),
    ]
    in_store: Annotated[
        GenerationInStore | None, Field(description="Where its vectors were written into a store of your own.")
    ] = None


class GenerationList(BaseModel):
    """A gallery's generations, oldest first; there are never more than a few."""

    items: list[Generation]


class Activation(BaseModel):
    """Which generation to point a gallery at."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"generation": 1}]})

    generation: Annotated[int, Field(strict=True, ge=1)]


class Upserted(BaseModel):
    """What a bulk upsert did. The rows are durable, and the next search sees them."""

    inserted: int
    updated: int
    warnings: Annotated[
        list[str],
        Field(description="What looks wrong with the vectors, though they were stored; left out where nothing does."),
    ] = []


class UpsertedItems(Upserted):
    """What a bulk upsert of items did, and which vectors of newer models it made void."""

    dropped: Annotated[
        dict[str, int],
        Field(
            description="By model: vectors that were dropped, since their items' vectors of the model that `model` "
            "names changed, and they were made of what the items were before, or since the service's embedder made "
            "them of a text that is another now; left out where none was. Embed these items anew: "
            "GET /galleries/{id}/backfill lists them. An item put again unchanged keeps them.",
        ),
    ] = {}


class ItemsChanged(BaseModel):
    """What changing items did. It is durable, and the next search sees it."""

    updated: Annotated[int, Field(description="Items that are now as given.")]
    dropped: Annotated[
        dict[str, int],
        Field(
            description="By model: vectors that were dropped, since the service's embedder made them of a text that is "
            "another now; left out where none was. GET /galleries/{id}/backfill lists their items, and route "
            "`reranked` embeds them anew. Vectors that were put stay.",
        ),
    ] = {}


class ItemChange(BaseModel):
    """What of an item becomes another: what is left out stays, and null clears it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"label": "shipping", "payload": {"text": "Where is my parcel?"}}]},
    )

    label: Annotated[str | bool | int | float | None, Field(description="As in PUT.")] = None
    payload: Annotated[dict[str, Any] | None, Field(description="Takes the place of the whole payload, as in PUT.")] = (
        None
    )


class SideInformationStored(BaseModel):
    """What storing side-information later did. It is durable, and the next search sees what follows from it."""

    updated: Annotated[int, Field(description="Items that have it now as given.")]
    items: Annotated[
        int | None, Field(description="How many items there are; null while a store of your own is not asked.")
    ]
    items_without: Annotated[int, Field(description="Those that have no side-information still.")]


class ItemsToDelete(BaseModel):
    """Items to delete, by their ids or by a filter."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["q-3"]}]})

    ids: Annotated[list[str] | None, Field(min_length=1, max_length=100_000)] = None
    filter: dict[str, Any] | None = None


class Deleted(BaseModel):
    """How many of the items were there to be deleted."""

    deleted: int


class Item(BaseModel):
    """One item: what was stored, with the vector of every model that embedded it."""

    id: str
    label: str | None
    payload: dict[str, Any] | None
    side_information: list[float] | None
    embeddings: Annotated[dict[str, list[float]], Field(description="By the id of the model that made it.")]


ItemField = Literal["label", "payload", "side_information"]
"""What a listing may show of items beside their ids."""


class ListedItem(BaseModel):
    """One item of a list, with the fields asked for; one that was not asked for is left out."""

    id: str
    label: str | None = None
    payload: dict[str, Any] | None = None
    side_information: list[float] | None = None
    embedding: Annotated[
        list[float] | None,
        Field(description="The vector that the model named by `vectors` made of it, if there is one."),
    ] = None


class Sample(BaseModel):
    """Which items to embed with the new model, so that the crossing is learned best (k-means over what is stored)."""

    ids: list[str]
    weights: Annotated[list[float], Field(description="The share of the gallery that each item stands for.")]


class BackfillItem(BaseModel):
    """An item that is held transformed."""

    id: str
    label: str | None
    expected_error: Annotated[
        float | None,
        Field(
            description="The squared distance of its vector from the one that the new model would make, as predicted "
            "(of unit vectors under cosine); null where it is unknown."
        ),
    ]


class BackfillPoint(BaseModel):
    """What the metric is predicted to be once so many items are re-embedded."""

    items: Annotated[int, Field(description="Items to re-embed from now on.")]
    share: Annotated[float, Field(description="Of all items, those re-embedded by then, from 0 to 1.")]
    mean: float
    low: Annotated[float, Field(description="Lower end of the 95 % interval.")]
    high: Annotated[float, Field(description="Upper end of the 95 % interval.")]


class Backfill(BaseModel):
    """How far a gallery's backfill is, what to re-embed next, and what that is predicted to be worth."""

    gallery: str
    generation: Annotated[int, Field(description="The active generation, whose transformed vectors are replaced.")]
    model: Annotated[str, Field(description="The one to embed the items with.")]
    items: Annotated[int, Field(description="How many items the generation holds.")]
    native_items: Annotated[int, Field(description="Those whose vector the model really made.")]
    share: Annotated[float, Field(description="native_items / items: how far the backfill is, from 0 to 1.")]
    order: Order
    next: Annotated[list[BackfillItem], Field(description="The most useful to re-embed first.")]
    metric: Annotated[str | None, Field(description="What the curve is of; null where nothing could be predicted.")]
    curve: Annotated[list[BackfillPoint], Field(description="Predicted quality against budget, from now on.")]
    complete: Annotated[bool, Field(description="Nothing is left to re-embed.")]
