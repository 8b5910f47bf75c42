"""How items are divided into units."""

from hypothesis import given
from hypothesis import strategies as st

from app.upgrades.transform_units import RowSlice, divided


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 25))
def test_units_hold_every_row_once_in_order_and_all_but_the_last_are_full(sizes: list[int], unit_rows: int) -> None:
    units = divided(list(enumerate(sizes)), unit_rows)
    rows = [(one.fragment, row) for slices in units for one in slices for row in range(one.start, one.start + one.rows)]
    assert rows == [(fragment, row) for fragment, size in enumerate(sizes) for row in range(size)]
    counts = [sum(one.rows for one in slices) for slices in units]
    assert counts[:-1] == [unit_rows] * (len(units) - 1)
    assert all(0 < count <= unit_rows for count in counts)


def test_a_large_fragment_is_divided_and_small_ones_are_put_together() -> None:
    assert divided([(7, 5), (8, 1), (9, 2)], 4) == [
        (RowSlice(7, 0, 4),),
        (RowSlice(7, 4, 1), RowSlice(8, 0, 1), RowSlice(9, 0, 2)),
    ]
