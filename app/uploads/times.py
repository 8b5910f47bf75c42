"""Arrow's times as ISO 8601, to the digit: a fraction of a second is written where there is one, without end zeros."""

import numpy as np
import pyarrow as pa

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_SECONDS_A_DAY = 86_400
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, counted from 1970-01-01


def timestamp_texts(array: pa.Array) -> list[str | None]:
    """`2024-05-01T12:00:00`, with a `Z` where the type has a zone, which is UTC then. None for null, and for what is
    outside the years 1 to 9999."""
    unit, suffix = array.type.unit, "" if array.type.tz is None else "Z"
    counts = array.cast(pa.int64())
    texts: list[str | None] = []
    for count in counts.to_pylist():
        seconds, fraction = divmod(count or 0, _PER_SECOND[unit])
        days, rest = divmod(seconds, _SECONDS_A_DAY)
        date = None if count is None else _date(days)
        texts.append(date and f"{date}T{_clock(rest)}{_fraction(fraction, unit)}{suffix}")
    return texts


def date_texts(array: pa.Array) -> list[str | None]:
    """`2024-05-01`. None for null, and for what is outside the years 1 to 9999."""
    if pa.types.is_date64(array.type):  # milliseconds
        days = [None if count is None else count // (1000 * _SECONDS_A_DAY) for count in _counts(array, pa.int64())]
    else:
        days = _counts(array, pa.int32())
    return [None if day is None else _date(day) for day in days]


def clock_texts(array: pa.Array) -> list[str | None]:
    """Times of day: `12:00:00`. None for null."""
    unit = array.type.unit
    counts = _counts(array, pa.int32() if pa.types.is_time32(array.type) else pa.int64())
    return [None if count is None else _time(count, unit) for count in counts]


def duration_text(count: int, unit: str) -> str:
    """A length of time in seconds: `PT1.5S`."""
    seconds, fraction = divmod(abs(count), _PER_SECOND[unit])
    return f"{'-' if count < 0 else ''}PT{seconds}{_fraction(fraction, unit)}S"


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """An interval of calendar units, each with its own sign: `P1M2DT3.5S`."""
    sign = "-" if nanoseconds < 0 else ""
    return f"P{months}M{days}DT{sign}{duration_text(abs(nanoseconds), 'ns').removeprefix('PT')}"


def _counts(array: pa.Array, storage: pa.DataType) -> list[int | None]:
    return list(array.cast(storage).to_pylist())


def _date(days: int) -> str | None:
    return str(np.datetime64(days, "D")) if _FIRST_DAY <= days <= _LAST_DAY else None


def _time(count: int, unit: str) -> str:
    seconds, fraction = divmod(count, _PER_SECOND[unit])
    return f"{_clock(seconds)}{_fraction(fraction, unit)}"


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _fraction(count: int, unit: str) -> str:
    return f".{count:0{_DIGITS[unit]}}".rstrip("0") if count else ""
