"""What a very large gallery takes: bytes, hours and money of each way to a new model, from the rates of one core.

    python -m benchmarks.scale_plan [--rows 1000000000 --dimension 512 --machines 16 --cores 16 --gpus 8 …]

Nothing is measured here. Every rate is an option, whose default was measured at 128 dimensions by a command that its
help names, or is marked as assumed; put in yours. Rates are scaled as the work grows: what moves bytes with the
dimension, a network with its multiplications, an inverted file with the square root of a shard's rows and the
dimension. `docs/scale.md` says what it leaves out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from rich.console import Console
from rich.table import Table

from models.re_embedding.costs import ReEmbeddingWork, UnitCosts, cost_of

MEASURED_DIMENSION = 128
_WIDTH = 2_048  # of FCT's trunk
_ROW_ID_BYTES = 8
_HOUR = 3_600


@dataclass(frozen=True)
class UnitRates:
    """What one core, one GPU and one disk do, at 128 dimensions where that matters, and what they cost an hour.

    Each default's source is in `SOURCES`.
    """

    upsert_rows: float = 74_000
    affine_rows: float = 60_000
    fct_rows: float = 9_700
    index_rows: float = 8_100
    search_seconds: float = 0.00018
    checksum_bytes: float = 2e9
    embed_flop: float = 28e9
    gpu_flops: float = 4e14
    core_price: float = 0.04
    gpu_price: float = 2.5
    storage_price: float = 0.02


SOURCES = {
    "upsert_rows": "rows/s that one client writes in Arrow, 200,000 items over HTTP, measured once",
    "affine_rows": "rows/s a core by a linear map, read, written and sealed; RESULTS.md, benchmarks.streaming: "
    "1,000,000 in 8.3 s on two cores",
    "fct_rows": "rows/s a core through FCT; RESULTS.md, benchmarks.cascade: 441 rows in 45.4 ms more on one core",
    "index_rows": "rows/s a core into a quantised inverted file of a million; RESULTS.md, benchmarks.index_speed: "
    "123 s on one",
    "search_seconds": "core seconds of a query in a million at recall 0.996; RESULTS.md, benchmarks.index_speed: "
    "ivf_sq8",
    "checksum_bytes": "bytes/s of SHA-256 by one core; `openssl speed -bytes 1048576 sha256` on an AMD EPYC",
    "embed_flop": "operations to embed one item; assumed: 110 million parameters, 128 tokens",
    "gpu_flops": "operations/s that a GPU reaches; assumed: 40 % of an H100's in bfloat16",
    "core_price": "price of a core's hour; assumed",
    "gpu_price": "price of a GPU's hour; assumed",
    "storage_price": "price of writing 10⁹ bytes and keeping them a month; assumed",
}


@dataclass(frozen=True)
class Fleet:
    """Machines that share the work, each with so many cores, and GPUs that embed."""

    machines: int
    cores: int
    gpus: int

    @property
    def all_cores(self) -> int:
        return self.machines * self.cores


@dataclass(frozen=True)
class WayOn:
    """One way to a new model, and what it takes. hours: by the wall clock, its parts one after the other."""

    name: str
    embedded: int
    bytes_written: int
    core_hours: float
    gpu_hours: float
    hours: float
    price: float


def fct_multiplications(dimension: int) -> int:
    """Of one row through FCT from `dimension` to as many, without side-information: models/transformations/fct.py."""
    branch = dimension * 2 * dimension + 2 * dimension * 2 * dimension
    return 2 * branch + 4 * dimension * _WIDTH + _WIDTH * _WIDTH + _WIDTH * dimension


def transform_rows(rates: UnitRates, method: str, dimension: int) -> float:
    """Rows/s that a core transforms, reading and writing included."""
    moved = 1 / rates.affine_rows * dimension / MEASURED_DIMENSION
    if method == "affine":
        return 1 / moved
    network = 1 / rates.fct_rows * fct_multiplications(dimension) / fct_multiplications(MEASURED_DIMENSION)
    return 1 / (moved + network)


def index_seconds(rates: UnitRates, rows: int, shard_rows: int, dimension: int) -> float:
    """Core seconds of building inverted files of all rows: each row is compared with 4·√n centroids."""
    growth = math.sqrt(shard_rows / 1e6) * dimension / MEASURED_DIMENSION
    return rows / rates.index_rows * max(1.0, growth)


def query_seconds(rates: UnitRates, rows: int, shard_rows: int, dimension: int) -> float:
    """Core seconds of one query that asks every shard."""
    growth = math.sqrt(shard_rows / 1e6) * dimension / MEASURED_DIMENSION
    return rates.search_seconds * growth * rows / shard_rows


def lists_bytes(rows: int, dimension: int) -> int:
    """What searches of a quantised inverted file look through: a byte a number, and the row's id."""
    return rows * (dimension + _ROW_ID_BYTES)


def bytes_held(rows: int, dimension: int) -> dict[str, int]:
    """What lies on disks, by what it is."""
    items = rows * 4 * dimension
    generation, lists = items + rows * 17, lists_bytes(rows, dimension)
    return {
        "items (vectors as given)": items,
        "a generation (transformed vectors)": generation,
        "its index: vectors, and a byte a number to look through": items + lists,
        "of it, what searches look through": lists,
        "while an upgrade runs: items, two generations, two indexes": items + 2 * generation + 2 * (items + lists),
    }


def ways(rates: UnitRates, fleet: Fleet, rows: int, dimension: int, shard_rows: int) -> Iterator[WayOn]:
    """Every way on, the cheapest in GPUs first."""
    yield _way("pushed into queries (instant)", rates, fleet, rows, dimension, shard_rows, None, 0.0)
    for method in ("affine", "fct"):
        for share in (0.0, 0.1, 0.25):
            name = f"{method}, {share:.0%} backfilled" if share else f"{method} on everything"
            yield _way(name, rates, fleet, rows, dimension, shard_rows, method, share)
    yield _way("everything re-embedded", rates, fleet, rows, dimension, shard_rows, None, 1.0)


def _way(
    name: str,
    rates: UnitRates,
    fleet: Fleet,
    rows: int,
    dimension: int,
    shard_rows: int,
    method: str | None,
    share: float,
) -> WayOn:
    embedded = round(rows * share)
    rewritten = rows if method is not None or share else 0
    transformed = rows if method is not None else 0
    written = cost_of(ReEmbeddingWork(embedded, transformed, rewritten), dimension, 0.0, UnitCosts()).bytes_written
    written += lists_bytes(rewritten, dimension)
    # By one process, before the first unit: every file of the items is compared with its checksum.
    alone = rows * 4 * dimension / rates.checksum_bytes if method is not None else 0.0
    transforming = rows / transform_rows(rates, method, dimension) if method is not None else 0.0
    upserting = embedded / rates.upsert_rows * dimension / MEASURED_DIMENSION
    indexing = index_seconds(rates, rows, shard_rows, dimension) if rewritten else 0.0
    gpu = embedded * rates.embed_flop / rates.gpu_flops
    core_hours = (alone + transforming + upserting + indexing) / _HOUR
    divided = (transforming + indexing) / fleet.all_cores
    hours = (alone + divided + upserting + gpu / fleet.gpus) / _HOUR
    price = core_hours * rates.core_price + gpu / _HOUR * rates.gpu_price + written / 1e9 * rates.storage_price
    return WayOn(name, embedded, written, core_hours, gpu / _HOUR, hours, price)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=10**9)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--shard-rows", type=lambda text: int(float(text)), default=10**7, help="rows of one index")
    parser.add_argument("--machines", type=int, default=16)
    parser.add_argument("--cores", type=int, default=16, help="of one machine")
    parser.add_argument("--gpus", type=int, default=8, help="that embed, in all")
    for rate in fields(UnitRates):
        option = f"--{rate.name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=rate.default, help=f"{SOURCES[rate.name]} [%(default)g]")
    asked = parser.parse_args()
    rates = UnitRates(**{rate.name: getattr(asked, rate.name) for rate in fields(UnitRates)})
    fleet = Fleet(asked.machines, asked.cores, asked.gpus)
    console = Console(width=130)
    console.print(_bytes(asked.rows, asked.dimension, asked.shard_rows))
    console.print(_ways(rates, fleet, asked.rows, asked.dimension, asked.shard_rows))
    seconds = query_seconds(rates, asked.rows, asked.shard_rows, asked.dimension)
    console.print(
        f"one query of all shards: {seconds:.2f} core seconds; {fleet.all_cores / seconds:,.0f} queries/s in all"
    )


def _bytes(rows: int, dimension: int, shard_rows: int) -> Table:
    table = Table("what lies where", "bytes", "of one shard", title=f"{rows:,} × {dimension} float32")
    for name, count in bytes_held(rows, dimension).items():
        table.add_row(name, _size(count), _size(count * shard_rows / rows))
    return table


def _ways(rates: UnitRates, fleet: Fleet, rows: int, dimension: int, shard_rows: int) -> Table:
    title = f"{fleet.machines} machines of {fleet.cores} cores, {fleet.gpus} GPUs, shards of {shard_rows:,} rows"
    columns = ("way on", "items embedded", "bytes written", "core hours", "GPU hours", "hours", "price")
    table = Table(*columns, title=title)
    for one in ways(rates, fleet, rows, dimension, shard_rows):
        table.add_row(
            one.name,
            f"{one.embedded:,}",
            _size(one.bytes_written),
            f"{one.core_hours:,.0f}",
            f"{one.gpu_hours:,.1f}",
            f"{one.hours:,.1f}",
            f"{one.price:,.0f}",
        )
    return table


def _size(count: float) -> str:
    return f"{count / 1e12:,.2f} TB" if count >= 1e12 else f"{count / 1e9:,.2f} GB"


if __name__ == "__main__":
    main()
