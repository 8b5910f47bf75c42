"""Removing an upgrade that nothing needs any more, with everything that it left."""

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from app.artifacts.removal import remove_once_committed
from app.galleries import generations
from app.galleries.abandoning import abandon
from app.galleries.service import Galleries
from app.jobs.service import Jobs
from app.problems import InUse, WrongState
from app.registry.service import Models
from app.settings import Settings
from app.storage.database import Database
from app.storage.shared_files import shared_files
from app.upgrades import rows, states
from app.upgrades.info import UpgradeInfo
from app.upgrades.request import FORWARD
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow

UpgradeUsages = Callable[[Session, str], Sequence[str]]
"""What uses an upgrade, in words ("evaluation eva-1"), as another resource sees it."""


class UpgradeRemoval:
    """Deletes upgrades. `usages`: who else may need one."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        models: Models,
        galleries: Galleries,
        jobs: Jobs,
        usages: Sequence[UpgradeUsages],
    ) -> None:
        self._artifacts = settings.artifacts_dir
        self._downloads = settings.downloads_dir
        self._shared = shared_files(settings)
        self._database = database
        self._models = models
        self._galleries = galleries
        self._jobs = jobs
        self._usages = usages

    def delete(self, upgrade: str) -> None:
        """Removes an upgrade with its artifacts and the generations that it made, and with what it wrote into stores of
        the users' own.

        A model that it trained stays registered, without its weights. Raises NotFound; WrongState while it is under way
        or waits to be switched to; and InUse where something is searched through it or is measuring it.
        """
        with self._database.session() as session:
            row = rows.lock(session, upgrade)
            if row.state in states.RUNNING | {UpgradeState.READY}:
                raise WrongState(
                    f"Upgrade {row.id} is {row.state}. POST /upgrades/{row.id}/cancel first.", state=row.state
                )
            generations.lock(session, row.galleries)
            if used_by := [
                *self._served_through(session, row),
                *(u for of in self._usages for u in of(session, row.id)),
            ]:
                back = f" POST /upgrades/{row.id}/rollback goes back." if row.state == UpgradeState.ACTIVE else ""
                raise InUse(f"Upgrade {row.id} is in use by {', '.join(used_by)}.{back}", used_by=used_by)
            abandon(session, self._jobs, row.id)
            self._models.untrained(session, row.target, row.id)
            self._jobs.forget(session, row.id)
            session.delete(row)
            remove_once_committed(session, self._artifacts / row.id, self._shared)
            remove_once_committed(session, self._downloads / row.id)

    def _served_through(self, session: Session, row: UpgradeRow) -> list[str]:
        """What is searched through an upgrade's crossing, or can be by switching to a generation built on it."""
        needing: list[str] = []
        made_in = generations.galleries_of(session, row.id)
        for gallery in made_in:
            info = self._galleries.info(gallery, session)
            mine = {number for number, one in info.generations.items() if one.upgrade == row.id}
            built_on = [n for n in info.generations if n not in mine and mine & {a.number for a in info.ancestry(n)}]
            if mine & {one.number for one in info.ancestry(info.active)}:
                needing.append(f"gallery {gallery}, whose active generation is {info.active}")
            else:
                needing += [f"generation {number} of gallery {gallery}" for number in built_on]
        if row.state != UpgradeState.ACTIVE:
            return needing
        if row.strategy != FORWARD:
            trained = self._models.find(session, row.target)
            return [f"model {row.target}, whose queries search through it"] if trained is not None else []
        if not UpgradeInfo.of(row).forward.rewrite:
            searched = set(self._galleries.in_space(row.source, session)) & set(row.galleries)
            needing += [f"gallery {gallery}" for gallery in sorted(searched)]
        return needing
