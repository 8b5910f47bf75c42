"""A request can be found again: by its id in the answer and in the log, and by its route in the metrics."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import app
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(app.__file__).parent.parent


def _samples(client: httpx.Client) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "le")): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def test_a_sane_request_id_is_kept(shared_client: httpx.Client) -> None:
    answer = shared_client.get("/nothing", headers={"X-Request-Id": "order-66:retry.1"})
    assert answer.headers["x-request-id"] == "order-66:retry.1"
    assert answer.json()["request_id"] == "order-66:retry.1"


@pytest.mark.parametrize("sent", ["", "x" * 129, "with space", "<script>", "ütf"])
def test_another_request_id_is_replaced(shared_client: httpx.Client, sent: str) -> None:
    answer = shared_client.get("/healthz", headers=httpx.Headers([(b"x-request-id", sent.encode())]))
    assert answer.headers["x-request-id"] not in ("", sent)


def test_each_request_has_an_id_of_its_own(shared_client: httpx.Client) -> None:
    assert len({shared_client.get("/healthz").headers["x-request-id"] for _ in range(5)}) == 5


def test_requests_are_counted_by_route_and_not_by_path(client: httpx.Client) -> None:
    for number in range(20):
        client.get(f"/models/none-{number}")
        client.get(f"/nowhere/{number}")
        client.request(f"STRANGE{number}", "/models")
    samples = _samples(client)
    assert samples["crosswalk_http_requests_total", "GET", "/models/{model}", "404"] == 20
    assert samples["crosswalk_http_requests_total", "GET", "unmatched", "404"] == 20
    assert samples["crosswalk_http_requests_total", "OTHER", "/models", "405"] == 20
    assert samples["crosswalk_http_request_seconds_count", "GET", "/models/{model}"] == 20
    assert len([key for key in samples if key[0] == "crosswalk_http_requests_total"]) == 3
    assert samples["crosswalk_http_requests_in_flight",] == 1
    assert samples["process_resident_memory_bytes",] > 10_000_000


LOGGING = """
import logging, structlog
from app.logs import configure_logging
configure_logging("{format}")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    structlog.get_logger("ours").info("said", path="/a\\nforged")
    logging.getLogger("theirs").warning("said %s", "too")
    secret = "a secret"
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
"""


def _logged(log_format: str) -> str:
    script = LOGGING.replace("{format}", log_format)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    assert done.stdout == ""
    return done.stderr


def test_json_logs_are_one_object_a_line_from_our_code_and_from_libraries() -> None:
    ours, theirs, failed = map(json.loads, _logged("json").splitlines())
    assert (ours["event"], ours["level"], ours["logger"], ours["request_id"]) == ("said", "info", "ours", "r-1")
    assert (theirs["event"], theirs["level"], theirs["logger"], theirs["request_id"]) == (
        "said too",
        "warning",
        "theirs",
        "r-1",
    )
    assert "ValueError: why" in failed["exception"]
    assert "a secret" not in failed["exception"].replace('secret = "a secret"', "")


def test_console_logs_show_tracebacks_without_variables() -> None:
    logged = _logged("console")
    assert "ValueError: why" in logged
    assert logged.count("a secret") == 0
    assert not any(line.startswith("forged") for line in logged.splitlines())
