import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.index.bitmap import Bitmap

MEMBERS = st.lists(st.booleans(), max_size=40).map(lambda members: np.array(members, bool))
AT = st.lists(st.integers(0, 39), max_size=12).map(lambda positions: np.array(positions, np.int64))


@given(MEMBERS, AT)
def test_a_bitmap_is_a_set_of_positions(members: np.ndarray, at: np.ndarray) -> None:
    bitmap, truth, at = Bitmap.of(members), set(np.flatnonzero(members).tolist()), at[at < len(members)]
    assert (bitmap.size, bitmap.count, set(bitmap.members().tolist())) == (len(members), len(truth), truth)
    assert bitmap.has(at).tolist() == [position in truth for position in at.tolist()]
    for derived, expected in [
        (bitmap.without(at), truth - set(at.tolist())),
        (bitmap.only(at), truth & set(at.tolist())),
    ]:
        assert (derived.size, derived.count) == (bitmap.size, len(expected))
        assert set(derived.members().tolist()) == expected
    assert set(bitmap.members().tolist()) == truth


@given(st.sets(st.integers(0, 4_999), max_size=5), st.lists(st.integers(0, 4_999), max_size=5))
def test_few_members_of_many_are_found_where_they_are(few: set[int], at: list[int]) -> None:
    bitmap = Bitmap.of(np.isin(np.arange(5_000), list(few)))
    assert set(bitmap.members().tolist()) == few
    only = bitmap.only(np.array([*at, *few][:5], np.int64))
    assert set(only.members().tolist()) == few & {*[*at, *few][:5]}
    assert only.count == len(only.members())


@given(MEMBERS, MEMBERS)
def test_a_bitmap_grows_at_its_end(members: np.ndarray, more: np.ndarray) -> None:
    grown, expected = Bitmap.of(members).with_more(more), np.concatenate([members, more])
    assert (grown.size, grown.count) == (len(expected), int(expected.sum()))
    np.testing.assert_array_equal(grown.members(), np.flatnonzero(expected))


@given(MEMBERS)
def test_faiss_selects_what_is_in_the_set(members: np.ndarray) -> None:
    bitmap = Bitmap.of(members)
    selector = bitmap.selector()
    assert [selector.is_member(position) for position in range(bitmap.size)] == members.tolist()
