"""HTTP of the side-information resource: the models that are trained to stand beside another one."""

from typing import Annotated

from fastapi import APIRouter, Body, Response
from sqlalchemy.orm import Session

from app.composition import Parts
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.idempotency import Once, StoredAnswer
from app.ids import ModelId
from app.problems import BadRequest, IdTaken, KeyReused, NotFound, Unprocessable, WrongState
from app.registry.schemas import Model
from app.side_information.schemas import EXAMPLES, Encoder, NewEncoder

router = APIRouter(prefix="/models", tags=["side-information"])


@router.post(
    "/{model}/side-information",
    summary="Train an encoder of side-information",
    status_code=202,
    response_model=Encoder,
    responses=problems(NotFound, IdTaken, KeyReused, Unprocessable),
)
def train_side_information(
    model: ModelId, request: Annotated[NewEncoder, Body(openapi_examples=EXAMPLES)], parts: Parts, once: Once
) -> Response:
    """Trains an encoder on a dataset's images or texts alone, without labels, whose vectors are stored with every item
    beside those of this model (`PUT /galleries/{id}/side-information`): a later upgrade crosses better with them. It is
    a model of its own: `Location` names it, `GET /models/{id}/artifact` downloads it, and `crosswalk embed` computes
    its vectors. One whose training failed or was cancelled may be trained anew under the same id."""

    def work(session: Session) -> StoredAnswer:
        encoder = parts.encoders.train(session, model, request)
        return StoredAnswer(encoder, headers={"Location": f"/models/{encoder.id}"})

    return once.run(work)


@router.get(
    "/{model}/side-information", summary="List the encoders of a model", responses=problems(NotFound, BadRequest)
)
def list_side_information(model: ModelId, parts: Parts, paging: Paging) -> Page[Encoder]:
    """In order of their ids, a page at a time: how each one's training stands, and what it learned."""
    return paging.page(lambda cursor, limit: parts.encoders.of(model, cursor, limit), key=lambda encoder: encoder.id)


@router.post("/{model}/cancel", summary="Stop training an encoder", responses=problems(NotFound, WrongState))
def cancel_training(model: ModelId, parts: Parts) -> Model:
    """Stops the training of an encoder of side-information. Doing it twice is harmless. A model that an upgrade trains
    is cancelled with the upgrade."""
    parts.encoders.cancel(model)
    return parts.encoders.shown([parts.models.get(model)])[0]
