"""docs/scale.md says what `python -m benchmarks.scale_plan` works out from the rates as they are."""

import re
from pathlib import Path

from benchmarks.scale_plan import Fleet, UnitRates, WayOn, bytes_held, ways

DOCUMENT = (Path(__file__).parents[1] / "docs" / "scale.md").read_text()
ROWS, DIMENSION, SHARD_ROWS = 10**9, 512, 10**7
FLEET = Fleet(machines=16, cores=16, gpus=8)
NAMES = {
    "pushed into queries (`instant`)": "pushed into queries (instant)",
    "linear map on everything": "affine on everything",
    "FCT on everything": "fct on everything",
    "FCT, 10 % backfilled": "fct, 10% backfilled",
    "FCT, 25 % backfilled": "fct, 25% backfilled",
    "everything re-embedded": "everything re-embedded",
}


def terabytes(count: int) -> str:
    return "0" if count == 0 else f"{count / 1e12:.1f} TB"


def line(way: WayOn) -> list[str]:
    """What the document says of a way on, after the items embedded."""
    gpu_hours = f"{way.gpu_hours:.1f}" if 0 < way.gpu_hours < 10 else f"{way.gpu_hours:.0f}"
    hours = f"{way.hours:.1f}" if 0 < way.hours < 10 else f"{way.hours:.0f}"
    return [terabytes(way.bytes_written), f"{way.core_hours:.0f}", gpu_hours, hours, f"{way.price:.0f}"]


def test_hours_and_money_are_those_that_are_worked_out() -> None:
    known = {way.name: way for way in ways(UnitRates(), FLEET, ROWS, DIMENSION, SHARD_ROWS)}
    table = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", DOCUMENT, re.M)]
    told = {row[0]: row[2:] for row in table if row[0] in NAMES}
    assert told == {name: line(known[computed]) for name, computed in NAMES.items()}


def test_bytes_are_those_that_are_worked_out() -> None:
    items, generation, index, lists, upgrade = bytes_held(ROWS, DIMENSION).values()
    assert f"Items {items / 1e12:.2f} TB; a generation {generation / 1e12:.2f} TB;" in DOCUMENT
    assert f"its index {index / 1e12:.1f} TB" in DOCUMENT
    assert f"a byte a number, {lists / 1e9:.0f} GB" in DOCUMENT
    assert f"two generations and two indexes are there: {upgrade / 1e12:.0f} TB" in DOCUMENT
    assert upgrade == items + 2 * generation + 2 * index


def test_what_is_written_is_the_generation_and_its_index_with_what_searches_look_through() -> None:
    rewritten = next(one for one in ways(UnitRates(), FLEET, ROWS, DIMENSION, SHARD_ROWS) if one.name.startswith("fct"))
    _, generation, index, _, _ = bytes_held(ROWS, DIMENSION).values()
    assert rewritten.bytes_written == generation + index
