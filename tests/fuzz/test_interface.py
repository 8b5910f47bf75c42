"""Whatever is sent to any operation is answered as the OpenAPI document says, and never with a server error.

Schemathesis makes the requests from the document: its examples, the edges of every schema, what is just outside of
them, and chains of operations along its links. `CROSSWALK_TEST_FUZZ_EXAMPLES` sets how many are tried (`make fuzz`).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.fuzz import known_ids
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS

LONG = "CROSSWALK_TEST_FUZZ_EXAMPLES"
EXAMPLES = int(os.environ.get(LONG, "1"))
DATABASES = ("postgresql", "sqlite") if LONG in os.environ else ("postgresql",)
"""PostgreSQL takes fewer texts than SQLite; in a long run both are tried."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
VECTORS = {"tfidf-v1": [0.9, 0.1, 0.0, 0.2], "minilm-v2": [0.1, 0.2, 0.3]}


@pytest.fixture
def gateway(each_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A service without a worker, so that what is begun stays begun, and is not waited for."""
    monkeypatch.setattr("app.galleries.choice_routes._SAMPLE_PATIENCE_SECONDS", 0.1)
    with serving(each_settings) as client:
        yield client


@pytest.fixture
def known(gateway: httpx.Client) -> dict[str, list[str]]:
    """Something of each kind, under the ids of the document's examples; the ids by the parameters that take them."""

    def done(answer: httpx.Response) -> str:
        assert answer.is_success, answer.text
        return str(answer.json().get("id"))

    for model, vector in VECTORS.items():
        done(gateway.post("/models", json={"id": model, "dimension": len(vector), "metric": "cosine"}))
    for gallery in ("faq", "shop"):
        done(gateway.post("/galleries", json={"id": gallery, "model": "tfidf-v1"}))
        items = [
            {"id": f"q-{k}", "embedding": [k, 1, 0, 2], "label": str(k % 3), "payload": {"k": k}} for k in range(20)
        ]
        done(gateway.put(f"/galleries/{gallery}/items", params={"model": "tfidf-v1"}, json=items))
    done(gateway.post("/datasets", json={"id": "pairs"}))
    rows = [{"id": f"q-{k}", "label": str(k % 3), "embeddings": {"minilm-v2": [k, 1, 2]}} for k in range(20)]
    done(gateway.put("/datasets/pairs/rows", json=rows))
    upgrade = done(
        gateway.post(
            "/models/tfidf-v1/upgrade",
            json={"to": "minilm-v2", "dataset": "pairs", "dry_run": True, "galleries": ["shop"]},
        )
    )
    return {
        "model": list(VECTORS),
        "gallery": ["faq", "shop"],
        "dataset": ["pairs"],
        "item": ["q-1", "q-2"],
        "upgrade": [upgrade],
        "to": ["minilm-v2"],
    }


@pytest.mark.parametrize("each_settings", DATABASES, indirect=True)
def test_every_operation_answers_whatever_is_sent_as_documented(
    gateway: httpx.Client, known: dict[str, list[str]], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.base_url}/openapi.json"]
    options = {
        "--phases": "examples,coverage,fuzzing,stateful",
        "--checks": ",".join(CHECKS),
        "--max-examples": str(EXAMPLES),
        "--exclude-path-regex": "/events$",  # never ends
        "--suppress-health-check": "all",
        "--request-timeout": str(PATIENCE_SECONDS),
        "--seed": "1",
    }
    variables = {known_ids.VARIABLE: json.dumps(known), "SCHEMATHESIS_HOOKS": known_ids.__name__}
    done = subprocess.run(
        [
            *command,
            *(part for option in options.items() for part in option),
            "--no-color",
            "--generation-database",
            "none",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted is not None, done.stdout[-2_000:]
    assert int(counted[1]) == int(counted[2]) > 500
