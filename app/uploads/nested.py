"""The lists, maps and structs of Arrow, taken apart the same way whichever of their types they are of."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def is_list(type_: pa.DataType) -> bool:
    """Whether a cell is a list of values; a map's cell is a list of entries, and is none."""
    return bool(
        pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_) or is_view(type_)
    )


def is_view(type_: pa.DataType) -> bool:
    """Whether the lists of an array may overlap."""
    return bool(pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_))


def lengths(array: pa.Array) -> np.ndarray:
    """How long each list is: (n,) int64, 0 for null."""
    return np.asarray(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def valid(array: pa.Array) -> np.ndarray:
    """Which cells are there: (n,) bool."""
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool)


def entries(array: pa.MapArray) -> pa.ListArray:
    """A map's cells as lists of structs `key`, `value`."""
    pairs = pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
    start, offsets = array.buffers()[:2]
    return pa.Array.from_buffers(
        pa.list_(pairs.type), len(array), [start, offsets], offset=array.offset, children=[pairs]
    )
