"""Side-information that comes after the items: stored with items that lack it, or in the place of what they have.

A gallery registered without side-information takes it from its first such request on, which says the dimension. That is
noted before any vector is stored, so that no two requests can fill one gallery with vectors of two dimensions.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.shared import SharedArtifacts
from app.failpoints import Failpoint, reached
from app.galleries.info import GalleryInfo
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.schemas import SideInformationStored
from app.galleries.service import Galleries, require_here
from app.galleries.tables import GalleryRow
from app.galleries.writing import writing
from app.problems import NotFound, Unprocessable
from app.registry.service import Models
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.accepted_crossings import crossable
from app.uploads import Expected, UploadedRows
from app.uploads.offences import TOLD, Offences
from models.portable import Space


class LaterSideInformation:
    """Stores side-information with items that are there."""

    def __init__(self, settings: Settings, database: Database, models: Models, galleries: Galleries) -> None:
        self._artifacts = settings.artifacts_dir
        self._shared = SharedArtifacts(settings)
        self._database = database
        self._models = models
        self._galleries = galleries

    def expected(self, gallery: str, dimension: int | None) -> Expected:
        """What a bulk body must look like; `dimension`: what the request says.

        Raises NotFound, ItemsElsewhere, and Unprocessable where the dimension is needed or another.
        """
        with self._database.read() as session:
            info = self._galleries.info(gallery, session)
            require_here(info)
            pushed = crossable(session, info)
            spaces = self._models.spaces([model for model, _ in pushed], session)
        agreed = _agreed(gallery, info.side_dimension, dimension)
        for read in self._read(info, [(upgrade, spaces[model]) for model, upgrade in sorted(pushed)]):
            if read != agreed:
                raise Unprocessable.at(
                    f"The transformations that serve gallery {gallery!r} read side-information of {read} dimensions, "
                    f"not of {agreed}. Embed with the encoder that the upgrade's dataset was embedded with.",
                    parameter="dimension",
                )
        return Expected.side_information(agreed)

    def _read(self, info: GalleryInfo, pushed: Sequence[tuple[str, Space]]) -> set[int]:
        """The dimensions that side-information has in the crossings of a gallery: those of its generations, and those
        that are pushed into queries, each given as its upgrade and the space it leads to. Vectors of another would
        leave the gallery without any answer."""
        self._shared.refresh()
        made = [self._galleries.lineage(info, number, refreshed=True) for number in info.generations]
        crossings = [crossing for lineage in made for crossing in lineage.crossings]
        source = info.current.space
        for upgrade, target in pushed:
            crossings.append(open_crossing(UpgradeArtifacts(self._artifacts, upgrade), source, target))
        read = (crossing.chosen.card.side_dimension for crossing in crossings)
        return {dimension for dimension in read if dimension is not None}

    def put(self, gallery: str, rows: UploadedRows) -> SideInformationStored:
        """Stores validated rows; durable when it returns. All of them, or nothing.

        Raises InvalidRows where an id is no item's, and Unprocessable where another request gave the gallery another
        dimension meanwhile.
        """
        info = self._galleries.info(gallery)
        self._refuse_unknown(info, rows)
        dimension = rows.schema.field(SIDE_INFORMATION).type.list_size
        with self._database.session() as session:
            row = session.get(GalleryRow, gallery, with_for_update=True)
            if row is None:
                raise NotFound(f"There is no gallery {gallery!r}; it was deleted meanwhile.")
            row.side_dimension = _agreed(gallery, row.side_dimension, dimension)
        reached(Failpoint.DIMENSION_AGREED)
        with writing(self._galleries, info) as store:
            items = store.items
            items.ensure_column(rows.schema.field(SIDE_INFORMATION).with_nullable(True))
            updated = items.update(rows.schema, rows.batches())
        return SideInformationStored(
            updated=updated, items=items.count(), items_without=items.count(f"{SIDE_INFORMATION} IS NULL")
        )

    def _refuse_unknown(self, info: GalleryInfo, rows: UploadedRows) -> None:
        """Refuses ids that the gallery has no item of: raises InvalidRows."""
        offences = Offences()
        ids = pa.chunked_array([batch.column("id") for batch in rows.batches()], pa.string())
        for place in np.flatnonzero(~self._galleries.store(info).items.known(ids))[:TOLD].tolist():
            message = f"is no item of gallery {info.id!r}; PUT /galleries/{info.id}/items stores items"
            offences.add(place, ids[place].as_py(), "id", message)
        offences.raise_if_any()


def _agreed(gallery: str, known: int | None, given: int | None) -> int:
    """The dimension of a gallery's side-information. Raises Unprocessable where there is none, or two."""
    if known is None and given is None:
        raise Unprocessable.at(
            f"Gallery {gallery!r} has no side-information yet: say how many components its vectors have, with "
            "?dimension=N.",
            parameter="dimension",
        )
    if known is not None and given is not None and known != given:
        raise Unprocessable.at(
            f"The side-information of gallery {gallery!r} has {known} dimensions, not {given}.", parameter="dimension"
        )
    return int(known or given or 0)
