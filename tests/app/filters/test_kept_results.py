"""Results are kept within a bound of memory, those asked for last before others."""

from __future__ import annotations

from app.filters.kept_results import KeptResults


def test_what_was_not_asked_for_longest_makes_room() -> None:
    kept = KeptResults(3_000)
    for name in range(3):
        kept.keep(name, str(name), 500)
    assert kept.find(0) == "0"
    kept.keep(3, "3", 500)
    assert [kept.find(name) for name in range(4)] == ["0", None, "2", "3"]


def test_what_is_larger_than_all_the_room_takes_the_place_of_nothing_but_what_had_its_name() -> None:
    kept = KeptResults(3_000)
    kept.keep("a", 1, 1_000)
    kept.keep("b", 2, 1_000)
    kept.keep("b", 3, 3_000)
    assert (kept.find("a"), kept.find("b")) == (1, None)
    kept.keep("b", 4, 1_000)
    assert (kept.find("a"), kept.find("b")) == (1, 4)
