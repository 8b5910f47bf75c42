"""Judgements of queries as others write them: TREC qrels, the TSV of BEIR, and logs of clicks. One line, one judgement.

A log of clicks says by how often an item was taken how much it answers a query: its grade is the sum of the weights of
its clicks, rounded. Where a query's largest sum is above the largest grade, all of its sums are scaled down to it.
"""

import csv
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from app.problems import InvalidRows, InvalidUpload, TooLarge
from app.uploads.offences import TOLD
from app.uploads.relevant import LARGEST_GRADE, BadRelevant, relevant_of_value

JudgementFormat = Literal["qrels", "beir", "clicks"]
"""`qrels`: `query iteration item grade` with white space between; `beir`: `query-id`, `corpus-id` and `score` with tabs
between, under a heading; `clicks`: `query` and `item`, perhaps `time` and `weight`, with commas or tabs between, under
a heading that names them in any order."""

_BEIR = ["query-id", "corpus-id", "score"]
_CLICKS = ("query", "item", "time", "weight")
_SHOWN = 80
_LONGEST_LINE = 4096

Grades = dict[str, dict[str, float]]
"""By query and item, what was read of it."""


class _BadLine(ValueError):
    """What is wrong with a line."""


def read_judgements(body: Path, format: JudgementFormat, since: datetime | None, most_lines: int) -> pa.Table:
    """The judgements of a file in UTF-8, put together by query: columns `id` and `relevant`, JSON text.

    since: clicks of an earlier time do not count; of any, where it is None. Raises InvalidUpload where the file is not
    of this format at all, TooLarge for more than `most_lines`, and InvalidRows that names the first bad lines, which
    count from 1.
    """
    grades: Grades = {}
    faults: list[tuple[int, str]] = []
    for number, line, take in _lines(body, format, since, grades):
        if number > most_lines:
            raise TooLarge(f"The body has more than {most_lines} lines. Send it in parts, by query.", limit=most_lines)
        try:
            take(line)
        except _BadLine as fault:
            faults.append((number, str(fault)))
            if len(faults) == TOLD:
                break
    _refuse(faults)
    if format == "clicks":
        grades = {query: _rounded(sums) for query, sums in grades.items()}
    return _table(grades)


def _lines(
    body: Path, format: JudgementFormat, since: datetime | None, grades: Grades
) -> Iterator[tuple[int, str, Callable[[str], None]]]:
    """The lines of a file that are not empty, below its heading, with their numbers and what reads them."""
    take: Callable[[str], None] | None = (lambda line: _qrel(line, grades)) if format == "qrels" else None
    try:
        with body.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(_bounded(file), 1):
                if not line.strip():
                    continue
                if take is not None:
                    yield number, line, take
                elif format == "beir":
                    take = _beir(line, grades)
                else:
                    take = _clicks(line, since, grades)
    except UnicodeDecodeError as error:
        raise InvalidUpload(f"The body is no UTF-8: {error.reason} at byte {error.start} of a part of it.") from None


def _bounded(file: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if len(line) > _LONGEST_LINE:
            _refuse([(number, f"is longer than {_LONGEST_LINE} characters")])
        yield line.rstrip("\n")


def _qrel(line: str, grades: Grades) -> None:
    fields = line.split()
    if len(fields) != 4:
        raise _BadLine(f"has {len(fields)} fields; a line of qrels has 4: query, iteration, item, grade")
    _judge(grades, fields[0], fields[2], fields[3])


def _beir(heading: str, grades: Grades) -> Callable[[str], None]:
    if [name.strip() for name in heading.split("\t")] != _BEIR:
        raise InvalidUpload(
            f"The first line is {heading[:_SHOWN]!r}; a file of BEIR begins with {', '.join(_BEIR)}, tabs between."
        )

    def take(line: str) -> None:
        fields = line.split("\t")
        if len(fields) != len(_BEIR):
            raise _BadLine(f"has {len(fields)} fields; 3 are expected, with tabs between: {', '.join(_BEIR)}")
        _judge(grades, *(field.strip() for field in fields))

    return take


def _judge(grades: Grades, query: str, item: str, grade: str) -> None:
    """Notes one judgement. Raises _BadLine where it says anything that no judgement says."""
    try:
        value = float(grade)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value % 1 or abs(value) > LARGEST_GRADE:
        raise _BadLine(f"has the grade {grade[:_SHOWN]!r}, which is no whole number up to {LARGEST_GRADE}")
    _check_ids(query, item)
    if item in (of_query := grades.setdefault(query, {})):
        raise _BadLine(f"judges item {item[:_SHOWN]!r} for query {query[:_SHOWN]!r} once more")
    of_query[item] = value


def _clicks(heading: str, since: datetime | None, grades: Grades) -> Callable[[str], None]:
    delimiter = "\t" if "\t" in heading else ","
    names = [name.strip() for name in heading.split(delimiter)]
    if not {"query", "item"} <= set(names) <= set(_CLICKS) or len(set(names)) < len(names):
        raise InvalidUpload(
            f"The first line is {heading[:_SHOWN]!r}; a log of clicks begins with the names of its columns: query and "
            "item, perhaps time and weight, commas or tabs between."
        )
    if since is not None and "time" not in names:
        raise InvalidUpload("`since` asks for the time of every click, and the log has no column `time`.")

    def take(line: str) -> None:
        fields = next(csv.reader([line], delimiter=delimiter), [])
        if len(fields) != len(names):
            raise _BadLine(f"has {len(fields)} fields; {len(names)} are expected: {', '.join(names)}")
        click = dict(zip(names, (field.strip() for field in fields), strict=True))
        weight, time = _weight(click.get("weight", "1")), _time(click["time"]) if "time" in names else None
        _check_ids(click["query"], click["item"])
        if since is None or time is None or time >= since:
            of_query = grades.setdefault(click["query"], {})
            of_query[click["item"]] = of_query.get(click["item"], 0.0) + weight

    return take


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise _BadLine(f"has the weight {text[:_SHOWN]!r}, which is no finite number from 0 on")
    return weight


def _time(text: str) -> datetime:
    """ISO 8601, in UTC where it names no zone, or seconds since 1970."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _BadLine(f"has the time {text[:_SHOWN]!r}, which is neither ISO 8601 nor seconds since 1970") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _check_ids(query: str, item: str) -> None:
    for name, id in (("query", query), ("item", item)):
        try:
            relevant_of_value([id])
        except BadRelevant:
            raise _BadLine(f"has the {name} id {id[:_SHOWN]!r}; 1 to 512 characters of text are taken") from None


def _rounded(sums: dict[str, float]) -> dict[str, float]:
    scale = min(1.0, LARGEST_GRADE / max(max(sums.values()), 1.0))
    return {item: float(math.floor(scale * total + 0.5)) for item, total in sums.items()}


def _table(grades: Grades) -> pa.Table:
    relevant: list[str | None] = []
    for query, items in grades.items():
        try:
            relevant.append(relevant_of_value(dict(items)))
        except BadRelevant as fault:
            message = f"Query {query[:_SHOWN]!r}: what is relevant to it {fault}."
            raise InvalidRows(message, errors=[{"id": query[:_SHOWN], "message": str(fault)}]) from None
    return pa.table({"id": pa.array(list(grades), pa.string()), "relevant": pa.array(relevant, pa.string())})


def _refuse(faults: list[tuple[int, str]]) -> None:
    if faults:
        number, message = faults[0]
        raise InvalidRows(
            f"Line {number} {message}. Lines count from 1; nothing was stored. Correct them and send the whole body "
            "again.",
            errors=[{"line": line, "message": why} for line, why in faults],
        )
