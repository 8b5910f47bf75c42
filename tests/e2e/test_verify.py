"""A flipped byte in whatever the service keeps is named, and what is derived is made anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from app.composition import Crosswalk, compose
from app.galleries.generations import published
from app.galleries.rebuilds import rebuild_of
from app.leftovers import leftovers
from app.maintenance.findings import Finding, IndexedGeneration
from app.maintenance.repair import repair
from app.maintenance.verify import verify
from app.settings import Settings
from tests.command import run_command
from tests.e2e.user import Scene
from tests.serving import serving
from tests.workers.stepping import WorkerInside, do_step
from tests.worlds import world

LOOSE = {"metric": "cmc@1", "require": {"at_least": 0.5}}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Crosswalk:
    """What a service left that upgraded a gallery, was written to afterwards, and ended."""
    settings = _settings(tmp_path_factory.mktemp("verified"))
    with serving(settings, WorkerInside) as client:
        scene = Scene(client, world(300)).filled()
        scene.reaches(scene.start(gate=LOOSE, activate="when_accepted"), "active")
        scene.put(scene.world.gallery.take(slice(0, 5)))
        scene.delete([scene.world.gallery.id[7]])
    crosswalk = compose(settings)
    _reindex(crosswalk, 1)  # of the first generation nothing has asked for an index
    assert found(crosswalk) == []
    return crosswalk


@pytest.fixture
def copy(stored: Crosswalk, tmp_path: Path) -> Iterator[Crosswalk]:
    """The same data in a folder of the test's own."""
    shutil.copytree(stored.settings.data_dir, tmp_path / "data")
    with closing(compose(_settings(tmp_path / "data"))) as crosswalk:
        yield crosswalk


def _settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, sweep_seconds=0.2, lease_seconds=600.0)


def _reindex(crosswalk: Crosswalk, number: int) -> None:
    gallery = crosswalk.galleries.every()[0].id
    wanted = Finding("missing", "", Path(), "", "rebuild", IndexedGeneration(gallery, number))
    repair(crosswalk, [wanted])
    assert do_step(crosswalk) == "reindex"


def found(crosswalk: Crosswalk) -> list[Finding]:
    return list(verify(crosswalk))


def flip(path: Path) -> None:
    """One bit in the middle of a file is another one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def one(crosswalk: Crosswalk, pattern: str) -> Path:
    """The newest file of a pattern below the data folder."""
    paths = sorted(crosswalk.settings.data_dir.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    assert paths, pattern
    return paths[-1]


TRUTH = (
    "galleries/*/items.lance/data/*.lance",
    "galleries/*/items.lance/_versions/*.manifest",
    "galleries/*/items.lance/_deletions/*",
    "datasets/*/rows.lance/data/*.lance",
    "artifacts/*/chosen/card.json",
    "artifacts/*/chosen/weights-*.safetensors",
    "artifacts/*/plain/weights-*.safetensors",
    "artifacts/*/queries.npy",
    "artifacts/*/held_out.parquet",
)
DERIVED = (
    "galleries/*/generations/*.lance/data/*.lance",
    "galleries/*/generations/*.lance/_versions/*.manifest",
    "galleries/*/indexes/1/*/vectors.f32",
    "galleries/*/indexes/2/*/vectors.f32",
    "galleries/*/indexes/2/*/rows.i64",
    "galleries/*/indexes/2/*/manifest.json",
)


@pytest.mark.parametrize("pattern", TRUTH)
def test_flipped_byte_in_what_nothing_else_holds_is_named_and_left_to_a_backup(stored: Crosswalk, pattern: str) -> None:
    path = one(stored, pattern)
    flip(path)
    damage = [finding for finding in found(stored) if finding.kind == "damaged"]
    flip(path)
    assert damage
    assert {finding.remedy for finding in damage} == {"restore"}
    assert any(path.name in f"{finding.path} {finding.what}" for finding in damage)
    assert found(stored) == []


@pytest.mark.parametrize("pattern", DERIVED)
def test_flipped_byte_in_what_is_derived_is_named_and_made_anew(copy: Crosswalk, pattern: str) -> None:
    flip(one(copy, pattern))
    findings = found(copy)
    assert {(finding.kind, finding.remedy) for finding in findings} == {("damaged", "rebuild")}
    assert repair(copy, findings) == [findings[0].generation]
    assert do_step(copy) == "reindex"
    assert found(copy) == []


def test_damaged_items_are_not_indexed(copy: Crosswalk) -> None:
    gallery = copy.galleries.every()[0]
    flip(one(copy, "galleries/*/items.lance/data/*.lance"))
    _reindex(copy, 2)
    with copy.database.read() as session:
        job = session.execute(text("SELECT state, error FROM jobs ORDER BY id DESC LIMIT 1")).one()
    assert job.state == "failed"
    assert "checksum" in job.error
    assert copy.galleries.info(gallery.id).generations == gallery.generations


def test_row_that_an_index_lacks_is_told(copy: Crosswalk) -> None:
    """As one that was made by an older, faulty release: whole, and wrong."""
    gallery = copy.galleries.every()[0]
    store = copy.galleries.store(gallery)
    store.generation(2, gallery.generations[2].space.dimension).apply(np.array([50]), [])
    (finding,) = found(copy)
    assert (finding.kind, finding.remedy, finding.what) == ("disagrees", "rebuild", "of its vectors, 1 are missing")


@pytest.mark.parametrize("folder", ["galleries/*/items.lance", "datasets/*/rows.lance", "artifacts/*/chosen"])
def test_folder_that_is_gone_is_missed(copy: Crosswalk, folder: str) -> None:
    shutil.rmtree(one(copy, folder))
    assert any(finding.kind in ("missing", "damaged") and finding.remedy == "restore" for finding in found(copy))


def test_index_that_is_gone_is_made_anew(copy: Crosswalk) -> None:
    shutil.rmtree(one(copy, "galleries/*/indexes/2/*"))
    (finding,) = found(copy)
    assert (finding.kind, finding.remedy) == ("missing", "rebuild")
    repair(copy, [finding])
    do_step(copy)
    assert found(copy) == []


def test_leftovers_are_told_and_removed_without_being_faults_but_never_what_may_be_being_made(copy: Crosswalk) -> None:
    data = copy.settings.data_dir
    gallery, name = one(copy, "galleries/*"), copy.galleries.every()[0].id
    young = [data / "galleries" / "gone-1", data / "datasets" / "gone-2", data / "artifacts" / "upg-gone"]
    left = [gallery / "indexes" / "2" / "old", gallery / "generations" / "9.lance"]
    for path in [*young, *left]:
        path.mkdir()
    with copy.database.session() as session:
        copy.jobs.enqueue(session, "reindex", rebuild_of(name, 1), {"gallery": name, "generation": 1})
    assert found(copy) == []
    with copy.database.session() as session:
        copy.jobs.forget(session, rebuild_of(name, 1))
    assert {finding.path for finding in found(copy)} == set(left)
    for path in young:
        long_ago = path.stat().st_mtime - 2 * copy.settings.leftover_seconds
        os.utime(path, (long_ago, long_ago))
    findings = found(copy)
    assert {finding.path for finding in findings} == {*young, *left} == set(leftovers(copy))
    assert {(finding.kind, finding.fault) for finding in findings} == {("leftover", False)}
    repair(copy, findings)
    assert not any(path.exists() for path in [*young, *left])
    assert found(copy) == []


def test_index_that_is_published_after_the_verification_stays(copy: Crosswalk) -> None:
    """What a finding names may be in use by the time of the repair."""
    gallery = copy.galleries.every()[0]
    (one(copy, "galleries/*") / "indexes" / "2" / "new").mkdir()
    findings = found(copy)
    assert [finding.path.name for finding in findings] == ["new"]
    version = gallery.generations[2].store_version
    with copy.database.session() as session:
        published(session, gallery.id, 2, version or 0, "new")
    repair(copy, findings)
    assert findings[0].path.is_dir()


def test_files_of_an_older_release_are_sealed_by_a_repair(copy: Crosswalk) -> None:
    shutil.rmtree(one(copy, "datasets/*/rows.lance.sha256"))
    (finding,) = found(copy)
    assert not finding.fault
    repair(copy, [finding])
    assert found(copy) == []


def test_damaged_database_is_told(copy: Crosswalk) -> None:
    copy.database.close()
    path = copy.settings.data_dir / "crosswalk.db"
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 2048] = bytes(2048)  # the second page, a table's root
    path.write_bytes(content)
    assert {(finding.kind, finding.subject) for finding in found(copy)} == {("damaged", "database")}


def test_command_repairs_says_what_it_did_and_refuses_a_folder_without_a_database(
    copy: Crosswalk, tmp_path: Path
) -> None:
    left = one(copy, "galleries/*") / "generations" / "9.lance"
    left.mkdir()
    told = _verify("--data-dir", str(copy.settings.data_dir))
    assert told.returncode == 0, told.stderr
    *lines, last = told.stdout.splitlines()
    assert last == "Everything is there, whole, and agrees."
    assert [line.partition(" ")[0] for line in lines] == ["leftover"]
    shutil.rmtree(one(copy, "galleries/*/indexes/2/*"))
    repaired = _verify("--repair", "--data-dir", str(copy.settings.data_dir))
    assert repaired.returncode == 0, repaired.stderr
    assert not left.exists()
    first, second, count, *_, last = repaired.stdout.splitlines()
    assert first.startswith("missing  gallery")
    assert second.startswith("leftover  galleries")
    assert count == "Faults: 1."
    assert last == "Everything is there, whole, and agrees."
    misspelt = _verify("--data-dir", str(tmp_path / "misspelt"))
    assert misspelt.returncode == 2
    assert "There is no database" in misspelt.stderr
    assert not (tmp_path / "misspelt").exists()


def _verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("verify", *arguments)
