"""All that there is to see of a service, made comparable: what two lives that went alike have in common to the bit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import lance
from sqlalchemy import select

from app.datasets.tables import DatasetRow
from app.galleries.tables import GalleryRow
from app.jobs.tables import JobRow
from app.side_information.tables import SideInformationEncoderRow
from app.storage.database import Database
from app.upgrades.tables import UpgradeRow
from tests.crash.life import WORLD
from tests.crash.user import NEW, NEWEST, OLD, SearchAnswer, search
from tests.loopback import NO_TLS
from tests.waiting import PATIENCE_SECONDS

_PASSING = ("_at", "seconds")
"""How the names of moments and durations end, which differ in any two lives."""
QUERIES = {
    OLD: WORLD.queries.old[0].tolist(),
    NEW: WORLD.queries.new[0].tolist(),
    NEWEST: WORLD.queries.newest[0].tolist(),
}


def seen(url: str) -> dict[str, Any]:
    """What users see: every resource, and every search."""
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, verify=NO_TLS) as http:
        assert http.get("/readyz").is_success
        pages = {name: _page(http, f"/{name}") for name in ("models", "galleries", "datasets", "upgrades")}
        for gallery in pages["galleries"]:
            pages[f"generations of {gallery['id']}"] = _page(http, f"/galleries/{gallery['id']}/generations")
        names = {one["id"]: f"upgrade {place}" for place, one in enumerate(pages["upgrades"])}
        searches = {model: search(http, model, vector) for model, vector in QUERIES.items()}
    return {"resources": _comparable(pages, names), "searches": searches}


def stored(data: Path) -> dict[str, Any]:
    """The rows of every Lance table of the user's, by its folder's name without what is random in it."""
    tables = sorted([*data.glob("galleries/*/items.lance"), *data.glob("datasets/*/rows.lance")])
    return {
        f"{path.parent.parent.name}/{path.parent.name.rpartition('-')[0]}": sorted(
            lance.dataset(str(path)).to_table().to_pylist(), key=lambda row: str(row["id"])
        )
        for path in tables
    }


def jobs(database: Database) -> Counter[tuple[str, str]]:
    """How the jobs of each step ended. Fails where one has not, or holds a lease still."""
    with database.read() as session:
        rows = session.scalars(select(JobRow)).all()
    assert [row.id for row in rows if row.lease_token is not None] == []
    return Counter((row.step, row.state) for row in rows)


def leftovers(data: Path, database: Database) -> list[str]:
    """What lies on the disk, or keeps a version from being cleaned up, and is of no use."""
    with database.read() as session:
        named = {
            f"{resource}/{name}"
            for resource, column in (
                ("galleries", GalleryRow.folder),
                ("datasets", DatasetRow.folder),
                ("artifacts", UpgradeRow.id),
                ("artifacts", SideInformationEncoderRow.run),
            )
            for name in session.scalars(select(column))
        }
    return sorted(_left(data, named))


def _left(data: Path, named: set[str]) -> Iterator[str]:
    yield from (str(path) for path in data.rglob("*") if "partial" in path.name or path.name.startswith(".tmp"))
    yield from (str(path) for path in data.glob("uploads/*"))
    yield from (str(path) for path in data.glob("galleries/*/samples/*") if path.suffix not in {".json", ".sha256"})
    for resource in ("galleries", "datasets", "artifacts"):
        yield from (str(path) for path in data.glob(f"{resource}/*") if f"{resource}/{path.name}" not in named)
    for path in data.glob("galleries/*/generations/*.lance"):
        dataset = lance.dataset(str(path))
        versions = [lance.dataset(str(path), version=known["version"]) for known in dataset.versions()]
        used = {file.path for one in versions for piece in one.get_fragments() for file in piece.data_files()}
        yield from (str(file) for file in (path / "data").iterdir() if file.name not in used)


def layout(data: Path) -> Counter[str]:
    """How many files and folders of each kind there are, and tags; Lance's own files are its own affair."""
    found: Counter[str] = Counter()
    for path in data.rglob("*"):
        name = str(path.relative_to(data))
        # A file of which a crash kept the checksum from being written goes without: it is none the worse.
        # Sketches of what vectors are like are learned after the answer, and made anew where they are missing.
        if ".lance/" in name or ".sha256" in name or name.startswith(("crosswalk.db", "spaces/")):
            continue
        found[re.sub(r"-[0-9a-f]{8,}|[0-9]+-[0-9a-f]{16}", "-*", name)] += 1
    for path in data.glob("galleries/*/items.lance"):
        for tag in lance.dataset(str(path)).tags.list():
            found[f"tag {tag.rpartition('-')[0]}-* of {path.parent.name.rpartition('-')[0]}"] += 1
    return found


def scores_allowed(before: dict[str, SearchAnswer], after: dict[str, SearchAnswer], answer: SearchAnswer) -> str | None:
    """What is wrong with an answer given while one state became the other; None where nothing is."""
    ends = [end[answer.model] for end in (before, after) if answer.model in end]
    if answer.problem is not None:
        known_problems = {end.problem for end in ends}
        return None if answer.problem in known_problems or not before else f"{answer.model}: {answer.problem}"
    for item, score in answer.scores.items():
        known = [end.scores[item] for end in ends if item in end.scores]
        if not any(abs(score - one) < 1e-4 for one in known):
            return f"{item} scored {score} for {answer.model} by {answer.route}, where {known} are known"
    return None


def _page(http: httpx.Client, url: str) -> list[dict[str, Any]]:
    answer = http.get(url)
    assert answer.is_success, answer.text
    return list(answer.json()["items"])


def _comparable(value: Any, names: dict[str, str]) -> Any:
    """Without moments and durations, and with upgrades named by their order."""
    if isinstance(value, dict):
        retired = {"retired": value["retired_at"] is not None} if "retired_at" in value else {}
        return retired | {key: _comparable(one, names) for key, one in value.items() if not key.endswith(_PASSING)}
    if isinstance(value, list):
        return [_comparable(one, names) for one in value]
    if isinstance(value, str):
        for name, stands_for in names.items():
            value = value.replace(name, stands_for)
    return value
