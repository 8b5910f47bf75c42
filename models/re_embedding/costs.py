"""What each way on costs: items to re-embed, computing time on this hardware, bytes written, and money.

Unit costs are what nobody here can know: how long the new model takes over an item, and what things are priced at.
Where one is not given, what rests on it is None, and `unknown` names it.
"""

from __future__ import annotations

from dataclasses import dataclass

_BYTES = 4  # of a float32
_ROW = 17  # of a generation's row beside its vector: row id, whether native, expected error
COPIES = 2  # of a rewritten vector: in the generation, and in its index


@dataclass(frozen=True)
class UnitCosts:
    """embedding_seconds and embedding_price: of one item by the new model; compute_price: of an hour; storage_price: of
    10⁹ bytes written. Prices are in one currency, of the user's choice.
    """

    embedding_seconds: float | None = None
    embedding_price: float | None = None
    compute_price: float | None = None
    storage_price: float | None = None


@dataclass(frozen=True)
class ReEmbeddingWork:
    """What a way on does to a gallery; transformed: vectors that h is applied to, rewritten: all that are written."""

    re_embedded: int
    transformed: int
    rewritten: int


@dataclass(frozen=True)
class Cost:
    """compute_seconds: of transforming and embedding; price: of everything. None where a unit cost is `unknown`."""

    items_to_re_embed: int
    bytes_written: int
    compute_seconds: float | None
    price: float | None
    unknown: tuple[str, ...]


def cost_of(work: ReEmbeddingWork, dimension: int, seconds_per_vector: float, units: UnitCosts) -> Cost:
    """dimension: d_new; seconds_per_vector: of applying h, measured on this hardware."""
    written = work.rewritten * COPIES * (_BYTES * dimension) + work.rewritten * _ROW
    written += work.re_embedded * _BYTES * dimension  # kept with the items as well
    embedding = _times(work.re_embedded, units.embedding_seconds)
    seconds = None if embedding is None else work.transformed * seconds_per_vector + embedding
    parts = {
        "embedding_seconds": embedding,
        "embedding_price": _times(work.re_embedded, units.embedding_price),
        "compute_price": None if seconds is None else _times(seconds / 3600, units.compute_price),
        "storage_price": _times(written / 1e9, units.storage_price),
    }
    unknown = tuple(name for name, value in parts.items() if value is None and getattr(units, name) is None)
    prices = [parts["embedding_price"], parts["compute_price"], parts["storage_price"]]
    price = None if any(part is None for part in prices) else sum(part or 0.0 for part in prices)
    return Cost(work.re_embedded, written, seconds, price, unknown)


def _times(amount: float, unit: float | None) -> float | None:
    """Nothing of anything costs nothing, whatever a unit of it may cost."""
    if amount == 0:
        return 0.0
    return None if unit is None else amount * unit
