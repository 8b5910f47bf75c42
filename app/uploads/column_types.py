"""Which Arrow types a column may come in, and the words for one that it may not."""

from collections.abc import Sequence

import pyarrow as pa

from app.problems import InvalidRows
from app.uploads import nested
from app.uploads.encodings import is_bytes, is_text, plain_type
from app.uploads.expected_columns import Column
from app.uploads.json_values import is_period, without_json_form
from app.uploads.labels import is_labelling
from app.uploads.offences import TOLD
from app.wording import count_of


def check_type(column: Column, field: pa.Field) -> str | None:
    """What is wrong with a raw column's type, or None. Only types that `canonical` takes pass."""
    type_, told = plain_type(field.type), f"is of type {_shown(field.type)}"
    if pa.types.is_null(type_):  # what a column without a value, or without rows, is to some writers
        return None
    if is_period(field):
        return "holds pandas periods; convert them to timestamps or strings"
    if column.kind in ("id", "label", "text") and _is_json(field.type):
        return f"{told}, where a string keeps the quotes of its JSON; send strings, not JSON texts"
    match column.kind:
        case "vector":
            return _check_vector(column, field.type)
        case "id":
            # One item must not be 7 to one writer and "7" to the next.
            return None if is_text(type_) else f"{told}; ids are strings, so write them as text, such as '7' for 7"
        case "label":
            fits = is_text(type_) or is_labelling(type_)
            return None if fits else f"{told}; labels are strings, whole numbers, booleans, dates or times"
        case "payload":
            return _check_payload(type_, told)
        case "relevant":
            return _check_relevant(type_, told)
        case "text":
            return None if is_text(type_) else f"{told}; text is a string"
        case "image":
            return None if is_bytes(type_) else f"{told}; an image is binary: the encoded file's bytes"


def refuse_columns(errors: Sequence[tuple[str, str]]) -> None:
    """Raises InvalidRows where columns are wrong as a whole: `(column, what is wrong)`, the first few told."""
    if errors:
        name, message = errors[0]
        raise InvalidRows(
            f"Column {name[:80]!r} {message}.", errors=[{"column": n[:80], "message": m} for n, m in errors[:TOLD]]
        )


def _is_json(type_: pa.DataType) -> bool:
    """Whether a column's values are JSON texts, by themselves or in a dictionary or runs."""
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _is_json(type_.value_type)
    return isinstance(type_, pa.JsonType)


def _check_payload(type_: pa.DataType, told: str) -> str | None:
    if is_text(type_):
        return None
    if not (pa.types.is_struct(type_) or pa.types.is_map(type_)):
        return f"{told}; a payload is a struct, a map, or a JSON object as a string"
    part = without_json_form(type_)
    return None if part is None else f"holds {part[:200]}, which JSON has not; send a JSON object as a string"


def _check_relevant(type_: pa.DataType, told: str) -> str | None:
    if is_text(type_):
        return None
    if not (nested.is_list(type_) or pa.types.is_struct(type_) or pa.types.is_map(type_)):
        return f"{told}; relevant items are a list of ids, a map or struct from id to grade, or either as a JSON string"
    part = without_json_form(type_)
    return None if part is None else f"holds {part[:200]}, which JSON has not; send it as a JSON string"


def _check_vector(column: Column, raw: pa.DataType) -> str | None:
    wanted = f"send a list of {column.dimension or 'equally many'} numbers"
    type_ = plain_type(raw)
    if isinstance(raw, pa.FixedShapeTensorType) and sum(length > 1 for length in raw.shape) > 1:
        return f"has tensors of shape {list(raw.shape)}; {wanted}"
    if not nested.is_list(type_):
        return f"is of type {_shown(raw)}; {wanted}"
    number = plain_type(type_.value_type)
    if not (pa.types.is_floating(number) or pa.types.is_integer(number) or pa.types.is_decimal(number)):
        return f"is a list of {_shown(type_.value_type)}; {wanted}"
    if column.dimension and pa.types.is_fixed_size_list(type_) and type_.list_size != column.dimension:
        return f"has vectors of {count_of(type_.list_size, 'number')}; {column.dimension} are expected"
    return None


def _shown(type_: pa.DataType) -> str:
    return str(type_)[:200]
