"""Arrow has many encodings of one column: extension types, dictionaries, runs, views. Here they become few.

Nothing is copied that a few bytes could make arbitrarily large: cells that share their bytes go on sharing them, or
are measured first.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.problems import TooLarge
from app.uploads import nested

_UUID_BYTES, _VIEW_BYTES = 16, 16
_UUID_GROUPS = (8, 4, 4, 4, 12)
VIEWED_BYTES = 256 * 2**20
"""The most that the cells of one chunk may take together where views let them share their bytes."""


def is_text(type_: pa.DataType) -> bool:
    """Whether a plain type is one of strings."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def is_bytes(type_: pa.DataType) -> bool:
    """Whether a plain type is one of bytes."""
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_))


def is_byte_view(type_: pa.DataType) -> bool:
    """Whether a type is one of strings or bytes whose cells may share them."""
    return bool(pa.types.is_string_view(type_) or pa.types.is_binary_view(type_))


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of the values in `unwrapped(array)`, an array of `type_`."""
    if isinstance(type_, pa.UuidType):
        return pa.string()
    if isinstance(type_, pa.Bool8Type):
        return pa.bool_()
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    if pa.types.is_string_view(type_):
        return pa.large_string()
    if pa.types.is_binary_view(type_):
        return pa.large_binary()
    return type_


def unwrapped(array: pa.Array) -> pa.Array:
    """The array without extension types, runs, and views of strings.

    A DictionaryArray where entries of any size may be used often, with plain entries; else an array of `plain_type`.
    Raises TooLarge.
    """
    type_ = array.type
    if isinstance(type_, pa.UuidType):
        return _uuid_texts(array.storage)
    if isinstance(type_, pa.Bool8Type):
        return array.storage.cast(pa.bool_())
    if isinstance(type_, pa.BaseExtensionType):
        return unwrapped(array.storage)
    if pa.types.is_dictionary(type_):
        return _picked(array.dictionary, array.indices)
    if pa.types.is_run_end_encoded(type_):
        return _picked(array.values, pa.array(run_of_each_row(array)))
    if is_byte_view(type_):
        return _from_views(array)
    return array


def run_of_each_row(array: pa.RunEndEncodedArray) -> np.ndarray:
    """Which entry of `array.values` each row has: (n,) int64."""
    places = np.arange(array.offset, array.offset + len(array))
    return np.searchsorted(array.run_ends.to_numpy(), places, side="right")


def cell_bytes(array: pa.Array) -> np.ndarray:
    """Bytes of each cell (n,) int64 of an array of strings or bytes, 0 for null, without copying one."""
    if is_byte_view(array.type):
        lengths = _views(array)[:, 0].astype(np.int64)
    elif pa.types.is_fixed_size_binary(array.type):
        lengths = np.full(len(array), array.type.byte_width, np.int64)
    else:
        lengths = pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(nested.valid(array), lengths, 0)


def _picked(values: pa.Array, places: pa.Array) -> pa.Array:
    """Row i is `values[places[i]]`."""
    if is_byte_view(values.type):
        return _from_views(values, places)
    values = unwrapped(values)
    if pa.types.is_dictionary(values.type):
        values, places = values.dictionary, values.indices.take(places)
    return pa.DictionaryArray.from_arrays(places, values) if _may_be_long(values.type) else values.take(places)


def _may_be_long(type_: pa.DataType) -> bool:
    return is_text(type_) or is_bytes(type_) or bool(pa.types.is_nested(type_))


def _views(array: pa.Array) -> np.ndarray:
    """The views (n, 4) int32 of an array of them: a length first, then where the bytes are."""
    views = np.frombuffer(array.buffers()[1] or b"", "<i4", count=4 * (array.offset + len(array)))
    return views.reshape(-1, 4)[array.offset :]


def _from_views(array: pa.Array, places: pa.Array | None = None) -> pa.Array:
    """An array of views, or the rows of it at `places`, in a type whose cells have bytes of their own."""
    if places is not None:
        array = _views_at(array, places)
    if (total := int(cell_bytes(array).sum())) > VIEWED_BYTES:
        raise TooLarge(
            f"{len(array)} rows of a column of type {array.type} take {total} bytes, which share those of the body; "
            f"at most {VIEWED_BYTES} are taken at a time."
        )
    return array.cast(pa.large_string() if pa.types.is_string_view(array.type) else pa.large_binary())


def _views_at(array: pa.Array, places: pa.Array) -> pa.Array:
    """`array.take(places)`, which Arrow does not offer for views: none of their bytes are copied."""
    wanted = places.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    given = nested.valid(places)
    if not len(array):  # every place is null
        return pa.nulls(len(places), array.type)
    views = np.ascontiguousarray(_views(array)[wanted])
    valid = pa.array(nested.valid(array)[wanted] & given).buffers()[1]
    return pa.Array.from_buffers(array.type, len(places), [valid, pa.py_buffer(views), *array.buffers()[2:]])


def _uuid_texts(storage: pa.Array) -> pa.Array:
    """UUIDs as they are usually written: 8-4-4-4-12 hexadecimal digits."""
    texts: list[str | None] = []
    for cell in storage:
        digits = None if cell.as_py() is None else cell.as_py().hex()
        texts.append(digits and "-".join(_groups(digits)))
    return pa.array(texts, pa.string())


def _groups(digits: str) -> list[str]:
    ends = np.cumsum(_UUID_GROUPS).tolist()
    return [digits[end - length : end] for end, length in zip(ends, _UUID_GROUPS, strict=True)]
