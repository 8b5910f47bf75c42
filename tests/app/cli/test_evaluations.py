"""The commands of evaluations, against a real service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.composition import compose
from app.settings import Settings
from tests.command import run_command
from tests.serving import serving
from tests.versions import Versions
from tests.workers.stepping import WorkerInside


@pytest.fixture
def versions(settings: Settings) -> Iterator[Versions]:
    crosswalk = compose(settings)
    with serving(settings, WorkerInside) as client:
        made = Versions(client, crosswalk)
        yield made.with_rows(made.old, made.new)
    crosswalk.close()


def test_a_pair_is_evaluated_followed_and_shown(versions: Versions) -> None:
    s = versions
    url = ("--url", str(s.client.base_url))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command("evaluations", *arguments, *url)

    options = ("--queries", s.new, "--gallery", s.new, "--against", s.old, s.old, "--slice", "label", "--metric", "map")
    done = run("start", s.dataset, *options, "--follow")
    assert done.returncode == 0, done.stderr
    evaluation, _, rest = done.stdout.partition("\n")
    printed = json.loads(rest[rest.index("{") :])
    assert (printed["id"], printed["state"]) == (evaluation, "done")
    assert [one["metric"] for one in printed["result"]["comparison"]["differences"]] == ["map"]
    assert printed["result"]["comparison"]["slices"][0]["name"] == "label"
    chained = run("chain", s.dataset, s.old, s.new)
    assert chained.returncode == 0, chained.stderr
    assert run("follow", chained.stdout.strip()).returncode == 0
    refused = run("start", s.dataset, "--queries", s.newest, "--gallery", s.newest)
    assert refused.returncode == 1
    assert "/queries" in refused.stderr


def test_judged_queries_are_put_from_a_file_and_asked(versions: Versions, tmp_path: Path) -> None:
    s = versions
    vectors = s.seen_by(s.world.queries, s.old)
    queries = [
        {"id": f"q{place}", "relevant": [s.world.queries.id[place]], "embeddings": {s.old: vectors[place].tolist()}}
        for place in range(5)
    ]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps(queries))

    def run(*arguments: str) -> str:
        done = run_command(*arguments, "--url", str(s.client.base_url))
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("datasets", "put-queries", s.dataset, str(file)))["inserted"] == 5
    asked = (
        "evaluations",
        "judged",
        s.dataset,
        "--queries",
        s.old,
        "--gallery",
        s.old,
        "--metric",
        "mrr@1",
        "--follow",
    )
    id, _, shown = run(*asked).partition("\n")
    assert id in shown
    (figure,) = s.get(f"/evaluations/{id}")["result"]["search"]["figures"]
    assert (figure["metric"], figure["mean"], figure["queries"]) == ("mrr@1", 1.0, 5)
