"""What can be done with encoders of side-information: train, follow, cancel; and what their step reports back.

An encoder is a model like any other: it is registered when its training starts, and removed as a model.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.removal import remove_once_committed
from app.datasets.service import Datasets
from app.galleries.service import Galleries
from app.jobs.schemas import Progress
from app.jobs.service import Jobs
from app.jobs.values import sortable_id
from app.problems import IdTaken, NotFound, Unprocessable, WrongState
from app.registry.schemas import Model, NewModel, TrainingStatus
from app.registry.service import Models
from app.settings import Settings
from app.side_information.schemas import Encoder, NewEncoder
from app.side_information.states import CAME_TO_NOTHING, RUNNING, EncoderState
from app.side_information.tables import SideInformationEncoderRow
from app.storage.database import Database
from app.storage.shared_files import shared_files
from models.portable import Distance

STEP = "train_side_information"
METRIC: Distance = "cosine"


class Encoders:
    """The side-information resource."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        models: Models,
        galleries: Galleries,
        datasets: Datasets,
        jobs: Jobs,
    ) -> None:
        self._artifacts = settings.artifacts_dir
        self._shared = shared_files(settings)
        self._database = database
        self._models = models
        self._galleries = galleries
        self._datasets = datasets
        self._jobs = jobs

    def runs(self) -> dict[str, bool]:
        """Every attempt at training an encoder, which names its folder of artifacts, and whether it was trained."""
        with self._database.read() as session:
            rows = session.scalars(select(SideInformationEncoderRow)).all()
        return {row.run: row.state == EncoderState.READY for row in rows}

    def train(self, session: Session, model: str, request: NewEncoder) -> Encoder:
        """Starts training an encoder inside the caller's transaction; its job is rung after the commit.

        Raises NotFound for a model or dataset that is not there, Unprocessable for a request that cannot be carried
        out, and IdTaken where another model has the id, this one's included.
        """
        if request.id == model:
            raise Unprocessable.at(f"Model {model!r} cannot be its own encoder. Give another `id`.", pointer="/id")
        self._models.hold(session, model)
        column = request.built.modality
        rows = self._datasets.store(request.dataset, session).rows
        if not rows.has_value(column):
            raise Unprocessable.at(
                f"Dataset {request.dataset!r} has no row with `{column}`, which is what {request.id!r} learns from. "
                f"PUT /datasets/{request.dataset}/rows with a column `{column}`.",
                pointer="/dataset",
            )
        new = NewModel(
            id=request.id, dimension=request.dimension, metric=METRIC, modality=column, description=request.description
        )
        row = self._free(session, new)
        run = f"enc-{sortable_id()}"
        self._models.train(session, new, run)
        if row is None:
            row = SideInformationEncoderRow(id=request.id)
            session.add(row)
        else:
            remove_once_committed(session, self._artifacts / row.run, self._shared)
        row.model, row.run, row.request = model, run, request.model_dump(mode="json")
        row.state, row.learned, row.reason = EncoderState.QUEUED, None, None
        session.flush()
        self._jobs.enqueue(session, STEP, run)
        return self._wire(session, row)

    def of(self, model: str, cursor: str | None, limit: int) -> list[Encoder]:
        """Up to `limit` encoders of a model in order of their ids, after the one named by the cursor.

        Raises NotFound for the model.
        """
        self._models.get(model)
        query = select(SideInformationEncoderRow).where(SideInformationEncoderRow.model == model)
        query = query.order_by(SideInformationEncoderRow.id).limit(limit)
        with self._database.read() as session:
            rows = session.scalars(query.where(SideInformationEncoderRow.id > cursor) if cursor else query)
            return [self._wire(session, row) for row in rows]

    def shown(self, models: Sequence[Model]) -> list[Model]:
        """Models with how their training stands, where they are encoders."""
        named = SideInformationEncoderRow.id.in_([model.id for model in models])
        with self._database.read() as session:
            rows = session.scalars(select(SideInformationEncoderRow).where(named)).all()
            known = {row.id: (row.model, self._training(session, row)) for row in rows}
        return [
            model.model_copy(update=dict(zip(("side_information_for", "training"), known[model.id], strict=True)))
            if model.id in known
            else model
            for model in models
        ]

    def cancel(self, encoder: str) -> None:
        """Stops a training. Raises NotFound, and WrongState for what is not being trained as an encoder."""
        model = self._models.get(encoder)
        with self._database.session() as session:
            row = session.get(SideInformationEncoderRow, encoder, with_for_update=True)
            if row is None:
                raise WrongState(_not_an_encoder(model))
            if row.state not in RUNNING | {EncoderState.CANCELLED}:
                raise WrongState(
                    f"The training of {encoder!r} is {row.state}: nothing is left to stop.", state=row.state
                )
            if row.state != EncoderState.CANCELLED:
                row.state = EncoderState.CANCELLED
                self._jobs.request_cancel(session, row.run)

    def trains(self, model: str) -> bool:
        """Whether a model is an encoder. Raises WrongState for one that is not trained, or not yet."""
        with self._database.read() as session:
            row = session.get(SideInformationEncoderRow, model)
        if row is not None and row.state != EncoderState.READY:
            anew = f" POST /models/{row.model}/side-information trains it anew." if row.state in CAME_TO_NOTHING else ""
            raise WrongState(
                f"The training of {model!r} is {row.state}. GET /models/{model} shows it.{anew}", state=row.state
            )
        return row is not None

    def working_on(self, dataset: str) -> list[str]:
        """The encoders that are being trained on a dataset."""
        running = SideInformationEncoderRow.state.in_(RUNNING)
        with self._database.read() as session:
            rows = session.scalars(select(SideInformationEncoderRow).where(running)).all()
        return [f"the training of model {row.id}" for row in rows if row.request["dataset"] == dataset]

    def using_model(self, session: Session, model: str) -> list[str]:
        """The encoders that use a model, for whoever would delete it."""
        mine = select(SideInformationEncoderRow).where(SideInformationEncoderRow.model == model)
        own = session.get(SideInformationEncoderRow, model)
        training = [] if own is None or own.state not in RUNNING else [f"its training (POST /models/{model}/cancel)"]
        return [*training, *(f"its encoder of side-information {row.id}" for row in session.scalars(mine))]

    def leave(self, session: Session, model: str) -> None:
        """An encoder goes with its model, for the registry."""
        row = session.get(SideInformationEncoderRow, model, with_for_update=True)
        if row is not None:
            remove_once_committed(session, self._artifacts / row.run, self._shared)
            session.delete(row)

    def begin(self, run: str) -> Encoder:
        """The request of an encoder whose step begins, which is marked as training. Raises NotFound."""
        with self._database.session() as session:
            row = self._of_run(session, run)
            if row is None:
                raise NotFound(f"No encoder is trained by {run}.")
            if row.state == EncoderState.QUEUED:
                row.state = EncoderState.TRAINING
            return self._wire(session, row)

    def finish(self, session: Session, run: str, learned: dict[str, Any]) -> None:
        """Keeps what was learned, in the transaction that ends the job. learned: JSON."""
        row = self._of_run(session, run)
        if row is not None:
            row.state, row.learned = EncoderState.READY, learned

    def step_failed(self, session: Session, subject: str, reason: str) -> None:
        """Ends a training whose step failed for good. A subject that is none is passed over."""
        row = self._of_run(session, subject)
        if row is not None and row.state in RUNNING:
            row.state, row.reason = EncoderState.FAILED, reason

    def _of_run(self, session: Session, run: str) -> SideInformationEncoderRow | None:
        mine = select(SideInformationEncoderRow).where(SideInformationEncoderRow.run == run)
        return session.scalars(mine.with_for_update()).one_or_none()

    def _free(self, session: Session, new: NewModel) -> SideInformationEncoderRow | None:
        """The row of a former training that came to nothing, if there was one. Raises IdTaken where the id is taken."""
        registered = self._models.find(session, new.id)
        if registered is None:
            return None
        row = session.get(SideInformationEncoderRow, new.id, with_for_update=True)
        differing = [name for name in ("dimension", "metric") if getattr(registered, name) != getattr(new, name)]
        users = [*self._galleries.using_model(session, new.id), *self._datasets.using_model(session, new.id)]
        if row is None:
            why = "it was not trained as an encoder of side-information"
        elif row.state not in CAME_TO_NOTHING:
            why = f"its training is {row.state}"
        elif differing:
            why = f"it has {registered.dimension} dimensions and is compared by {registered.metric}"
        elif users:
            why = f"{', '.join(users)} holds vectors of it"
        else:
            return row
        raise IdTaken(
            f"Model {new.id!r} is there already: {why}. Choose another id, or DELETE /models/{new.id} first.",
            differing=differing or ["id"],
        )

    def _training(self, session: Session, row: SideInformationEncoderRow) -> TrainingStatus:
        return TrainingStatus(
            state=EncoderState(row.state).value, progress=self._progress(session, row), reason=row.reason
        )

    def _progress(self, session: Session, row: SideInformationEncoderRow) -> Progress | None:
        progress = self._jobs.progress(session, row.run) if row.state in RUNNING else None
        return Progress(**progress) if progress else None

    def _wire(self, session: Session, row: SideInformationEncoderRow) -> Encoder:
        request = NewEncoder.model_validate(row.request)
        return Encoder(
            id=row.id,
            model=row.model,
            dataset=request.dataset,
            architecture=request.architecture,
            dimension=request.dimension,
            training=request.training,
            state=EncoderState(row.state),
            progress=self._progress(session, row),
            reason=row.reason,
            learned=row.learned,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _not_an_encoder(model: Model) -> str:
    if model.trained_by is None:
        return f"Model {model.id!r} was registered, and is not being trained here."
    return f"Model {model.id!r} is trained by upgrade {model.trained_by}. POST /upgrades/{model.trained_by}/cancel."
