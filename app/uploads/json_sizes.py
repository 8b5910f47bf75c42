"""How long Arrow values will be as JSON, at least, before one of them is decoded.

A few bytes of dictionaries, runs and overlapping views may stand for terabytes, the more so the deeper they are nested.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from app.uploads import nested
from app.uploads.encodings import cell_bytes, is_byte_view, is_bytes, is_text, run_of_each_row
from app.uploads.expected_columns import PAYLOAD_BYTES

_ENOUGH = 2**31  # what is longer is refused anyway; sums of so many stay within 64 bits
_MANY = 2 * PAYLOAD_BYTES
_QUOTES, _BRACKET, _COMMA, _NULL, _LEAST = 2, 1, 1, 4, 1
_NAME = 4  # what surrounds a member's name: quotes, a colon, and a comma or bracket


def least_json_bytes(array: pa.Array) -> np.ndarray:
    """The fewest bytes that each cell (n,) int64 takes as JSON."""
    sizes: np.ndarray = np.minimum(_sizes(array), _ENOUGH)
    if pa.types.is_dictionary(array.type) or pa.types.is_run_end_encoded(array.type):
        return sizes
    return np.asarray(np.where(nested.valid(array), sizes, _NULL))


def _sizes(array: pa.Array) -> np.ndarray:
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return _sizes(array.storage)
    if pa.types.is_dictionary(type_):
        return _at(least_json_bytes(array.dictionary), array.indices)
    if pa.types.is_run_end_encoded(type_):
        runs: np.ndarray = least_json_bytes(array.values)[run_of_each_row(array)]
        return runs
    if pa.types.is_struct(type_):
        names = sum(len(field.name) + _NAME for field in type_)
        members = [least_json_bytes(array.field(place)) for place in range(type_.num_fields)]
        return np.asarray(sum(members, np.full(len(array), names, np.int64)))
    if pa.types.is_map(type_):
        return _list_sizes(nested.entries(array), _member_bytes)
    if nested.is_list(type_):
        return _list_sizes(array, least_json_bytes)
    if is_text(type_) or is_bytes(type_) or is_byte_view(type_):
        return cell_bytes(array) + _QUOTES
    return np.full(len(array), _LEAST, np.int64)


def _list_sizes(array: pa.Array, measure: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """Elements of overlapping lists are measured once: the sum of those before its end, less those before its start."""
    lengths = nested.lengths(array)
    if (lengths > _MANY).any():  # runs and nulls may be endless and take no bytes; so many are not looked at one by one
        return lengths * (_LEAST + _COMMA)
    if nested.is_view(array.type):
        starts = np.where(lengths > 0, array.offsets.to_numpy().astype(np.int64), 0)
        values = array.values
    else:
        starts = np.cumsum(lengths) - lengths
        values = array.flatten()
    first, last = _span(starts, lengths)
    sums = np.concatenate([[0], np.cumsum(measure(values.slice(first, last - first)) + _COMMA)])
    begin = np.where(lengths > 0, starts - first, 0)
    return np.asarray(_BRACKET + sums[begin + lengths] - sums[begin])


def _member_bytes(pairs: pa.StructArray) -> np.ndarray:
    return np.asarray(least_json_bytes(pairs.field(0)) + least_json_bytes(pairs.field(1)))


def _span(starts: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    """The first place that a list which is not empty takes, and the one after the last."""
    some = lengths > 0
    return (int(starts[some].min()), int((starts + lengths)[some].max())) if some.any() else (0, 0)


def _at(sizes: np.ndarray, places: pa.Array) -> np.ndarray:
    given = nested.valid(places)
    taken = sizes[places.fill_null(0).to_numpy(zero_copy_only=False)] if len(sizes) else np.zeros(len(places), np.int64)
    return np.asarray(np.where(given, taken, _NULL))
