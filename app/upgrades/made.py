"""Which generations of which galleries an upgrade has made, and where galleries are searched through it."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.galleries import generations
from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.upgrades.request import COMPATIBLE
from app.upgrades.tables import UpgradeRow


@dataclass(frozen=True)
class MadeGeneration:
    """A generation `number` that an upgrade built on the generation `parent` of a gallery."""

    gallery: GalleryInfo
    number: int
    parent: int

    @property
    def serves(self) -> bool:
        """Whether the gallery's active generation is this one, or was built on it."""
        return any(one.number == self.number for one in self.gallery.ancestry(self.gallery.active))


def made_generations(session: Session, galleries: Galleries, row: UpgradeRow) -> list[MadeGeneration]:
    """What an upgrade made that was not forgotten, a gallery each."""
    if row.strategy == COMPATIBLE:
        return []
    infos = [galleries.info(name, session) for name in generations.galleries_of(session, row.id)]
    return [
        MadeGeneration(info, generation.number, generation.parent)
        for info in infos
        for generation in info.generations.values()
        if generation.upgrade == row.id and generation.parent is not None
    ]
