"""A gallery, its generations, its index and the store it lies in, as they are answered."""

from datetime import datetime

from app.galleries import schemas
from app.galleries.info import READY, GalleryInfo, GenerationInfo, InStore
from app.galleries.store import Counts
from app.index import Manifest
from app.problems import Problem
from app.stores.protocol import StoreDescription


def gallery(
    info: GalleryInfo,
    items: int | None,
    *,
    index: schemas.PublishedIndex | None = None,
    store_state: schemas.StoreState | None = None,
) -> schemas.Gallery:
    """A gallery. items: how many it has; None where its store was not asked. index: that of the active generation."""
    side = schemas.SideInformation(dimension=info.side_dimension) if info.side_dimension else None
    return schemas.Gallery(
        id=info.id,
        model=info.model,
        side_information=side,
        index=schemas.IndexChoice(**info.index_options),
        active_generation=info.active,
        active_model=info.current.space.model,
        items=items,
        published_index=index,
        store=None if info.store is None else schemas.StoreChoice(**info.store),
        store_state=store_state,
        created_at=info.created_at,
    )


def generation(info: GalleryInfo, of: GenerationInfo, counts: Counts) -> schemas.Generation:
    """A generation of a gallery. counts: of its vectors."""
    return schemas.Generation(
        number=of.number,
        model=of.space.model,
        state="ready" if of.state == READY else "building",
        active=of.number == info.active,
        parent=of.parent,
        upgrade=of.upgrade,
        native_items=counts.native,
        transformed_items=counts.transformed,
        missing_items=counts.missing,
        created_at=of.created_at,
        ready_at=of.ready_at,
        retired_at=of.retired_at,
        in_store=None if of.in_store is None else _in_store(of.in_store),
    )


def published_index(manifest: Manifest, size: int | None) -> schemas.PublishedIndex:
    """An index by its manifest. size: its bytes on disk; None where Milvus has its vectors."""
    return schemas.PublishedIndex(
        kind=manifest.kind,
        recall=manifest.recall,
        parameters=manifest.parameters,
        trial=_trial(manifest),
        rows=manifest.rows,
        bytes=size,
        created_at=datetime.fromisoformat(manifest.created_at),
    )


def store_state(in_store: InStore | None, found: StoreDescription | Problem) -> schemas.StoreState:
    """A store of the user's own by what it says of itself, or by why it says nothing. in_store: what the active
    generation has there."""
    statement, failed = (None, None) if in_store is None else (in_store.statement, in_store.failed)
    if isinstance(found, Problem):
        return schemas.StoreState(unavailable=found.detail, statement=statement, follow_failed=failed)
    return schemas.StoreState(
        rows=found.rows,
        rows_exact=found.rows_exact,
        metric=found.metric,
        abilities=schemas.StoreAbilities(
            snapshot=found.abilities.snapshot,
            switching=found.abilities.switching,
            conditional_write=found.abilities.conditional_write,
        ),
        statement=statement,
        follow_failed=failed,
    )


def _in_store(kept: InStore) -> schemas.GenerationInStore:
    return schemas.GenerationInStore(
        target=kept.target.name,
        caught_up_at=kept.caught_up_at,
        behind=kept.behind,
        statement=kept.statement,
        follow_failed=kept.failed,
    )


def _trial(manifest: Manifest) -> schemas.IndexTrial | None:
    """What a published index's kind was chosen by."""
    if (trial := manifest.trial) is None:
        return None
    return schemas.IndexTrial(
        kind=trial.kind, rows=trial.rows, recall=trial.recall, ms=trial.ms, exact_ms=trial.exact_ms
    )
