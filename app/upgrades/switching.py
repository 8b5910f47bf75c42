"""Switching galleries to what upgrades made, and back: in the database, and in the stores of the users' own in which
some galleries lie.

A store is switched first, while the gallery is kept from others who would switch it; the database follows at once. It
checks everything once more, and where it refuses, the store is brought back to what it says (`StoreTargets.alone`).
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.galleries import generations
from app.galleries.abandoning import give_up
from app.galleries.info import READY, GalleryInfo
from app.galleries.service import Galleries
from app.galleries.store_locks import ASKED_SECONDS, Patience
from app.galleries.targets import StoreTargets
from app.jobs.service import Jobs
from app.keys.access import Access
from app.problems import WrongState
from app.storage.database import Database
from app.upgrades import rows
from app.upgrades.checks import UpgradeChecks
from app.upgrades.made import MadeGeneration, made_generations
from app.upgrades.states import Event, UpgradeState
from app.upgrades.tables import UpgradeRow


class UpgradeSwitching:
    """What `Upgrades` does about which generation answers."""

    def __init__(
        self, database: Database, galleries: Galleries, jobs: Jobs, targets: StoreTargets, checks: UpgradeChecks
    ) -> None:
        self._database = database
        self._galleries = galleries
        self._jobs = jobs
        self._targets = targets
        self._checks = checks

    def activate(self, upgrade: str, caller: Access) -> None:
        """As `Upgrades.activate`."""
        patience = Patience(ASKED_SECONDS)
        with self._targets.alone(self._galleries_of(upgrade), patience):
            with self._database.read() as session:
                row = rows.find(session, upgrade)
                self._behind(session, row, caller)
                made = made_generations(session, self._galleries, row)
            # Where the gallery points at it already, the store may have been switched by hand: that is done again.
            wanted = [one for one in made if not one.serves or one.gallery.active == one.number]
            self._switch_stores([(one.gallery, one.number) for one in wanted], patience)
            with self._database.session() as session:
                # All at once, and in order: two that are activated at one moment do not wait for each other.
                for beside in sorted({upgrade, *generations.upgrades_beside(session, upgrade)}):
                    rows.lock(session, beside)
                row = rows.find(session, upgrade)
                behind = self._behind(session, row, caller)
                if row.state != UpgradeState.ACTIVE:
                    rows.move(row, Event.ACTIVATED)
                for one in behind:
                    self._point(session, one.gallery.id, one.number)

    def roll_back(self, upgrade: str, caller: Access) -> None:
        """As `Upgrades.roll_back`."""
        patience = Patience(ASKED_SECONDS)
        with self._targets.alone(self._galleries_of(upgrade), patience):
            with self._database.read() as session:
                switched = self._switched(session, rows.find(session, upgrade), caller)
            self._switch_stores([(one.gallery, one.parent) for one in switched], patience)
            with self._database.session() as session:
                row = rows.lock(session, upgrade)
                switched = self._switched(session, row, caller)
                if row.state != UpgradeState.ROLLED_BACK:
                    rows.move(row, Event.ROLLED_BACK)
                for one in switched:
                    self._galleries.point(session, one.gallery.id, one.parent)

    def switch(self, gallery: str, number: int, caller: Access) -> None:
        """As `Upgrades.switch`."""
        patience = Patience(ASKED_SECONDS)
        with self._targets.alone([self._galleries.info(gallery)], patience):
            with self._database.read() as session:
                info = self._galleries.info(gallery, session)
                self._checks.at_rest(session, [gallery], caller)
            if number in info.generations and info.generations[number].state == READY:
                self._switch_stores([(info, number)], patience)
            with self._database.session() as session:
                self._checks.at_rest(session, [gallery], caller)
                self._point(session, gallery, number)

    def drop(self, gallery: str, number: int, caller: Access) -> None:
        """As `Upgrades.drop`."""
        with self._database.session() as session:
            generations.lock(session, [gallery])
            self._galleries.info(gallery, session)
            self._checks.settled(session, [gallery], caller)
            give_up(session, self._jobs, gallery, number)

    def _galleries_of(self, upgrade: str) -> list[GalleryInfo]:
        """All that the upgrade was asked for and that are still there, whether it has a generation there by now or not:
        that may change while others are waited for. Raises NotFound."""
        with self._database.read() as session:
            asked = set(rows.find(session, upgrade).galleries)
        return [info for info in self._galleries.every() if info.id in asked]

    def _behind(self, session: Session, row: UpgradeRow, caller: Access) -> list[MadeGeneration]:
        """What galleries are to be switched to for the upgrade to be active. Raises WrongState where it cannot be."""
        made = made_generations(session, self._galleries, row)
        if not made and generations.galleries_of(session, row.id):
            raise WrongState(
                f"What upgrade {row.id} made has been dropped from the stores that it was in. Start another upgrade.",
                state=row.state,
            )
        if row.state != UpgradeState.ACTIVE:
            rows.after(row, Event.ACTIVATED)
        behind = [one for one in made if not one.serves]
        self._checks.at_rest(session, [one.gallery.id for one in behind], caller)
        return behind

    def _switched(self, session: Session, row: UpgradeRow, caller: Access) -> list[MadeGeneration]:
        """What galleries are to be switched away from for the upgrade to be rolled back. Raises WrongState where it
        cannot be."""
        if row.state != UpgradeState.ROLLED_BACK:
            rows.after(row, Event.ROLLED_BACK)
        switched = [one for one in made_generations(session, self._galleries, row) if one.serves]
        self._checks.at_rest(session, [one.gallery.id for one in switched], caller)
        for one in switched:
            if one.gallery.active != one.number:
                name, active = one.gallery.id, one.gallery.active
                raise WrongState(
                    f"Gallery {name!r} has moved on to generation {active}. Roll that back first, or choose one: POST "
                    f"/galleries/{name}/activate."
                )
        return switched

    def _switch_stores(self, to: Sequence[tuple[GalleryInfo, int]], patience: Patience) -> None:
        """Has the readers of the galleries' stores see these generations, all of which catch up before the first is
        switched. Galleries whose items lie here are passed over."""
        theirs = [(info, number) for info, number in to if info.elsewhere is not None]
        forward = [(info, number) for info, number in theirs if info.generations[number].in_store is not None]
        for info, number in forward:
            self._targets.catch_up(info, number, patience=patience)
        for info, number in theirs:
            if info.generations[number].in_store is not None:
                self._targets.switch(info, number, patience=patience)
            else:
                self._targets.switch_back(info)

    def _point(self, session: Session, gallery: str, number: int) -> None:
        """Points a gallery at a generation, and brings the states of all its upgrades into line.

        An upgrade becomes active with the last of its galleries that is switched to it, and rolled back with the last
        that is switched away from it. Raises NotFound, and WrongState for a generation that is not ready.
        """
        made = self._galleries.info(gallery, session).generations.values()
        upgrades = sorted({generation.upgrade for generation in made if generation.upgrade is not None})
        # Upgrades are locked before galleries, as by all who lock both: so nobody waits for one who waits for him.
        locked = [rows.lock(session, upgrade) for upgrade in upgrades]
        self._galleries.point(session, gallery, number)
        for row in locked:
            names = generations.galleries_of(session, row.id)
            switched = [self._is_on(session, name, row.id) for name in names]
            if all(switched) and row.state in (UpgradeState.READY, UpgradeState.ROLLED_BACK):
                rows.move(row, Event.ACTIVATED)
            elif not any(switched) and row.state == UpgradeState.ACTIVE:
                rows.move(row, Event.ROLLED_BACK)

    def _is_on(self, session: Session, gallery: str, upgrade: str) -> bool:
        """Whether a gallery's active generation is the one that an upgrade made, or was built on it."""
        info = self._galleries.info(gallery, session)
        return any(generation.upgrade == upgrade for generation in info.ancestry(info.active))
