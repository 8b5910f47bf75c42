"""Runs an upgrade on files: a service's parts in a data directory of their own, and the steps that learn and prove."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.charts import open_drawings
from app.artifacts.crossings import Crossing, open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.datasets.schemas import NewDataset
from app.galleries.schemas import NewGallery
from app.keys.access import EVERYTHING
from app.problems import InvalidRows, InvalidUpload, TooLarge
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.migrate import migrate
from app.upgrades.crossing_downloads import CrossingFormat
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.judged import judged_queries
from app.upgrades.report_page import page_of
from app.upgrades.schemas import Upgrade
from app.upgrades.states import UpgradeState
from app.uploads import Expected, UploadedRows, UploadLimits, media_types
from app.uploads.decoding import decode
from models.portable import Distance, replacing
from models.proof.judged_queries import FEWEST_QUERIES
from workers.local.files import VECTOR, QueryFile, VectorFile, WrongFile, refuse_too_few_in_common
from workers.local.output import write_transformed
from workers.runtime.in_process import do_waiting_steps
from workers.runtime.program import CROSSWALK

OLD, NEW, GALLERY, PAIRS = "old", "new", "gallery", "pairs"
"""The ids that the run's models, gallery and dataset have."""

TRANSFORMED, ARTIFACT, REPORT_PAGE, REPORT = "transformed.parquet", "crossing.safetensors", "report.html", "report.json"
"""What a run writes."""


@dataclass(frozen=True)
class LocalUpgrade:
    """What a run is asked. metrics: of the old space and of the new. gate: as `POST /models/{id}/upgrade` takes it."""

    old: Path
    sample: Path
    queries: Path | None
    metrics: tuple[Distance, Distance]
    method: str
    gate: Mapping[str, Any]


@dataclass(frozen=True)
class LocalVerdict:
    """How a run ended. report: as of `GET /upgrades/{id}/report`; written: the files and folders, by what they are."""

    accepted: bool
    reason: str
    report: Mapping[str, Any]
    written: Mapping[str, Path]


class RunFailed(Exception):
    """Learning or proof could not be done with these files; the text says why."""


def run(asked: LocalUpgrade, out: Path, tell: Callable[[str], None]) -> LocalVerdict:
    """Learns from the sample, proves on the old file, and writes what came of it into the folder `out`.

    Transformed vectors and the crossing are written where the gate accepted it, the report in any case.
    tell: called with a line on what is done now. Raises WrongFile, RunFailed, and OSError where `out` cannot be
    written.
    """
    old, sample = VectorFile.old(asked.old), VectorFile.sample(asked.sample)
    queries = None if asked.queries is None else QueryFile.of(asked.queries)
    for file in (old, sample):
        file.refuse_repeated_ids()
    refuse_too_few_in_common(old, sample)
    _refuse_outputs_as_inputs(asked, out)
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="crosswalk-local-") as folder, _parts(Path(folder)) as crosswalk:
        tell(f"Reading {old.rows} old vectors and {sample.rows} new ones…")
        _fill(crosswalk, asked, old, sample, queries)
        said = {"train": "Learning the crossing…", "evaluate": "Proving it…"}
        upgrade = _start(crosswalk, asked)
        do_waiting_steps(crosswalk, CROSSWALK, lambda step: tell(said[step]))
        ended = crosswalk.upgrades.get(upgrade)
        if ended.state != UpgradeState.EVALUATED or ended.report is None:
            raise RunFailed(ended.reason or f"The run ended as {ended.state}.")
        if queries is not None and ended.report["galleries"][GALLERY].get("judged") is None:
            queries.refuse_too_few()
        return _written(crosswalk, ended, ended.report, old, out, tell)


def _refuse_outputs_as_inputs(asked: LocalUpgrade, out: Path) -> None:
    """Raises WrongFile where a file that is read is one of those that are written, which would be lost."""
    for name in (TRANSFORMED, ARTIFACT, REPORT_PAGE, REPORT):
        for given in (asked.old, asked.sample, asked.queries):
            if given is not None and (out / name).exists() and given.samefile(out / name):
                raise WrongFile(f"{given} is read, and would be written over by what is learned. Name another --out.")


@contextmanager
def _parts(folder: Path) -> Iterator[Crosswalk]:
    """The parts of a service that is all in one folder, whatever the variables say of databases and stores."""
    settings = Settings(
        data_dir=folder, database_url=None, storage_url=None, broker_url="memory://", index_engine="faiss"
    )
    crosswalk = compose(settings)
    try:
        migrate(crosswalk.database)
        yield crosswalk
    finally:
        crosswalk.close()


def _fill(
    crosswalk: Crosswalk, asked: LocalUpgrade, old: VectorFile, sample: VectorFile, queries: QueryFile | None
) -> None:
    """Registers both models, and stores the gallery, the pairs and the queries."""
    for id, file, metric in zip((OLD, NEW), (old, sample), asked.metrics, strict=True):
        crosswalk.models.create(NewModel(id=id, dimension=file.dimension, metric=metric))
    side = old.dimension_of("side_information")
    beside = {} if side is None else {"side_information": {"dimension": side}}
    crosswalk.galleries.create(NewGallery.model_validate({"id": GALLERY, "model": OLD, **beside}))
    crosswalk.datasets.create(NewDataset(id=PAIRS))
    gallery = crosswalk.galleries.info(GALLERY)
    expected = crosswalk.items.expected(gallery, OLD)
    for first, part in old.parts():
        with _checked(crosswalk.settings, old.path, part, expected, first) as rows:
            crosswalk.items.put(gallery, OLD, rows)
    for first, part in sample.parts():
        named = part.rename_columns([f"{VECTOR}.{NEW}" if one == VECTOR else one for one in part.column_names])
        with _checked(crosswalk.settings, sample.path, named, crosswalk.datasets.expected(PAIRS), first) as rows:
            crosswalk.datasets.put(PAIRS, rows)
    if queries is not None:
        expected = crosswalk.datasets.expected_queries(PAIRS)
        with _checked(crosswalk.settings, queries.path, queries.table(), expected) as rows:
            crosswalk.datasets.put_queries(PAIRS, rows)
        answerable = judged_queries(crosswalk.datasets, PAIRS, (OLD, NEW))
        if answerable < FEWEST_QUERIES:
            queries.refuse_too_few(answerable)


@contextmanager
def _checked(
    settings: Settings, path: Path, part: pa.Table, expected: Expected, first: int = 0
) -> Iterator[UploadedRows]:
    """Rows of a file, from its row `first` on, checked as an upload's are. Raises WrongFile, which names the file and
    what is wrong where."""
    settings.uploads_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.uploads_dir) as folder:
        body = Path(folder) / "body"
        pq.write_table(part, body)
        try:
            yield decode(body, media_types.PARQUET, expected, UploadLimits.of(settings), Path(folder) / "rows")
        except (InvalidRows, InvalidUpload, TooLarge) as problem:
            raise WrongFile(f"{path}: {_what_is_wrong(problem, first)}") from problem


def _what_is_wrong(problem: InvalidRows | InvalidUpload | TooLarge, first: int) -> str:
    """The first cell that is wrong, or column; first: the file's row that the rows of the problem begin at."""
    error = next(iter(problem.members.get("errors", ())), None)
    if error is None:
        return problem.detail
    row = f"row {first + error['row']} (from 0, id {error['id']!r}), " if "row" in error else ""
    column = error["column"].replace(f"{VECTOR}.{NEW}", VECTOR) if row else error["column"]
    return f"{row}column `{column}` {error['message']}."


def _start(crosswalk: Crosswalk, asked: LocalUpgrade) -> str:
    """Starts an upgrade that ends with its report; its id."""
    request = ForwardUpgrade.model_validate(
        {
            "to": NEW,
            "method": asked.method,
            "dataset": PAIRS,
            "galleries": [GALLERY],
            "gate": dict(asked.gate),
            "dry_run": True,
            "fused": False,  # what is wanted are vectors that the new model's queries search by themselves
        }
    )
    with crosswalk.database.session() as session:
        return crosswalk.upgrades.start(session, OLD, request, EVERYTHING).id


def _written(
    crosswalk: Crosswalk,
    ended: Upgrade,
    report: Mapping[str, Any],
    old: VectorFile,
    out: Path,
    tell: Callable[[str], None],
) -> LocalVerdict:
    proof = report["galleries"][GALLERY]
    artifacts = UpgradeArtifacts(crosswalk.settings.artifacts_dir, ended.id)
    written = {name: out / name for name in (REPORT_PAGE, REPORT)}
    page = page_of(ended, report, "", open_drawings(artifacts.charts))
    for earlier in (TRANSFORMED, ARTIFACT, REPORT_PAGE, REPORT):
        (out / earlier).unlink(missing_ok=True)
    if proof["accepted"]:
        tell("Transforming…")
        written |= {name: out / name for name in (TRANSFORMED, ARTIFACT)}
        write_transformed(old, _crossing(crosswalk, artifacts), out / TRANSFORMED)
        with replacing(out / ARTIFACT) as partial:
            shutil.copyfile(crosswalk.crossing_downloads.file(ended.id, CrossingFormat.SAFETENSORS).path, partial)
    # Last, so that what a report speaks of is there.
    for name, text in ((REPORT_PAGE, page), (REPORT, json.dumps(report, indent=2, ensure_ascii=False))):
        with replacing(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return LocalVerdict(proof["accepted"], proof["reason"], report, written)


def _crossing(crosswalk: Crosswalk, artifacts: UpgradeArtifacts) -> Crossing:
    return open_crossing(artifacts, crosswalk.models.space(OLD), crosswalk.models.space(NEW))
