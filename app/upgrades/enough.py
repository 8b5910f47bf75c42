"""Whether there is enough to learn a crossing from, as far as that is known at once: items to cross, and pairs."""

from collections.abc import Sequence

import pyarrow as pa
from sqlalchemy.orm import Session

from app.datasets.service import Datasets
from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.problems import Unprocessable
from app.storage.lance_table import Table, embedding_column
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.judged import of_queries_alone

FEWEST_PAIRS = 8
_IDS_AT_ONCE = 1_000
_LOOKS = 10
"""How often items are looked for by their ids: where so many know too few, the step finds out."""


def with_items(galleries: Galleries, session: Session, names: Sequence[str], *, named: bool) -> list[str]:
    """Those of the galleries that hold an item. Raises Unprocessable where none does, or where one that was `named` in
    the request does not. A store of the user's own, which may not answer, is not asked: the step finds out."""
    here = _lying_here(galleries, session, names)
    empty = [info.id for info in here if not galleries.store(info).items.count()]
    if empty and (named or len(empty) == len(names)):
        raise Unprocessable(
            f"Gallery {empty[0]!r} is empty: there is nothing to upgrade. PUT /galleries/{empty[0]}/items first."
        )
    return [name for name in names if name not in empty]


def refuse_too_few_pairs(
    galleries: Galleries,
    datasets: Datasets,
    session: Session,
    source: str,
    request: ForwardUpgrade,
    names: Sequence[str],
) -> None:
    """Raises Unprocessable for a dataset that is sure to have fewer than `FEWEST_PAIRS` rows with a vector of the new
    model and one of the old: their own, or that of the item of the same id in one of the galleries. Where some items
    lie in a store of the user's own, the step finds out."""
    here = _lying_here(galleries, session, names)
    if len(here) < len(names):
        return
    items = [galleries.store(info).items for info in here]
    for field, dataset in (("dataset", request.dataset), ("evaluation", request.evaluation)):
        if dataset is None or (
            field == "evaluation" and of_queries_alone(datasets, dataset, source, request.to, session)
        ):
            continue
        rows = datasets.store(dataset, session).rows
        pairs = _known_pairs(rows, source, request.to, items)
        if pairs is not None and pairs < FEWEST_PAIRS:
            with_new = rows.count(f"`{embedding_column(request.to)}` IS NOT NULL")
            raise Unprocessable.at(
                too_few_pairs(dataset, request.to, with_new, source, pairs, names), pointer=f"/{field}"
            )


def _lying_here(galleries: Galleries, session: Session, names: Sequence[str]) -> list[GalleryInfo]:
    """Those of the galleries whose items lie in no store of the user's own."""
    return [info for name in names if (info := galleries.info(name, session)).elsewhere is None]


def too_few_pairs(dataset: str, target: str, rows: int, source: str, pairs: int, galleries: Sequence[str]) -> str:
    """What is said of a dataset with this many rows of the new model `target`, of which too few are pairs."""
    return (
        f"Dataset {dataset!r} has {rows} rows with a vector of {target!r}; for {pairs} of them a vector of {source!r} "
        f"is known as well (their own, or that of the item of the same id in {', '.join(galleries)}). At least "
        f"{FEWEST_PAIRS} pairs are needed, and some hundreds to do well."
    )


def _known_pairs(rows: Table, source: str, target: str, items: Sequence[Table]) -> int | None:
    """How many pairs there are, counted up to `FEWEST_PAIRS`; None where that would take too long to tell."""
    new, old = (f"`{embedding_column(model)}` IS NOT NULL" for model in (target, source))
    lone = new
    pairs = 0
    if rows.has(embedding_column(source)):
        pairs, lone = rows.count(f"{new} AND {old}"), f"{new} AND NOT {old}"
    for look, batch in enumerate(rows.scan(["id"], where=lone, batch_rows=_IDS_AT_ONCE)):
        if pairs >= FEWEST_PAIRS:
            break
        if look == _LOOKS:
            return None
        pairs += len(_found(batch.column("id").to_pylist(), items))
    return pairs


def _found(ids: Sequence[str], items: Sequence[Table]) -> set[str]:
    """Which of these ids some item has."""
    tables: list[pa.Table] = [table.by_id(ids, ["id"]) for table in items]
    return {one for table in tables for one in table.column("id").to_pylist()}
