"""The line of an answer is the one that structlog would have written."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from app.logs import configure_logging, log_answer

MEMBERS = [
    {"method": "GET", "path": "/search", "status": 200, "milliseconds": 1.2},
    {"method": "OTHER", "path": "/a b='x'\"\t", "status": 404, "milliseconds": 0.0},
    {"method": "GET", "path": "/models/é%20\u2028\\", "status": 500, "milliseconds": 1e6},
    {"method": "GET", "path": "/cwk_0123456789ab_0123456789abcdef", "status": 400, "milliseconds": 3.0},
]
NAME = "app.http.telemetry"


@pytest.fixture(params=["console", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[tuple[Literal["console", "json"], io.StringIO]]:
    """The format, and where the process's log goes."""
    root, before = logging.getLogger(), (logging.getLogger().handlers, logging.getLogger().level)
    configure_logging(request.param)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.stream = io.StringIO()
    yield request.param, handler.stream
    root.handlers, _ = before
    root.setLevel(before[1])
    structlog.reset_defaults()


@pytest.mark.parametrize("members", MEMBERS)
def test_it_is_the_line_that_structlog_writes(
    written: tuple[Literal["console", "json"], io.StringIO], members: dict[str, object]
) -> None:
    log_format, stream = written
    with structlog.contextvars.bound_contextvars(request_id="r-1", key="0123456789ab"):
        log_answer(NAME, **members)
        structlog.get_logger(NAME).info("answered", **members)
    assert "_0123456789abcdef" not in stream.getvalue()
    ours, theirs = stream.getvalue().strip("\n").split("\n")
    if log_format == "json":
        ours, theirs = (json.dumps(json.loads(line), sort_keys=True) for line in (ours, theirs))
    at = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert at.sub("at", ours) == at.sub("at", theirs)
    assert len(at.findall(ours)) == 1
