"""Ids that lie in a file beside an index, one for each of its vectors in their order."""

import json
import os
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from app.stores.protocol import WrongPlace

ENDINGS = (".npy", ".json", ".txt")
_MOST_BYTES = 2**31


def read_ids(path: str, descriptor: int) -> pa.StringArray:
    """Whole numbers or strings in NumPy's format, a JSON list of either, or a text of lines. Closes the descriptor."""
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > _MOST_BYTES:
            raise WrongPlace(f"the file of ids {path!r} has more than {_MOST_BYTES >> 30} GiB")
        try:
            return _ids(path, file)
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise WrongPlace(f"the file of ids {path!r} cannot be read: {str(error)[:200]}") from None


def write_ids(path: str, file: BinaryIO, ids: pa.StringArray) -> None:
    """As `read_ids` reads them, in the format that the path's ending says. Ids that were numbers are strings."""
    texts = ids.to_pylist()
    if path.endswith(".npy"):
        np.save(file, np.array(texts, np.str_), allow_pickle=False)
    elif path.endswith(".json"):
        file.write(json.dumps(texts, ensure_ascii=False).encode())
    else:
        file.writelines(f"{text}\n".encode() for text in texts)


def _ids(path: str, file: BinaryIO) -> pa.StringArray:
    if path.endswith(".npy"):
        array = np.load(file, allow_pickle=False)
        if array.ndim != 1 or array.dtype.kind not in "iuU":
            raise ValueError("it holds no list of whole numbers or strings")
        return pa.array(array.astype(np.str_).tolist(), pa.string())
    if path.endswith(".json"):
        values = json.load(file)
        if not isinstance(values, list) or not all(type(value) in (int, str) for value in values):
            raise ValueError("it is no list of whole numbers or strings")
        return pa.array(map(str, values), pa.string(), size=len(values))
    if path.endswith(".txt"):
        text = file.read().decode().removesuffix("\n")
        return pa.array(text.split("\n") if text else [], pa.string())
    raise ValueError(f"its name ends in none of {', '.join(ENDINGS)}")
