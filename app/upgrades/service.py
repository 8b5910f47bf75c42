"""What can be done with upgrades: start, follow, switch, roll back, cancel."""

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.datasets.schemas import NewDataset
from app.datasets.service import Datasets
from app.embedders.spending import spent_by
from app.galleries import generations
from app.galleries.abandoning import abandon
from app.galleries.info import READY, GalleryInfo
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
from app.upgrades.report import report_of
from app.upgrades.request import COMPATIBLE, FORWARD, FUSED
from app.upgrades.schemas import EmbeddingSpent, Upgrade, asked_by
from app.upgrades.states import Event, UpgradeState
from app.upgrades.tables import UpgradeRow
from app.upgrades.transform_units import TransformUnits

_GOALS = {Event.ACTIVATED: UpgradeState.ACTIVE, Event.ROLLED_BACK: UpgradeState.ROLLED_BACK}
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
        self._targets = targets
        self._datasets = datasets
        self._embedding = embedding
        self._checks = UpgradeChecks(models, galleries, datasets)

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
            self._embedding.pairs(session, request)
            request = self._with_dataset(session, row.id, request)
        row.request = request.model_dump(mode="json")
        session.add(row)
        session.flush()
        self._jobs.enqueue(session, _first_step(request), row.id)
        return self._wire(session, row)

    def require_texts(self, source: str, request: ForwardUpgrade | CompatibleUpgrade) -> None:
        """Raises Unprocessable where pairs are to be embedded and a gallery has no texts, and what reading a gallery
        raises whose items lie elsewhere: what may take too long for the transaction that `start` is called in."""
        if not isinstance(request, ForwardUpgrade) or request.pairs is None:
            return
        with self._database.read() as session:
            self._checks.forward(session, source, request)
            galleries = self._checks.galleries(session, source, request)
            self._checks.in_space(session, source, galleries)
            self._embedding.pairs(session, request)
        self._embedding.have_texts(galleries, request.text)

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

        The readers of stores of the users' own, in which some galleries lie, are switched just before.

        Raises NotFound, and WrongState unless it is ready, active or was rolled back and no other upgrade is under way
        in those galleries; GalleryStoreAway and StoreChanged where such a store cannot be switched.
        """
        for info, number in self._in_stores(upgrade, Event.ACTIVATED, caller):
            self._targets.switch(info, number)
        with self._database.session() as session:
            row = rows.lock(session, upgrade)
            if row.state != UpgradeState.ACTIVE:
                rows.move(row, Event.ACTIVATED)
            behind = [one for one in self._made(session, row) if not self._is_on(session, one[0], row.id)]
            self._checks.at_rest(session, [name for name, _, _ in behind], caller)
            for name, number, _ in behind:
                self._point(session, name, number)
            return self._wire(session, row)

    def roll_back(self, upgrade: str, caller: Access) -> Upgrade:
        """Points every gallery of the upgrade that is not there yet at the generation before it. What was written since
        is kept.

        Raises NotFound, and WrongState unless it is active and nothing was built on it since; GalleryStoreAway and
        StoreChanged as `activate`.
        """
        for info, number in self._in_stores(upgrade, Event.ROLLED_BACK, caller):
            self._targets.switch_back(info, number)
        with self._database.session() as session:
            row = rows.lock(session, upgrade)
            if row.state != UpgradeState.ROLLED_BACK:
                rows.move(row, Event.ROLLED_BACK)
            switched = [one for one in self._made(session, row) if self._is_on(session, one[0], row.id)]
            self._checks.at_rest(session, [name for name, _, _ in switched], caller)
            for name, number, parent in switched:
                info = self._galleries.info(name, session)
                if info.active != number:
                    raise WrongState(
                        f"Gallery {name!r} has moved on to generation {info.active}. Roll that back first, or "
                        f"choose one: POST /galleries/{name}/activate."
                    )
                self._galleries.point(session, name, parent)
            return self._wire(session, row)

    def switch(self, gallery: str, number: int, caller: Access) -> None:
        """Points one gallery at one of its generations, and brings the upgrades that made them into line.

        Raises NotFound, and WrongState for a generation that is not ready or while an upgrade is under way;
        GalleryStoreAway and StoreChanged as `activate`.
        """
        self._switch_store(gallery, number, caller)
        with self._database.session() as session:
            self._galleries.info(gallery, session)
            self._checks.at_rest(session, [gallery], caller)
            self._point(session, gallery, number)

    def drop(self, gallery: str, number: int, caller: Access) -> None:
        """Removes the vectors that an upgrade wrote into a store of the user's own, and that lost.

        Raises NotFound, Unprocessable for what no upgrade wrote there, InUse where the gallery points at them, and
        WrongState where the upgrade is under way or waits to be switched to.
        """
        info = self._galleries.info(gallery)
        with self._database.read() as session:
            self._checks.settled(session, [gallery], caller)
        self._targets.drop(info, number)

    def cancel(self, upgrade: str) -> Upgrade:
        """Stops an upgrade; every gallery is as it was.

        Raises NotFound, and WrongState once it is active or ended, or a gallery was switched to what it made.
        """
        with self._database.session() as session:
            row = rows.lock(session, upgrade)
            if row.state != UpgradeState.CANCELLED:
                rows.move(row, Event.CANCELLED)
                for name, _, parent in self._made(session, row):
                    if self._is_on(session, name, row.id):
                        raise WrongState(
                            f"Gallery {name!r} is searched through upgrade {row.id}. Switch it back first: POST "
                            f"/galleries/{name}/activate with generation {parent}."
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

    def _in_stores(self, upgrade: str, event: Event, caller: Access) -> list[tuple[GalleryInfo, int]]:
        """The galleries of an upgrade that lie in stores of the users' own, each with the generation made there.

        Raises NotFound, and WrongState where the event cannot happen.
        """
        with self._database.read() as session:
            row = rows.find(session, upgrade)
            made = [(self._galleries.info(name, session), number) for name, number, _ in self._made(session, row)]
            if event == Event.ACTIVATED and not made and generations.galleries_of(session, row.id):
                raise WrongState(
                    f"What upgrade {row.id} made has been dropped from the stores that it was in. Start another "
                    "upgrade.",
                    state=row.state,
                )
            there = [(info, number) for info, number in made if info.elsewhere is not None]
            if there and row.state != _GOALS[event]:
                rows.after(row, event)
                self._checks.at_rest(session, [info.id for info, _ in there], caller)
            return there

    def _switch_store(self, gallery: str, number: int, caller: Access) -> None:
        """Switches the readers of a gallery's store of the user's own, if it lies in one, to a generation."""
        with self._database.read() as session:
            info = self._galleries.info(gallery, session)
            if info.elsewhere is None or number not in info.generations:
                return
            self._checks.at_rest(session, [gallery], caller)
        if info.generations[number].parent is not None and info.generations[number].state == READY:
            self._targets.switch(info, number)
        elif info.current.parent is not None and number == info.current.parent:
            self._targets.switch_back(info, info.active)

    def _with_dataset(self, session: Session, upgrade: str, request: ForwardUpgrade) -> ForwardUpgrade:
        """The request with a dataset of its own, where it names none to put pairs into that are to be embedded."""
        if "dataset" in request.model_fields_set:
            return request
        dataset = NewDataset(id=f"{upgrade}-pairs", description=f"Pairs that were embedded for upgrade {upgrade}.")
        self._datasets.add(session, dataset)
        return request.model_copy(update={"dataset": dataset.id})

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
            switched = [self._is_on(session, name, row.id) for name in generations.galleries_of(session, row.id)]
            if all(switched) and row.state in (UpgradeState.READY, UpgradeState.ROLLED_BACK):
                rows.move(row, Event.ACTIVATED)
            elif not any(switched) and row.state == UpgradeState.ACTIVE:
                rows.move(row, Event.ROLLED_BACK)

    def _is_on(self, session: Session, gallery: str, upgrade: str) -> bool:
        """Whether a gallery's active generation is the one that an upgrade made, or was built on it."""
        info = self._galleries.info(gallery, session)
        return any(generation.upgrade == upgrade for generation in info.ancestry(info.active))

    def _made(self, session: Session, row: UpgradeRow) -> list[tuple[str, int, int]]:
        """Gallery, generation and parent generation, for every gallery that the upgrade built a generation of."""
        if row.strategy == COMPATIBLE:
            return []
        infos = [self._galleries.info(name, session) for name in generations.galleries_of(session, row.id)]
        return [
            (info.id, generation.number, generation.parent)
            for info in infos
            for generation in info.generations.values()
            if generation.upgrade == row.id and generation.parent is not None
        ]

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
