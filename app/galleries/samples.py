"""Samples of a gallery: chosen by a step, since that is heavy work, and kept, so that asking again costs nothing.

galleries/<id>/samples/<items' version>-<n>.json
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from app.galleries.info import GalleryInfo
from app.galleries.schemas import Sample
from app.galleries.service import Galleries
from app.jobs.service import Jobs
from app.jobs.values import Job, JobState
from app.problems import InternalError, Unprocessable
from app.storage.database import Database

STEP = "sample"
RECOGNISED = 0.5
"""Of the smaller of two sets of items, what must be in both (the Szymkiewicz-Simpson overlap) for pairs to count as
embedded because a sample named them. Pairs drawn at random are expected to share less with any
sample, unless either is half of the gallery."""

FEWEST_RECOGNISED = 8
"""Items that must be in both: fewer may be of a sample by chance."""


@dataclass(frozen=True)
class SampleRequest:
    """A sample of n items of a gallery as of one version of its items.

    folder: the gallery's, which another gallery that is later registered under the same id does not share.
    """

    gallery: str
    folder: str
    version: int
    n: int

    @property
    def subject(self) -> str:
        """What its job is about."""
        return f"sample {self.folder} {self.version} {self.n}"

    def path(self, folder: Path) -> Path:
        return folder / "samples" / f"{self.version}-{self.n}.json"


class Samples:
    """Which items to embed with the new model."""

    def __init__(self, database: Database, galleries: Galleries, jobs: Jobs) -> None:
        self._database = database
        self._galleries = galleries
        self._jobs = jobs

    def wanted(self, gallery: str, n: int) -> SampleRequest:
        """The sample that a request means. Raises NotFound, and Unprocessable for an empty gallery."""
        info = self._galleries.info(gallery)
        items = self._galleries.items(info)
        if not items.count():
            raise Unprocessable(f"Gallery {gallery!r} is empty. {info.how_to_fill}")
        return SampleRequest(gallery, info.folder, items.version, n)

    def find(self, wanted: SampleRequest) -> Sample | None:
        """The sample, where it was chosen already."""
        files = self._galleries.folder(self._galleries.info(wanted.gallery))
        path = wanted.path(files.folder)
        files.shared.fetch(path)
        return Sample.model_validate_json(path.read_text()) if path.exists() else None

    def ask(self, wanted: SampleRequest) -> None:
        """Has it chosen, unless that is under way. Raises InternalError where it was tried and failed."""
        with self._database.session() as session:
            if self._job(session, wanted) is None:
                self._jobs.enqueue(session, STEP, wanted.subject, asdict(wanted))

    def chosen(self, wanted: SampleRequest) -> bool:
        """Whether it was chosen since it was asked for. The database knows; where samples are kept, which may be an
        object store, is not looked at. Raises NotFound where the gallery is gone, and InternalError as `ask`."""
        with self._database.read() as session:
            self._galleries.info(wanted.gallery, session)
            job = self._job(session, wanted)
            return job is not None and job.state == JobState.SUCCEEDED

    def _job(self, session: Session, wanted: SampleRequest) -> Job | None:
        """The job that chooses it; None before it is asked for. Raises InternalError where that failed."""
        jobs = self._jobs.of(session, wanted.subject)
        if jobs and jobs[-1].state == JobState.FAILED:
            raise InternalError(f"The sample could not be chosen: {jobs[-1].error}")
        return jobs[-1] if jobs else None

    def weights(self, info: GalleryInfo, ids: Iterable[str]) -> Mapping[str, float] | None:
        """The share of the gallery that each of these items stands for, where it is of the sample that they came from.

        They came from the sample that holds most of them, the newest of several, where their overlap is at least
        `RECOGNISED` and of `FEWEST_RECOGNISED` items; None where there is no such sample. Items that are not of it have
        no entry.
        """
        wanted = set(ids)
        best, weights = (0, 0, 0), None
        files = self._galleries.folder(info)
        files.shared.fetch_files(files.folder / "samples")
        for path in (files.folder / "samples").glob("[0-9]*.json"):
            sample = Sample.model_validate_json(path.read_text())
            common = wanted.intersection(sample.ids)
            version, n = map(int, path.stem.split("-"))
            rank = (len(common), version, n)
            needed = max(FEWEST_RECOGNISED, RECOGNISED * min(len(wanted), len(sample.ids)))
            if len(common) >= needed and rank > best:
                share_of = dict(zip(sample.ids, sample.weights, strict=True))
                best, weights = rank, {item: share_of[item] for item in common}
        return weights
