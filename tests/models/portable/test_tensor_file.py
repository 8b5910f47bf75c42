"""Arrays are written and read as the safetensors library does, and no file is believed that is not whole."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from models.portable.tensor_file import parse_tensors, tensor_bytes

ARRAYS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "at": np.array([1.5, -2.0]),
    "k": np.array([7]),
    "half": np.array([0.5, 2.0, -1.0], np.float16),
    "flags": np.array([True, False, True]),
    "none": np.empty((0, 4), np.float32),
    "scalar": np.array(3.25, np.float32),
}


def test_the_library_reads_what_is_written_here_and_the_other_way_round() -> None:
    metadata = {"card": '{"a": "ü\\n"}'}
    content = tensor_bytes(ARRAYS, metadata)
    for arrays in (load(content), parse_tensors(content)[1], parse_tensors(save(ARRAYS, metadata))[1]):
        assert arrays.keys() == ARRAYS.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, ARRAYS[name], strict=True)
    assert parse_tensors(content)[0] == parse_tensors(save(ARRAYS, metadata))[0] == metadata
    assert tensor_bytes(dict(reversed(ARRAYS.items())), metadata) == content


def test_arrays_of_either_byte_order_and_any_layout_are_written_as_what_they_hold() -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4).T
    read = parse_tensors(tensor_bytes({"a": array}, {}))[1]["a"]
    np.testing.assert_array_equal(read, array)


def crafted(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 40,
        crafted(b"{"),
        crafted(b"\xff\xfe"),
        crafted([]),
        crafted(b"[" * 100_000),
        crafted({"a": 1}),
        crafted({"__metadata__": {"card": 1}}, b""),
        crafted(entry(dtype="F8_E4M3")),
        crafted(entry(dtype=["F32"])),
        crafted(entry(shape=[3])),
        crafted(entry(shape=[-2])),
        crafted(entry(shape=[True, 2])),
        crafted(entry(shape=[10**30])),
        crafted(entry(data_offsets=[0, 10**30])),
        crafted(entry(data_offsets=[4, 8], shape=[1])),
        crafted(entry(data_offsets=[8, 0])),
        crafted(entry(), b"\0" * 7),
        crafted(entry(), b"\0" * 9),
        crafted({**entry(), "b": entry()["a"]}),
    ],
)
def test_a_file_that_breaks_the_format_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|file|bytes|dtype|shape|cut off|metadata"):
        parse_tensors(content)


@given(st.data())
def test_a_file_with_a_changed_byte_is_read_or_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    content = bytearray(tensor_bytes(ARRAYS, {"card": "{}"}))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    try:
        _, arrays = parse_tensors(bytes(content))
    except ValueError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
