"""What can be done with upgrades: start, follow, switch, roll back, cancel."""

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.datasets.schemas import NewDataset
from app.datasets.service import Datasets
from app.embedders.spending import spent_by
from app.galleries import generations
from app.galleries.abandoning import abandon
from app.galleries.service import Galleries
from app.galleries.targets import StoreTargets
from app.http.pagination import rows_seen
from app.jobs.schemas import Progress
from app.jobs.service import Jobs
from app.jobs.values import sortable_id
from app.keys.access import EVERYTHING, Access
from app.problems import WrongState
from app.registry.service import Models
from app.storage.database import Database
from app.upgrades import rows, states
from app.upgrades.accepted_crossings import UpgradeCrossing
from app.upgrades.checks import UpgradeChecks
from app.upgrades.compatible_request import CompatibleUpgrade
from app.upgrades.embedding_checks import EmbeddingChecks
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.made import made_generations
from app.upgrades.report import report_of
from app.upgrades.request import COMPATIBLE, FORWARD, FUSED
from app.upgrades.schemas import EmbeddingSpent, Upgrade, asked_by
from app.upgrades.states import Event, UpgradeState
from app.upgrades.switching import UpgradeSwitching
from app.upgrades.tables import UpgradeRow
from app.upgrades.transform_units import TransformUnits

EMBED_PAIRS = "embed_pairs"
FIRST_STEP = {FORWARD: "train", COMPATIBLE: "train_compatible"}


class Upgrades:
    """The upgrades resource."""

    def __init__(
        self,
        database: Database,
        models: Models,
        galleries: Galleries,
        datasets: Datasets,
        jobs: Jobs,
        units: TransformUnits,
        targets: StoreTargets,
        embedding: EmbeddingChecks,
    ) -> None:
        self._database = database
        self._models = models
        self._galleries = galleries
        self._jobs = jobs
        self._units = units
        self._datasets = datasets
        self._embedding = embedding
        self._checks = UpgradeChecks(models, galleries, datasets)
        self._switching = UpgradeSwitching(database, galleries, jobs, targets, self._checks)

    def start(
        self, session: Session, source: str, request: ForwardUpgrade | CompatibleUpgrade, caller: Access
    ) -> Upgrade:
        """Starts an upgrade inside the caller's transaction; its first job is rung after the commit. caller: whose
        request it is; what goes wrong names no upgrade that it does not see.

        Raises NotFound for a model, dataset or gallery that is not there, Unprocessable for a request that cannot be
        carried out, Conflict where a gallery is being upgraded already, and IdTaken where a model that is to be trained
        has an id that another has.
        """
        row = UpgradeRow(id=f"upg-{sortable_id()}", source=source, target=request.target)
        row.state = UpgradeState.QUEUED
        if isinstance(request, CompatibleUpgrade):
            new = self._checks.compatible(session, source, request)
            self._checks.may_train(session, source, new)
            self._models.train(session, new, row.id)
        else:
            self._checks.forward(session, source, request)
            self._models.hold(session, request.to)
        self._models.hold(session, source)
        row.galleries = self._checks.galleries(session, source, request)
        if isinstance(request, ForwardUpgrade):
            self._checks.side_information(session, request, row.galleries)
        generations.lock(session, row.galleries)  # Two that start at the same moment take turns.
        self._checks.in_space(session, source, row.galleries)
        self._checks.free(session, row.galleries, caller)
        if isinstance(request, ForwardUpgrade):
            self._checks.pairs(session, source, request, row.galleries)
            self._checks.labels(session, source, request, row.galleries)
            self._embedding.pairs(session, request)
            request = self._with_dataset(session, row.id, request)
        row.request = request.model_dump(mode="json")
        session.add(row)
        session.flush()
        self._jobs.enqueue(session, _first_step(request), row.id)
        return self._wire(session, row)

    def require_texts(self, source: str, request: ForwardUpgrade | CompatibleUpgrade) -> None:
        """Raises Unprocessable where pairs are to be embedded and a gallery has no texts, or images where these are
        embedded, or where a model that embeds by itself is not trained yet; and what reading a gallery
        raises whose items lie elsewhere: what may take too long for the transaction that `start` is called in."""
        if not isinstance(request, ForwardUpgrade) or request.pairs is None:
            return
        with self._database.read() as session:
            self._checks.forward(session, source, request)
            galleries = self._checks.galleries(session, source, request)
            self._checks.in_space(session, source, galleries)
            self._embedding.pairs(session, request)
        self._embedding.have_texts(request.to, galleries, request.text)

    def get(self, upgrade: str) -> Upgrade:
        """Raises NotFound."""
        with self._database.read() as session:
            return self._wire(session, rows.find(session, upgrade))

    def require_seen(self, upgrade: str, caller: Access) -> None:
        """Raises NotFound where there is no such upgrade, or none that the caller's key sees, in the same words."""
        if caller.bound:
            with self._database.read() as session:
                row = session.get(UpgradeRow, upgrade)
                if row is None or not caller.sees_upgrade_of(row.galleries):
                    raise rows.no_such(upgrade)

    def rows_after(self, cursor: str | None, limit: int, caller: Access = EVERYTHING) -> list[Upgrade]:
        """Up to `limit` upgrades that the caller's key sees, oldest first, after the one named by the cursor."""

        def all_after(after: str | None, most: int) -> list[UpgradeRow]:
            query = select(UpgradeRow).order_by(UpgradeRow.id).limit(most)
            return list(session.scalars(query.where(UpgradeRow.id > after) if after else query))

        with self._database.read() as session:
            page = rows_seen(all_after, lambda row: row.id, lambda row: caller.sees_upgrade_of(row.galleries))
            return [self._wire(session, row) for row in page(cursor, limit)]

    def activate(self, upgrade: str, caller: Access) -> Upgrade:
        """Points every gallery of the upgrade that is not there yet at the generation that it made, in one transaction.

        The readers of stores of the users' own, in which some galleries lie, are switched just before, and back where
        the transaction fails.

        Raises NotFound, and WrongState unless it is ready, active or was rolled back and no other upgrade is under way
        in those galleries; GalleryStoreAway and StoreChanged where such a store cannot be switched, and StoreBusy where
        others have been at work there for too long.
        """
        self._switching.activate(upgrade, caller)
        return self.get(upgrade)

    def roll_back(self, upgrade: str, caller: Access) -> Upgrade:
        """Points every gallery of the upgrade that is not there yet at the generation before it. What was written since
        is kept.

        Raises NotFound, and WrongState unless it is active and nothing was built on it since; and what `activate`
        raises of stores.
        """
        self._switching.roll_back(upgrade, caller)
        return self.get(upgrade)

    def switch(self, gallery: str, number: int, caller: Access) -> None:
        """Points one gallery at one of its generations, and brings the upgrades that made them into line.

        Raises NotFound, and WrongState for a generation that is not ready or while an upgrade is under way; and what
        `activate` raises of stores.
        """
        self._switching.switch(gallery, number, caller)

    def drop(self, gallery: str, number: int, caller: Access) -> None:
        """Forgets a generation whose vectors an upgrade wrote into a store of the user's own, and that lost; a job
        removes them there.

        Raises NotFound, Unprocessable for what no upgrade wrote there, InUse where the gallery points at them, and
        WrongState where the upgrade is under way or waits to be switched to.
        """
        self._switching.drop(gallery, number, caller)

    def cancel(self, upgrade: str) -> Upgrade:
        """Stops an upgrade; every gallery is as it was.

        Raises NotFound, and WrongState once it is active or ended, or a gallery was switched to what it made.
        """
        with self._database.session() as session:
            row = rows.lock(session, upgrade)
            if row.state != UpgradeState.CANCELLED:
                rows.move(row, Event.CANCELLED)
                for one in made_generations(session, self._galleries, row):
                    if one.serves:
                        name = one.gallery.id
                        raise WrongState(
                            f"Gallery {name!r} is searched through upgrade {row.id}. Switch it back first: POST "
                            f"/galleries/{name}/activate with generation {one.parent}."
                        )
                abandon(session, self._jobs, row.id)
                self._jobs.request_cancel(session, row.id)
                self._units.forget(session, row.id)
            return self._wire(session, row)

    def every(self) -> list[UpgradeCrossing]:
        """The crossings of all upgrades, oldest first, learned or not."""
        with self._database.read() as session:
            rows = session.scalars(select(UpgradeRow).options(defer(UpgradeRow.proofs)).order_by(UpgradeRow.id))
            return [UpgradeCrossing.of(row) for row in rows]

    def working_on(
        self, caller: Access, *, gallery: str | None = None, dataset: str | None = None, within: Session | None = None
    ) -> list[str]:
        """The upgrades under way that need a gallery or a dataset, in words, each once; by their ids where the caller's
        key sees them. `within` the caller's session where there is one."""
        with self._database.read(within) as session:
            running = session.scalars(select(UpgradeRow).where(UpgradeRow.state.in_(states.RUNNING))).all()
        needing = [
            row
            for row in running
            if gallery in row.galleries or (dataset and dataset in asked_by(row.request).datasets)
        ]
        return list(dict.fromkeys(rows.named(row, caller) for row in needing))

    def using_model(self, session: Session, model: str) -> list[str]:
        """What uses a model here, for the registry: upgrades under way, and those that can be switched to or back.

        One that has ended is history: it names its models, and needs them no longer.
        """
        named = (UpgradeRow.source == model) | (UpgradeRow.target == model)
        needing = session.scalars(select(UpgradeRow).where(named, UpgradeRow.state.not_in(states.ENDED)))
        return [f"upgrade {row.id}" for row in needing]

    def _with_dataset(self, session: Session, upgrade: str, request: ForwardUpgrade) -> ForwardUpgrade:
        """The request with a dataset of its own, where it names none to put pairs into that are to be embedded."""
        if "dataset" in request.model_fields_set:
            return request
        dataset = NewDataset(id=f"{upgrade}-pairs", description=f"Pairs that were embedded for upgrade {upgrade}.")
        self._datasets.add(session, dataset)
        return request.model_copy(update={"dataset": dataset.id})

    def _wire(self, session: Session, row: UpgradeRow) -> Upgrade:
        request = asked_by(row.request)
        trains = request if isinstance(request, CompatibleUpgrade) else None
        crosses = request if isinstance(request, ForwardUpgrade) else None
        spent = spent_by(session, row.id) if crosses and crosses.pairs else None
        progress = self._jobs.progress(session, row.id) if row.state in states.RUNNING else None
        return Upgrade(
            id=row.id,
            source=row.source,
            to=row.target,
            strategy=request.strategy,
            method=request.method,
            architecture=trains.to.architecture if trains else None,
            training=trains.training if trains else None,
            instance_weights=trains.instance_weights if trains else None,
            dataset=request.dataset,
            pairs=crosses.pairs if crosses else None,
            budget=crosses.budget if crosses else None,
            spent=EmbeddingSpent.of(spent) if spent else None,
            evaluation=request.evaluation,
            galleries=row.galleries,
            gate=request.gate,
            activate=request.activate,
            dry_run=request.dry_run,
            rewrite=crosses.rewrite if crosses else None,
            fused=crosses.fused if crosses else None,
            state=UpgradeState(row.state),
            served_as=FUSED if row.served_as == FUSED else None,
            reason=row.reason,
            progress=Progress(**progress) if progress else None,
            report=report_of(row.learned, row.proofs),
            statements=generations.statements(session, row.id),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _first_step(request: ForwardUpgrade | CompatibleUpgrade) -> str:
    if isinstance(request, ForwardUpgrade) and request.pairs is not None:
        return EMBED_PAIRS
    return FIRST_STEP[request.strategy]
