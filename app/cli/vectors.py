"""One query vector as a user gives it: numbers, base64url, or a file with either, a JSON list or an npy array."""

import base64
import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.ending import refuse, told_in_one_line

if TYPE_CHECKING:
    import numpy as np

_NPY = b"\x93NUMPY"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_BETWEEN = re.compile(r"[\s,;]+")
_SHOWN_CHARACTERS = 40


def query_body(given: str) -> bytes:
    """The vector as the npy body of a search: one query.

    given: numbers with commas or blanks between them, or base64url of little-endian float32; after an `@`, the file
    that holds it (`@-`: standard input). Ends the command where it cannot be read.
    """
    import numpy as np

    body = io.BytesIO()
    np.save(body, _query(given), allow_pickle=False)
    return body.getvalue()


def fused_query_body(given: str, old: str) -> bytes:
    """The vector and the old model's beside it as the npz body of a search. Both as `query_body` takes one."""
    import numpy as np

    body = io.BytesIO()
    np.savez(body, vector=_query(given)[None], old_vector=_query(old)[None])
    return body.getvalue()


def _query(given: str) -> "np.ndarray":
    """One query: (d,) float64."""
    import numpy as np

    if given.startswith("@"):
        content = _content(given.removeprefix("@"))
        vector = _of_npy(content) if content.startswith(_NPY) else _of_text(content)
    else:
        vector = _of_text(given.encode(errors="surrogateescape"), otherwise=_name_of_a_file(given))
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1 or not len(vector):
        refuse(f"One query is one vector, and this is an array of shape {vector.shape}.")
    return np.asarray(vector, np.float64)


def _content(name: str) -> bytes:
    with told_in_one_line():
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _of_npy(content: bytes) -> "np.ndarray":
    import numpy as np

    try:
        array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        refuse(f"The vector is no array that can be read: {' '.join(str(error).split())}")
    if array.dtype.kind not in "fiu":
        refuse(f"The vector is an array of {array.dtype}, and not of numbers.")
    return array


def _name_of_a_file(given: str) -> str:
    """What to say of an argument that is no vector where it names a file."""
    try:
        is_file = Path(given).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        is_file = False
    ending = Path(given).suffix.lower() in (".npy", ".json", ".txt", ".csv")
    return f" To read the vector from the file {given}, write @{given}." if is_file or ending else ""


def _of_text(content: bytes, otherwise: str = "") -> "np.ndarray":
    """The vector that a text says. otherwise: a sentence on what else the text may have been meant for."""
    import numpy as np

    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        refuse("The vector is neither text nor an npy array.")
    if text.startswith(("[", "{")):
        return _of_json(text)
    try:
        return np.array([_number(number) for number in _BETWEEN.split(text.strip(",; ")) if text])
    except ValueError as error:
        if not _BASE64URL.fullmatch(text):
            reason = str(error)[-_SHOWN_CHARACTERS:]
            refuse(
                f"The vector is neither numbers with commas between them nor base64url of float32: {reason}.{otherwise}"
            )
    digits = text.rstrip("=")
    data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)) if len(digits) % 4 != 1 else b"?"
    if len(data) % 4:
        shown = repr(text[:_SHOWN_CHARACTERS])
        refuse(f"{shown} is no vector: as base64url, it is no whole number of float32 values.{otherwise}")
    return np.frombuffer(data, "<f4")


def _number(text: str) -> float:
    """Raises ValueError, also for what only Python reads as a number: digits of other scripts, and `1_0`."""
    if not text.isascii() or "_" in text:
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)


def _of_json(text: str) -> "np.ndarray":
    import numpy as np

    try:
        value: Any = json.loads(text)
        array = np.array(value["vector"] if isinstance(value, dict) and "vector" in value else value)
    except (ValueError, OverflowError, RecursionError) as error:
        refuse(f"The vector is no JSON list of numbers: {' '.join(str(error).split())}.")
    if array.dtype.kind not in "fiu":
        refuse("The vector is no JSON list of numbers.")
    return array
