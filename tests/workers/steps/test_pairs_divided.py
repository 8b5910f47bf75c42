"""How many pairs each of several galleries gets."""

import pytest

from workers.steps.embed_pairs import by_largest_remainders


@pytest.mark.parametrize(
    ("total", "sizes", "parts"),
    [
        (10, [1, 1, 1], [1, 1, 1]),
        (100, [300, 300, 300], [34, 33, 33]),
        (7, [500, 300, 200], [4, 2, 1]),
        (3, [1000, 1, 1000], [2, 0, 1]),
        (5, [0, 9], [0, 5]),
    ],
)
def test_pairs_are_divided_as_the_items_are_and_none_is_lost_or_added(
    total: int, sizes: list[int], parts: list[int]
) -> None:
    assert by_largest_remainders(total, sizes) == parts
